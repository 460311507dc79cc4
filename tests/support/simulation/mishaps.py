"""What can become of a commit of a shared ledger that goes wrong; apart, so that psycopg is not imported for it."""

from enum import Enum


class Mishap(Enum):
    """What becomes of a commit that goes wrong."""

    NO_ROOM = "the server's disk is full"
    CUT_BEFORE = "the connection is cut, and the server has not committed"
    CUT_AFTER = "the connection is cut, and the server has committed"
