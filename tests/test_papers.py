"""The papers cannot drift: what they name exists, and what exists they name.

README and docs are read as text; commands, options, exit codes, states, events, manifest keys, tables and environment
variables are taken from the code.
"""

from __future__ import annotations

import dataclasses
import json
import pkgutil
import re
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from docs.state_machine import page
from pipeline import __version__
from pipeline.cli.main import COMMANDS, clipmill
from pipeline.clips.acceptance import Acceptance
from pipeline.errors import Exit
from pipeline.jobs.job import Clip, CostIs, Job
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.ledger.results import result
from pipeline.manifest.schema import schema
from pipeline.paths import BatchFolder
from pipeline.planning.limits import CONCURRENT_BILLING, CONCURRENT_DOWNLOADS
from pipeline.planning.plan import offline_providers, plan_file
from pipeline.providers import answers
from pipeline.providers.base import Capabilities, GenerationRequest, Provider
from pipeline.providers.registry import find_provider, provider_names
from pipeline.runner.lane import IN_FLIGHT
from pipeline.sandbox.settings import Fault
from pipeline.system.effects import system
from tests import test_architecture as architecture

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MANIFESTS = sorted((ROOT / "manifests").glob("*.yaml"))
NOT_YET: set[str] = set()
"""Commands that the README says are missing."""
OTHER_PROGRAMS_OPTIONS = {"--verbose", "--help", "--version"}
README_LINES, RECORD_LINES = 200, 40


def files_of_a_batch() -> set[str]:
    """Return the name of every file that a run can make beside the clips."""
    folder = BatchFolder(Path())
    names = [name for name, value in vars(BatchFolder).items() if isinstance(value, property)]
    return {getattr(folder, name).name for name in names}


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_of(text: str) -> list[str]:
    """Return everything that stands in code: inline and in blocks, line by line."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [*(line for block in blocks for line in block.splitlines()), *re.findall(r"`([^`\n]+)`", rest)]


def named(text: str) -> set[str]:
    """Return what stands alone in backticks, a pair such as `a`, `b` being two."""
    return set(re.findall(r"`([^`\n]+)`", text))


def command_of(name: str) -> click.Command:
    found = clipmill.get_command(click.Context(clipmill), name)
    assert isinstance(found, click.Command)
    return found


def options_of(name: str) -> set[str]:
    """Return every option that a command shows, in all its spellings."""
    shown = [option for option in command_of(name).params if isinstance(option, click.Option) and not option.hidden]
    return {spelling for option in shown for spelling in (*option.opts, *option.secondary_opts)}


def rows_of(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table whose header begins with `heading`, the header left out."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


# --- commands ---


def test_the_readme_lists_every_command_with_every_option_and_no_other() -> None:
    told: dict[str, set[str]] = {}
    for usage, does in rows_of(text_of("README.md"), "command"):
        name = usage.strip("`").split()[1]
        told.setdefault(name, set()).update(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", f"{usage} {does}"))
    there = {name: options_of(name) for name in COMMANDS}
    there["sandbox"] = set()  # its options have a page of their own
    assert told == there


def test_the_sandbox_page_lists_every_option_of_the_command_and_no_other() -> None:
    rows = rows_of(text_of("docs/sandbox.md"), "option")
    told = {option for cell, _ in rows for option in re.findall(r"--[a-z][a-z-]*", cell)}
    assert told == options_of("sandbox")


def calls(text: str) -> Iterator[tuple[str, str]]:
    """Yield each call of the command that stands in code: the subcommand, and the rest of the line."""
    for code in code_of(text):
        for match in re.finditer(r"\bclipmill(?: -v)? ([a-z]+)\b([^#;&|]*)", code):
            yield match[1], match[2]


@pytest.mark.parametrize("paper", PAPERS, ids=short)
def test_every_call_in_a_paper_is_one_that_the_command_takes(paper: Path) -> None:
    for name, rest in calls(paper.read_text(encoding="utf-8")):
        assert name in COMMANDS, f"there is no clipmill {name}"
        unknown = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) - options_of(name)
        assert not unknown, f"clipmill {name} takes no {unknown}"


@pytest.mark.parametrize("paper", PAPERS, ids=short)
def test_every_option_in_a_paper_exists_somewhere(paper: Path) -> None:
    there = {option for name in COMMANDS for option in options_of(name)} | OTHER_PROGRAMS_OPTIONS | {"-v"}
    code = code_of(paper.read_text(encoding="utf-8"))
    told = {option for line in code for option in re.findall(r"^(?:-[a-z]|--[a-z-]+)(?![\w-])", line)}
    assert told <= there


def test_what_the_readme_says_is_missing_is_missing() -> None:
    missing = text_of("README.md").partition("## What it cannot do yet")[2].partition("\n## ")[0]
    assert named(missing) >= NOT_YET
    assert not NOT_YET & COMMANDS.keys()


def test_the_readme_lists_every_exit_code_and_no_other() -> None:
    told = [int(code) for cell, _ in rows_of(text_of("README.md"), "exit code") for code in cell.split(", ")]
    assert sorted(told) == sorted(map(int, Exit))


def test_the_two_commands_of_the_readme_name_what_exists() -> None:
    install, run = re.findall(r"```sh\n(.*?)```", text_of("README.md"), flags=re.DOTALL)[0].splitlines()
    assert install == 'pip install ".[media]"'
    assert (ROOT / run.split()[2]).is_file()
    assert run in text_of("README.md")
    assert (ROOT / run.split()[2]) in MANIFESTS


# --- the manifest ---


def keys_of(node: Any) -> set[str]:
    """Return every key that a schema knows, at any depth; a matrix's names are parameters again."""
    found: set[str] = set()
    if isinstance(node, dict):
        for name, value in node.get("properties", {}).items():
            found.add(name)
            found |= keys_of(value) if name != "matrix" else set()
        for keyword, value in node.items():
            found |= keys_of(value) if keyword != "properties" else set()
    elif isinstance(node, list):
        for value in node:
            found |= keys_of(value)
    return found


