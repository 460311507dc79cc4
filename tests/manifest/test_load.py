from __future__ import annotations

import io
import itertools
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest.feed import CHUNK_BYTES, HELD_BYTES_MAX, Feed, Refused
from pipeline.manifest.load import ALIASED_NODES_FREE, AMPLIFICATION_MAX, DEPTH_MAX, PART_NODES_MAX, PartReader
from tests.manifest.written import read

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("pure", [False, True], ids=["libyaml", "pure"])


class Source(io.RawIOBase):
    """A file that is made while it is read, so that no test needs the memory that it is about."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        piece = next(self._pieces, b"")
        self.bytes_read += len(piece)
        return piece


def reader(pieces: Iterator[bytes]) -> tuple[Source, PartReader]:
    source = Source(pieces)
    return source, PartReader(Feed(source), lambda place, message: pytest.fail(message))  # type: ignore[arg-type]


# --- what is accepted ---


@BOTH
def test_values_keep_their_kinds_and_their_order(pure: bool) -> None:
    values, wrong = read("b: {z: 1, a: [x, 2.5, null]}\na: |\n  two\n  lines\nclips:\n- {id: x}\n- - y\n", pure=pure)

    assert wrong == []
    assert list(values) == ["b", "a", "clips"]
    assert values == {"b": {"z": 1, "a": ["x", 2.5, None]}, "a": "two\nlines\n", "clips": [{"id": "x"}, ["y"]]}


@BOTH
@pytest.mark.parametrize("text", ["\ufeffa: é\n", "a: é\r\n", "a: é", "%YAML 1.2\n---\na: é\n...\n"])
def test_byte_order_marks_carriage_returns_and_directives_are_accepted(text: str, pure: bool) -> None:
    assert read(text, pure=pure) == ({"a": "é"}, [])


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML's own parser refuses tabs that separate")
def test_tabs_may_separate_though_they_may_not_indent() -> None:
    assert read("a:\té\t# x\n") == ({"a": "é"}, [])


@BOTH
def test_aliases_stand_for_what_their_anchor_marks(pure: bool) -> None:
    values, wrong = read("x-p: &p {a: [1]}\nclips:\n- &first {id: a, parameters: *p}\n- *first\n", pure=pure)

    assert wrong == []
    assert values["clips"] == [{"id": "a", "parameters": {"a": [1]}}] * 2


@BOTH
def test_an_anchor_may_be_set_again(pure: bool) -> None:
    assert read("a: &x 1\nb: *x\nc: &x 2\nd: *x\n", pure=pure)[0] == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_characters_that_straddle_two_chunks_are_read_whole() -> None:
    for shift in range(4):
        text = "#" * (CHUNK_BYTES - 2 - shift) + "\nx-a: 🐢é\n"

        assert read(text) == ({"x-a": "🐢é"}, [])


# --- what is refused, and where ---

PLAINLY_REFUSED = {
    "": (None, "The file is empty. `clipmill init` writes a manifest to begin with."),
    "# nothing\n": (None, "The file is empty. `clipmill init` writes a manifest to begin with."),
    "---\n": (None, "The file holds nothing. `clipmill init` writes a manifest to begin with."),
    "~": (None, "The file holds nothing. `clipmill init` writes a manifest to begin with."),
    "\n- a\n": ((2, 1), "A manifest is a mapping: lines such as `name: coral-reefs` and `clips:`."),
    "9" * 5000: ((1, 1), "A manifest is a mapping: lines such as `name: coral-reefs` and `clips:`."),
    "a: 1\n---\nb: 2\n": ((2, 1), "A second document begins here. A manifest is one; split the file."),
    "a: 1\na: 2\n": ((2, 1), "The key `a` is written twice; it stands on line 1 already. Keep one."),
    "x:\n  b: {c: 1}\n  d: 1\n  b: 2\n": (
        (4, 3),
        "The key `b` is written twice; it stands on line 2 already. Keep one.",
    ),
    "a: {<<: {b: 1}}\n": (
        (1, 5),
        "Merge keys (`<<`) are not part of YAML 1.2. Put what all clips share under `parameters` at the top; "
        "each clip's own parameters are laid over it.",
    ),
    "a: {12: b}\n": ((1, 5), 'The key 12 is not text. Quote it: "12".'),
    "a:\n  ?\n  : b\n": (None, "A key is missing before this colon."),
    "a: {: b}\n": ((1, 5), "A key or a value is missing here."),
    "? [a]\n: b\n": ((1, 3), "A key must be plain text, not a list, a mapping or an alias."),
    "&k a: b\n": ((1, 1), "The key `a` bears a tag or an anchor. Remove it."),
    "a: &x [*x]\n": ((1, 8), "`*x` refers to what it is itself a part of."),
    "a: *x\n": (
        (1, 4),
        "`*x` refers to an anchor `&x` that is not above it. If the value is text that begins with `*`, quote it.",
    ),
    "x: &c []\nclips: *c\n": ((2, 8), "`clips` cannot be an alias. Write the list out here."),
    "a: !!python/object/apply:os.system [ls]\n": (
        (1, 4),
        "The tag `!!python/object/apply:os.system` does not fit here. Remove it.",
    ),
    "a: !!set {b}\n": ((1, 4), "The tag `!!set` does not fit here. Remove it."),
    "a: !!binary aGk=\n": ((1, 4), "`!!binary` does not fit here. Quote the value if it is text."),
    "a: !secret b\n": ((1, 4), "`!secret` does not fit here. Quote the value if it is text."),
    "a: !!int b\n": ((1, 4), "`!!int` does not fit here. Quote the value if it is text."),
    "a: " + "9" * 2000: ((1, 4), "This number has too many digits. Quote the value if it is text."),
    "a: [1e999]\n": ((1, 5), "`1e999` is a number that no request can carry. If it is text, quote it."),
    "a: .nan\n": ((1, 4), "`.nan` is a number that no request can carry. If it is text, quote it."),
    "a:\n\t- b\n": ((2, 1), "A tab cannot indent YAML. Use spaces."),
    "a: @b\n": ((1, 4), "Unquoted text cannot begin with `@`. Quote it."),
    "a: b: c\n": (
        (1, 5),
        "A key cannot stand here. If the colon belongs to the text before it, quote that text; else check the "
        "indentation of this line.",
    ),
    "a: - b\n": ((1, 4), "A list item cannot stand here. Put its `-` on a line of its own, indented."),
    "\na: 'b\nc: d\n": ((2, 4), "This quoted text is never closed. Add the closing quote."),
    "a: [1,\nb: 2\n": (
        (3, 1),
        "The list opened with `[` on line 1 goes wrong here. Put commas between its items, and `]` at its end.",
    ),
    "a:\n  - b\n c: 1\n": ((3, 2), "This line fits no level of indentation above it. Align it with its neighbours."),
    "a: |x\n  b\n": ((1, 5), "Text after `|` or `>` begins on the next line."),
    'a: "\\ud83d"\n': (None, "This escape is not whole. Write the character itself."),
    "a: ]\n": ((1, 4), "A key or a value is missing here."),
    "a: !x!y b\n": ((1, 4), "Tags (`!name`) have no meaning here. Remove it, or quote text that begins with `!`."),
}


@BOTH
@pytest.mark.parametrize("text", PLAINLY_REFUSED)
def test_what_is_no_manifest_is_refused_with_its_place(text: str, pure: bool) -> None:
    place, message = PLAINLY_REFUSED[text]
    (wrong,) = read(text, pure=pure)[1]

    assert wrong[1] == message
    assert place is None or wrong[0] == place


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b"a: 1\nb: \xff\n", (2, 4), "The byte 0xff is not UTF-8. Save the file as UTF-8."),
        ("a: é".encode()[:-1], (1, 4), "The byte 0xc3 is not UTF-8. Save the file as UTF-8."),
        (b"a: \0", (1, 4), "A NUL byte: this is a binary file, or a damaged one."),
        (b"\x7fELF\x02", (1, 1), "The control character U+007F is not allowed in YAML. Remove it, or write it as an "
         "escape within double quotes."),
        ("a: é\x1b[31m".encode(), (1, 5), "The control character U+001B is not allowed in YAML. Remove it, or write "
         "it as an escape within double quotes."),
        ("a: b\n\ufeffc: d\n".encode(), (2, 1), "A byte order mark within the file. Remove it."),
        ("a: b\n".encode("utf-16"), (1, 1), "The file is UTF-16. Save it as UTF-8."),
        (b"#" * CHUNK_BYTES + b"\n#\n# \xc3(", (3, 3), "The byte 0xc3 is not UTF-8. Save the file as UTF-8."),
    ],
)  # fmt: skip
def test_a_byte_that_is_no_text_is_refused_with_its_place(data: bytes, place: tuple[int, int], message: str) -> None:
    assert read(data)[1] == [(place, message)]


# --- bombs ---


@BOTH
def test_aliases_that_multiply_are_refused_before_they_are_built(pure: bool) -> None:
    levels = [f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 10)]
    text = "x-0: &x0 [a, a, a, a, a, a, a, a, a]\n" + "".join(levels)
    values, wrong = read(text, pure=pure)

    assert [message.partition(" stand for ")[0] for _, message in wrong] == ["The aliases up to here"]
    assert list(values) == ["x-0", "x-1", "x-2", "x-3"], "the level that goes beyond the budget is not yielded"
    assert sum(1 for _ in walk(values)) < ALIASED_NODES_FREE + AMPLIFICATION_MAX * len(text)


def walk(value: Any) -> Iterator[Any]:
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


def test_a_shared_mapping_in_every_entry_is_no_bomb() -> None:
    head = "x-p: &p {" + ", ".join(f"k{n}: {n}" for n in range(40)) + "}\nclips:\n"
    values, wrong = read(head + "".join(f"- {{id: c{n}, metadata: *p}}\n" for n in range(2_000)))

    assert wrong == []
    assert len(values["clips"]) == 2_000


@BOTH
@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_a_hundred_thousand_levels_are_stopped_at_the_thirty_third(opening: str, pure: bool) -> None:
    source = Source(itertools.chain([b"x-a:\n  "], itertools.repeat(opening.encode() * 1000, 100)))
    parts = PartReader(Feed(source), lambda place, message: None, pure=pure).parts()  # type: ignore[arg-type]

    with pytest.raises(Refused, match=r"nested more than 32 deep|A key must be plain text"):
        list(parts)
    assert source.bytes_read <= 8_000, "nothing beyond the parser's own look-ahead is read"


@BOTH
def test_thirty_two_levels_are_accepted_and_thirty_three_are_not(pure: bool) -> None:
    def nested(levels: int) -> str:
        return "x-a: " + "[" * (levels - 1) + "]" * (levels - 1) + "\n"

    assert read(nested(DEPTH_MAX), pure=pure)[1] == []
    assert read(nested(DEPTH_MAX + 1), pure=pure)[1] == [
        ((1, 37), "Lists and mappings are nested more than 32 deep here.")
    ]


def test_levels_behind_an_alias_count() -> None:
    half = "x-a: &a " + "[" * 16 + "]" * 16 + "\nx-b: " + "[" * 15

    assert read(half + "*a" + "]" * 15 + "\n")[1] == []
    assert read(half + "[*a]" + "]" * 15 + "\n")[1] == [
        ((2, 22), "Lists and mappings are nested more than 32 deep here.")
    ]


def test_one_text_without_end_is_stopped() -> None:
    source, parts = reader(itertools.chain([b"x-a: '"], itertools.repeat(b"a" * (1 << 20))))

    with pytest.raises(Refused, match="more than 64 MiB of text"):
        list(parts.parts())
    assert source.bytes_read <= HELD_BYTES_MAX + (2 << 20)


def test_one_list_of_very_many_values_is_stopped() -> None:
    _, parts = reader(itertools.chain([b"x-a: ["], itertools.repeat(b"1," * 10_000)))

    with pytest.raises(Refused, match=f"more than {PART_NODES_MAX:,} values"):
        list(parts.parts())


def test_very_many_repeated_keys_are_stopped() -> None:
    wrong = read("x-a: {a: 1" + ", a: 1" * 1000 + "}\n")[1]

    assert len(wrong) == 101
    assert wrong[-1][1] == "More than 100 keys are written twice. Mend those above first."


# --- streaming ---


def entries(count: int) -> Iterator[bytes]:
    yield b"version: 1\nclips:\n"
    for first in range(0, count, 100):
        yield b"".join(
            b"- id: clip-%07d\n  prompt: A turtle, number %d\n  parameters: {duration_seconds: 8, aspect_ratio: 16:9}\n"
            % (n, n)
            for n in range(first, first + 100)
        )


def peak_bytes(count: int) -> int:
    _, parts = reader(entries(count))
    tracemalloc.start()
    try:
        seen = sum(1 for part in parts.parts() if part.pointer[0] == "clips")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert seen == count


def test_ten_times_the_entries_take_no_more_memory() -> None:
    peak_bytes(100)  # what is made once is made

    assert peak_bytes(10_000) < peak_bytes(1_000) + 50_000


def test_a_file_longer_than_what_may_be_held_is_no_offence() -> None:
    text = b"- {id: a, prompt: '" + b"x" * (1 << 20) + b"'}\n"
    source, parts = reader(itertools.chain([b"clips:\n"], itertools.repeat(text, 70)))

    assert sum(1 for _ in parts.parts()) == 70
    assert source.bytes_read > HELD_BYTES_MAX


def test_entries_come_before_the_file_is_read_to_its_end() -> None:
    source, parts = reader(entries(100_000))
    stream = parts.parts()
    next(stream)
    first = next(stream)

    assert first.pointer == ("clips", 0)
    assert source.bytes_read < 4 * CHUNK_BYTES


# --- any value ---

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda children: st.lists(children) | st.dictionaries(TEXTS, children),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


@given(value=JSON, pure=st.booleans())
def test_any_json_document_is_yaml_and_reads_equal(value: Any, pure: bool) -> None:
    values, wrong = read(f"x-value: {json.dumps(value, ensure_ascii=False)}\n", pure=pure)

    assert wrong == []
    assert same(values["x-value"], value)


@given(value=JSON)
def test_any_value_that_yaml_tools_write_reads_equal(value: Any) -> None:
    for style in ({"default_flow_style": False}, {"default_flow_style": True, "width": 20}):
        text = yaml.safe_dump({"x-value": value}, default_style='"', sort_keys=False, **style)
        values, wrong = read(text)

        assert wrong == []
        assert same(values["x-value"], value)


@given(data=st.binary(max_size=200), pure=st.booleans())
@settings(max_examples=300)
def test_random_bytes_are_read_or_refused(data: bytes, pure: bool) -> None:
    _, wrong = read(data, pure=pure)

    assert all(isinstance(message, str) for _, message in wrong)


INDICATORS = st.text(st.sampled_from(list("{}[]&*!|>'\"%@`#:-?,\n\t ~<ab01.")), max_size=60)


@given(text=INDICATORS, pure=st.booleans())
@settings(max_examples=500)
def test_any_mess_of_indicators_is_read_or_refused(text: str, pure: bool) -> None:
    read(f"a: {text}", pure=pure)
    read(f"clips:\n- {text}", pure=pure)
