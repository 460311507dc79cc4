"""`--engine`: a batch carried out by a crew of workers. This process plans and asks; they buy; it tells how it ended.

Plan, price and question are settled here, once, as for a run of one process. Each worker then does what `clipmill
resume` does, where its engine has put it. What is shown and said meanwhile and in the end is read from the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline import __version__
from pipeline.cli.keys import environment
from pipeline.cli.running.ending import tell_ending
from pipeline.cli.running.metrics import telling
from pipeline.cli.running.session import Order, begun
from pipeline.cli.running.signals import listen
from pipeline.cli.secrecy import Discreet, Secrecy, told
from pipeline.cli.wording.bars import shown
from pipeline.cli.wording.console import count, say
from pipeline.errors import ClipmillError, Exit, InputError, Paused, StaleWrite
from pipeline.jobs.state import LIVE, UNSUCCESSFUL, State
from pipeline.ledger.postgres.address import address_beside, parted
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.runner.batch import Outcome
from pipeline.runner.progress import Progress
from pipeline.runner.stop import Stop
from pipeline.scale.crew import Crew, Ended, Lent
from pipeline.scale.figures import Figures
from pipeline.scale.ray import RayEngine, connected
from pipeline.system.databases import connect_postgres
from pipeline.system.effects import system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from pipeline.effects import Effects
    from pipeline.ledger.tallies import Summary
    from pipeline.runner.context import Seat
    from pipeline.scale.crew import MakesDecoders
    from pipeline.scale.figures import Teller

PASSWORD = "PGPASSWORD"  # noqa: S105 - the variable's name
LOOK_EVERY_S = 2.0
"""How often the ledger is read to show how far the crew is."""
NEEDS_LEDGER = (
    "--engine needs a ledger that its workers can share: say --ledger postgresql://USER@HOST/DATABASE, too. How to set "
    "one up is in docs/scale.md."
)
NEEDS_ENGINE = "--workers and --address are for --engine ray; without it, one process carries the batch out."


class CrewWanted(NamedTuple):
    """Which crew the user asked for."""

    workers: int
    address: str | None
    """Of the cluster; None for one of this machine's own."""


def crew_wanted(engine: str | None, workers: int | None, address: str | None) -> CrewWanted | None:
    """Return which crew the options ask for; None for one process.

    Raises:
        InputError: options that mean nothing without an engine.
    """
    if engine is None:
        if workers is not None or address is not None:
            raise InputError(NEEDS_ENGINE)
        return None
    return CrewWanted(workers or 2, address)


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What a worker is sent to do."""

    order: Order
    version: str = __version__
    """The program's, where the errand was written."""


async def carry_out_by_crew(order: Order, wanted: CrewWanted, effects: Effects, environ: Mapping[str, str]) -> Exit:
    """Have a crew take a batch as far as it can go, and say how it ended.

    Raises:
        ClipmillError: with the exit code that the command is to return.
    """
    folder = BatchFolder(order.root)
    if order.ledger is None and not folder.shared.is_file():
        raise InputError(NEEDS_LEDGER)
    figures = Figures()
    async with begun(order, effects, environ) as batch:
        metrics = await batch.metrics(figures.families)
        batch.epoch.ending = f"handed to {count(wanted.workers, 'worker')}"
    effects = batch.run.effects
    errand, lent = _errand(order, effects), _lent(order, environ, batch.seats)
    progress, stop = Progress(), Stop()
    say(f"Starting {count(wanted.workers, 'worker')} on Ray.")
    async with telling(order.metrics, replace(metrics, note=progress.note)):
        with connected(wanted.address, withheld=lent.variables):
            engine = RayEngine(partial(run_errand, errand), lent)
            listen(stop)
            crew = Crew(engine, wanted.workers, effects.clock, progress.note, figures if order.metrics else None)
            async with shown(progress, effects.clock), _watching(folder, effects, progress):
                endings = await crew.go(stop)
    not_uploaded = next((ended.not_uploaded for ended in endings if ended.not_uploaded), "")
    outcome = Outcome(paused_because=_reasons(endings), signal=stop.signal, not_uploaded=not_uploaded)
    code = tell_ending(folder, outcome, order.chosen, effects, as_json=order.as_json)
    return _worse(code, endings)