def test_the_manifest_page_names_every_key_of_the_schema_and_no_other() -> None:
    page = text_of("docs/manifest.md")
    tables = [rows_of(page, heading) for heading in ("key", "parameter", "limit", "rule")]
    entry = rows_of(page.partition("## An entry")[2], "key")
    told = {key for table in (*tables, entry) for row in table for key in named(row[0])}
    inner = {"usd_per_second", "usd_per_clip"}
    assert inner <= named(page)
    assert told - {"x-..."} == keys_of(schema()) - inner


@pytest.mark.parametrize("path", MANIFESTS, ids=short)
def test_a_manifest_of_ours_plans_without_a_complaint(path: Path) -> None:
    plan = plan_file(path, offline_providers(system()))
    assert [str(warning) for warning in plan.warnings] == []
    assert plan.name == path.stem
    assert path.read_text().startswith("# yaml-language-server: $schema=../schemas/manifest.schema.json\n")
    assert plan.limits.max_cost_usd is not None
    quoted = {name for name in provider_names() if find_provider(name).capabilities.quotes}
    assert {item.provider for item in plan.items if item.price_usd is None} <= quoted, "a cap needs a price"
    assert plan.estimate.known_usd <= plan.limits.max_cost_usd


@pytest.mark.parametrize(("name", "least"), [("quickstart", 6), ("sweep", 100), ("venice-sweep", 100)])
def test_a_manifest_makes_as_many_items_as_it_is_there_for(name: str, least: int) -> None:
    plan = plan_file(ROOT / "manifests" / f"{name}.yaml", offline_providers(system()))
    assert least <= len(plan.items) <= 2 * least


def test_the_readme_shows_a_manifest_that_plans_and_counts_right(tmp_path: Path) -> None:
    example = re.findall(r"```yaml\n(.*?)```", text_of("README.md"), flags=re.DOTALL)[0]
    path = tmp_path / "manifest.yaml"
    path.write_text(example, encoding="utf-8")
    plan = plan_file(path, offline_providers(system()))
    assert not plan.warnings
    assert [item.id for item in plan.items if item.entry_index == 2] == [
        "animals-fox-snow",
        "animals-fox-snow-2",
        "animals-fox-sand",
        "animals-fox-sand-2",
        "animals-deer-snow",
        "animals-deer-snow-2",
    ]
    assert plan.limits.max_cost_usd is not None
    assert plan.estimate.known_usd <= plan.limits.max_cost_usd


