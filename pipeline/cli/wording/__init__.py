"""What people read: on a terminal, in a table, in a sentence. Nothing in here opens a ledger."""
