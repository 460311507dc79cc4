"""`--metrics`: read by the parser of Prometheus's own client, from a file and from an address."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.cli.running.metrics import OURS, Target, exposition, parse_target
from pipeline.errors import InputError
from pipeline.runner.meter import Family, Type
from tests.cli.front_door import command_line, environment

ROOT = Path(__file__).parents[2]
HOSTILE = 'a "b" \\ c\nd{e="f"} 1'
SECRET = "a-key-that-nobody-is-told"
PROMPT = "A prompt that nobody is told"
MANIFEST = f"""
version: 1
name: measured
provider: modelmax
model: veo-3
prices: {{modelmax/veo-3: {{usd_per_second: 0.10}}}}
parameters: {{duration_seconds: 4}}
accept: {{not_damaged: false}}
limits: {{max_cost_usd: 50}}
clips:
  - {{id: fox, prompt: {PROMPT}, repeat: 5}}
"""


def test_the_page_lists_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "scale.md").read_text().partition("## Metrics")[2]
    told = re.findall(r"^\| `(clipmill_\w+)`", page, flags=re.MULTILINE)
    sources = ("runner/meter.py", "runner/gauges.py", "cli/running/metrics.py", "scale/figures.py")
    code = "".join((ROOT / "pipeline" / name).read_text() for name in sources)
    assert sorted(told) == sorted(set(re.findall(r'"(clipmill_\w*[a-z])"', code)))


def samples(text: str) -> dict[str, float]:
    """Read a text as Prometheus does; return the sum of each sample's values over its labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            assert sample.labels["batch"]
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def run(tmp_path: Path, *args: object) -> subprocess.Popen[str]:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MANIFEST)
    environ = environment() | {"XDG_STATE_HOME": str(tmp_path / "state"), "VENICE_API_KEY": SECRET}
    line = command_line("run", manifest, "-o", tmp_path / "batch", "--sandbox", *args)
    return subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:9464", Target(host="127.0.0.1", port=9464)),
        ("[::1]:9464", Target(host="::1", port=9464)),
        ("localhost:1", Target(host="localhost", port=1)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, target: Target) -> None:
    assert parse_target(text) == target


def test_a_file_bears_the_ending_that_node_exporter_reads(tmp_path: Path) -> None:
    assert parse_target(str(tmp_path / "x.prom")) == Target(file=tmp_path / "x.prom")


@pytest.mark.parametrize("text", ["metrics.txt", "9464", ":9464", "localhost:0", "localhost:70000", "http://x:1/", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"neither a file FILE\.prom nor an address"):
        parse_target(text)


def test_what_people_call_their_models_and_batches_cannot_break_the_format() -> None:
    family = Family(name="clipmill_x_total", type=Type.COUNTER, says="X.", samples=[("", {"model": HOSTILE}, 1.5)])
    (read,) = text_string_to_metric_families(exposition([family], HOSTILE))
    (sample,) = read.samples
    assert (sample.labels, sample.value, read.type) == ({"batch": HOSTILE, "model": HOSTILE}, 1.5, "counter")


def test_a_file_is_whole_at_every_moment_and_says_in_the_end_what_was_done(tmp_path: Path) -> None:
    file = tmp_path / "clipmill.prom"
    ran = run(tmp_path, "--metrics", file)
    seen = []
    while ran.poll() is None:
        if file.exists():
            seen.append(samples(file.read_text())["clipmill_run"])
        time.sleep(0.02)
    told = ran.communicate()[1]
    assert ran.returncode == 0, told
    text = file.read_text()
    last = samples(text)
    assert seen[0] == 1.0
    assert last["clipmill_run"] == 0.0
    assert last["clipmill_submits_total"] == last["clipmill_claims_total"] == last["clipmill_clips_total"] == 5
    assert last["clipmill_items"] == 5
    assert (last["clipmill_committed_usd"], last["clipmill_cap_usd"]) == (2.0, 50.0)
    assert last["clipmill_detection_lag_seconds_count"] == 5
    assert last["clipmill_in_flight"] == 0
    for hidden in (SECRET, PROMPT, "rehearsal", "127.0.0.1"):
        assert hidden not in text
    assert re.fullmatch(rb"# HELP clipmill_.*", OURS + text.encode()[len(OURS) :].partition(b"\n")[0])
    assert os.listdir(tmp_path).count("clipmill.prom") == 1
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]
    again = run(tmp_path, "--metrics", file)
    again.communicate()
    assert again.returncode == 0, "a file of ours is replaced"


def test_a_file_of_somebody_else_stays_and_nothing_is_submitted(tmp_path: Path) -> None:
    file = tmp_path / "mine.prom"
    file.write_text("mine 1\n")
    ran = run(tmp_path, "--metrics", file)
    _, told = ran.communicate()
    assert ran.returncode == 2
    assert "is something else than clipmill's metrics, and stays as it is" in told
    assert file.read_text() == "mine 1\n"
    assert not list((tmp_path / "batch").glob("clips/*.mp4"))


def test_a_folder_that_is_not_there_is_told_before_anything_is_submitted(tmp_path: Path) -> None:
    ran = run(tmp_path, "--metrics", tmp_path / "nowhere" / "x.prom")
    _, told = ran.communicate()
    assert ran.returncode == 2
    assert "The metrics go there; nothing was sent." in told


def test_an_address_answers_while_the_run_is_at_work_and_one_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        ran = run(tmp_path, "--metrics", f"127.0.0.1:{port}")
        _, told = ran.communicate()
        assert ran.returncode == 2
        assert f"--metrics 127.0.0.1:{port} cannot be used" in told
    ran = run(tmp_path, "--metrics", f"127.0.0.1:{port}", "--speed", 2)
    try:
        ends_at = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    text, kind = answer.read().decode(), answer.headers["Content-Type"]
                found = samples(text)
                if found.get("clipmill_submits_total"):
                    break
            except OSError:
                pass
            assert time.monotonic() < ends_at
            time.sleep(0.05)
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        assert found["clipmill_run"] == 1.0
        assert found["clipmill_items"] == 5
        assert found["clipmill_in_flight_limit"] > 0
        assert PROMPT not in text
    finally:
        ran.send_signal(signal.SIGINT)
        ran.communicate(timeout=30)
