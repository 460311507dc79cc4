"""Many workers on many machines: who starts them, watches over them, starts them again, and tells them to stop.

What they do is the runner's, and what they agree on is the ledger's; nothing in here decides about an item or a cent.
"""
