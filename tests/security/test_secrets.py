"""Keys, signed addresses and prompts: where they may be, and that they are nowhere else (threats T1, T2, T8, T27)."""

from __future__ import annotations

import base64
import json
import logging
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
import pytest

from pipeline.cli.main import COMMANDS, clipmill, log_handler, main
from pipeline.cli.secrecy import Secrecy
from pipeline.paths import BatchFolder
from pipeline.providers.base import BilledAt
from pipeline.sandbox.settings import Fault
from tests.cli.front_door import run
from tests.security.vendors import KEY, call, echoing, emulated, manifest_of, vendor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.front_door import Said
    from tests.providers.dialect import Dialect

PROMPT = "A secret violet heron"
SECRETS = {
    "as it is": KEY.encode(),
    "its beginning": KEY[:12].encode(),
    "base64": base64.b64encode(KEY.encode())[:-4],
    "hex": KEY.encode().hex().encode(),
    "in a URL": quote(KEY, safe="").encode(),
    "in JSON": KEY.replace("/", "\\/").encode(),
}
LINKED = "grok-imagine-text-to-video-private"
"""A model whose clip comes by an address of its own, which is as good as the clip."""


@dataclass
class Life:
    """All that a batch has left behind: what was said, and every file."""

    root: Path
    home: Path
    said: dict[str, Said]

    def files(self) -> dict[Path, bytes]:
        """Return every file but the clips, whose bytes are the vendor's."""
        found = [path for place in (self.root, self.home) for path in place.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in found if path.suffix not in {".mp4", ".reserve"}}


def live(folder: Path, dialect: Dialect, *prompts: str, door: object = echoing, **settings: object) -> Life:
    """Run a batch and every command that shows something of it, those of later versions too."""
    root, home = folder / "out", folder / "home"
    manifest = folder / "m.yaml"
    manifest.write_text(manifest_of(dialect, *prompts))
    said: dict[str, Said] = {}
    with vendor(door, **settings) as place:
        environ = {**place.environ(), "XDG_STATE_HOME": str(home), "PYTHONASYNCIODEBUG": "1"}
        commands: dict[str, tuple[object, ...]] = {
            "validate": ("validate", manifest),
            "plan": ("plan", manifest, "--quote"),
            "run": ("run", manifest, "-o", root, "--yes"),
            "again": ("run", manifest, "-o", root, "--yes", "--json"),
            "resume": ("resume", root, "--yes"),
            "status": ("status", root),
            "show": ("show", root, "c0"),
            "show --json": ("show", root, "c0", "--json"),
            "csv": ("results", root, "--format", "csv"),
            "jsonl": ("results", root, "--format", "jsonl"),
            "resolve": ("resolve", root),
            "check": ("check", root),
            "models": ("models", "--provider", dialect.can.name),
            "report": ("report", root),
            "export": ("export", root, "--to", "sidecars"),
        }
        for name, arguments in commands.items():
            if arguments[0] in COMMANDS:
                said[name] = call(*arguments, **environ)
    return Life(root, home, said)


# T1


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_a_key_as_an_option(name: str) -> None:
    command = clipmill.get_command(click.Context(clipmill), name)
    assert command is not None
    for option in options_of(command):
        assert not any(word in option for word in ("key", "secret", "token", "password")), option


def test_a_key_as_an_option_is_refused_with_the_way_that_is_right(tmp_path: Path) -> None:
    said = run("run", "--api-key", KEY, "m.yaml", cwd=tmp_path)
    assert said.code == 2
    assert "Export it" in said.err
    assert KEY not in said.err


# T2

DOUBTFUL = {BilledAt.SUBMIT: Fault.SUBMIT_502, BilledAt.CLAIM: Fault.CLAIM_502}
"""By the call that bills: what makes a doubt of each, whose evidence is kept."""


