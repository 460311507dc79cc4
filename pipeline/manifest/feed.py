"""The manifest's bytes on their way to the parser: checked, hashed, and never more of them held than a bound.

A path comes in; out go chunks that are valid UTF-8 without control characters. Whatever is wrong with a byte is raised
as `Refused` with its line and column, before the parser sees it.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from typing import TYPE_CHECKING, BinaryIO

from pipeline.manifest.model import Place

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Final

CHUNK_BYTES: Final = 1 << 16
HELD_BYTES_MAX: Final = 64 << 20
"""How much text one entry of `clips`, or one key of the top level, may have: it is held in memory as a whole."""

ASCII_ALLOWED: Final = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F)])
NOT_YAML: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What a YAML stream must not hold (YAML 1.2.2, 5.1), and a byte order mark within it."""


class Refused(Exception):
    """The file cannot be read on; internal to this room, where it becomes a `Problem`."""

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without ever waiting for a pipe's other end.

    Raises:
        Refused: there is no such file, it is not a regular one, or it may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Refused("There is no such file. `clipmill init` writes one to begin with.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Refused(f"The file cannot be opened: {reason}. Check the path and its permissions.") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder; name the manifest within it" if stat.S_ISDIR(mode) else "not a regular file; save it as one"
        raise Refused(f"This is {kind}.")
    return os.fdopen(descriptor, "rb")


class Feed:
    """What the parser reads from.

    The mutable state is the position in lines and columns, the digest, and the last two chunks of text; `read` moves
    it on.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._held_from = 0
        self._line = 1
        self._column = 1
        self._recent: list[tuple[int, str]] = [(0, "")]
        """The last chunks as text, each with the index of its first character."""

    @property
    def sha256(self) -> str:
        """The digest of what was read, in hexadecimal."""
        return self._digest.hexdigest()

    def release(self) -> None:
        """Say that all that was read so far need no longer be held."""
        self._held_from = self._bytes

    def read(self, _size: int = -1) -> bytes:
        """Return the next chunk, empty at the end. The parser's wish for a size is ignored; it keeps what is over."""
        try:
            chunk = self._file.read(CHUNK_BYTES)
        except OSError as error:
            raise Refused(f"The file cannot be read on: {error.strerror}.", self._place()) from error
        if self._bytes == 0 and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise Refused("The file is UTF-16. Save it as UTF-8.", Place(1, 1))
        self._digest.update(chunk)
        self._check(chunk)
        self._bytes += len(chunk)
        if self._bytes - self._held_from > HELD_BYTES_MAX:
            raise Refused(
                f"One entry or key alone has more than {HELD_BYTES_MAX >> 20} MiB of text. "
                "Put media into files and name them, and keep long lists in a table named by `rows`.",
                self._place(),
            )
        return chunk

    def drain(self) -> None:
        """Read to the end, so that the digest covers the whole file."""
        while self.read():
            pass

    def character(self, index: int) -> str:
        """Return the character that the parser counts as `index`, or nothing where it is no longer known."""
        for start, text in self._recent:
            if start <= index < start + len(text):
                return text[index - start]
        return ""

    def _check(self, chunk: bytes) -> None:
        try:
            text = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            self._advance(error.object[: error.start].decode())
            raise Refused(
                f"The byte 0x{error.object[error.start]:02x} is not UTF-8. Save the file as UTF-8.", self._place()
            ) from error
        if self._bytes == 0 and text.startswith("\ufeff"):
            text = text[1:]
        if chunk.translate(None, ASCII_ALLOWED):  # else it is plain ASCII, the usual case, and has nothing to look for
            found = NOT_YAML.search(text)
            if found:
                self._advance(text[: found.start()])
                code = f"U+{ord(found[0]):04X}"
                if found[0] == "\0":
                    raise Refused("A NUL byte: this is a binary file, or a damaged one.", self._place())
                if found[0] == "\ufeff":
                    raise Refused("A byte order mark within the file. Remove it.", self._place())
                raise Refused(
                    f"The control character {code} is not allowed in YAML. Remove it, or write it as an escape "
                    "within double quotes.",
                    self._place(),
                )
        start, last = self._recent[-1]
        self._recent = [(start, last), (start + len(last), text)]
        self._advance(text)

    def _advance(self, text: str) -> None:
        breaks = text.count("\n")
        self._line += breaks
        self._column = len(text) - text.rfind("\n") if breaks else self._column + len(text)

    def _place(self) -> Place:
        return Place(self._line, self._column)
