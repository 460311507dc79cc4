"""`retry`: new attempts of items that ended without a clip, and of items whose clips `accept` turns down.

What each has cost so far is said before anything is asked: nobody pays twice without having been told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.cli.mending.resolution import (
    cost_of,
    name_of,
    names_of,
    operator_of,
    price_of_another,
    refuse_unknown,
    told_json,
    write_down,
)
from pipeline.cli.running.decoded import decode_the_rest
from pipeline.cli.wording.console import count, plain, put_json, say, usd
from pipeline.clips.acceptance import judge
from pipeline.errors import Exit
from pipeline.jobs.state import UNSUCCESSFUL, ClipState, State
from pipeline.ledger.reader import reading
from pipeline.runner.settle import UNKNOWN, Move, buy_again, retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.cli.mending.resolution import Wish
    from pipeline.clips.acceptance import Acceptance
    from pipeline.effects import Effects
    from pipeline.jobs.job import Clip, Job
    from pipeline.ledger.reader import Reader
    from pipeline.ledger.store import Ledger
    from pipeline.runner.money import Prices


async def try_again(wish: Wish, effects: Effects, environ: Mapping[str, str]) -> Exit:
    """Have items that ended without a clip attempted once more.

    Raises:
        InputError: one of them cannot be, or the question was declined; nothing was changed.
        BatchLocked: a run is at it.
    """

    def decide(job: Job, reader: Reader, prices: Prices) -> Move | str:
        can_be = job.state in UNSUCCESSFUL
        return retry(
            job, price_of_another(job, reader, prices, effects) if can_be else UNKNOWN, by=operator_of(environ)
        )

    def choose(reader: Reader) -> Sequence[Job]:
        return _named(reader, wish.items) or [job for job in reader.jobs() if job.state in UNSUCCESSFUL]

    def question(moves: Sequence[Move]) -> str:
        for sentence in _told_before_retry(moves):
            say(sentence)
        return f"A new attempt of {names_of(moves)} may cost {cost_of(moves)}. Go on?"

    moves = await write_down(wish, "retry", choose, decide, question, effects, environ)
    if moves:
        say(f"{names_of(moves)}: to be attempted again.")
        say(f"To go on: {wish.resume}")
    else:
        say(f"No item of {wish.root} was rejected, failed, lost or abandoned.")
    if wish.as_json:
        retried = [told_json(move) for move in moves]
        put_json({"output": str(wish.root), "retried": retried, "resume": wish.resume})
    return Exit.DONE


def _named(reader: Reader, items: Sequence[str]) -> list[Job]:
    """Return the latest revision of each of these items. Raises InputError where there is none."""
    found = {item: reader.revisions(item) for item in dict.fromkeys(items)}
    refuse_unknown(reader, [item for item, revisions in found.items() if not revisions])
    return [revisions[-1] for revisions in found.values()]


def _told_before_retry(moves: Sequence[Move]) -> Iterable[str]:
    """Say of each item what it has cost so far: nobody pays twice without having been told."""
    for move in moves:
        job = move.job
        why = f" ({job.failure.message.rstrip('.')})" if job.failure else ""
        spent = f"{usd(job.committed_usd)} stays counted as spent" if job.committed_usd else ""
        if job.state is State.LOST:
            paid = "was paid for already, and its clip is no longer to be had"
            yield f"{name_of(job)} {paid}{why}; {spent or 'nobody told how much'}."
        else:
            yield f"{name_of(job)} is {job.state}{why}; {spent or 'it cost nothing that is known'}."


async def buy_rejected_again(wish: Wish, effects: Effects, environ: Mapping[str, str]) -> Exit:
    """Have items bought again whose clips `accept` turns down; those clips stay where they are.

    Raises:
        InputError: one of them cannot be, or the question was declined; nothing was changed.
        BatchLocked: a run is at it.
    """
    folder = wish.folder
    with reading(folder.ledger, effects) as reader:
        rules = reader.acceptance()

    async def decode(ledger: Ledger) -> None:
        await decode_the_rest(ledger, folder, rules, effects)

    def decide(job: Job, reader: Reader, prices: Prices) -> Move | str:
        rejected = len(_rejected(job, rules))
        again = price_of_another(job, reader, prices, effects) if rejected else UNKNOWN
        return buy_again(job, rejected, again, by=operator_of(environ))

    def choose(reader: Reader) -> Sequence[Job]:
        return _named(reader, wish.items) or [
            job for job in reader.jobs() if job.state in {State.DONE, State.LOST} and _rejected(job, rules)
        ]

    def question(moves: Sequence[Move]) -> str:
        for move in moves:
            for sentence in _told_before_buying(move.job, rules):
                say(sentence)
        return f"To buy {names_of(moves)} again may cost {cost_of(moves)}. Go on?"

    moves = await write_down(wish, "retry", choose, decide, question, effects, environ, first=decode)
    if moves:
        say(f"{names_of(moves)}: to be bought again; the clips that are here stay.")
        say(f"To go on: {wish.resume}")
    else:
        say(f"No clip of {wish.root} is turned down by `accept`.")
    if wish.as_json:
        put_json({"output": str(wish.root), "retried": [told_json(move) for move in moves], "resume": wish.resume})
    return Exit.DONE


def _rejected(job: Job, rules: Acceptance) -> list[tuple[Clip, tuple[str, ...]]]:
    """Return the clips of a job that are turned down, each with the reasons."""
    there = [clip for clip in job.clips if clip.state is ClipState.DONE]
    judged = [(clip, judge(rules, clip.facts, clip.size_bytes)) for clip in there]
    return [(clip, verdict.reasons) for clip, verdict in judged if verdict.accepted is False]


def _told_before_buying(job: Job, rules: Acceptance) -> Iterable[str]:
    rejected = _rejected(job, rules)
    for clip, reasons in rejected:
        yield f"{clip.file} is turned down: {plain(' '.join(reasons))}"
    paid = f"{usd(job.committed_usd)} stays counted as spent" if job.committed_usd else "nobody told what it cost"
    good = len(job.clips) - len(rejected)
    more = f" All {count(len(job.clips), 'clip')} of it would be made again." if good else ""
    yield f"{name_of(job)}: {paid}.{more}"
