from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.cli.commands.status import REDRAW_S, one_line, status_text, watch_batches
from pipeline.cli.standing.standing import is_running, standing_of
from pipeline.ledger.lock import only_process
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.cli.batches import AT_PROVIDER, DONE, HOSTILE, IN_DOUBT, Item, make_batch, one_of_each
from tests.cli.front_door import call, command_line, environment, run

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.cli.standing.standing import Standing

HERE = socket.gethostname()
ALIVE = os.getppid()
"""A process that lives and is not this one."""

TABLE = """\
batch  items  done  at provider  planned  failed  in doubt  clips           spent  last run
reefs      5     1            1        1       1         1      1  $6.84 of $9.00  finished

Next:
  reefs: clipmill resume output/reefs
"""


def held(stack: ExitStack, root: Path) -> None:
    """Hold the batch's lock, as a run does."""
    stack.enter_context(only_process(BatchFolder(root), system()))


def standing(root: Path) -> Standing:
    return standing_of(root, system())


def test_every_batch_under_output_is_shown(tmp_path: Path) -> None:
    make_batch(tmp_path / "output" / "reefs", *one_of_each(), cap_usd=9)
    (tmp_path / "output" / "no-batch").mkdir()
    said = run("status", cwd=tmp_path)
    assert (said.code, said.out, said.err) == (0, TABLE, "")


def test_no_batch_at_all_is_no_error(tmp_path: Path) -> None:
    said = run("status", cwd=tmp_path)
    assert (said.code, said.out) == (0, "")
    assert "clipmill init" in said.err
    assert run("status", "--json", cwd=tmp_path).json == {"batches": []}


def test_a_folder_that_is_no_batch_exits_2_and_does_not_hide_the_others(tmp_path: Path) -> None:
    make_batch(tmp_path / "good", Item(id="a"))
    said = run("status", "none", "good", cwd=tmp_path)
    assert said.code == 2
    assert "There is no ledger at none/ledger.sqlite" in said.err
    assert said.out.splitlines()[1].startswith("good")


def test_json_has_the_same_numbers(tmp_path: Path) -> None:
    make_batch(tmp_path / "out", *one_of_each())
    (batch,) = run("status", "out", "--json", cwd=tmp_path).json["batches"]
    assert batch == {
        "batch": "reefs",
        "output": "out",
        "items": 5,
        "done": 1,
        "at_provider": 1,
        "planned": 1,
        "failed": 1,
        "in_doubt": 1,
        "clips": 1,
        "spent_usd": 6.84,
        "in_doubt_usd": 0.44,
        "max_cost_usd": None,
        "running": False,
        "last_run": "finished",
        "next": "clipmill resume out",
        "figures": None,
    }


