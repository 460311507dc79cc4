from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ProblemsFound
from pipeline.manifest.load import manifest_from_jsonl
from pipeline.manifest.model import Entry, Manifest
from pipeline.manifest.validate import rules

if TYPE_CHECKING:
    from pathlib import Path


def test_a_table_makes_a_manifest_of_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "My Prompts (2).jsonl"
    path.write_text('{"prompt": "A turtle"}\n')

    assert manifest_from_jsonl(path, "venice", "wan-2.5") == Manifest(
        path=path,
        folder=tmp_path.resolve(),
        name="my-prompts-2",
        provider="venice",
        model="wan-2.5",
        entries=(Entry(index=0, id="my-prompts-2", prompt="{prompt}", rows="My Prompts (2).jsonl"),),
        text_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


@pytest.mark.parametrize("stem", ["a", "__a__b", "Ünïcode", "日本", "-", "a" * 200, "2024"])
def test_any_stem_makes_a_name_and_an_id_that_the_schema_accepts(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.jsonl"
    path.touch()
    manifest = manifest_from_jsonl(path, "venice", "wan")

    assert rules().accepts_top({"version": 1, "name": manifest.name, "clips": [None]})
    assert rules().accepts_entry({"id": manifest.entries[0].id})


def test_a_link_leads_to_the_folder_of_the_table_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/rows.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real/rows.jsonl")
    manifest = manifest_from_jsonl(tmp_path / "link.jsonl", "venice", "wan")

    assert (manifest.folder, manifest.entries[0].rows) == ((tmp_path / "real").resolve(), "rows.jsonl")
    assert manifest.name == "link"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.csv", "This must be a .jsonl file: one JSON object a line, with a `prompt` in each."),
        ("no.jsonl", "There is no such file."),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ProblemsFound) as caught:
        manifest_from_jsonl(tmp_path / name, "venice", "wan")

    (problem,) = caught.value.problems
    assert problem.message.startswith(message)
    assert problem.file == str(tmp_path / name)
