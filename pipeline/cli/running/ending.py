"""How a run ended: the summary, what to do next, and the exit code, all of it read from the ledger."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING

from pipeline.cli.running.storing import STORE
from pipeline.cli.wording.console import count, put_json, say, usd
from pipeline.errors import Exit
from pipeline.jobs.state import IN_DOUBT, LIVE, UNSUCCESSFUL, State
from pipeline.ledger.reader import reading

if TYPE_CHECKING:
    from collections.abc import Container, Set

    from pipeline.effects import Effects
    from pipeline.ledger.tallies import Summary
    from pipeline.paths import BatchFolder
    from pipeline.runner.batch import Outcome


def tell_ending(
    folder: BatchFolder, outcome: Outcome, chosen: Container[str] | None, effects: Effects, *, as_json: bool
) -> Exit:
    """Say how a run ended, and return its exit code.

    Args:
        folder: the batch's.
        outcome: how it ended, as far as the ledger does not know it.
        chosen: the ids that might be submitted; None for all.
        effects: what the ledger is read with.
        as_json: whether to print one JSON document, too.
    """
    with reading(folder.ledger, effects) as reader:
        summary = reader.summary()
        states = set(summary.items) if chosen is None else reader.states_of(chosen)
        rejected, uploaded = reader.rejected_clips(), reader.uploaded()
        store = reader.meta(STORE)
        missing = reader.not_uploaded(store) if store else 0
    code = exit_code(states, outcome)
    done = summary.count(State.DONE)
    resume = shlex.join(["clipmill", "resume", str(folder.root)])
    reason = " ".join([*outcome.paused_because, *filter(None, [outcome.not_uploaded])]) or None
    say(
        f"{summary.name}: {done} of {count(summary.total, 'item')} done, {count(summary.clips_done, 'clip')} in "
        f"{folder.clips}; {summary.failed} failed, {summary.in_doubt} in doubt; {_spent(summary)}."
    )
    if store:
        say(
            f"{count(uploaded, 'clip')} in {store}"
            + (f"; those of {count(missing, 'item')} are not." if missing else ".")
        )
    if rejected:
        say(
            f"{count(rejected, 'clip')} turned down by `accept`, kept, and left out of exports. To see why: "
            f"{shlex.join(['clipmill', 'results', str(folder.root), '--format', 'jsonl'])}"
        )
    if summary.clips_done:
        say(f"To look at them: {shlex.join(['clipmill', 'report', str(folder.root), '--open'])}")
    if summary.failed or summary.in_doubt:
        say(f"What went wrong, and what to do: {shlex.join(['clipmill', 'results', str(folder.root)])}")
    if reason:
        say(f"Paused: {reason}")
    if code in {Exit.PAUSED, Exit.INTERRUPTED, Exit.TERMINATED}:
        say(f"To go on: {resume}")
    if as_json:
        put_json(
            {
                "batch": summary.name,
                "output": str(folder.root),
                "items": summary.total,
                "done": done,
                "failed": summary.failed,
                "in_doubt": summary.in_doubt,
                "planned": summary.count(State.PLANNED),
                "paused_because": reason,
                "clips": summary.clips_done,
                "spent_usd": round(summary.committed_usd, 6),
                "store": store,
                "uploaded": uploaded,
                "resume": resume,
            }
        )
    return code


def _spent(summary: Summary) -> str:
    word = "spent or reserved" if summary.count(*LIVE) else "spent"
    parts = [f"{usd(summary.committed_usd)} {word}"] if summary.committed_usd or not summary.unpriced else []
    if summary.in_doubt_usd:
        parts.append(f"of which {usd(summary.in_doubt_usd)} in doubt")
    if summary.unpriced:
        parts.append(f"{count(summary.unpriced, 'item')} of unknown price")
    return ", ".join(parts)


def exit_code(mine: Set[State], outcome: Outcome) -> Exit:
    """Return how a run ends, by the states of the items that it was about: a signal, a pause, doubts, failures."""
    if outcome.signal:
        return Exit.INTERRUPTED if outcome.signal == signal.SIGINT else Exit.TERMINATED
    if outcome.not_uploaded or (outcome.paused_because and mine - {State.DONE}):
        return Exit.PAUSED
    if mine & IN_DOUBT:
        return Exit.SOME_IN_DOUBT
    if mine & UNSUCCESSFUL:
        return Exit.SOME_FAILED
    return Exit.DONE if mine <= {State.DONE} else Exit.PAUSED
