from __future__ import annotations

from pathlib import Path

from tests.cli.front_door import call


def test_the_schema_is_printed_as_it_is_published() -> None:
    published = Path(__file__).parents[2] / "schemas" / "manifest.schema.json"
    assert call("schema").out == published.read_text(encoding="utf-8")
