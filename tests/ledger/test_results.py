"""`results.jsonl`: exactly the keys that are documented, for every kind of job, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.clips.acceptance import Acceptance
from pipeline.errors import DiskRefused
from pipeline.jobs.trouble import GIVEN_UP, MONEY_SAYS, WHAT_TO_DO, Trouble
from pipeline.ledger.results import result, write_results
from pipeline.paths import BatchFolder
from pipeline.providers.answers import Billing
from tests.jobs.histories import HERE, EventKind, outputs, planned, price, receipt, stored, tell, told
from tests.support.memory_files import MemoryFiles

E = EventKind
Step = tuple[EventKind, dict[str, Any]]
FOLDER = BatchFolder(Path("/batch"))
PLANNED: Step = (E.ITEM_PLANNED, planned(split="wild"))
STARTED: Step = (E.SUBMIT_STARTED, HERE | price(3.2))
ACCEPTED: Step = (E.SUBMIT_ACCEPTED, {"receipt": receipt()})
STORED: Step = (E.CLIP_STORED, stored())
PUBLISHED: Step = (E.CLIP_PUBLISHED, {"index": 0, "file": "clips/fox.mp4"})
SUBMIT_LOST: Step = (E.SUBMIT_LOST, {"failure": told()})
CLAIM: tuple[Step, Step] = (
    (E.CLAIM_STARTED, {}),
    (E.CLAIM_RECEIVED, {"outputs": outputs(2), "usage": {}, "cost_usd": 6.4}),
)
BASE: dict[str, Any] = {
    "id": "fox",
    "state": "planned",
    "provider": "modelmax",
    "model": "veo-3",
    "prompt": "A fox",
    "parameters": {"duration_seconds": 8, "image": "fox.png"},
    "metadata": {"split": "wild"},
    "clips": [],
    "cost_usd": 0.0,
    "cost_is": "unknown",
    "expected_usd": None,
    "expected_is": "unknown",
    "usage": None,
    "warnings": [],
    "provider_job_id": None,
    "attempts": 0,
    "submitted_at": None,
    "finished_at": None,
    "error": None,
}
"""The line of an item that is only planned, with the keys in their order."""
RULES = Acceptance()
FACTS = {"duration_s": 8.0, "width": 1280, "height": 720, "fps": 24.0, "has_audio": True}
ERROR = {"kind": "kind", "message": "It says so."}
EXPECTED = {"expected_usd": 3.2, "expected_is": "computed"}
ATTEMPTED = {"attempts": 1, "cost_usd": 3.2, "cost_is": "computed", **EXPECTED}


def error(trouble: Trouble, says: str = "") -> dict[str, Any]:
    return {**ERROR, "class": trouble.value, "what_to_do": says or WHAT_TO_DO[trouble]}


AT_PROVIDER = ATTEMPTED | {"provider_job_id": "op-1", "submitted_at": "2026-01-01T00:00:03+00:00"}


def a_clip(file: str, index: int = 0) -> dict[str, Any]:
    rest = {"codec": "avc1", "frames": None, "fragmented": None, "decoded": None}
    verdict = {"differs": ["it is shorter than asked"], "accepted": True, "rejected_because": []}
    return {"file": file, "url": None, "sha256": "b" * 64, "bytes": 1000 + index, **FACTS, **rest, **verdict}


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}+00:00"


LINES: dict[str, tuple[tuple[Step, ...], dict[str, Any]]] = {
    "planned": ((PLANNED,), {}),
    "submitting": ((PLANNED, STARTED), {"state": "submitting", **ATTEMPTED}),
    "submitting at an unknown price": (
        (PLANNED, (E.SUBMIT_STARTED, HERE | price(None))),
        {"state": "submitting", "attempts": 1, "cost_usd": None},
    ),
    "submit in doubt": (
        (PLANNED, STARTED, SUBMIT_LOST),
        {"state": "submit_in_doubt", **ATTEMPTED, "error": error(Trouble.AMBIGUOUS)},
    ),
    "resubmitted": (
        (PLANNED, STARTED, SUBMIT_LOST, (E.DOUBT_RESUBMITTED, {})),
        {"attempts": 1, "cost_usd": 3.2, **EXPECTED},
    ),
    "resubmitted at an unknown price": (
        (PLANNED, STARTED, SUBMIT_LOST, (E.DOUBT_RESUBMITTED, {}), (E.SUBMIT_STARTED, HERE | price(None))),
        {"state": "submitting", "attempts": 2, "cost_usd": 3.2},
    ),
    "submitted": ((PLANNED, STARTED, ACCEPTED), {"state": "submitted", **AT_PROVIDER}),
    "claimed, one of two clips home": (
        (PLANNED, STARTED, ACCEPTED, *CLAIM, (E.CLIP_STORED, stored(1)), (E.CLIP_STORED, stored()), PUBLISHED),
        {"state": "claimed", **AT_PROVIDER, "cost_usd": 6.4, "clips": [a_clip("clips/fox.mp4")]},
    ),
    "done": (
        (PLANNED, STARTED, ACCEPTED, STORED, PUBLISHED),
        {"state": "done", **AT_PROVIDER, "finished_at": at(5), "clips": [a_clip("clips/fox.mp4")]},
    ),
    "lost, with one of two clips": (
        (
            *(PLANNED, STARTED, ACCEPTED, *CLAIM),
            (E.CLIP_LOST, {"index": 0, "failure": told("billed")}),
            (E.CLIP_STORED, stored(1)),
            (E.CLIP_PUBLISHED, {"index": 1, "file": "clips/fox__1.mp4"}),
        ),
        {
            "state": "lost",
            **AT_PROVIDER,
            "cost_usd": 6.4,
            "finished_at": at(8),
            "error": error(Trouble.PAID_AND_LOST, f"{MONEY_SAYS[Billing.BILLED]} {WHAT_TO_DO[Trouble.PAID_AND_LOST]}"),
            "clips": [a_clip("clips/fox__1.mp4", 1)],
        },
    ),
    "refunded": (
        (PLANNED, STARTED, ACCEPTED, (E.JOB_FAILED, {"failure": told("refunded")})),
        {
            "state": "failed",
            **AT_PROVIDER,
            "cost_usd": 0.0,
            "cost_is": "refunded",
            "finished_at": at(4),
            "error": error(Trouble.ITEM, f"{MONEY_SAYS[Billing.REFUNDED]} {WHAT_TO_DO[Trouble.ITEM]}"),
        },
    ),
    "rejected": (
        (PLANNED, STARTED, (E.SUBMIT_REFUSED, {"failure": told("unbilled")})),
        {"state": "rejected", **ATTEMPTED, "cost_usd": 0.0, "finished_at": at(3), "error": error(Trouble.ITEM)},
    ),
    "abandoned": (
        (PLANNED, STARTED, SUBMIT_LOST, (E.DOUBT_ABANDONED, {"failure": told()})),
        {"state": "abandoned", **ATTEMPTED, "finished_at": at(4), "error": error(Trouble.AMBIGUOUS, GIVEN_UP)},
    ),
}


@pytest.mark.parametrize("kind", LINES)
def test_the_line_of_a_job_is_what_the_papers_say(kind: str) -> None:
    steps, changes = LINES[kind]

    line = result(tell(*steps), RULES)

    assert line == BASE | changes
    assert list(line) == list(BASE), "in this order"


def test_money_is_shown_to_the_millionth_and_without_the_noise_of_floating_point() -> None:
    job = tell(PLANNED, (E.SUBMIT_STARTED, HERE | price(0.1)), SUBMIT_LOST, (E.DOUBT_RESUBMITTED, {}))
    job = tell((E.SUBMIT_STARTED, HERE | price(0.2)), job=job)
    assert job.committed_usd != 0.3

    assert result(job, RULES)["cost_usd"] == 0.3


def test_long_data_urls_are_shortened_wherever_they_stand_and_nothing_else_is() -> None:
    data_url, short, text = "data:image/png;base64," + "A" * 5000, "data:image/png;base64,AAAA", "x" * 5000
    item = planned(prompt=data_url)
    item["request"]["parameters"] = {
        "image": data_url,
        "reference_images": [data_url, short],
        "elements": [{"frontal": data_url}],
        "negative_prompt": text,
        "seed": 7,
    }

    line = result(tell((E.ITEM_PLANNED, item)), RULES)

    shown = f"{data_url[:64]}… (5022 characters)"
    assert line["parameters"] == {
        "image": shown,
        "reference_images": [shown, short],
        "elements": [{"frontal": shown}],
        "negative_prompt": text,
        "seed": 7,
    }
    assert line["prompt"] == data_url, "a prompt is shown as it was sent"


def test_a_clip_that_says_little_of_itself_has_nulls_for_the_rest() -> None:
    bare = stored() | {"facts": {"duration_s": 8.0}}

    (clip,) = result(tell(PLANNED, STARTED, ACCEPTED, (E.CLIP_STORED, bare), PUBLISHED), RULES)["clips"]

    unknown = {"width": None, "height": None, "fps": None, "has_audio": None, "codec": None}
    assert clip == a_clip("clips/fox.mp4") | unknown


def test_a_clip_that_the_rules_turn_down_says_why_and_keeps_all_else() -> None:
    job = tell(PLANNED, STARTED, ACCEPTED, STORED, PUBLISHED)
    (before,) = result(job, RULES)["clips"]

    (clip,) = result(job, Acceptance(min_duration_s=9))["clips"]

    assert clip == before | {"accepted": False, "rejected_because": ["It lasts 8.00 s; at least 9 s are wanted."]}


def test_each_item_is_one_line_in_the_order_given() -> None:
    files = MemoryFiles()
    files.plant_folder(FOLDER.root)
    jobs = [tell((E.ITEM_PLANNED, planned(prompt=f"{name}\n\u2028 雪")), item_id=name) for name in ("fox", "deer")]

    assert write_results(jobs, RULES, FOLDER, files) == 2

    text = files.read(FOLDER.results).decode()
    assert text.endswith("}\n")
    lines = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    assert [line["id"] for line in lines] == ["fox", "deer"]
    assert lines[0]["prompt"] == "fox\n\u2028 雪"
    assert "雪" in text, "people read it too"


def test_no_items_are_an_empty_file() -> None:
    files = MemoryFiles()
    files.plant_folder(FOLDER.root)

    assert write_results([], RULES, FOLDER, files) == 0
    assert files.read(FOLDER.results) == b""


def test_a_full_disk_leaves_the_old_results_whole() -> None:
    files = MemoryFiles(capacity_bytes=100)
    files.plant(FOLDER.results, b"old\n")

    with pytest.raises(DiskRefused, match=r"write /batch/results\.jsonl"):
        write_results([tell(PLANNED)], RULES, FOLDER, files)

    assert files.read(FOLDER.results) == b"old\n"


def test_a_power_cut_leaves_the_old_results_or_the_new_ones() -> None:
    files = MemoryFiles()
    files.plant(FOLDER.results, b"old\n")
    write_results([tell(PLANNED)], RULES, FOLDER, files)

    files.crash("power", Random(0))

    assert json.loads(files.read(FOLDER.results))["id"] == "fox"
