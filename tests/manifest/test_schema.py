from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.errors import ClipmillError
from pipeline.manifest.schema import NAME, schema, schema_path, schema_text, without_references

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPEN = {"options", "metadata", "elements", "keyframes", "exclude"}
"""Whose keys are not ours to know."""


def schemas_within(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every schema within a schema without references, by the names on the way."""
    yield path, node
    for keyword in ("properties", "patternProperties"):
        for name, child in node.get(keyword, {}).items():
            yield from schemas_within(child, (*path, name))
    for keyword in ("items", "additionalProperties"):
        if isinstance(node.get(keyword), dict):
            yield from schemas_within(node[keyword], (*path, keyword))


EVERY = list(schemas_within(without_references(schema())))


def test_the_schema_obeys_its_own_meta_schema() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_text_is_the_tree() -> None:
    assert json.loads(schema_text()) == schema()


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids="/".join)
def test_every_key_says_what_it_is_for(path: tuple[str, ...]) -> None:
    (found,) = [node for at, node in EVERY if at == path]

    assert found["description"].endswith(".")


def test_nothing_unknown_is_allowed_but_where_the_keys_are_the_users() -> None:
    for path, node in EVERY:
        kinds = node.get("type", [])
        if "object" in ([kinds] if isinstance(kinds, str) else kinds) and not OPEN & set(path):
            rest = node.get("additionalProperties", True)
            assert rest is False or isinstance(rest, dict), path
    assert [node["patternProperties"].keys() for _, node in EVERY if "patternProperties" in node] == [{"^x-"}]


def test_every_pattern_has_its_words() -> None:
    def patterns(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            if isinstance(node.get("pattern"), str):
                yield node
            for child in node.values():
                yield from patterns(child)

    assert all("patternErrorMessage" in node for node in patterns(schema()))


def test_no_reference_leads_out_of_the_file_and_none_is_left_after_inlining() -> None:
    assert '"$ref": "#/$defs/' in schema_text()
    assert schema_text().count('"$ref": "') == schema_text().count('"$ref": "#/$defs/')
    assert "$ref" not in json.dumps(without_references(schema()))
    assert schema()["$id"].startswith("urn:")


def test_every_definition_is_used() -> None:
    for name in schema()["$defs"]:
        assert f'"#/$defs/{name}"' in schema_text() or f'"#/$defs/{name}/' in schema_text()


def test_examples_obey_what_they_are_examples_of() -> None:
    for _, node in EVERY:
        for example in [*node.get("examples", []), *([node["default"]] if "default" in node else [])]:
            Draft202012Validator(node).validate(example)


def test_a_wheels_copy_comes_before_the_repositorys(tmp_path: Path) -> None:
    package, wheel, checkout = tmp_path / "pipeline", tmp_path / "pipeline/_schemas", tmp_path / "schemas"
    for folder in (wheel, checkout):
        folder.mkdir(parents=True)

    with pytest.raises(ClipmillError, match="install clipmill again"):
        schema_path(package)
    (checkout / NAME).write_text("{}")
    assert schema_path(package) == checkout / NAME
    (wheel / NAME).write_text("{}")
    assert schema_path(package) == wheel / NAME
