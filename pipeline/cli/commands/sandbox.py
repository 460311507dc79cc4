"""`clipmill sandbox`: the emulator of the providers as a server on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.sandbox.settings import ClaimBills, Fault, Render, SandboxSettings, VeniceCharges, parse_faults

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from enum import StrEnum

    from pipeline.effects import Effects

KEY = "rehearsal"
"""The sandbox takes almost any key; the pages that it prints for copying name this one."""


def words(kind: type[StrEnum]) -> list[str]:
    """Return an enum's values; click would take the names of its members for the choices."""
    return [member.value for member in kind]


def behaviour_options(command: Any) -> Any:
    """Add the options that become fields of `SandboxSettings`, in its order."""
    options = [
        click.option("--speed", type=float, default=1.0, show_default=True, help="Divide waits, multiply limits."),
        click.option("--seed", type=int, default=0, show_default=True, help="Decides every duration and every fault."),
        click.option("--duration-scale", type=float, default=1.0, show_default=True, help="Multiply generation times."),
        click.option("--instant", is_flag=True, help="Finish every job at once; the same as --duration-scale 0."),
        click.option(
            "--fault",
            "faults",
            multiple=True,
            metavar="NAME=PROBABILITY",
            help=f"Make a thing go wrong so often. May be given several times. NAME is one of {', '.join(Fault)}.",
        ),
        click.option(
            "--claim-bills",
            type=click.Choice(words(ClaimBills)),
            default="every",
            show_default=True,
            help="Which ModelMax result calls of a job bill; the vendor does not say.",
        ),
        click.option(
            "--venice-charges",
            type=click.Choice(words(VeniceCharges)),
            default="submit",
            show_default=True,
            help="When Venice charges.",
        ),
        click.option(
            "--venice-complete-fails", is_flag=True, help="Let Venice's /video/complete refuse, as it was seen to do."
        ),
        click.option("--balance", type=float, default=100_000.0, metavar="USD", help="What each key has to spend."),
        click.option(
            "--render",
            type=click.Choice(words(Render)),
            default="auto",
            show_default=True,
            help="Copy packaged clips, or encode each one (needs the media extra).",
        ),
        click.option("--no-limits", is_flag=True, help="Enforce no rate limit."),
        click.option(
            "--venice-submits-per-minute",
            type=click.IntRange(min=0),
            default=40,
            show_default=True,
            help="Venice's limit.",
        ),
        click.option(
            "--venice-looks-per-minute",
            type=click.IntRange(min=0),
            default=120,
            show_default=True,
            help="Venice's limit.",
        ),
        click.option(
            "--modelmax-submits-per-minute",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="ModelMax's limit; 0 is none.",
        ),
        click.option(
            "--modelmax-looks-per-minute",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="ModelMax's limit; 0 is none.",
        ),
        click.option(
            "--openai-videos-submits-per-minute",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="The OpenAI-style server's limit; 0 is none.",
        ),
        click.option(
            "--openai-videos-looks-per-minute",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="The OpenAI-style server's limit; 0 is none.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Listen here; 0, the default, takes a free one.")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="FILE", help="Keep jobs and bill here, and go on from it."
)
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input does, too.")
@behaviour_options
def command(*, port: int, state: Path | None, until_eof: bool, **behaviour: Any) -> None:
    """Run the emulator of ModelMax, Venice and an OpenAI-style server on this machine, until Ctrl-C.

    It speaks the providers' wire formats, makes real MP4 files, keeps a bill of its own, and lets things go wrong on
    demand. When it listens, one line of JSON on stdout tells its addresses; the lines to copy into another terminal
    go to stderr. Nothing leaves this machine and nothing is bought.

    \b
    For example:   clipmill sandbox --port 8765 --speed 60 --fault drop-after-accept=0.02
    """
    import asyncio

    from pipeline.system.effects import system

    settings = settings_of(behaviour)
    effects = system()
    try:
        asyncio.run(_serve_until_told(settings, effects, port, state, until_eof=until_eof))
    finally:
        effects.threads.close()


def settings_of(behaviour: dict[str, Any]) -> SandboxSettings:
    """Turn the options into settings.

    Raises:
        InputError: a value that makes no sense.
    """
    return SandboxSettings(
        speed=behaviour["speed"],
        seed=behaviour["seed"],
        duration_scale=0.0 if behaviour["instant"] else behaviour["duration_scale"],
        faults=parse_faults(behaviour["faults"]),
        claim_bills=ClaimBills(behaviour["claim_bills"]),
        venice_charges=VeniceCharges(behaviour["venice_charges"]),
        venice_complete_works=not behaviour["venice_complete_fails"],
        balance_usd=behaviour["balance"],
        render=Render(behaviour["render"]),
        limits=not behaviour["no_limits"],
        venice_queue_per_minute=behaviour["venice_submits_per_minute"],
        venice_retrieve_per_minute=behaviour["venice_looks_per_minute"],
        modelmax_submits_per_minute=behaviour["modelmax_submits_per_minute"],
        modelmax_looks_per_minute=behaviour["modelmax_looks_per_minute"],
        openai_videos_submits_per_minute=behaviour["openai_videos_submits_per_minute"],
        openai_videos_looks_per_minute=behaviour["openai_videos_looks_per_minute"],
    )


async def _serve_until_told(
    settings: SandboxSettings, effects: Effects, port: int, state: Path | None, *, until_eof: bool
) -> None:
    """Serve until a signal, or the end of standard input, or an error of the server's own."""
    import asyncio
    import signal
    from contextlib import suppress

    from pipeline.sandbox.app import serve

    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    if until_eof:
        _tell_at_eof(loop, told.set)
    serving = loop.create_task(serve(settings, effects=effects, port=port, state_file=state, ready=_announce))
    waiting = loop.create_task(told.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


def _tell_at_eof(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    """Call `tell` on the loop once standard input ends.

    A thread of its own reads the bare descriptor: the loop cannot watch files, and the interpreter could not end while
    a thread sits in `sys.stdin`.
    """
    import os
    import threading
    from contextlib import suppress

    def read_to_the_end() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        with suppress(RuntimeError):  # the loop has ended before its input
            loop.call_soon_threadsafe(tell)

    threading.Thread(target=read_to_the_end, name="until-eof", daemon=True).start()


def _announce(port: int) -> None:
    """Say where the sandbox listens: one JSON line for programs, lines to copy for people."""
    import json
    import sys

    from pipeline.cli.wording.console import put_raw, say

    origin = f"http://127.0.0.1:{port}"
    venice, openai = f"{origin}/api/v1", f"{origin}/openai/v1"
    bill = f"{origin}/sandbox/bill"
    addresses = {"sandbox": origin, "modelmax": origin, "venice": venice, "openai-videos": openai, "bill": bill}
    say(
        f"The sandbox listens at {origin}; its bill is at {bill}. To use it from another terminal:\n"
        f"export MODELMAX_BASE_URL={origin} MODELMAX_API_KEY={KEY}\n"
        f"export VENICE_BASE_URL={venice} VENICE_API_KEY={KEY}\n"
        f"export OPENAI_VIDEOS_BASE_URL={openai}"
    )
    put_raw(json.dumps(addresses) + "\n")
    sys.stdout.flush()