def test_the_limits_that_hold_by_default_are_told_as_they_are() -> None:
    rows = {row[0].strip("`"): row[2] for row in rows_of(text_of("docs/manifest.md"), "limit")}
    venice, modelmax, openai = (
        find_provider(name).capabilities.limits for name in ("venice", "modelmax", "openai-videos")
    )
    assert re.findall(r"\d+", rows["in_flight"]) == [str(IN_FLIGHT)]
    assert rows["concurrent_billing"] == str(CONCURRENT_BILLING)
    assert rows["concurrent_downloads"] == str(CONCURRENT_DOWNLOADS)
    assert rows["submits_per_minute"] == f"Venice {venice.submits_per_minute}, the others none"
    assert rows["looks_per_minute"] == f"Venice {venice.looks_per_minute}, the others none"
    assert modelmax.submits_per_minute is modelmax.looks_per_minute is None
    assert openai.submits_per_minute is openai.looks_per_minute is openai.in_flight is None
    assert venice.in_flight is modelmax.in_flight is None


# --- states, the ledger, the results ---


def test_the_readme_names_every_file_of_a_batch() -> None:
    listing = text_of("README.md").partition("## The folder")[2].partition("\n## ")[0]
    assert [name for name in files_of_a_batch() if name not in listing] == []


def test_the_page_of_states_is_what_its_script_prints() -> None:
    assert text_of("docs/state-machine.md") == page(), "run: make docs"


