"""Who can make a clip: one file a vendor, behind one protocol.

A provider knows a vendor's words and nothing of jobs, ledgers or money rules. It turns every answer and every network
error into a value (`answers`); what to do about it is the runner's decision.
"""
