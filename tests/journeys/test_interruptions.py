"""The real command as a process of its own, stopped and started in the ways that people and machines stop it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.torture.verdict import ask, environment, requests_made, sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = """version: 1
name: journey
provider: {provider}
{model}
clips:
  - {{id: clip, prompt: A wave, repeat: 12}}
"""
MODELS = {
    "modelmax": "model: veo-3\nparameters: {duration_seconds: 4}",
    "venice": "model: wan-2-7-text-to-video\nparameters: {duration_seconds: 5, aspect_ratio: 16:9, resolution: 720p}",
    "openai-videos": "model: sora-2\nparameters: {duration_seconds: 4, resolution: 1280x720}",
}
SUBMITS = ("modelmax-submit", "venice-queue", "openai-videos-create")
SPEED = 100


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with sandbox(
        tmp_path_factory.mktemp("vendor"), "--speed", str(SPEED), "--render", "template", "--no-limits"
    ) as urls:
        yield urls


class Journey:
    """One batch of one user."""

    def __init__(self, folder: Path, vendor: dict[str, str], provider: str) -> None:
        self.folder, self.vendor = folder, vendor
        (folder / "m.yaml").write_text(MANIFEST.format(provider=provider, model=MODELS[provider]))
        self.environ = environment(vendor, folder / "state")

    def start(self, *more: str, **streams: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipeline", "run", "m.yaml", "--yes", "-o", "out", *more]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        return subprocess.Popen(command, cwd=self.folder, env=self.environ, text=True, **streams)

    def start_and_wait_for_the_first_submit(self) -> subprocess.Popen[str]:
        before = self.submits()
        child = self.start()
        while self.submits() == before:
            assert child.poll() is None, child.communicate()
        return child

    def submits(self) -> int:
        endpoints = ask(f"{self.vendor['sandbox']}/sandbox/requests")["endpoints"]
        return sum(sum(endpoints.get(name, {}).values()) for name in SUBMITS)

    def finish(self) -> dict[str, object]:
        child = self.start("--json")
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        return json.loads(out)


@pytest.fixture(params=MODELS)
def journey(request: pytest.FixtureRequest, tmp_path: Path, vendor: dict[str, str]) -> Journey:
    return Journey(tmp_path, vendor, request.param)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=["int", "term", "hup"]
)
def test_a_signal_finishes_what_bills_and_the_same_command_goes_on(
    journey: Journey, number: signal.Signals, code: int
) -> None:
    child = journey.start_and_wait_for_the_first_submit()
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == code
    assert "clipmill resume out" in err
    charged_before = len(ask(journey.vendor["bill"])["charges"])
    told = journey.finish()
    assert (told["done"], told["in_doubt"], told["failed"]) == (12, 0, 0)
    assert len(ask(journey.vendor["bill"])["charges"]) - charged_before <= 12


def test_the_third_signal_leaves_at_once_and_nothing_is_paid_twice(journey: Journey) -> None:
    charged_before = len(ask(journey.vendor["bill"])["charges"])
    child = journey.start_and_wait_for_the_first_submit()
    for _ in range(3):
        child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130
    again = journey.start("--json")
    out, err = again.communicate(timeout=60)
    told = json.loads(out)
    assert again.returncode == (4 if told["in_doubt"] else 0), err
    assert told["in_doubt"] <= 2
    assert told["done"] + told["in_doubt"] == 12
    charged = len(ask(journey.vendor["bill"])["charges"]) - charged_before
    assert told["done"] <= charged <= told["done"] + told["in_doubt"]


def test_a_batch_that_is_done_asks_nobody_for_anything(journey: Journey) -> None:
    journey.finish()
    before = requests_made(journey.vendor)
    journey.finish()
    assert requests_made(journey.vendor) == before


def test_a_second_process_is_sent_away_and_the_first_goes_on(journey: Journey) -> None:
    first = journey.start_and_wait_for_the_first_submit()
    second = journey.start()
    _, err = second.communicate(timeout=30)
    assert second.returncode == 75
    assert f"process {first.pid}" in err
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_a_terminal_that_has_gone_stops_nothing(journey: Journey) -> None:
    read, write = os.pipe()
    os.close(read)
    child = journey.start(stdout=write, stderr=write)
    os.close(write)
    child.wait(60)
    assert child.returncode == 0
    assert len(list((journey.folder / "out" / "clips").glob("*.mp4"))) == 12


def test_the_manifest_may_vanish_and_the_folder_move(journey: Journey) -> None:
    child = journey.start_and_wait_for_the_first_submit()
    child.kill()
    child.communicate()
    (journey.folder / "m.yaml").unlink()
    (journey.folder / "out").rename(journey.folder / "moved")
    resume = [sys.executable, "-m", "pipeline", "resume", "moved", "--yes", "--json"]
    done = subprocess.run(resume, cwd=journey.folder, env=journey.environ, capture_output=True, text=True, timeout=60)
    told = json.loads(done.stdout)
    assert told["done"] + told["in_doubt"] == 12
    assert told["in_doubt"] <= 2


def test_clips_without_their_ledger_are_not_bought_again(journey: Journey) -> None:
    journey.finish()
    (journey.folder / "out" / "ledger.sqlite").unlink()
    before = requests_made(journey.vendor)
    child = journey.start()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 2
    assert "would buy them again" in err
    assert requests_made(journey.vendor) == before


def test_a_ledger_restored_from_a_copy_is_refused_before_anything_is_bought(journey: Journey) -> None:
    child = journey.start_and_wait_for_the_first_submit()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    old = (journey.folder / "out" / "ledger.sqlite").read_bytes()
    journey.finish()
    (journey.folder / "out" / "ledger.sqlite").write_bytes(old)
    before = requests_made(journey.vendor)
    child = journey.start()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 2
    assert "restored from a copy" in err
    assert requests_made(journey.vendor) == before


def test_without_a_key_nothing_is_sent_and_nothing_is_made(journey: Journey) -> None:
    without = ("_API_KEY", "OPENAI_VIDEOS_BASE_URL")  # the one whose key is optional has no address of its own
    journey.environ = {name: value for name, value in journey.environ.items() if not name.endswith(without)}
    child = journey.start()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 2
    assert re.search(r"[A-Z_]+_(API_KEY|BASE_URL) is not set", err)
    assert not (journey.folder / "out").exists()


def test_the_key_is_in_no_argument_list_and_in_no_file(journey: Journey) -> None:
    key = "canary-key-7f3a9c"
    journey.environ |= {f"{name}_API_KEY": key for name in ("MODELMAX", "VENICE", "OPENAI_VIDEOS")}
    child = journey.start_and_wait_for_the_first_submit()
    with open(f"/proc/{child.pid}/cmdline", "rb") as file:
        assert key.encode() not in file.read()
    out, err = child.communicate(timeout=60)
    assert key not in out + err
    for path in (journey.folder / "out").rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_sent(journey: Journey) -> None:
    before = requests_made(journey.vendor)
    child = journey.start("-o", "m.yaml/out")
    _, err = child.communicate(timeout=30)
    assert child.returncode == 2
    assert "Could not create the folder m.yaml/out: Not a directory." in err
    assert err.endswith("Nothing was sent.\n")
    assert requests_made(journey.vendor) == before


def test_a_manifest_that_is_edited_during_a_run_changes_nothing_in_it(journey: Journey) -> None:
    manifest = journey.folder / "m.yaml"
    charged_before = len(ask(journey.vendor["bill"])["charges"])
    child = journey.start_and_wait_for_the_first_submit()
    edited = manifest.read_text().replace("A wave, repeat: 12", "A mountain, repeat: 15")
    manifest.write_text(edited)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    rows = [json.loads(line) for line in (journey.folder / "out" / "results.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["state"]) for row in rows] == [("A wave", "done")] * 12
    assert len(ask(journey.vendor["bill"])["charges"]) - charged_before == 12
    child = journey.start()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 2, "the next run compares, and asks"
    assert "--on-change" in err


def test_a_process_that_is_stopped_and_continued_goes_on(journey: Journey) -> None:
    """Ctrl-Z, a while, and fg: what the vendor did meanwhile is found, and nothing is sent again."""
    charged_before = len(ask(journey.vendor["bill"])["charges"])
    child = journey.start_and_wait_for_the_first_submit()
    child.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    time.sleep(0.2)  # what had left when it stopped arrives
    asked = requests_made(journey.vendor)
    time.sleep(1.0)  # 100 s of the vendor's
    assert requests_made(journey.vendor) == asked
    child.send_signal(signal.SIGCONT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert len(list((journey.folder / "out" / "clips").glob("*.mp4"))) == 12
    assert len(ask(journey.vendor["bill"])["charges"]) - charged_before == 12


MAKES_AND_FETCHES = {
    "modelmax": {"modelmax-submit", "modelmax-status", "modelmax-result", "modelmax-content"},
    "venice": {"venice-quote", "venice-queue", "venice-retrieve", "venice-download"},
    "openai-videos": {"openai-videos-create", "openai-videos-retrieve", "openai-videos-content"},
}


def test_nothing_is_asked_of_a_vendor_but_what_makes_and_fetches_clips(journey: Journey) -> None:
    """No clip is given up at a vendor before it is at home, for none is given up there at all."""

    def calls() -> dict[str, int]:
        endpoints = ask(f"{journey.vendor['sandbox']}/sandbox/requests")["endpoints"]
        return {name: sum(counts.values()) for name, counts in endpoints.items()}

    before = calls()
    journey.finish()
    made = {name for name, count in calls().items() if count > before.get(name, 0) and not name.startswith("sandbox")}
    (allowed,) = [names for names in MAKES_AND_FETCHES.values() if made & names]
    assert made <= allowed


def test_a_second_folder_for_the_same_manifest_is_told_before_it_is_bought_for(journey: Journey) -> None:
    _, err = (child := journey.start("--limit", "1")).communicate(timeout=60)
    assert child.returncode == 0, err
    assert "bought once more" not in err
    _, err = (child := journey.start("--limit", "1", "-o", "again")).communicate(timeout=60)
    assert child.returncode == 0, err
    said = err.index(f"m.yaml was run into {journey.folder / 'out'} before; whatever is made here is bought once more")
    assert said < err.index("1 to submit")
    assert "bought once more" not in journey.start("--limit", "1", "-o", "again").communicate(timeout=60)[1]


def test_a_program_that_holds_the_ledger_is_told_of_and_waited_for(journey: Journey) -> None:
    charged_before = len(ask(journey.vendor["bill"])["charges"])
    child = journey.start_and_wait_for_the_first_submit()
    assert child.stderr is not None
    with closing(sqlite3.connect(journey.folder / "out" / "ledger.sqlite", isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        said = iter(child.stderr.readline, "")
        assert any("Another program has held out/ledger.sqlite for 3 s" in line for line in said)
        assert child.poll() is None
        stranger.execute("ROLLBACK")
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert len(ask(journey.vendor["bill"])["charges"]) - charged_before == 12
