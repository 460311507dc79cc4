"""`--metrics`: a run's figures in Prometheus's text format, in a file for node_exporter or at an address.

The format is that of https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4). Every sample
bears the batch's name, so that the files of several batches can lie in one folder.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.durable import write_atomically
from pipeline.errors import DiskRefused, InputError, Paused
from pipeline.ledger.reader import reading
from pipeline.runner.gauges import lane_families, totals_families, upload_families
from pipeline.runner.meter import Family, Type

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from aiohttp import web

    from pipeline.effects import Effects
    from pipeline.ledger.tallies import Totals
    from pipeline.runner.batch import BatchRun

ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")
EVERY_S = 5.0
TOTALS_EVERY_S = 15.0
TOTALS_SHARE = 50
"""Between two readings of the ledger lie at least 15 s, and 50 times what the last one took: writers wait for them."""
OURS = b"# HELP clipmill_"
"""What every file of ours begins with."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where metrics go: a file, or an address to be asked at."""

    file: Path | None = None
    host: str = ""
    port: int = 0


def parse_target(text: str) -> Target:
    """Return where the user wants metrics.

    Raises:
        InputError: neither the name of a `.prom` file nor HOST:PORT.
    """
    if text.endswith(".prom"):
        return Target(file=Path(text))
    address = ADDRESS.fullmatch(text)
    if address is None or not 0 < int(address["port"]) < 1 << 16:
        raise InputError(f"--metrics {text} is neither a file FILE.prom nor an address such as 127.0.0.1:9464.")
    return Target(host=address["host"].strip("[]"), port=int(address["port"]))


def exposition(families: Iterable[Family], batch: str) -> str:
    """Return families in the text format; those without samples are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines += [f"# HELP {family.name} {family.says}", f"# TYPE {family.name} {family.type.value}"]
        for suffix, labels, value in family.samples:
            shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in {"batch": batch, **labels}.items())
            lines.append(f"{family.name}{suffix}{{{shown}}} {float(value)!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def families_of(run: BatchRun) -> Iterator[Family]:
    """Yield what a run of one process knows of itself."""
    yield from run.run.meter.families()
    yield from lane_families(run.lanes)
    if run.run.uploading is not None:
        yield from upload_families(run.run.uploading)


@dataclass(kw_only=True)
class Metrics:
    """A batch's figures. The mutable state is what the ledger said last, and when it may be asked again."""

    batch: str
    """Its name."""
    ledger: Path
    effects: Effects
    note: Callable[[str], None]
    """Given sentences for the user."""
    families: Callable[[], Iterable[Family]]
    """Returns what those at work know of themselves."""
    at_work: bool = True
    totals: Totals | None = None
    ask_again_at: float = field(default=float("-inf"))

    def text(self) -> str:
        """Return the figures as they now are."""
        return exposition(self._families(), self.batch)

    def _families(self) -> Iterator[Family]:
        at_work = [("", {"version": __version__}, float(self.at_work))]
        yield Family(name="clipmill_run", type=Type.GAUGE, says="1 while the run is at work.", samples=at_work)
        yield from self.families()
        if self.totals is not None:
            yield from totals_families(self.totals)

    async def refresh(self, *, at_once: bool = False) -> None:
        """Ask the ledger how the batch stands, unless that was done a moment ago, or its server is away."""
        effects, path, clock = self.effects, self.ledger, self.effects.clock
        if not at_once and clock.monotonic() < self.ask_again_at:
            return
        began_s = clock.monotonic()

        def read() -> Totals:
            with reading(path, effects) as reader:
                return reader.totals()

        with suppress(Paused):
            self.totals = await effects.threads.run_alone("metrics", read)
        now_s = clock.monotonic()
        self.ask_again_at = now_s + max(TOTALS_EVERY_S, TOTALS_SHARE * (now_s - began_s))


@asynccontextmanager
async def telling(target: Target | None, metrics: Metrics) -> AsyncIterator[None]:
    """Have figures told while the block runs, and in a file once more at its end.

    Raises:
        InputError: the file cannot be written, or the address is taken; nothing was sent.
    """
    if target is None:
        yield
        return
    async with _into(target.file, metrics) if target.file else _at(target, metrics):
        yield


@asynccontextmanager
async def _into(file: Path, metrics: Metrics) -> AsyncIterator[None]:
    effects = metrics.effects

    async def write(*, at_once: bool = False) -> None:
        await metrics.refresh(at_once=at_once)
        await effects.threads.run_alone("metrics", write_atomically, effects.files, file, metrics.text().encode())

    async def write_now_and_then() -> None:
        while True:
            await effects.clock.sleep(EVERY_S)
            try:
                await write()
            except DiskRefused as refused:
                metrics.note(f"The metrics are not up to date. {refused}")

    _refuse_other(file)
    try:
        await write()
    except DiskRefused as refused:
        raise InputError(f"{refused} The metrics go there; nothing was sent.") from refused
    task = asyncio.get_running_loop().create_task(write_now_and_then())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        metrics.at_work = False
        with suppress(DiskRefused):
            await write(at_once=True)
    if not task.cancelled():
        task.result()


def _refuse_other(file: Path) -> None:
    """Stop where the file is there and no earlier run of ours has written it."""
    try:
        with file.open("rb") as there:
            begins = there.read(len(OURS))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"--metrics {file} cannot be read: {error.strerror}. Nothing was sent.") from error
    if begins != OURS:
        raise InputError(
            f"--metrics {file} is something else than clipmill's metrics, and stays as it is. Name another."
        )


@asynccontextmanager
async def _at(target: Target, metrics: Metrics) -> AsyncIterator[None]:
    from aiohttp import web

    async def answer(_request: web.Request) -> web.Response:
        await metrics.refresh()
        return web.Response(body=metrics.text().encode(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, target.host, target.port).start()
        except OSError as error:
            where = f"{target.host}:{target.port}"
            raise InputError(
                f"--metrics {where} cannot be used: {error.strerror or error}. Nothing was sent."
            ) from error
        yield
    finally:
        await runner.cleanup()
