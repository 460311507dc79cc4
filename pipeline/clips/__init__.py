"""From an open body to a whole, verified clip under its final name.

A byte source comes in; out come a durable file, its digest, and the facts that its own boxes state. What always holds:
no byte reaches a final name before the whole file has been walked and made durable. This room knows no provider, no job
and no ledger.
"""
