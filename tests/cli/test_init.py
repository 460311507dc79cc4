from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.manifest.schema import schema_text
from pipeline.planning.plan import offline_providers, plan_file
from pipeline.system.effects import system
from tests.cli.front_door import call, run
from tests.planning.fakes import png

if TYPE_CHECKING:
    from pathlib import Path


def uncommented(text: str) -> str:
    """Return the starter with what its comments show switched on; comments that are sentences stay."""
    lines = []
    for line in text.splitlines():
        bare = line.lstrip()
        inner = bare.removeprefix("# ")
        shows = bare.startswith("# ") and (inner.startswith(("- id:", " ", "negative", "prices:", "limits:")))
        lines.append(line[: len(line) - len(bare)] + inner if shows else line)
    return "\n".join(lines) + "\n"


def test_the_manifest_of_init_plans_without_a_warning(tmp_path: Path) -> None:
    assert call("init", tmp_path / "new").code == 0
    plan = plan_file(tmp_path / "new" / "manifest.yaml", offline_providers(system()))
    assert [item.id for item in plan.items] == ["turtle", "waves"]
    assert plan.warnings == ()


def test_everything_that_the_comments_show_works_when_it_is_uncommented(tmp_path: Path) -> None:
    call("init", tmp_path)
    text = (tmp_path / "manifest.yaml").read_text(encoding="utf-8")
    (tmp_path / "all.yaml").write_text(uncommented(text), encoding="utf-8")
    (tmp_path / "captions.csv").write_text("id,caption\nheron,A heron fishing\n", encoding="utf-8")
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "leaf.png").write_bytes(png())
    plan = plan_file(tmp_path / "all.yaml", offline_providers(system()))
    ids = [item.id for item in plan.items]
    assert {"animals-fox-snow", "animals-fox-snow-2", "heron", "zoom", "city"} <= set(ids)
    assert "animals-deer-sand" not in ids
    assert (plan.limits.max_cost_usd, plan.items[0].price_usd) == (25, pytest.approx(0.9))
    assert plan.warnings == ()


def test_the_schema_lies_beside_the_manifest_and_the_manifest_names_it(tmp_path: Path) -> None:
    call("init", tmp_path)
    assert (tmp_path / "manifest.schema.json").read_text(encoding="utf-8") == schema_text()
    first = (tmp_path / "manifest.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=./manifest.schema.json"


@pytest.mark.parametrize("name", ["manifest.yaml", "manifest.schema.json"])
def test_nothing_is_overwritten_and_nothing_is_written_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    said = run("init", cwd=tmp_path)
    assert said.code == 2
    assert f". holds {name} already." in said.err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_dangling_link_of_the_name_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").symlink_to(tmp_path / "elsewhere")
    assert call("init", tmp_path).code == 2
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = call("init", tmp_path / "file")
    assert (said.code, "is not a folder" in said.err) == (2, True)


def test_the_next_two_commands_are_told_and_the_first_of_them_works(tmp_path: Path) -> None:
    said = run("init", "my clips", cwd=tmp_path)
    plan, rehearsal = said.out.splitlines()[-2:]
    assert plan == "  clipmill plan 'my clips/manifest.yaml'"
    assert rehearsal == "  clipmill run 'my clips/manifest.yaml' --sandbox"
    assert run("plan", "my clips/manifest.yaml", cwd=tmp_path).code == 0
