"""A manifest of prompts becomes a folder of whole, verified clips; the rooms, in the order that data walks them.

manifest    what the user wrote: YAML to a checked record, every problem with its place
planning    what that amounts to: items with stable ids, their fingerprints and their cost
jobs        what is known of each item: the one table of legal moves
ledger      what is written down: events and the rows folded from them, durable before anything acts on them
runner      making it so: submit, look, claim, collect, recover
providers   who can make a clip: one file a vendor
clips       the bytes: download, verify, publish under the final name
sandbox     the vendors, emulated, with a bill of their own
cli         the front door: one file a command

Below them: errors (the tree of errors and exit codes), effects (clock, randomness, network, files and threads as
things passed in), durable (the only place that makes bytes durable), paths (the only place that joins output names).
"""

__version__ = "0.1.0"
