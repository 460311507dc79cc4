from __future__ import annotations

from pipeline.cli.standing.forecast import ASSUMED_S, forecast
from pipeline.planning.limits import EffectiveLimits


def limits(
    in_flight: int | None = None, submits: float | None = None, looks: float | None = None
) -> dict[str, EffectiveLimits]:
    return {
        "venice": EffectiveLimits(
            in_flight=in_flight,
            submits_per_minute=submits,
            looks_per_minute=looks,
            concurrent_billing=2,
            concurrent_downloads=8,
        )
    }


def test_nothing_to_make_takes_no_time() -> None:
    assert forecast({}, {}, {}, 100).seconds == 0


def test_a_few_items_take_as_long_as_one() -> None:
    expected = forecast({"venice": 5}, limits(submits=40, looks=120), {}, 100)
    assert expected.seconds == ASSUMED_S
    assert "what venice needs for the clips decides, with 2 min a clip (an assumption)" in expected.text


def test_submits_that_must_wait_for_their_minute_decide() -> None:
    expected = forecast({"venice": 401}, limits(submits=40), {"venice": 145.0}, 1000)
    assert expected.seconds == 10 * 60 + 145
    assert "the limit of 40 submits a minute decides, with 2 min 25 s a clip (as the batch" in expected.text


def test_jobs_in_flight_decide_where_few_are_allowed() -> None:
    expected = forecast({"venice": 10}, limits(in_flight=2, submits=40), {"venice": 100.0}, 100)
    assert expected.seconds == 5 * 100
    assert forecast({"venice": 300}, {}, {"venice": 100.0}, 100).seconds == 300


def test_looks_decide_where_submits_are_free() -> None:
    expected = forecast({"venice": 4000}, limits(looks=120), {"venice": 60.0}, 10_000)
    assert expected.seconds == 4000 * 3 / 120 * 60
    assert "120 looks a minute decides" in expected.text


def test_the_slowest_provider_decides() -> None:
    expected = forecast({"venice": 1, "modelmax": 1}, {}, {"venice": 50.0, "modelmax": 70.0}, 100)
    assert expected.seconds == 70
