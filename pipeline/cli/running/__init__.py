"""Carrying a batch out: its settings, its keys and prices, the epoch of its ledger, the question, the run, the end."""
