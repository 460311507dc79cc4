"""What is written down: every event, and the rows folded from them, durable before anything acts on them.

One process writes, in one thread, many writes to a commit. The database itself refuses an illegal move.
"""
