"""`run --sandbox`: the emulator as a child process of its own, on a port and a state file kept with the batch.

The same provider code talks to it over the same wire. It is started outside the terminal's process group, so that
Ctrl-C reaches the run alone, and ends when its standard input does, so that a killed run leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pipeline.errors import ClipmillError, InputError
from pipeline.providers.registry import provider_names
from pipeline.system.locks import without_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pipeline.paths import BatchFolder

KEY = "rehearsal"
READY_WITHIN_S = 30.0


@asynccontextmanager
async def sandbox_child(folder: BatchFolder, speed: float) -> AsyncIterator[Mapping[str, str]]:
    """Run the sandbox beside a batch; yield the base URL of each provider that it emulates.

    Raises:
        ClipmillError: it did not come up.
    """
    port = _kept_port(folder)
    child, urls = await _start(folder, speed, port)
    if urls is None and port:
        child, urls = await _start(folder, speed, 0)  # somebody else has the port now
    if urls is None:
        raise ClipmillError(f"The sandbox did not start; try: clipmill sandbox --state {folder.sandbox_state}")
    folder.sandbox_port.write_text(urls["sandbox"].rpartition(":")[2])
    try:
        yield urls
    finally:
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()


async def _start(
    folder: BatchFolder, speed: float, port: int
) -> tuple[asyncio.subprocess.Process, Mapping[str, str] | None]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline", "sandbox", "--until-eof", "--port", str(port)),
        *("--speed", str(speed), "--state", str(folder.sandbox_state)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env=without_keys(os.environ),
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            line = await child.stdout.readline()
        return child, json.loads(line)
    except (TimeoutError, ValueError):
        if child.returncode is None:
            child.kill()
        await child.communicate()
        return child, None


def _kept_port(folder: BatchFolder) -> int:
    try:
        return int(folder.sandbox_port.read_text())
    except (OSError, ValueError):
        return 0


def overlay(environ: Mapping[str, str], urls: Mapping[str, str], name: str, key: str, base_url: str) -> dict[str, str]:
    """Return the environment with a provider pointed at the sandbox.

    Raises:
        InputError: the sandbox does not emulate this provider.
    """
    if name not in urls:
        emulated = ", ".join(provider for provider in provider_names() if provider in urls)
        raise InputError(
            f"The sandbox does not emulate {name}; it emulates {emulated}. "
            f"Run an emulator of your own, set {base_url} to it, and leave --sandbox out."
        )
    return {**environ, key: KEY, base_url: urls[name]}
