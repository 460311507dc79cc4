"""What a run looks like: bars on a terminal, one plain line every 30 s elsewhere."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.console import duration, plain, say, usd
from pipeline.runner.progress import Binding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.effects import Clock
    from pipeline.runner.progress import Progress

REDRAW_S = 0.2
LINE_S = 30.0


@asynccontextmanager
async def shown(progress: Progress, clock: Clock) -> AsyncIterator[None]:
    """Show a run's progress on stderr while the block runs."""
    import asyncio

    on_terminal = bool(sys.stderr) and sys.stderr.isatty()
    drawing = asyncio.get_running_loop().create_task((_draw_bars if on_terminal else _write_lines)(progress, clock))
    try:
        yield
    finally:
        drawing.cancel()
        with suppress(asyncio.CancelledError):
            await drawing


def line(progress: Progress) -> str:
    """Return the progress as one line of text."""
    parts = [
        f"{progress.done}/{progress.items} done",
        f"{progress.at_provider} at the provider",
        f"{progress.uploaded} uploaded" if progress.uploaded else "",
        f"{progress.failed} failed" if progress.failed else "",
        f"{progress.in_doubt} in doubt" if progress.in_doubt else "",
        f"{usd(progress.spent_usd)} spent" if progress.spent_usd else "",
        *_figures(progress),
        waiting_for(progress),
    ]
    return ", ".join(part for part in parts if part)


def _figures(progress: Progress) -> list[str]:
    """Return expected finish, looks a clip and detection lag, as far as they are known."""
    figures = []
    if progress.finishes_in_s is not None and progress.done < progress.items:
        figures.append(f"about {duration(progress.finishes_in_s)} to go")
    if progress.looks_a_clip is not None and progress.lag_s is not None:
        figures.append(f"{progress.looks_a_clip:.1f} looks a clip, found after {progress.lag_s:.1f} s")
    return figures


def waiting_for(progress: Progress) -> str:
    """Say which limit binds."""
    binding = sorted({value for value in progress.binding.values() if value is not Binding.NOTHING})
    return f"waiting for {' and '.join(binding)}" if binding else ""


def _tell_notes(progress: Progress, told: int) -> int:
    for note in progress.notes[told:]:
        say(note)
    return len(progress.notes)


async def _write_lines(progress: Progress, clock: Clock) -> None:
    told, next_line = 0, clock.monotonic() + LINE_S
    try:
        while True:
            await clock.sleep(REDRAW_S)
            told = _tell_notes(progress, told)
            if clock.monotonic() >= next_line:
                say(line(progress))
                next_line += LINE_S
    finally:
        _tell_notes(progress, told)


async def _draw_bars(progress: Progress, clock: Clock) -> None:
    from tqdm import tqdm

    form = "{desc:<10} {bar} {n_fmt}/{total_fmt}{postfix}"

    def bar(name: str, position: int, **more: Any) -> tqdm[Any]:
        return tqdm(
            desc=name, total=progress.items, position=position, bar_format=form, disable=None, leave=True, **more
        )

    bars = [bar("submitted", 0), bar("done", 1)]
    heads, foot = (tqdm(position=at, bar_format="{desc}", disable=None, leave=True) for at in (2, 3))
    told = 0
    try:
        while True:
            told = _redraw(progress, bars, heads, foot, told)
            await clock.sleep(REDRAW_S)
    finally:
        with suppress(OSError):
            _redraw(progress, bars, heads, foot, told)
            for drawn in (*bars, heads, foot):
                drawn.close()


def _redraw(progress: Progress, bars: list[Any], heads: Any, foot: Any, told: int) -> int:
    from tqdm import tqdm

    for note in progress.notes[told:]:
        tqdm.write(plain(note), file=sys.stderr)
    for drawn, value in zip(bars, (progress.submitted, progress.done), strict=True):
        drawn.total = progress.items
        drawn.n = value
        drawn.refresh()
    counts = (
        f"{progress.at_provider} at the provider, {progress.downloaded} downloaded, {progress.failed} failed, "
        f"{progress.in_doubt} in doubt, {usd(progress.spent_usd)} spent"
    )
    heads.set_description_str(_cut(counts))
    foot.set_description_str(_cut("; ".join([*_figures(progress), waiting_for(progress) or "at work"])))
    return len(progress.notes)


def _cut(text: str) -> str:
    """Return a line that fits the terminal: one that wraps would break the drawing."""
    from shutil import get_terminal_size

    width = get_terminal_size().columns - 1
    return text if len(text) <= width else text[: width - 1] + "…"
