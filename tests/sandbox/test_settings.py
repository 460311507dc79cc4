from __future__ import annotations

import statistics

import pytest

from pipeline.errors import InputError
from pipeline.sandbox.faults import Draws
from pipeline.sandbox.settings import Fault, Provider, SandboxSettings, look_up, parse_faults


def test_faults_are_read_from_name_and_probability() -> None:
    assert parse_faults(["drop-after-accept=0.02", "slow", "throttle=1"]) == {
        Fault.DROP_AFTER_ACCEPT: 0.02,
        Fault.SLOW: 1.0,
        Fault.THROTTLE: 1.0,
    }


@pytest.mark.parametrize("text", ["tired=0.1", "slow=often", "slow=1.5", "slow=-0.1", "slow=nan", ""])
def test_a_fault_that_makes_no_sense_is_refused_with_what_works(text: str) -> None:
    with pytest.raises(InputError, match=r"choose from drop-before-accept|from 0 to 1"):
        parse_faults([text])


@pytest.mark.parametrize("settings", [{"speed": 0}, {"duration_scale": -1}, {"faults": {Fault.SLOW: 2}}])
def test_settings_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(InputError):
        SandboxSettings(**settings)


def test_the_longest_key_that_begins_the_name_wins() -> None:
    table = {"modelmax": 1.0, "modelmax/veo-3.1": 2.0, "modelmax/veo-3.1/4k": 3.0}
    assert look_up(table, "modelmax/veo-2/720p") == 1.0
    assert look_up(table, "modelmax/veo-3.1-fast/720p") == 2.0
    assert look_up(table, "modelmax/veo-3.1/4k") == 3.0
    assert look_up(table, "venice/x") == 0.0


def test_a_draw_depends_on_the_seed_and_the_occasion_alone() -> None:
    one, again, other = (Draws(SandboxSettings(seed=seed)) for seed in (7, 7, 8))
    assert one.fraction("status", "job", 3) == again.fraction("status", "job", 3)
    assert one.fraction("status", "job", 3) != one.fraction("status", "job", 4)
    assert one.fraction("status", "job", 3) != other.fraction("status", "job", 3)


def test_a_fault_strikes_as_often_as_it_was_asked_to() -> None:
    draws = Draws(SandboxSettings(faults={Fault.SLOW: 0.1}))
    struck = sum(draws.strikes(Fault.SLOW, number) for number in range(10_000))
    assert 900 < struck < 1100
    assert not any(draws.strikes(Fault.TRUNCATE, number) for number in range(1000))


def test_four_fifths_of_venices_generations_end_within_its_own_estimate() -> None:
    draws = Draws(SandboxSettings())
    times = [draws.generation_s(Provider.VENICE, "wan-2-7-text-to-video", number) for number in range(5000)]
    assert 0.78 < sum(time <= 145 for time in times) / 5000 < 0.82


def test_modelmax_generations_take_their_mean_and_speed_divides_them() -> None:
    usual, fast = Draws(SandboxSettings()), Draws(SandboxSettings(speed=60))
    times = [usual.generation_s(Provider.MODELMAX, "veo-3", number) for number in range(5000)]
    assert statistics.mean(times) == pytest.approx(100, rel=0.03)
    assert fast.generation_s(Provider.MODELMAX, "veo-3", 1) == pytest.approx(times[1] / 60)


def test_a_scale_of_zero_makes_generations_end_at_once() -> None:
    draws = Draws(SandboxSettings(duration_scale=0))
    assert draws.generation_s(Provider.VENICE, "wan-2-7-text-to-video", 1) == 0
