"""A vendor that misbehaves for a while: one sandbox, started again with other faults on the same port and state."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.cli.conftest import Sandbox
from tests.cli.front_door import command_line, environment, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.front_door import Said

MODELS = {
    "venice": "model: wan-2-7-text-to-video\nparameters: {duration_seconds: 5, aspect_ratio: 16:9, resolution: 720p}",
    "modelmax": "model: veo-3\nparameters: {duration_seconds: 8}\nprices: {modelmax/veo-3: {usd_per_second: 0.40}}",
}
PRICE_USD = {"venice": 0.55, "modelmax": 3.2}
"""What one clip of these costs."""


class Shop:
    """One vendor, and the user who works with it in a folder of their own. The mutable state is the port."""

    def __init__(self, folder: Path, provider: str) -> None:
        self.folder = folder
        self.provider = provider
        self.port = 0
        self.environ = {"XDG_STATE_HOME": str(folder / "state")}
        self.sandbox: Sandbox | None = None

    @contextmanager
    def open(self, *faults: str, seed: int = 0, speed: float = 1.0) -> Iterator[Sandbox]:
        """Run the vendor, with these faults."""
        options = [option for fault in faults for option in ("--fault", fault)]
        options += ["--seed", str(seed), "--speed", str(speed)]
        state = self.folder / "vendor.sqlite"
        process = subprocess.Popen(
            command_line(
                *("sandbox", "--until-eof", "--instant", "--no-limits", "--render", "template"),
                *("--port", self.port, "--state", state, *options),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        with process:
            assert process.stdout is not None
            sandbox = Sandbox(json.loads(process.stdout.readline()))
            self.port = int(sandbox.addresses["sandbox"].rpartition(":")[2])
            self.environ |= sandbox.environ
            yield sandbox
            process.communicate()

    def call(self, *args: object, **environ: str) -> Said:
        """Run the command as the user does, in the folder."""
        return run(*args, cwd=self.folder, **{**self.environ, **environ})

    def write(self, *items: str, **more: str) -> str:
        """Write a manifest of these items, some with more to them, and return its name."""
        clips = "".join(f"  - {{id: {item}, prompt: 'A {item}'{more.get(item, '')}}}\n" for item in items)
        text = f"version: 1\nname: shop\nprovider: {self.provider}\n{MODELS[self.provider]}\nclips:\n{clips}"
        (self.folder / "m.yaml").write_text(text)
        return "m.yaml"

    def results(self, output: str = "output/shop") -> dict[str, Any]:
        """Return each item's line of the results."""
        said = self.call("results", output, "--format", "jsonl")
        return {line["id"]: line for line in map(json.loads, said.out.splitlines())}


def charged_usd(bill: Any) -> float:
    """Return what a vendor has charged, all together."""
    return float(bill["totals"]["charged_usd"])


def job_of(bill: Any, prompt: str) -> list[str]:
    """Return the ids of the jobs that a vendor made for a prompt, the oldest first."""
    jobs = [(job["accepted_at"], job_id) for job_id, job in bill["jobs"].items() if job["prompt"] == prompt]
    return [job_id for _, job_id in sorted(jobs)]
