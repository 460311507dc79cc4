"""How long the command takes to begin: processes from start to end, beside an empty interpreter.

usage: bench_start.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.processes import CLIPMILL, run, write_manifest
from benchmarks.tables import machine, median, show

TIMES = 9


def main() -> None:
    """Print the table."""
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_manifest(folder / "manifest.yaml", "modelmax", 8)
        script = Path(sys.executable).with_name("clipmill")
        clipmill = (str(script),) if script.exists() else CLIPMILL
        made = run([*clipmill, "run", str(manifest), "--sandbox", "--speed", "1000"], folder=folder)
        assert made.exit_code == 0, made
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "clipmill --help": [*clipmill, "--help"],
            "clipmill --version": [*clipmill, "--version"],
            "clipmill status": [*clipmill, "status"],
            "clipmill validate": [*clipmill, "validate", str(manifest)],
            "clipmill plan": [*clipmill, "plan", str(manifest)],
        }
        walls: dict[str, list[float]] = {label: [] for label in commands}
        for _ in range(TIMES):  # in turns, so that a slow moment of the machine meets all of them
            for label, command in commands.items():
                walls[label].append(run(command, folder=folder).wall_s)
    floor_s = median(walls["python -c pass"])
    rows = [
        (label, f"{median(taken) * 1000:.0f}", f"{min(taken) * 1000:.0f}", f"{median(taken) / floor_s:.1f}")
        for label, taken in walls.items()
    ]
    show(f"Start to end of a process, median of {TIMES}", ("", "ms", "least ms", "x python"), rows)


if __name__ == "__main__":
    main()
