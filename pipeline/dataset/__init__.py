"""What trainers receive: a batch's accepted clips as a folder that a loader opens, with captions and provenance.

Rows of the ledger come in; an export goes out that is whole or absent. One file per format; `formats` names them.
"""
