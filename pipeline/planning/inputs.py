"""The user's input files: found inside the manifest's folder, known by their first bytes, digested once.

A shared manifest is not quite trusted: it must not be able to send a stranger's file to a vendor. So a name leads only
to a regular file that really lies in the manifest's folder or below, or in a folder that the user has allowed on the
command line; each folder on the way is opened without following links, so that nothing can be swapped in between; and
nothing that could block (a FIFO, a device) is ever opened.
"""

from __future__ import annotations

import binascii
import difflib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from pipeline.errors import InputError
from pipeline.planning.measure import UNKNOWN, measure
from pipeline.planning.media import ACCEPTED, HEAD_BYTES, SAME, WANTED, media_type
from pipeline.providers.base import MEDIA_PARAMETERS, InputFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_INPUT_BYTES = 25 * 1024 * 1024
"""No vendor takes a larger request body than 35 MB, and base64 adds a third."""

_CHUNK_BYTES = 1 << 20
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DATA_URL = re.compile(r"data:([a-z0-9.+/-]+);base64,", re.IGNORECASE)


class InputRefused(InputError):
    """A media parameter that leads to nothing we may send; the text says why."""


class InputChanged(InputError):
    """An input file is no longer the one that the plan was made with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Finding:
    """What a text was found to be."""

    type: str
    """The media type; empty for an http(s) URL, which only the vendor opens."""
    file: InputFile | None = None
    refusal: str = ""


class Inputs:
    """The inputs of one plan: every distinct text is looked at once, and every distinct file read once."""

    def __init__(self, folder: Path, allowed: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._allowed = allowed
        self._found: dict[str, _Finding] = {}

    def find(self, text: str, kind: str) -> InputFile | None:
        """Return the local file that `text` names; None for a URL. Raises InputRefused.

        `kind` is image, audio, video or document.
        """
        finding = self._found.get(text)
        if finding is None:
            finding = self._found[text] = self._look(text)
        if finding.refusal:
            raise InputRefused(finding.refusal)
        if finding.type and finding.type not in ACCEPTED[kind]:
            raise InputRefused(f"{_shown(text)} is {finding.type}; what is wanted here is {WANTED[kind]}.")
        return finding.file

    def _look(self, text: str) -> _Finding:
        try:
            if text[:5].lower() == "data:":
                return _Finding(type=_data_url_type(text))
            if scheme := _SCHEME.match(text):
                _check_url(text, scheme.group(1).lower())
                return _Finding(type="")
            file = _digest(self._folder, text, self._allowed)
            return _Finding(type=file.media_type, file=file)
        except InputRefused as refused:
            return _Finding(type="", refusal=str(refused))


def media_texts(parameters: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Yield every media text among the parameters: where it stands, its kind, and the text.

    In `elements` and `keyframes`, whose elements are objects, a key that speaks of an image, an audio or a video
    (`frontal_image`, `reference_images`, `video`, also with `_url`) holds one; other keys hold numbers and words.
    """
    for name, kind in MEDIA_PARAMETERS.items():
        value = parameters.get(name)
        if value is not None:
            yield from _media_in((name,), kind, value)


def _media_in(at: tuple[str | int, ...], kind: str, value: Any) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    if isinstance(value, str):
        yield at, kind, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            spoken_of = next((kind for kind in ACCEPTED if kind in key), None)
            if spoken_of:
                yield from _media_in((*at, key), spoken_of, part)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _media_in((*at, index), kind, part)


def read_inputs(folder: Path, files: Mapping[str, InputFile], allowed: Sequence[Path] = ()) -> dict[str, bytes]:
    """Read the files of a request again, right before it is sent, by the texts that name them.

    `allowed` are the folders, beside the manifest's, in which they may lie.

    Raises:
        InputRefused: a file is no longer there, or no longer one that may be sent.
        InputChanged: a file's bytes are not those that the item was planned with.
    """
    contents: dict[str, bytes] = {}
    for text, file in files.items():
        with open_inside(folder, file.path, allowed) as stream:
            content = stream.read(MAX_INPUT_BYTES + 1)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise InputChanged(
                f"{file.path} has changed since the item was planned. Put the old file back, or plan again with the "
                "new one."
            )
        contents[text] = content
    return contents


def open_inside(folder: Path, name: str, allowed: Sequence[Path] = ()) -> BinaryIO:
    """Open a regular file for reading that really lies in `folder`, in one of `allowed`, or below them.

    `name` is relative to `folder`, or absolute where anything is allowed. Raises InputRefused.
    """
    root, parts = _really_inside(folder, name, allowed)
    return open_real(root, parts, name)


def open_real(root: Path, parts: tuple[str, ...], name: str) -> BinaryIO:
    """Open the regular file at `parts` below a real folder, following no link. Raises InputRefused, about `name`."""
    try:
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                os.close(at)
                at = below
            _check_regular(name, os.stat(parts[-1], dir_fd=at, follow_symlinks=False))
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(parts[-1], flags, dir_fd=at)
        finally:
            os.close(at)
    except OSError as error:
        raise InputRefused(_why_not_opened(root, name, error)) from error
    stream = os.fdopen(descriptor, "rb")
    try:
        _check_regular(name, os.fstat(descriptor))
    except InputRefused:
        stream.close()
        raise
    return stream


