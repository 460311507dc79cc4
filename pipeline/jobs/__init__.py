"""What is known of each item: states, the facts that move a job, and the one pure function that applies them.

Nothing here does I/O. The live run and the replay of a ledger call the same `record.apply`.
"""