def _errand(order: Order, effects: Effects) -> Errand:
    address = address_beside(BatchFolder(order.root).ledger, effects.files)
    assert address is not None
    goes_on = replace(order, plan=None, max_cost_usd=None, store=None, metrics=None, yes=True, as_json=False)
    return Errand(order=replace(goes_on, root=order.root.resolve(), ledger=address.dsn))  # without the password


def _lent(order: Order, environ: Mapping[str, str], seats: Mapping[str, Seat]) -> Lent:
    password = parted(order.ledger)[1] if order.ledger else None
    known = [seat.capabilities for seat in seats.values()]
    names = [name for each in known for name in (each.key_variable, each.base_url_variable)]
    variables = {name: environ[name] for name in (*names, PASSWORD) if environ.get(name)}
    return Lent(variables | ({PASSWORD: password} if password else {}))


@asynccontextmanager
async def _watching(folder: BatchFolder, effects: Effects, progress: Progress) -> AsyncIterator[None]:
    """Have the progress say what the ledger says, now and then, while the block runs."""

    async def watch() -> None:
        while True:
            with suppress(Paused):  # the server is away; the workers wait for it, too
                _take_up(progress, await effects.threads.run(_standing, folder, effects))
            await effects.clock.sleep(LOOK_EVERY_S)

    watching = asyncio.get_running_loop().create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


def _standing(folder: BatchFolder, effects: Effects) -> Summary:
    with reading(folder.ledger, effects) as reader:
        return reader.summary()


def _take_up(progress: Progress, summary: Summary) -> None:
    progress.items = summary.total
    progress.submitted = summary.total - summary.count(State.PLANNED)
    progress.at_provider = summary.count(*LIVE)
    progress.done = progress.downloaded = summary.count(State.DONE)
    progress.failed, progress.in_doubt = summary.count(*UNSUCCESSFUL), summary.in_doubt
    progress.spent_usd = summary.committed_usd


def _reasons(endings: Iterable[Ended]) -> tuple[str, ...]:
    found = [
        reason
        for ended in endings
        for reason in (*ended.paused_because, *((ended.said,) if ended.code is Exit.PAUSED else ()))
    ]
    return tuple(dict.fromkeys(found))


def _worse(code: Exit, endings: Iterable[Ended]) -> Exit:
    """Say what workers could not help; return the exit code, which is theirs where something is left to do."""
    wrong = {ended.said: ended.code for ended in endings if ended.code not in {Exit.DONE, Exit.PAUSED}}
    for said in wrong:
        say(said)
    return min(wrong.values()) if wrong and code is Exit.PAUSED else code


async def run_errand(errand: Errand, lent: Lent, stop: Stop, decoders: MakesDecoders, teller: Teller, /) -> Ended:
    """Do a worker's work, in whatever process an engine has put it; return how it ended, whatever happens."""
    if errand.version != __version__:
        return Ended(
            code=Exit.BAD_INPUT,
            said=f"A worker's machine has clipmill {__version__}, and this one {errand.version}; install one version.",
        )
    environ = {**os.environ, **lent.variables}
    secrecy = Secrecy(environ, Path.cwd())
    effects = system()
    if password := lent.variables.get(PASSWORD):
        effects = replace(effects, open_postgres=partial(connect_postgres, password=password))
    handler = logging.StreamHandler()
    handler.setFormatter(Discreet(secrecy))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        async with begun(errand.order, effects, environment(environ, Path.cwd()), decoders) as batch:
            outcome = await batch.go(stop, partial(teller.begin, f"{effects.random.getrandbits(64):016x}"))
    except ClipmillError as error:
        again = isinstance(error, StaleWrite) and isinstance(error, Paused)
        return Ended(code=error.exit_code, said=str(error), again=again, told=teller.tell())
    except Exception as error:  # whatever it is, it is told without a key
        return Ended(code=Exit.BUG, said=told(error, secrecy), told=teller.tell())
    finally:
        effects.threads.close()
    return Ended(
        paused_because=outcome.paused_because,
        not_uploaded=outcome.not_uploaded,
        notes=tuple(batch.run.progress.notes),
        told=teller.tell(),
    )
