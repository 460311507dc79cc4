"""Sequences of what operators do, drawn by hypothesis against a small model, in virtual time.

    python -m tests.torture.operators --sequences 2000 --seed 1 --jobs 2      exit 1 on any violation

Run, kill, cut the power, Ctrl-C once or twice, edit, delete, put back, delete clips, fill the disk, copy the ledger and
put the copy back, accept it, resolve, retry, wait: in any order. After each, money, files and ledger are held against
the model; at the end everything is mended and must come to rest. What breaks the promise is made as short as can be.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pipeline.runner.reconcile import OnChange
from pipeline.runner.settle import Answer
from tests.torture.operating import ENTRIES, Operating

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = st.sampled_from(sorted(ENTRIES))
CHANGES = st.sampled_from([None, None, OnChange.KEEP, OnChange.NEW])
STEPS_MOST = 14
STEPS, TURNS = 160, 900
"""A run takes about so many steps and callbacks."""


@dataclass
class Seen:
    """What the sequences of one process have shown."""

    sequences: int = 0
    actions: int = 0
    runs: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    charges: int = 0
    failure: str = ""


class Operators(RuleBasedStateMachine):
    """One sequence."""

    seen: ClassVar[Seen] = Seen()
    """Of all the sequences of this process."""

    @initialize(number=st.integers(0, 999))
    def begin(self, number: int) -> None:
        self.operating = Operating(number)

    def _did(self, ending: str = "") -> None:
        self.seen.actions += 1
        if ending:
            self.seen.endings[ending] += 1

    @rule(on_change=CHANGES)
    def run(self, on_change: OnChange | None) -> None:
        self._did(self.operating.run(on_change=on_change))

    @rule(on_change=CHANGES, at=st.integers(1, STEPS), power=st.booleans())
    def run_and_kill(self, on_change: OnChange | None, at: int, power: bool) -> None:
        self._did(self.operating.run(on_change=on_change, kill_at=at, power=power))

    @rule(on_change=CHANGES, at=st.integers(1, TURNS))
    def run_and_interrupt(self, on_change: OnChange | None, at: int) -> None:
        self._did(self.operating.run(on_change=on_change, stop_at=at))

    @rule(name=NAMES)
    def edit(self, name: str) -> None:
        self._did()
        self.operating.edit(name)

    @rule(name=NAMES)
    def delete_entry(self, name: str) -> None:
        self._did()
        self.operating.delete_entry(name)

    @rule(name=NAMES)
    def add_entry(self, name: str) -> None:
        self._did()
        self.operating.add_entry(name)

    @rule(place=st.integers(0, 5))
    def delete_clip(self, place: int) -> None:
        self._did()
        self.operating.delete_clip(place)

    @rule()
    def delete_results(self) -> None:
        self._did()
        self.operating.delete_results()

    @rule(room=st.sampled_from([0, 50, 3_000, 70_000, 200_000]))
    def fill_disk(self, room: int) -> None:
        self._did()
        self.operating.fill_disk(room)

    @rule()
    def free_disk(self) -> None:
        self._did()
        self.operating.free_disk()

    @rule()
    def copy_ledger(self) -> None:
        self._did()
        self.operating.copy_ledger()

    @rule()
    def put_back_ledger(self) -> None:
        self._did()
        self.operating.put_back_ledger()

    @rule()
    def accept_restored(self) -> None:
        self._did()
        self.operating.accept_restored()

    @rule(name=NAMES, said=st.sampled_from(list(Answer)))
    def resolve(self, name: str, said: Answer) -> None:
        self._did()
        self.operating.answer(name, said)

    @rule(name=NAMES)
    def retry(self, name: str) -> None:
        self._did()
        self.operating.try_again(name)

    @rule(seconds=st.sampled_from([0.05, 3.0, 100.0, 40_000.0]))
    def wait(self, seconds: float) -> None:
        self._did()
        self.operating.leave_alone(seconds)

    @invariant()
    def the_promise_is_kept(self) -> None:
        if hasattr(self, "operating"):
            self.operating.judge()

    def teardown(self) -> None:
        if not hasattr(self, "operating"):
            return
        try:
            self.operating.come_to_rest()
            self.seen.sequences += 1
            self.seen.runs += self.operating.runs
            self.seen.charges += self.operating.charges().total()
        finally:
            self.operating.end()


def play(number: int, sequences: int) -> Seen:
    """Play so many sequences, drawn from a seed."""
    Operators.seen = Seen()
    chosen = settings(
        max_examples=sequences,
        stateful_step_count=STEPS_MOST,
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    heard, sys.unraisablehook = sys.unraisablehook, lambda _: None
    with warnings.catch_warnings():
        # A killed process leaves coroutines behind that nobody will ever await: that is what being killed means.
        warnings.simplefilter("ignore")
        try:
            run_state_machine_as_test(seed(number)(Operators), settings=chosen)
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            Operators.seen.failure = f"seed {number}: {error!r}\n{notes}"
        finally:
            sys.unraisablehook = heard
    return Operators.seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Play them all; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--piece", type=int, default=100, help="sequences drawn from one seed")
    options = parser.parse_args(arguments)
    began_s = time.monotonic()
    pieces = [min(options.piece, options.sequences - at) for at in range(0, options.sequences, options.piece)]
    total = Seen()
    failures = []
    with ProcessPoolExecutor(options.jobs) as pool:
        pending = [pool.submit(play, options.seed * 1000 + number, size) for number, size in enumerate(pieces)]
        for future in pending:
            seen = future.result()
            total.sequences += seen.sequences
            total.actions += seen.actions
            total.runs += seen.runs
            total.charges += seen.charges
            total.endings.update(seen.endings)
            if seen.failure:
                failures.append(seen.failure)
                print(seen.failure, flush=True)
            print(f"{total.sequences} sequences, {len(failures)} violations", flush=True)
    endings = ", ".join(f"{count} {ending}" for ending, count in total.endings.most_common())
    print(
        f"seed {options.seed}: {total.sequences} sequences of {total.actions} actions, {total.runs} runs ({endings}), "
        f"{total.charges} charges, {len(failures)} violations, in {time.monotonic() - began_s:.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
