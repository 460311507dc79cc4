"""Ctrl-C and its like: each asks the run to stop, the first kindly, the third at once."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from pipeline.cli.wording.console import say

if TYPE_CHECKING:
    from pipeline.runner.stop import Stop


def listen(stop: Stop) -> None:
    """Have signals ask the run to stop; the third leaves at once."""
    loop = asyncio.get_running_loop()

    def heard(number: int) -> None:
        stop.ask(number)
        match stop.asked:
            case 1:
                say("Stopping: calls that bill are being finished. Once more to leave with their outcome in doubt.")
            case 2:
                say("Leaving: the outcome of calls under way is written down as unknown.")
            case _:
                os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, heard, number)
