from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.cli.commands.sandbox import command, settings_of
from pipeline.sandbox.settings import ClaimBills, Fault, Render, SandboxSettings, VeniceCharges
from tests.cli.front_door import call, command_line, environment, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Sandbox


def settings_for(*arguments: str) -> SandboxSettings:
    """Return the settings that a command line stands for."""
    parameters = command.make_context("sandbox", list(arguments)).params
    return settings_of({name: value for name, value in parameters.items() if name not in {"port", "state"}})


def test_without_options_the_settings_are_the_sandboxs_own() -> None:
    assert settings_for() == SandboxSettings()


def test_every_option_reaches_its_setting() -> None:
    words = (
        "--speed 60 --seed 7 --duration-scale 0.5 --fault throttle=0.1 --fault slow --claim-bills once "
        "--venice-charges completion --venice-complete-fails --balance 5 --render template --no-limits "
        "--venice-submits-per-minute 1 --venice-looks-per-minute 2 --modelmax-submits-per-minute 3 "
        "--modelmax-looks-per-minute 4"
    )
    assert settings_for(*words.split()) == SandboxSettings(
        speed=60,
        seed=7,
        duration_scale=0.5,
        faults={Fault.THROTTLE: 0.1, Fault.SLOW: 1.0},
        claim_bills=ClaimBills.ONCE,
        venice_charges=VeniceCharges.COMPLETION,
        venice_complete_works=False,
        balance_usd=5,
        render=Render.TEMPLATE,
        limits=False,
        venice_queue_per_minute=1,
        venice_retrieve_per_minute=2,
        modelmax_submits_per_minute=3,
        modelmax_looks_per_minute=4,
    )


def test_instant_is_a_duration_of_nothing() -> None:
    assert settings_for("--instant").duration_scale == 0


@pytest.mark.parametrize("words", ["--fault no-such", "--fault throttle=2", "--speed 0", "--duration-scale -1"])
def test_a_setting_that_makes_no_sense_exits_2(words: str) -> None:
    said = call("sandbox", *words.split())
    assert (said.code, said.out) == (2, "")


def test_a_taken_port_exits_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = run("sandbox", "--port", taken.getsockname()[1], cwd=tmp_path)
    assert (said.code, "cannot be used" in said.err) == (2, True)


def test_one_json_line_tells_the_addresses_and_the_bill_answers_there(sandbox: Sandbox) -> None:
    origin = sandbox.addresses["sandbox"]
    assert origin.startswith("http://127.0.0.1:")
    assert sandbox.addresses == {
        "sandbox": origin,
        "modelmax": origin,
        "venice": f"{origin}/api/v1",
        "openai-videos": f"{origin}/openai/v1",
        "bill": f"{origin}/sandbox/bill",
    }
    assert sandbox.bill()["charges"] == []


def started(*arguments: str, **more: Any) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Start the sandbox and return it with its addresses."""
    process = subprocess.Popen(
        command_line("sandbox", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        **more,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_0(number: signal.Signals) -> None:
    process, _ = started()
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_lines_to_copy_go_to_stderr() -> None:
    process, addresses = started()
    process.terminate()
    out, err = process.communicate(timeout=10)
    assert out == ""
    assert f"export MODELMAX_BASE_URL={addresses['modelmax']} MODELMAX_API_KEY=rehearsal\n" in err
    assert f"export VENICE_BASE_URL={addresses['venice']} VENICE_API_KEY=rehearsal\n" in err


def test_the_end_of_its_input_ends_it_only_when_it_was_told_so() -> None:
    told, _ = started("--until-eof")
    untold, _ = started()
    for process in (told, untold):
        assert process.stdin is not None
        process.stdin.close()
    assert told.wait(10) == 0
    time.sleep(0.2)
    assert untold.poll() is None
    untold.terminate()
    assert untold.wait(10) == 0
    for process in (told, untold):
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


PARENT = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); time.sleep(60)"


def test_a_parent_that_is_killed_leaves_no_sandbox_behind() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *command_line("sandbox", "--until-eof")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    assert parent.stdout is not None
    json.loads(parent.stdout.readline())
    parent.kill()
    # The stream ends when the last process that holds it is gone.
    assert parent.communicate(timeout=10) == ("", None)
