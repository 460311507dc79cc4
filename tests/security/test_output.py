"""What is shown to people: pages, terminals, logs, spreadsheets (threats T19, T20, T21)."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from pipeline.cli.main import log_handler
from pipeline.cli.wording.spreadsheet import cell
from tests.cli.batches import AT_PROVIDER, DONE, REJECTED, E, Item, failure, make_batch, planned
from tests.security.vendors import call, emulated, manifest_of, vendor

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from tests.cli.front_door import Said
    from tests.providers.dialect import Dialect

TERMINAL = (
    "\x1b]52;c;cHduZWQ=\x07\x1b]0;owned\x07\x1b[31m\r\n[INFO] DONE \x9b2J \u202egnp.exe\u2066 \u200b\ufeff\u2028 \x7f"
)
OBEYED = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
MARKUP = (
    *(
        "<script>document.title='owned'</script>",
        '"><img src=x onerror=alert(1)>',
        "</script><script>alert(1)</script>",
    ),
    *(
        "' onmouseover='alert(1)",
        "javascript:alert(1)",
        "</textarea><iframe src=//evil.example>",
        "&lt;b&gt; & \u2028 {{7*7}}",
    ),
    *(
        "]]><svg onload=alert(1)>",
        "<!-- -->",
        "</style><link rel=stylesheet href=//evil.example>",
        "${7*7}<base href=//evil>",
    ),
)


def made(folder: Path, *texts: str) -> Path:
    """Return a batch in which every text of a stranger is hostile: prompts, metadata, models, errors, warnings."""
    items = []
    for number, text in enumerate(texts):
        more = {
            "metadata": {"tag": text},
            "parameters": {"duration_seconds": 8, "negative_prompt": text},
            "model": text,
        }
        plan = planned(text, **more)
        done = [*DONE[:-2], (E.CLIP_STORED, {**DONE[-2][1], "warnings": [text], **_names(number)}), _published(number)]
        lost = (E.SUBMIT_LOST, {"failure": failure(text, text, "unknown", body=text, **{text: text})})
        refused = (E.SUBMIT_REFUSED, {"failure": failure(text, text, "unbilled")})
        items += [
            Item(id=f"done{number}", plan=plan, events=[_accepted(number, each) for each in done]),
            Item(id=f"doubt{number}", plan=plan, events=[(E.SUBMIT_STARTED, AT_PROVIDER[0][1]), lost]),
            Item(id=f"refused{number}", plan=plan, events=[REJECTED[0], refused]),
        ]
    return make_batch(folder / "out", *items, name=texts[0])


def _names(number: int) -> dict[str, str]:
    return {"part": f"clips/.done{number}.0.1.part", "file": f"clips/done{number}.mp4"}


def _published(number: int) -> Any:
    return (E.CLIP_PUBLISHED, {"index": 0, "file": f"clips/done{number}.mp4"})


def _accepted(number: int, event: Any) -> Any:
    kind, data = event
    if kind is not E.SUBMIT_ACCEPTED:
        return event
    return kind, {**data, "receipt": {**data["receipt"], "job_id": f"job-{number}"}}


def shown(root: Path) -> dict[str, Said]:
    """Call every command that shows a batch."""
    commands: dict[str, tuple[object, ...]] = {
        "status": ("status", root),
        "show done": ("show", root, "done0"),
        "show doubt": ("show", root, "doubt0"),
        "show refused": ("show", root, "refused0"),
        "resolve": ("resolve", root),
        "table": ("results", root),
        "csv": ("results", root, "--format", "csv"),
        "check": ("check", root),
        "retry": ("retry", root, "done0"),
        "unknown": ("show", root, TERMINAL),
    }
    return {name: call(*arguments) for name, arguments in commands.items()}


# T19


class Structure(HTMLParser):
    """The elements and attributes of a page, without their texts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.links: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *sorted(name for name, _ in attrs)))
        told = dict(attrs)
        self.links += [told[name] or "" for name in ("src", "href", "poster", "action", "data") if name in told]
        if (told.get("http-equiv") or "").lower() == "content-security-policy":
            self.policy = told.get("content") or ""