@pytest.mark.parametrize("dialect", emulated(), ids=lambda each: each.can.name)
@pytest.mark.parametrize("is_faulty", [False, True], ids=["sound", "faulty"])
def test_the_key_is_in_no_byte_that_is_written(tmp_path: Path, dialect: Dialect, is_faulty: bool) -> None:
    faults = {DOUBTFUL[dialect.can.billed_at]: 1.0} if is_faulty else {}
    life = live(tmp_path, dialect, "A fox", "[sandbox: refuse] A wolf", "A bear", faults=faults)
    assert life.said["run"].code == (4 if is_faulty else 3), life.said["run"].err
    files = life.files()
    assert any(b"echo" in data for path, data in files.items() if path.name == "ledger.sqlite"), "nothing was echoed"
    for name, secret in SECRETS.items():
        for path, data in files.items():
            assert secret not in data, f"{path} holds the key ({name})"
        for command, said in life.said.items():
            assert secret.decode() not in said.out + said.err, f"{command} shows the key ({name})"


def test_no_record_of_a_log_holds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENICE_API_KEY", KEY)
    handler = log_handler()
    forms = (KEY, quote(KEY, safe=""), f"Bearer {KEY}", base64.b64encode(f"{KEY}".encode()).decode())
    for form in forms:
        error = RuntimeError(form)
        record = logging.LogRecord("aiohttp", logging.DEBUG, "", 1, "headers %r", ({"x": form},), None)
        record.exc_info = (RuntimeError, error, None)
        text = handler.format(record)
        assert "***" in text
        assert not any(secret.decode() in text for secret in SECRETS.values()), text


def test_a_bug_of_ours_shows_where_it_is_and_not_the_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELMAX_API_KEY", KEY)

    @click.command()
    def broken() -> None:
        raise RuntimeError(f"Authorization: Bearer {KEY}")

    with pytest.raises(SystemExit) as ended:
        main(broken, ())
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert "RuntimeError: Authorization: Bearer ***" in told
    assert "test_secrets.py" in told
    assert "bug of ours" in told
    assert KEY not in told


def test_a_key_that_only_a_file_holds_is_known_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"VENICE_API_KEY={KEY}\nVENICE_BASE_URL=https://evil.example\n")
    secrecy = Secrecy({}, tmp_path)
    assert secrecy.hide(f"a {KEY} b") == "a *** b"
    assert secrecy.hide("https://evil.example") == "https://evil.example"


# T8


def test_a_signed_address_is_in_the_ledger_and_in_nothing_that_is_shown(tmp_path: Path) -> None:
    dialect = next((each for each in emulated() if each.can.download_hosts), None)
    assert dialect is not None
    linked = type(dialect)(**{**vars(dialect), "request": _linked(dialect.request)})
    umask = os.umask(0)
    try:
        life = live(tmp_path, linked, "A fox")
    finally:
        os.umask(umask)
    assert life.said["run"].code == 0, life.said["run"].err
    ledger = BatchFolder(life.root).ledger
    with closing(sqlite3.connect(ledger)) as database:
        (record,) = database.execute("SELECT data FROM event WHERE kind = 'submit_accepted'").fetchone()
    token = json.loads(record)["receipt"]["answer"]["download_url"].rpartition("/")[2]
    assert len(token) > 8
    assert ledger.stat().st_mode & 0o777 == 0o600, "only its owner may read the address"
    for path, data in life.files().items():
        assert path == ledger or token.encode() not in data, path
    for command, said in life.said.items():
        assert token not in said.out + said.err, command


def _linked(request: object) -> object:
    from dataclasses import replace

    return replace(request, model=LINKED)  # type: ignore[type-var]  # a request


# T27

HOLDS_PROMPTS = {"ledger.sqlite", "results.jsonl"}
"""As docs/security.md says; and what is made to be looked at or trained on, `report.html` and `exports/`."""
SHOWS_PROMPTS = {"plan", "show", "show --json", "csv", "jsonl"}


@pytest.mark.parametrize("dialect", emulated(), ids=lambda each: each.can.name)
def test_a_prompt_is_in_the_ledger_and_the_results_alone(tmp_path: Path, dialect: Dialect) -> None:
    life = live(tmp_path, dialect, PROMPT, f"[sandbox: refuse] {PROMPT}")
    for path, data in life.files().items():
        made_for_it = path.name in HOLDS_PROMPTS or {"exports", "report.html"} & set(path.relative_to(tmp_path).parts)
        assert made_for_it or PROMPT.encode() not in data, path
    for command, said in life.said.items():
        assert command in SHOWS_PROMPTS or PROMPT not in said.out + said.err, command