def test_the_ledger_page_names_every_table_with_every_column_in_order() -> None:
    told = {row[0].strip("`"): re.findall(r"`(\w+)`", row[2]) for row in rows_of(text_of("docs/ledger.md"), "table")}
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript((ROOT / "pipeline" / "ledger" / "schema.sql").read_text(encoding="utf-8"))
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        ours = [name for name in names if not name.startswith("sqlite_")]
        there = {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")] for name in ours}
    assert told == there


def test_the_ledger_page_names_every_key_of_a_result() -> None:
    clip = Clip(index=0, state=ClipState.DONE, file="clips/a.mp4")
    request = GenerationRequest(model="m", prompt="p", parameters={})
    job = Job(item_id="a", revision=1, fingerprint="f", provider="p", request=request, clips=(clip,))
    line = result(job, Acceptance())
    rows = {key: row[1] for row in rows_of(text_of("docs/ledger.md"), "key") for key in named(row[0])}
    assert rows.keys() == line.keys()
    assert named(rows["clips"]) == line["clips"][0].keys()
    assert named(rows["cost_is"]) == set(CostIs)


@pytest.mark.parametrize("paper", PAPERS, ids=short)
def test_every_word_that_looks_like_a_state_or_an_event_is_one(paper: Path) -> None:
    words = named(paper.read_text(encoding="utf-8"))
    known = set(State) | set(ClipState) | set(EventKind)
    families = "|".join(sorted({kind.partition("_")[0] for kind in EventKind}))
    past = re.compile(rf"(?:{families})_(?:\w+ed|lost|made|missing|paid|sent)")
    assert {word for word in words if past.fullmatch(word) or word.endswith("_in_doubt")} <= known


# --- providers and the sandbox ---


def test_the_environment_variables_are_those_of_the_providers() -> None:
    records = [find_provider(name).capabilities for name in provider_names()]
    there = {variable for record in records for variable in (record.key_variable, record.base_url_variable)}
    example = {"ACME_API_KEY", "ACME_BASE_URL"}  # of the vendor that does not exist
    for paper in PAPERS:
        allowed = there | (example if paper.name == "adding-a-provider.md" else set())
        assert set(re.findall(r"\b[A-Z_]+_(?:API_KEY|BASE_URL)\b", paper.read_text(encoding="utf-8"))) <= allowed, paper
    assert there <= set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", text_of("README.md")))


def test_the_provider_page_names_all_that_a_provider_has_to_be() -> None:
    page = text_of("docs/adding-a-provider.md")
    methods = {name for name, value in vars(Provider).items() if callable(value) and not name.startswith("_")}
    told = {call.partition("(")[0] for call in named(page) if "(" in call}
    assert methods - {"capabilities"} <= told
    assert {key for row in rows_of(page, "field") for key in named(row[0])} == {
        field.name for field in dataclasses.fields(Capabilities)
    }


def test_the_provider_page_names_every_answer_where_it_can_be_given() -> None:
    page = text_of("docs/adding-a-provider.md")
    safe = {kind.__name__ for kind in answers.SafeFailure.__args__}
    assert named(page.partition("A safe failure is")[2].partition(".")[0]) == safe
    for call, _, returned in rows_of(page, "method"):
        name = call.strip("`").partition("(")[0]
        union = getattr(
            answers, f"{name.capitalize().removesuffix('s') + ('s' if name == 'models' else '')}Answer", None
        )
        if union is None:
            assert name == "close"
            continue
        told = named(returned) | (safe if "a safe failure" in returned else set())
        assert told == {kind.__name__ for kind in union.__args__}, name


def test_the_sandbox_page_names_every_fault_and_no_other() -> None:
    rows = rows_of(text_of("docs/sandbox.md"), "fault")
    assert {fault for row in rows for fault in named(row[0])} == set(Fault)


# --- all papers ---


@pytest.mark.parametrize("paper", PAPERS, ids=short)
def test_every_link_and_every_path_leads_somewhere(paper: Path) -> None:
    text = paper.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (paper.parent / link).exists()] == []
    paths = {word for word in named(text) if re.fullmatch(r"(?:pipeline|tests|docs|manifests|schemas)/[\w/.-]*", word)}
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("paper", PAPERS, ids=short)
def test_every_dotted_name_of_ours_exists(paper: Path) -> None:
    rooms = {path.name for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").is_file()} | {"effects"}
    for word in named(paper.read_text(encoding="utf-8")):
        steps = word.removesuffix("()").split(".")
        if len(steps) < 2 or steps[0] not in rooms or word in files_of_a_batch():
            continue
        if not all(step.isidentifier() for step in steps):
            continue
        try:
            thing = pkgutil.resolve_name("pipeline." + ".".join(steps))
        except (ImportError, AttributeError):
            pytest.fail(f"there is no {word}")
        assert thing is not None


def test_the_floor_plan_names_every_room_and_every_module_below_them() -> None:
    package = ROOT / "pipeline"
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    below = {path.stem for path in package.glob("*.py") if not path.stem.startswith("_")}
    assert {row[0].strip("`") for row in rows_of(text_of("ARCHITECTURE.md"), "room")} == rooms
    assert below <= named(text_of("ARCHITECTURE.md"))


def test_the_floor_plan_has_the_order_that_the_imports_are_held_against() -> None:
    block = next(b for b in re.findall(r"```\n(.*?)```", text_of("ARCHITECTURE.md"), re.DOTALL) if b.startswith("cli"))
    told = [set(line.split(", ")) for line in block.splitlines()]
    there = [rooms - architecture.NOT_YET - {"__main__"} for rooms in architecture.LAYERS]
    assert told == [rooms for rooms in there if rooms]


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(text_of("README.md").splitlines()) <= README_LINES


def test_decisions_are_numbered_short_and_of_one_form() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith(f"# {path.name[:4]} ")
        assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
        assert len(lines) <= RECORD_LINES, path


def test_the_changelog_has_a_place_for_this_version() -> None:
    assert re.search(rf"^## \[{re.escape(__version__)}\] - ", text_of("CHANGELOG.md"), re.MULTILINE)


def test_every_target_that_a_paper_names_is_in_the_makefile_and_says_what_it_does() -> None:
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert targets == phony
    for paper in PAPERS:
        told = {target for code in code_of(paper.read_text()) for target in re.findall(r"\bmake ([a-z-]+)", code)}
        assert told <= targets, paper


def test_the_schema_in_the_repository_is_the_one_that_is_used() -> None:
    assert json.loads(text_of("schemas/manifest.schema.json")) == schema()