def page_of(folder: Path, *texts: str) -> tuple[Structure, str]:
    """Write a report and return its structure and its text."""
    root = made(folder, *texts)
    said = call("report", root)
    assert said.code in {0, 3, 4}, said.err
    text = (root / "report.html").read_text(encoding="utf-8")
    structure = Structure()
    structure.feed(text)
    return structure, text


@pytest.mark.parametrize("text", MARKUP)
def test_no_text_of_a_stranger_becomes_a_part_of_the_page(tmp_path: Path, text: str) -> None:
    hostile, page = page_of(tmp_path / "hostile", text)
    harmless, _ = page_of(tmp_path / "harmless", "x" * len(text))
    assert hostile.found == harmless.found
    assert [link for link in hostile.links if "evil" in link or link.lower().startswith(("javascript", "//"))] == []
    assert not [name for each in hostile.found for name in each[1:] if name.startswith("on")]
    assert text not in page or not set(text) & set("<>&\u2028")


def test_a_page_may_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    structure, _ = page_of(tmp_path, "A fox")
    assert "default-src 'none'" in structure.policy
    assert not [
        link for link in structure.links if link.startswith("/") or ("://" in link and not link.startswith("data:"))
    ]


# T20


def obeyed(text: str) -> set[str]:
    """Return what a terminal would obey in a text of several lines."""
    return {repr(letter) for letter in text if unicodedata.category(letter) in OBEYED and letter != "\n"}


def test_no_text_of_a_stranger_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    for name, said in shown(made(tmp_path, TERMINAL)).items():
        assert not obeyed(said.out), name
        assert not obeyed(said.err), name
        assert not [line for line in (said.out + said.err).splitlines() if line.startswith("[INFO] DONE")], name


@pytest.mark.parametrize("dialect", emulated(), ids=lambda each: each.can.name)
def test_no_answer_and_no_manifest_reaches_the_terminal_of_a_run(tmp_path: Path, dialect: Dialect) -> None:
    async def shouting(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if (
            isinstance(response, web.Response)
            and response.content_type == "application/json"
            and request.method == "POST"
        ):
            return web.json_response(
                {"error": {"message": TERMINAL, "code": TERMINAL}, "message": TERMINAL}, status=400
            )
        return response

    path = tmp_path / "m.yaml"
    path.write_text(manifest_of(dialect, TERMINAL, **{f"x-{TERMINAL}": 1}))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(manifest_of(dialect, "A fox", **{TERMINAL: TERMINAL}))
    with vendor(shouting) as place:
        environ = {**place.environ(), "XDG_STATE_HOME": str(tmp_path / "home")}
        said = [
            call("run", path, "-o", tmp_path / "out", "--yes", **environ),
            call("validate", wrong),
            call("plan", path, "--quote", **environ),
            call("show", tmp_path / "out", "c0"),
        ]
    for each in said:
        assert not obeyed(each.out + each.err), each


def test_a_log_record_is_one_line() -> None:
    import logging

    record = logging.LogRecord("x", logging.INFO, "", 1, "answered %s", (TERMINAL,), None)
    text = log_handler().format(record)
    assert not obeyed(text)
    assert "\n" not in text


# T21

FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    '"=1',
    'a"=1',
    "\uff1d1",
    "=cmd|' /C calc'!A0",
    "-2+3",
)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_spreadsheet_is_a_formula(tmp_path: Path, text: str) -> None:
    said = call("results", made(tmp_path, text), "--format", "csv")
    rows = list(csv.reader(io.StringIO(said.out)))
    assert len(rows) == 1 + 3
    numbers = {name for name in rows[0] if name in {"clips", "seconds", "bytes", "cost_usd", "attempts"}}
    for row in rows[1:]:
        for name, value in zip(rows[0], row, strict=True):
            assert name in numbers or not value.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")), (
                name,
                value,
            )
            assert '"=' not in value


def test_numbers_stay_numbers_and_machines_get_the_text_as_it_is(tmp_path: Path) -> None:
    assert (cell(-1.5), cell(3)) == (-1.5, 3)
    said = call("results", made(tmp_path, "=1+1"), "--format", "jsonl")
    assert {json.loads(line)["prompt"] for line in said.out.splitlines()} == {"=1+1"}
