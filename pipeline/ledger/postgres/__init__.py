"""The ledger in PostgreSQL, for batches that several workers carry out at once: leases, fences and shared budgets.

The rules are those of the SQLite ledger, and most of the code; here is what a server and a second worker add to them.
"""
