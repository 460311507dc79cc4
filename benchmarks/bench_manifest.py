"""Manifests: loading and checking a file of many items, beside `yaml.safe_load` and `jsonschema.validate`.

usage: bench_manifest.py [ITEMS]

Each way runs in a process of its own, so that its peak memory is its own. "plan" is all that `clipmill plan` does
before it prints: reading, the schema, the meaning, the provider's own rules, identities and costs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.processes import run
from benchmarks.tables import machine, median, show

TIMES = 3
WAYS = {
    "empty interpreter": "pass",
    "yaml.safe_load": "import yaml; yaml.safe_load(open(path))",
    "yaml.safe_load + jsonschema.validate": (
        "import yaml, jsonschema, json; from pipeline.manifest.schema import schema; "
        "jsonschema.validate(yaml.safe_load(open(path)), schema())"
    ),
    "yaml.CSafeLoader": "import yaml; yaml.load(open(path), yaml.CSafeLoader)",
    "clipmill: load + validate": (
        "from pathlib import Path; from pipeline.manifest.validate import read_manifest; "
        "assert read_manifest(Path(path))[0]"
    ),
    "clipmill: plan": (
        "from pathlib import Path; from pipeline.system.effects import system; "
        "from pipeline.planning.plan import offline_providers, plan_file; "
        "plan_file(Path(path), offline_providers(system()))"
    ),
}


def write(path: Path, items: int) -> Path:
    """Write a manifest with a prompt of 150 characters for each item; the ratio is quoted for `yaml.safe_load`."""
    scene = "a slow tracking shot along a coral reef at dawn, soft light from above, drifting particles, shallow focus"
    lines = ["version: 1", "name: bench", "provider: modelmax", "model: veo-3", "clips:"]
    for number in range(items):
        lines += [
            f"  - id: clip-{number:07d}",
            f"    prompt: Take {number:07d} of {scene}, lens {number % 90} mm",
            '    parameters: {duration_seconds: 8, aspect_ratio: "16:9", resolution: 720p, generate_audio: false}',
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def main() -> None:
    """Print the table."""
    items = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name) / "manifest.yaml", items)
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(TIMES):
            for way, code in WAYS.items():
                used = run([sys.executable, "-c", f"path = {str(path)!r}; {code}"])
                assert used.exit_code == 0, way
                taken[way].append((used.cpu_s, used.peak_mib))
    slow_s = median([cpu_s for cpu_s, _ in taken["yaml.safe_load + jsonschema.validate"]])
    rows = []
    for way, runs in taken.items():
        cpu_s, peak_mib = median([cpu for cpu, _ in runs]), max(peak for _, peak in runs)
        rows.append((way, f"{cpu_s:.2f}", f"{items / cpu_s:,.0f}", f"{slow_s / cpu_s:.1f}", f"{peak_mib:.0f}"))
    columns = ("", "CPU s", "items a second", "times as fast", "peak MiB")
    show(f"{items:,} items, a process each, median of {TIMES}", columns, rows)


if __name__ == "__main__":
    main()