def _really_inside(folder: Path, name: str, allowed: Sequence[Path]) -> tuple[Path, tuple[str, ...]]:
    """Return the real folder that holds the file, and the real path below it, link by link resolved."""
    if not name.strip() or _CONTROL.search(name):
        raise InputRefused(f"{_shown(name)} is no file name. Name a file in the manifest's folder or below.")
    if name.startswith("~") or name[:5].lower() == "file:" or (name.startswith("/") and not allowed):
        raise InputRefused(
            f"{_shown(name)} is not relative to the manifest. Copy the file into the manifest's folder or below, and "
            "name it from there, as in inputs/leaf.png; or allow its folder with --allow-inputs DIR."
        )
    real = Path(os.path.realpath(folder / name))
    roots = [Path(os.path.realpath(each)) for each in (folder, *allowed)]
    root = next((each for each in roots if real.is_relative_to(each)), None)
    if root is None:
        raise InputRefused(
            f"{_shown(name)} leads out of the manifest's folder. Only files that really lie in it or below may be "
            "sent: copy the file there, or allow its folder with --allow-inputs DIR."
        )
    parts = real.relative_to(root).parts
    if not parts:
        raise InputRefused(f"{_shown(name)} is a folder. Name a file.")
    return root, parts


def _check_regular(name: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise InputRefused(f"{_shown(name)} is a folder. Name a file.")
    if not stat.S_ISREG(status.st_mode):
        raise InputRefused(f"{_shown(name)} is a device or a pipe. Name a regular file.")


def _why_not_opened(root: Path, name: str, error: OSError) -> str:
    if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
        return f"{_shown(name)} cannot be read: {error.strerror}."
    beside = (root / name).parent
    try:
        names = sorted(os.listdir(beside))  # noqa: PTH208  names alone, no objects
    except OSError:
        names = []
    near = difflib.get_close_matches(Path(name).name, names, n=1)
    hint = f" Did you mean {(Path(name).parent / near[0]).as_posix()}?" if near else ""
    where = "" if name.startswith("/") else " in the manifest's folder"
    return f"{_shown(name)} does not exist{where}.{hint}"


def _digest(folder: Path, name: str, allowed: Sequence[Path]) -> InputFile:
    measured = UNKNOWN
    with open_inside(folder, name, allowed) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        digest = hashlib.sha256()
        read_bytes, head = 0, b""
        while read_bytes <= MAX_INPUT_BYTES >= size_bytes and (chunk := stream.read(_CHUNK_BYTES)):
            head = head or chunk[:HEAD_BYTES]
            digest.update(chunk)
            read_bytes += len(chunk)
        found = media_type(head)
        if found is not None and 0 < read_bytes <= MAX_INPUT_BYTES:
            measured = measure(stream, found, read_bytes)
    if max(read_bytes, size_bytes) > MAX_INPUT_BYTES:
        raise InputRefused(f"{_shown(name)} is larger than {MAX_INPUT_BYTES >> 20} MiB. Scale it down.")
    if read_bytes == 0:
        raise InputRefused(f"{_shown(name)} is empty.")
    if found is None:
        raise InputRefused(f"{_shown(name)} is no image, audio or video that the providers take, whatever its name.")
    return InputFile(
        path=name,
        sha256=digest.hexdigest(),
        size_bytes=read_bytes,
        media_type=found,
        width=measured.width,
        height=measured.height,
        duration_s=measured.duration_s,
    )


def _check_url(text: str, scheme: str) -> None:
    if scheme not in {"http", "https"}:
        raise InputRefused(f"{_shown(text)} is neither a file, an http(s) URL nor a data URL. Download it first.")
    try:
        host = urlsplit(text).hostname
    except ValueError:
        host = None
    if not host or _CONTROL.search(text) or " " in text:
        raise InputRefused(f"{_shown(text)} is not a whole URL.")


def _data_url_type(text: str) -> str:
    header = _DATA_URL.match(text)
    if header is None:
        raise InputRefused(f"{_shown(text)} is not a base64 data URL, as in data:image/png;base64,iVBORw0…")
    if len(text) > MAX_INPUT_BYTES * 4 // 3 + 200:
        raise InputRefused(f"The data URL is larger than {MAX_INPUT_BYTES >> 20} MiB. Scale the picture down.")
    try:
        content = binascii.a2b_base64(text[header.end() :], strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise InputRefused(f"{_shown(text)} does not hold valid base64: {error}.") from error
    declared = header.group(1).lower()
    declared = SAME.get(declared, declared)
    found = media_type(content[:HEAD_BYTES])
    if found is None or found != declared:
        raise InputRefused(f"The data URL says {declared}, and its bytes are {found or 'nothing that is known'}.")
    return found


def _shown(text: str) -> str:
    """Return a text from the manifest for a message: short, and without characters that move a terminal's cursor."""
    short = text if len(text) <= 80 else text[:79] + "…"
    return "".join(c if c.isprintable() else "�" for c in short) or "An empty text"
