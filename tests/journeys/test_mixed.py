"""A mixed batch against vendors at their worst: every claim bills, any call may be lost, and nothing stays unexplained.

The manifest is the package's own example, with clean-up: three providers, six models, files, samples, links, repeats.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import Exit
from pipeline.jobs.state import LIVE, EventKind
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.cli.front_door import command_line, environment
from tests.cli.vendors import Shop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.jobs.event import Event
    from tests.cli.conftest import Sandbox

MANIFESTS = Path(__file__).parents[2] / "manifests"
FAULTS = {
    "drop-before-accept": 0.1,
    "drop-after-accept": 0.15,
    "submit-500": 0.1,
    "submit-502": 0.1,
    "throttle": 0.05,
    "error-5xx": 0.1,
    "lose-answer": 0.1,
    "claim-drop": 0.25,
    "claim-502": 0.2,
    "claim-empty": 0.15,
    "truncate": 0.2,
    "truncate-silently": 0.2,
    "disguise": 0.1,
    "slow": 0.1,
    "early-404": 0.2,
    "generation-failure": 0.1,
    "generation-error": 0.1,
}
"""All that a run can live through in a minute: a link that is gone is asked for ten minutes before it is believed."""
AMBIGUOUS = {
    "submit_in_doubt": ("drop-before-accept", "drop-after-accept", "submit-500", "submit-502"),
    "claim_in_doubt": ("claim-drop", "claim-502"),
}
ITEMS, CLIPS = 13, 15
LOST_SUBMITS = {EventKind.SUBMIT_LOST, EventKind.SUBMIT_ORPHANED, EventKind.JOB_FAILED}
ENDS = {0, 3, 4, 5}
"""Done, some failed, some in doubt, paused: what a run may say of vendors like these."""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "m.yaml").write_text((MANIFESTS / "mixed.yaml").read_text() + "cleanup: true\n")
    shutil.copytree(MANIFESTS / "inputs", tmp_path / "inputs")
    return Shop(tmp_path, "mixed")


def results(shop: Shop) -> list[dict[str, Any]]:
    return list(shop.results("out").values())


def history(shop: Shop) -> list[Event]:
    """Return all that the ledger says ever happened."""
    with reading(BatchFolder(shop.folder / "out").ledger, system()) as reader:
        return reader.events()


def unexplained(shop: Shop, sandbox: Sandbox, *, is_paused: bool = False) -> list[str]:
    """Return what of a batch's states and money the vendors' own books do not explain.

    A run that paused may leave jobs on their way home; one that says it is finished may not.
    """
    rows, events, bill = results(shop), history(shop), sandbox.bill()
    jobs, faults = bill["jobs"], sandbox.requests()["faults"]
    under_way = {state.value for state in LIVE} if is_paused else set()
    told = [row for row in rows if row["state"] not in under_way or row["provider_job_id"] not in jobs]
    found = [sentence for row in told if (sentence := _unexplained_row(row, jobs, faults))]
    known = {event.data["receipt"]["job_id"] for event in events if event.kind is EventKind.SUBMIT_ACCEPTED}
    strangers = [job for job_id, job in jobs.items() if job_id not in known]
    at_claim = [job for job in strangers if job["provider"] == "modelmax"]
    found += [f"{job} was claimed, and no item knows it" for job in at_claim if job["charges"]]
    providers = {row["id"]: row["provider"] for row in rows}
    lost = Counter(providers[event.item_id] for event in events if event.kind in LOST_SUBMITS)
    for provider, count in Counter(job["provider"] for job in strangers).items():
        if count > lost[provider]:
            found.append(f"{count} jobs of {provider} belong to nobody, and {lost[provider]} submits were lost")
    counted, taken = sum(row["cost_usd"] or 0.0 for row in rows), bill["totals"]["net_usd"]
    if round(counted, 6) < round(taken, 6):
        found.append(f"the vendors have taken ${taken}, and the ledger counts ${counted}")
    if sandbox.requests()["leaks"]:
        found.append("the key went to a download link")
    return found


def _unexplained_row(row: Mapping[str, Any], jobs: Mapping[str, Any], faults: Mapping[str, int]) -> str:
    state, error, job = row["state"], row["error"] or {}, jobs.get(row["provider_job_id"])
    if error and not (error["class"] and error["what_to_do"].endswith(".")):
        return f"{row['id']} is {state}, and nobody says what to do"
    match state:
        case "done":
            fits = job is not None and job["charges"] and len(row["clips"]) == job["outputs"]
        case "planned":
            fits = True  # the run says why it left it
        case "submit_in_doubt" | "claim_in_doubt":
            was_cut_short = error["kind"] == "interrupted"  # by the kill
            fits = error["class"] == "ambiguous" and (was_cut_short or any(map(faults.get, AMBIGUOUS[state])))
        case "failed" if job is None:
            fits = error["class"] == "transient" and error["kind"] == "submit_unanswered"
        case "failed":
            fits = job["ending"] in {"refused", "broken"}
        case "lost":
            fits = error["class"] == "paid-and-lost" and faults.get("claim-empty", 0) > 0
        case _:
            fits = False
    return "" if fits else f"{row['id']} is {state} ({error}), and the vendor says {job}"


@pytest.mark.timeout(900)
def test_vendors_at_their_worst_leave_nothing_unexplained(shop: Shop) -> None:
    faults = [f"{name}={chance}" for name, chance in FAULTS.items()]
    with shop.open(*faults, seed=11, speed=100) as sandbox:
        child = subprocess.Popen(
            command_line("run", "m.yaml", "--yes", "-o", "out"),
            cwd=shop.folder,
            env={**environment(), **shop.environ},
            stderr=subprocess.DEVNULL,
        )
        while not sandbox.bill()["accepted"]:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        for _ in range(2):
            code = patiently(shop, "run", "m.yaml", "--yes", "-o", "out")
            assert code in ENDS
            assert len(results(shop)) == ITEMS
            assert unexplained(shop, sandbox, is_paused=code == Exit.PAUSED) == []
        assert sum(sandbox.requests()["faults"].values()) > 20
    with shop.open() as sandbox:
        settle(shop)
        assert unexplained(shop, sandbox) == []
        rows = results(shop)
        assert {row["state"] for row in rows} == {"done"}
        assert sum(len(row["clips"]) for row in rows) == CLIPS
        assert shop.call("check", "out").code == 0
        deleted = {job_id for job_id, job in sandbox.bill()["jobs"].items() if job["deleted"]}
        assert deleted <= {row["provider_job_id"] for row in rows}
        assert deleted >= {row["provider_job_id"] for row in rows if row["provider"] != "modelmax"}


def patiently(shop: Shop, *args: str) -> int:
    """Run a command that may take minutes, and return how it ended."""
    done = subprocess.run(
        command_line(*args), cwd=shop.folder, env={**environment(), **shop.environ}, capture_output=True, timeout=400
    )
    return done.returncode


def settle(shop: Shop) -> None:
    """Answer every doubt and every failure as an operator does, and bring all of it home."""
    for _ in range(4):
        for row in results(shop):
            if row["state"] == "submit_in_doubt":
                assert shop.call("resolve", "out", row["id"], "--resubmit", "--yes").code in ENDS
            elif row["state"] == "claim_in_doubt":
                assert shop.call("resolve", "out", row["id"], "--ask-once", "--yes").code in ENDS
            elif row["state"] in {"failed", "lost"}:
                assert shop.call("retry", "out", row["id"], "--yes").code in ENDS
        if patiently(shop, "resume", "out", "--yes", "--max-cost", "200") == 0:
            return
