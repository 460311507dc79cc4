"""The constraint table of Venice's models: what it allows passes, and each rule that is broken is refused in its place.

Product and sandbox are held against the table each on its own: a request that breaks a rule is refused before anything
is sent, and would be refused by the vendor.
"""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import ProblemsFound, Severity
from pipeline.planning.plan import offline_providers, plan_file
from pipeline.providers.base import GenerationRequest
from pipeline.providers.venice.provider import Venice
from pipeline.sandbox.venice.catalogue import VENICE_MODELS
from pipeline.sandbox.venice.rules import queue_issues
from pipeline.system.effects import system
from tests.cli.front_door import run
from tests.contracts.venice_table import CORRECTED, ROWS, Broken, Row, broken, good, prompt_of

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.errors import Problem

NEVER_MEANT = ("sample_count", "generate_audio")
"""What the product says to the user and not to the vendor: it leaves them out of the request."""
WIRE = {
    "duration_seconds": "duration",
    "image": "image_url",
    "end_image": "end_image_url",
    "audio": "audio_url",
    "video": "video_url",
    "reference_images": "reference_image_urls",
    "reference_videos": "reference_video_urls",
    "reference_audios": "reference_audio_urls",
    "reference_documents": "reference_document_urls",
    "scene_images": "scene_image_urls",
}
"""What the vendor calls a parameter that the table blames, where it is called otherwise."""


def entry(name: str, model: str, prompt: str, parameters: dict[str, Any]) -> str:
    """One entry of a manifest, every parameter on a line of its own."""
    lines = [f"  - id: {name}", f"    model: {model}"]
    lines += [f"    prompt: {json.dumps(prompt)}"] if prompt else []
    lines += ["    parameters:", *(f"      {key}: {json.dumps(value)}" for key, value in parameters.items())]
    return "\n".join([*lines, ""])


def manifest(folder: Path, *entries: str) -> Path:
    path = folder / "m.yaml"
    path.write_text("version: 1\nname: table\nprovider: venice\nclips:\n" + "".join(entries), encoding="utf-8")
    return path


def problems_of(path: Path) -> list[Problem]:
    try:
        return list(plan_file(path, offline_providers(system())).warnings)
    except ProblemsFound as found:
        return found.problems


def test_the_table_has_its_models() -> None:
    assert len(ROWS) == 103
    assert ROWS.keys() >= CORRECTED.keys()
    assert VENICE_MODELS.keys() >= ROWS.keys()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_the_table_allows_passes(tmp_path: Path, row: Row) -> None:
    every = [entry(f"c{last:d}", row.id, prompt_of(row), good(row, last=last)) for last in (False, True)]
    problems = problems_of(manifest(tmp_path, *every))
    assert not [problem for problem in problems if problem.severity is Severity.ERROR]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_rule_that_is_broken_is_refused_in_its_place(tmp_path: Path, row: Row) -> None:
    cases = list(broken(row))
    assert len({case.rule for case in cases}) == len(cases) >= 12
    without_prompt = [case for case in cases if not case.prompt and not row.is_upscaler]  # told before a plan is made
    for together in filter(None, ([case for case in cases if case not in without_prompt], without_prompt)):
        path = manifest(
            tmp_path, *(entry("c" + str(n), row.id, c.prompt, c.parameters) for n, c in enumerate(together))
        )
        errors = [problem for problem in problems_of(path) if problem.severity is Severity.ERROR]
        to_blame = blamed_lines(path, together)
        for case, line in zip(together, to_blame, strict=True):
            told = [str(problem) for problem in errors if problem.line == line]
            assert [text for text in told if re.search(case.says, text)], (case.rule, line, list(map(str, errors)))
        assert {problem.line for problem in errors} == set(to_blame)
        assert all(problem.column > 1 and problem.file == str(path) for problem in errors)


def blamed_lines(path: Path, cases: list[Broken]) -> list[int]:
    """Return for each entry the line of the parameter to blame, else that of its parameters, else that of itself."""
    lines = path.read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("  - id:")]
    found = []
    for case, start, end in zip(cases, starts, [*starts[1:], len(lines)], strict=True):
        wanted = ["    prompt:", "  - id:"] if case.field == "prompt" else [f"      {case.field}:", "      "]
        own = range(start, end)
        found.append(next(number + 1 for text in wanted for number in own if lines[number].startswith(text)))
    return found


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_sandbox_takes_what_the_table_allows_and_refuses_what_it_does_not(row: Row) -> None:
    provider, model = Venice(None, system()), VENICE_MODELS[row.id]
    for last in (False, True):
        fine = GenerationRequest(model=row.id, prompt=prompt_of(row), parameters=good(row, last=last))
        assert queue_issues(model, provider.request_body(fine, {})) == []
    for case in broken(row):
        if case.field in NEVER_MEANT or (row.is_upscaler and case.field == "duration_seconds"):
            continue  # an upscaler overlooks a duration
        request = GenerationRequest(model=row.id, prompt=case.prompt, parameters=case.parameters)
        blamed = {issue.field for issue in queue_issues(model, provider.request_body(request, {}))}
        assert WIRE.get(case.field, case.field) in blamed, case


def test_nothing_is_sent_where_a_rule_is_broken(tmp_path: Path) -> None:
    every = [
        entry(f"c{number}", row.id, case.prompt, case.parameters)
        for number, (row, case) in enumerate((row, case) for row in ROWS.values() for case in broken(row))
        if case.parameters
    ]
    with socket.create_server(("127.0.0.1", 0)) as vendor:
        vendor.setblocking(False)
        address = f"http://127.0.0.1:{vendor.getsockname()[1]}"
        environ = {"VENICE_API_KEY": "canary", "VENICE_BASE_URL": address}
        said = run("run", manifest(tmp_path, *every), "--yes", cwd=tmp_path, **environ)
        with pytest.raises(BlockingIOError):
            vendor.accept()
    assert said.code == 2
    assert not (tmp_path / "output").exists()
