"""What became of one HTTP request, as a value; the words between `http`, which sends, and a vendor, which understands.

`Unsent`: the request certainly never left. `Lost`: it may have left, and no whole answer came back. `Reply`: a whole
small answer, whatever its status. `Opened`: the first bytes are an MP4's, and the rest is still to be read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import EVIDENCE_MAX_BYTES, Ambiguous, NotSent, Transient
from pipeline.providers.decode import Malformed, decode_object, inflate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.providers.answers import ByteSource
    from pipeline.providers.mask import Mask

JSON_MAX_BYTES = 1 << 20
WORDS_MAX_CHARACTERS = 300
UNTOLD_HEADERS = frozenset({"set-cookie", "authorization", "proxy-authorization", "www-authenticate"})


def evidence_of(status: int | None, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return what is kept of an answer that was not understood: status, headers, and the first 64 kB as text."""
    told = {name: value for name, value in headers.items() if name not in UNTOLD_HEADERS}
    return {"status": status, "headers": told, "body": body[:EVIDENCE_MAX_BYTES].decode(errors="replace")}


def encode_json(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON in ASCII, so that any text that the user wrote can be sent.

    Raises:
        TypeError, ValueError, RecursionError: a value that JSON cannot express.
    """
    return json.dumps(body, allow_nan=False).encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsent:
    """The request certainly never left this machine."""

    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """The request may have left, and no whole answer came back."""

    message: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def ambiguous(self) -> Ambiguous:
        """Say it of a call that can bill."""
        return Ambiguous(message=self.message, evidence=evidence_of(self.status, self.headers, self.body))

    def transient(self) -> Transient:
        """Say it of a call that costs nothing."""
        return Transient(message=self.message, status=self.status)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A whole answer with a small body."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    mask: Mask | None = field(default=None, repr=False, compare=False)
    """Takes out of the record what hid the key from who looked at the bytes."""

    @property
    def succeeded(self) -> bool:
        """Whether the status is one of 2xx."""
        return 200 <= self.status < 300

    def record(self, cap_bytes: int = JSON_MAX_BYTES) -> dict[str, Any]:
        """Return the body as a JSON object, whatever its content type says.

        Raises:
            Malformed: it is not one.
        """
        encoding = self.headers.get("content-encoding", "").strip().lower()
        encoded = encoding not in {"", "identity"}
        record = decode_object(inflate(self.body, encoding, cap_bytes) if encoded else self.body)
        return record if self.mask is None else self.mask.tree(record)

    def record_or_none(self) -> dict[str, Any] | None:
        """Return the body as a JSON object; None where it is none, as a proxy's HTML page is not."""
        try:
            return self.record()
        except Malformed:
            return None

    def words(self) -> str:
        """Return a short body that is plain text, as some 429s and gateways send, on one line; empty for all else."""
        text = self.body[:WORDS_MAX_CHARACTERS].decode(errors="replace").strip()
        is_markup = text.startswith(("<", "{", "["))
        return "" if is_markup or not text.isprintable() else text

    def ambiguous(self, message: str) -> Ambiguous:
        """Say of a call that can bill that this answer does not tell what became of it."""
        return Ambiguous(message=message, evidence=evidence_of(self.status, self.headers, self.body))


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A body that begins as an MP4 does; its source still yields every byte of it, the ones already read too."""

    source: ByteSource


Outcome = Reply | Unsent | Lost


def not_sent(outcome: Unsent) -> NotSent:
    """Say that nothing left."""
    return NotSent(message=outcome.message)


def unanswered_billing(outcome: Unsent | Lost) -> NotSent | Ambiguous:
    """Say of a call that can bill what it means that no answer came."""
    return not_sent(outcome) if isinstance(outcome, Unsent) else outcome.ambiguous()


def unanswered(outcome: Unsent | Lost) -> NotSent | Transient:
    """Say of a call that costs nothing what it means that no answer came."""
    return not_sent(outcome) if isinstance(outcome, Unsent) else outcome.transient()
