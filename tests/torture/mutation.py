"""Inputs made worse: bytes, text and JSON, each change drawn from the random that is passed in.

Every function takes the random and something sound, and returns something that may no longer be. What is drawn depends
on the random alone, so a run of the fuzzer can be repeated from its number.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

BYTES_MOST = 200_000
"""Spliced inputs are cut here: what is tested is what is made of bytes, not of how many."""
EDGES = (0, 1, 7, 8, 15, 16, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)
ODD_NUMBERS = (0, -1, 1.5, 1e308, -0.0, 10**17, 10**18, 10**400, float("nan"), float("inf"), True)
ODD_TEXTS = ("", " ", "\ud800", "\x00", "\x1b]52;c;AAAA\x07", "‮", "'", '"', "<script>", "=1+1", "../../x", "é" * 50)
DEPTHS = (40, 63, 64, 65, 200, 5_000)


def worse_bytes(chance: random.Random, data: bytes, others: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """Return the bytes after one to eight changes: flips, cuts, doublings, splices with others, words of the format."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
        _change_bytes(chance, changed, others, words)
    return bytes(changed[:BYTES_MOST])


def _change_bytes(chance: random.Random, data: bytearray, others: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = chance.randint(0, len(data))
    end = min(len(data), at + chance.choice((1, 2, 4, 8, 16, 64, 1024)))
    match chance.randrange(9):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1 if at < len(data):
            data[at] = chance.randrange(256)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end]
        case 4:
            other = chance.choice(others)
            start = chance.randint(0, len(other))
            data[at:at] = other[start : start + chance.choice((4, 16, 256, 4096))]
        case 5 if words:
            data[at:at] = chance.choice(words)
        case 6 if words:
            word = chance.choice(words)
            data[at : at + len(word)] = word
        case 7:
            width = chance.choice((1, 2, 4, 8))
            number = chance.choice(EDGES) & (1 << 8 * width) - 1
            data[at : at + width] = number.to_bytes(width, chance.choice(("big", "little")))
        case _:
            del data[chance.choice((at, end)) :]


def worse_size(chance: random.Random, data: bytes, kinds: Sequence[bytes]) -> bytes:
    """Return an MP4 with one field after a box's name, or the size before it, set to a number at some edge."""
    places = [at for kind in kinds for at in _places_of(data, kind)]
    if not places:
        return data
    at = chance.choice(places) + chance.choice((-4, 4, 8, 12, 16, 20))
    wide = chance.random() < 0.2
    number = chance.choice((*EDGES, len(data), chance.randrange(1 << 16)))
    piece = struct.pack(">Q", number) if wide else struct.pack(">I", number & 0xFFFF_FFFF)
    return data[: max(0, at)] + piece + data[max(0, at) + len(piece) :]


def _places_of(data: bytes, kind: bytes) -> list[int]:
    found, at = [], data.find(kind)
    while at >= 0:
        found.append(at)
        at = data.find(kind, at + 1)
    return found


def worse_json(chance: random.Random, value: Any, names: Sequence[str], texts: Sequence[str]) -> bytes:
    """Return JSON text of the value after one to four changes of its tree, and at times of the text itself."""
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        value = _change_tree(chance, value, names, texts)
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    match chance.randrange(12):
        case 0:
            depth = chance.choice(DEPTHS)
            opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
            text = text.replace("null", opening * depth + "1" + closing * depth, 1)
        case 1:
            name = chance.choice(names)
            text = text.replace("{", f"{{{json.dumps(name)}: {json.dumps(odd(chance, texts))}, ", 1)
        case 2:
            text = "".join(f"\\u{ord(c):04x}" if c.isalpha() and chance.random() < 0.2 else c for c in text)
        case _:
            pass
    data = text.encode("utf-8", "surrogatepass")
    return worse_bytes(chance, data, [data]) if chance.random() < 0.15 else data


def odd(chance: random.Random, texts: Sequence[str]) -> Any:
    """Return a value that nobody expects, or a word that somebody does, or a little tree."""
    match chance.randrange(8):
        case 0:
            return None
        case 1:
            return chance.choice(ODD_NUMBERS)
        case 2:
            return chance.choice(ODD_TEXTS)
        case 3:
            return chance.choice(("x", "COMPLETED")) * chance.choice((1, 100, 5_000))
        case 4:
            return [odd(chance, texts) for _ in range(chance.randrange(3))]
        case 5:
            return {chance.choice(ODD_TEXTS): odd(chance, texts)}
        case _:
            return chance.choice(texts)


def _change_tree(chance: random.Random, value: Any, names: Sequence[str], texts: Sequence[str]) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        match chance.randrange(5):
            case 0:
                return {key: inner for key, inner in value.items() if key != name}
            case 1:
                return {**value, chance.choice(names): odd(chance, texts)}
            case _:
                return {**value, name: _change_tree(chance, value[name], names, texts)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], _change_tree(chance, value[at], names, texts), *value[at + chance.randrange(2) :]]
    return odd(chance, texts)
