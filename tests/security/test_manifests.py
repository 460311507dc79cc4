"""Manifests of strangers: bombs, coercions, schemas from elsewhere, other people's money (threats T12 to T14, T26)."""

from __future__ import annotations

import asyncio
import json
import re
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.manifest import validate
from pipeline.manifest.validate import read_manifest
from tests.providers.loopback import answer, loopback
from tests.security.vendors import call, emulated, manifest_of, vendor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.providers.dialect import Dialect

HEAD = "version: 1\nname: n\nprovider: modelmax\nmodel: veo-3\n"
QUICK_S = 5.0
MEMORY_MOST_BYTES = 64 << 20


def told(folder: Path, text: str | bytes) -> list[str]:
    path = folder / "m.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found, problems = read_manifest(path)
    assert (found is None) or not problems or all(problem.severity.value == "warning" for problem in problems)
    return [problem.message for problem in problems]


# T12

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS: dict[str, tuple[str | bytes, str]] = {
    "a billion laughs": (HEAD + "x-a:\n" + "".join(f"  {line}\n" for line in LAUGHS.splitlines()), "aliases"),
    "a hundred thousand brackets": ("[" * 100_000, "A manifest is a mapping"),
    "brackets within": (HEAD + "clips: " + "[" * 100_000, "nested more than 32"),
    "braces within": (HEAD + "x-a: " + "{a: " * 50_000, "nested more than 32"),
    "a circle": (HEAD + "x-a: &a [*a]\n", "refers to what it is itself a part of"),
    "code": (HEAD + "x-a: !!python/object/apply:os.system ['touch pwned']\n", "does not fit here"),
    "code in a key": (HEAD + "? !!python/object/apply:os.system [x]\n: y\n", "plain text"),
    "two documents": (HEAD + "clips: [{id: a, prompt: b}]\n---\nversion: 1\n", "second document"),
    "a number without end": (HEAD + f"x-a: {'9' * 500_000}\n", "too many digits"),
    "keys without end": (HEAD + "x-a: {" + "a: 1, " * 100_000 + "}\n", "written twice"),
    "zeros": (b"\0" * 1_000_000, "NUL"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_told_at_once_and_costs_little(tmp_path: Path, kind: str) -> None:
    text, said = BOMBS[kind]
    began_s = time.process_time()
    tracemalloc.start()
    try:
        messages = told(tmp_path, text)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert any(said in message for message in messages), messages[:3]
    assert most_bytes < MEMORY_MOST_BYTES
    assert time.process_time() - began_s < QUICK_S
    assert not (tmp_path / "pwned").exists()
    assert not [path for path in tmp_path.parents[:2] for path in path.glob("pwned")]


# T13

SCALARS: dict[str, Any] = {
    **{
        text: text
        for text in ("16:9", "9:16", "1:1", "21:9", "190:20:30", "no", "No", "NO", "off", "on", "y", "n", "yes")
    },
    **{
        text: text
        for text in ("2024-01-01", "2024-01-01 10:00:00", "1_000", "0b1010", "1e3x", "=", "0o8", "0xZ", "++1")
    },
    **{text: text for text in ("Yes", "True story", "nul", "NULLs", "1.2.3", "1,5", "07:30", "3 s", "5%")},
    "true": True,
    "False": False,
    "~": None,
    "null": None,
    "0012": 12,
    "0o14": 12,
    "0x1F": 31,
    "-7": -7,
    "1e3": 1000.0,
    ".5": 0.5,
    "5.": 5.0,
}


@pytest.mark.parametrize("text", SCALARS)
def test_unquoted_text_means_what_it_looks_like(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + f"clips:\n- id: a\n  prompt: b\n  metadata:\n    found: {text}\n")
    found, problems = read_manifest(path)
    assert found is not None, problems
    value = found.entries[0].metadata["found"]
    assert (type(value), value) == (type(SCALARS[text]), SCALARS[text])


@pytest.mark.parametrize("text", ["0012", "true", "~", "1.5", "0x1F"])
def test_an_id_that_is_not_text_is_asked_to_be_quoted(tmp_path: Path, text: str) -> None:
    assert any("quote" in message.lower() for message in told(tmp_path, HEAD + f"clips: [{{id: {text}, prompt: b}}]\n"))


# T14


def references_in(node: Any) -> list[str]:
    if isinstance(node, dict):
        mine = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return mine + [each for value in node.values() for each in references_in(value)]
    return [each for value in node for each in references_in(value)] if isinstance(node, list) else []


def test_no_validator_is_given_a_reference_to_follow() -> None:
    validate.rules.cache_clear()
    try:
        made = validate.rules()
        assert not references_in(dict(made.top)) + references_in(dict(made.entry))
    finally:
        validate.rules.cache_clear()


def test_a_schema_that_a_manifest_names_is_not_fetched(tmp_path: Path) -> None:
    async def validated() -> int:
        async with loopback(answer({})) as server:
            named = f'"{server.url}/schema.json"'
            clips = f"clips: [{{id: a, prompt: b, metadata: {{$ref: {named}}}}}]"
            text = f"$schema: {named}\n{HEAD}{clips}\nx-a: {{$ref: {named}}}\n"
            await asyncio.to_thread(told, tmp_path, text)
            return len(server.received)

    assert asyncio.run(validated()) == 0


def patterns_in(node: Any) -> set[str]:
    if isinstance(node, dict):
        mine = {node["pattern"]} if isinstance(node.get("pattern"), str) else set()
        mine |= set(node.get("patternProperties", {}) if isinstance(node.get("patternProperties"), dict) else ())
        return mine.union(*(patterns_in(value) for value in node.values()))
    return set().union(*(patterns_in(value) for value in node)) if isinstance(node, list) else set()


def test_no_pattern_of_the_schema_can_be_made_slow() -> None:
    made = validate.rules()
    patterns = patterns_in(dict(made.top)) | patterns_in(dict(made.entry))
    assert patterns
    for pattern in patterns:
        for piece in ("a", "a_", "__", "0", "-", "a-", ":", "1:", "/", "{", "é"):
            began_s = time.process_time()
            re.search(pattern, piece * 5_000 + "!")
            assert time.process_time() - began_s < 1.0, (pattern, piece)


# T26

MANY = 2_000


def dear(dialect: Dialect, **more: Any) -> str:
    """Return a manifest of a few lines that asks for a lot, and brings prices of its own."""
    name = f"{dialect.can.name}/{dialect.request.model}"
    whole = json.loads(manifest_of(dialect, "A fox", prices={name: {"usd_per_clip": 1.5}}, **more))
    whole["clips"][0]["repeat"] = MANY
    return json.dumps(whole)


@pytest.mark.parametrize("dialect", emulated(), ids=lambda each: each.can.name)
@pytest.mark.parametrize("limits", [{}, {"max_cost_usd": 1_000_000}], ids=["uncapped", "capped by itself"])
def test_a_large_sum_is_asked_about_before_anything_is_sent(
    tmp_path: Path, dialect: Dialect, limits: dict[str, float]
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(dear(dialect, **({"limits": limits} if limits else {})))
    with vendor() as place:
        environ = {**place.environ(), "XDG_STATE_HOME": str(tmp_path / "home")}
        said = call("run", path, "-o", tmp_path / "out", **environ)
        again = call("resume", tmp_path / "out", **environ)
    assert (said.code, again.code) == (2, 2)
    assert "$3,000.00" in said.err
    assert "--yes" in said.err
    assert not place.asked


@pytest.mark.parametrize("dialect", emulated(), ids=lambda each: each.can.name)
def test_the_users_cap_answers_and_holds(tmp_path: Path, dialect: Dialect) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(dear(dialect, limits={"max_cost_usd": 1_000_000}))
    with vendor() as place:
        environ = {**place.environ(), "XDG_STATE_HOME": str(tmp_path / "home")}
        said = call("run", path, "-o", tmp_path / "out", "--max-cost", 4, "--json", **environ)
    assert said.code == 5, said.err
    assert said.json["spent_usd"] == 3.0
    assert said.json["done"] == 2
