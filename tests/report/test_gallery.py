"""The gallery's rows: one a clip, one for each item that has none, and addresses that lead nowhere else."""

from __future__ import annotations

from pipeline.jobs.state import State
from pipeline.report.gallery import COLUMNS, address, gallery_of
from pipeline.report.page import render
from pipeline.report.words import count, seconds, size, usd
from tests.report.reports import clip, failure, job, report, seen, told


def test_a_row_a_clip_and_one_for_an_item_without() -> None:
    two = job("b", clips=(clip("b"), clip("b", 1)))
    rows = seen(render(report(job("a"), two, job("c", State.PLANNED)))).rows()
    assert [(row["id"], row["file"], row["number"], row["of"]) for row in rows] == [
        ("a", "./clips/a.mp4", 1, 1),
        ("b", "./clips/b.mp4", 1, 2),
        ("b", "./clips/b__1.mp4", 2, 2),
        ("c", "", None, None),
    ]


def test_a_row_tells_all_that_is_known_of_a_clip() -> None:
    (row,) = seen(render(report(job("a", metadata={"split": "train"}), thumbnails={"clips/a.mp4": "./t.webp"}))).rows()
    assert row == {
        "id": "a",
        "state": "done",
        "model": "modelmax/veo-3",
        "prompt": "A fox in the snow",
        "parameters": {"duration_seconds": 4},
        "metadata": {"split": "train"},
        "trouble": "",
        "message": "",
        "warnings": [],
        "cost_usd": 0.4,
        "cost_is": "computed",
        "attempts": 1,
        "job_id": "op-a",
        "submitted_at": "2026-11-21 12:00:00",
        "took_s": 10.0,
        "file": "./clips/a.mp4",
        "thumbnail": "./t.webp",
        "number": 1,
        "of": 1,
        "bytes": 300_000,
        "duration_s": 4.0,
        "width": 1280,
        "height": 720,
        "fps": 24.0,
        "has_audio": False,
        "codec": row["codec"],
        "sha256": "ab" * 32,
        "accepted": row["accepted"],
        "rejected_because": "",
    }


def test_a_verdict_of_the_manifest_is_passed_on() -> None:
    lines = told([job("a")])
    lines[0][1]["clips"][0] |= {"accepted": False, "rejected_because": ["It is black.", "It is short."]}
    gallery = gallery_of(lines, {})
    row = dict(zip(COLUMNS, gallery.rows[0], strict=True))
    assert (row["accepted"], row["rejected_because"]) == (False, "It is black. It is short.")
    assert gallery.shared["trouble"][row["trouble"]] == "not accepted"


def test_what_many_rows_share_is_written_once() -> None:
    gallery = gallery_of(told([job(f"i{n}") for n in range(50)]), {})
    assert {name: len(values) for name, values in gallery.shared.items()} == {
        "model": 1,
        "parameters": 1,
        "metadata": 1,
        "trouble": 1,
        "message": 1,
        "warnings": 1,
        "cost_is": 1,
    }


def test_true_and_one_are_not_taken_for_the_same() -> None:
    gallery = gallery_of(told([job("a", parameters={"x": True}), job("b", parameters={"x": 1})]), {})
    assert gallery.shared["parameters"] == [{"x": True}, {"x": 1}]


def test_no_address_of_a_vendor_is_in_a_row() -> None:
    link = "https://cdn.venice.ai/clip.mp4?signature=canary"
    failed = job("a", State.FAILED, failure=failure("kind", f"see {link}"), warnings=(f"or {link}",))
    assert b"canary" not in render(report(failed))


def test_an_address_is_of_the_folder_whatever_the_name() -> None:
    assert address("clips/a.mp4") == "./clips/a.mp4"
    assert address("javascript:alert(1)") == "./javascript%3Aalert%281%29"
    assert address('clips/a b"<>#?.mp4') == "./clips/a%20b%22%3C%3E%23%3F.mp4"


def test_figures_read_as_people_write_them() -> None:
    assert [usd(amount) for amount in (0.0, 0.0042, 0.4, 12_345.678)] == ["$0.00", "$0.0042", "$0.40", "$12,345.68"]
    told_seconds = [seconds(amount) for amount in (0.04, 2.0, 9.96, 59.6, 61, 3_600, 7_500, 100_000)]
    assert told_seconds == ["0 s", "2 s", "10 s", "1 min", "1 min 1 s", "1 h", "2 h 5 min", "1 d 3 h"]
    assert [size(amount) for amount in (999, 1_500, 310_000, 4_200_000, 12_000_000_000)] == [
        "999 bytes",
        "1.5 kB",
        "310 kB",
        "4.2 MB",
        "12 GB",
    ]
    assert (count(1, "clip"), count(1200, "clip")) == ("1 clip", "1,200 clips")