def test_a_run_is_running_only_while_its_process_lives_and_holds_the_lock(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a"), about={"pid": ALIVE, "host": HERE}, outcome=None)
    with ExitStack() as stack:
        held(stack, root)
        assert standing(root).running is True
        assert standing(root).last_run == f"running, process {ALIVE}"
        assert standing(root).next_command == f"clipmill status {root} --watch"
    assert standing(root).running is False
    assert standing(root).last_run == "cut short"
    assert standing(root).next_command == f"clipmill resume {root}"


@pytest.mark.parametrize(
    ("about", "running"),
    [
        ({"pid": os.getpid(), "host": HERE}, False),
        ({"pid": 2**22 + 1, "host": HERE}, False),
        ({"pid": 10**30, "host": HERE}, False),
        ({"pid": ALIVE, "host": f"not-{HERE}"}, None),
        ({"host": HERE}, False),
    ],
)
def test_a_run_that_never_said_goodbye_is_judged_by_its_process(
    tmp_path: Path, about: dict[str, Any], running: bool | None
) -> None:
    root = make_batch(tmp_path / "out", Item(id="a"), about=about, outcome=None)
    with ExitStack() as stack:
        held(stack, root)
        assert standing(root).running is running


def test_a_run_that_ended_is_not_running_whoever_holds_the_lock(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a"), about={"pid": ALIVE, "host": HERE})
    with ExitStack() as stack:
        held(stack, root)
        assert standing(root).running is False


def test_looking_leaves_the_lock_free(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a"), about={"pid": ALIVE, "host": HERE}, outcome=None)
    held_before = ExitStack()
    held(held_before, root)
    held_before.close()
    assert standing(root).running is False
    with ExitStack() as stack:
        held(stack, root)


def test_a_missing_lock_file_is_not_made() -> None:
    ended = {"ended_at": "x", "about": "{}"}
    assert is_running({}, None) is False  # type: ignore[arg-type]  # it is not looked at
    assert is_running(ended, None) is False  # type: ignore[arg-type]


def test_the_next_command_is_the_one_that_the_batch_waits_for(tmp_path: Path) -> None:
    live = make_batch(tmp_path / "a b", Item(id="x", events=AT_PROVIDER), Item(id="y", events=IN_DOUBT))
    assert standing(live).next_command == f"clipmill resume '{live}'"
    doubt = make_batch(tmp_path / "doubt", Item(id="x", events=DONE), Item(id="y", events=IN_DOUBT))
    assert standing(doubt).next_command == f"clipmill resolve {doubt}"
    done = make_batch(tmp_path / "done", Item(id="x", events=DONE))
    assert standing(done).next_command == f"clipmill results {done}"


def test_status_does_not_load_the_http_client_or_the_schema(tmp_path: Path) -> None:
    make_batch(tmp_path / "output" / "reefs", *one_of_each())
    code = (
        "import sys\n"
        "from pipeline.cli.main import clipmill\n"
        "clipmill.main(['status'], standalone_mode=False)\n"
        "assert not {'aiohttp', 'jsonschema', 'yaml', 'tqdm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


class JumpingClock:
    """Ends a run after it was waited for so often."""

    def __init__(self, naps: int, end: Any) -> None:
        self.naps: list[float] = []
        self._left = naps
        self._end = end

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    boottime = monotonic

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self._left -= 1
        if not self._left:
            self._end()


async def test_watching_ends_when_the_run_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_in_thread(tmp_path)
    stack = ExitStack()
    held(stack, root)
    clock = JumpingClock(3, stack.close)
    await watch_batches(lambda: [standing(root)], clock)
    out = capsys.readouterr().out
    assert clock.naps == [30.0] * 3
    assert out.splitlines() == [
        *[f"out, 1 item, 0 done, 1 planned, $0.00, running, process {ALIVE}"] * 3,
        "out, 1 item, 0 done, 1 planned, $0.00, cut short",
    ]


def make_in_thread(folder: Path) -> Path:
    """Make a batch from within a test that has a loop of its own."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        about = {"pid": ALIVE, "host": HERE}
        return pool.submit(make_batch, folder / "out", Item(id="a"), about=about, outcome=None).result()


def test_one_line_leaves_out_what_is_not(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", *one_of_each())
    assert one_line(standing(root)) == (
        "out, 5 items, 1 done, 1 at provider, 1 planned, 1 failed, 1 in doubt, 1 clip, $6.84, finished"
    )


def test_the_table_fits_the_terminal(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", *one_of_each(), outcome="a long reason, " * 20)
    assert max(map(len, status_text([standing(root)], 100).splitlines())) <= 100


def test_watch_on_a_terminal_redraws_in_place_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    """The real command on a real terminal: it draws, draws again over it, and ends with 0."""
    import pty

    root = make_batch(tmp_path / "out", Item(id="a"), about={"pid": os.getpid(), "host": HERE}, outcome=None)
    with ExitStack() as stack:
        held(stack, root)
        ours, theirs = pty.openpty()
        stack.callback(os.close, ours)
        process = subprocess.Popen(
            command_line("status", root, "--watch"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(),
            # A shell that started these tests in the background had them, and all their children, ignore it.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        os.close(theirs)
        drawn = b""
        while drawn.count(b"Next:") < 2:
            drawn += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert b"\x1b[5F\x1b[J" in drawn
    assert REDRAW_S == 2.0


def test_watch_and_json_do_not_go_together(tmp_path: Path) -> None:
    assert call("status", tmp_path, "--watch", "--json").code == 2


def test_hostile_text_in_a_ledger_reaches_no_terminal(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a"), name=HOSTILE, outcome=HOSTILE)
    for form in ([], ["--json"]):
        out = call("status", root, *form).out
        assert not {"\x1b", "\x07", "\u202e", "\x9b", "\r"} & set(out)
        assert not any(line.startswith("[INFO]") for line in out.splitlines())
