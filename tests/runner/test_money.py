"""What a clip costs, as far as anybody knows before and after it is bought."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.jobs.job import CostIs
from pipeline.manifest.model import Price
from pipeline.planning.cost import quote_key
from pipeline.providers.answers import NotSent, Quoted, Refused, Scope, Throttled, Transient
from pipeline.runner.money import QUOTE_LIFE_S, QUOTE_TRIES, KeptQuotes, Prices, ask_quotes, refresh_quote
from tests.runner.staged import CAPABILITIES
from tests.support.batches import MODELS, an_item
from tests.support.scripted_provider import Script, ScriptedProvider
from tests.support.simulation.simulated_effects import VirtualClock
from tests.support.simulation.world import World

REQUEST = an_item("i0", "venice").request
KEY = quote_key("venice", REQUEST)
MODEL = f"venice/{MODELS['venice']}"
SILENT = Transient(message="Bad gateway", status=502)


def provider(world: World, *quotes: Any) -> ScriptedProvider:
    return ScriptedProvider(Script(CAPABILITIES["venice"], quotes=quotes), VirtualClock(world.loop))


def test_the_users_price_comes_before_a_quote_and_a_quote_before_ignorance() -> None:
    with World() as world:
        vendor = provider(world)
        quotes = {KEY: 3.0}
        both = Prices(listed={MODEL: Price(usd_per_second=0.5)}, quotes=quotes)
        assert both.of("venice", vendor, REQUEST) == (2.5, CostIs.COMPUTED)
        assert Prices(quotes=quotes).of("venice", vendor, REQUEST) == (3.0, CostIs.QUOTED)
        assert Prices().of("venice", vendor, REQUEST) == (None, CostIs.UNKNOWN)


@pytest.mark.parametrize(
    ("price", "usage", "clips", "usd"),
    [
        (Price(usd_per_second=0.1), {"video_seconds": 8}, 1, 0.8),
        (Price(usd_per_second=0.1), {"video_seconds": 8}, 3, 2.4),
        (Price(usd_per_clip=2.0), {"video_seconds": 8}, 3, 6.0),
        (Price(usd_per_second={"720p": 0.1, "4k": 0.3}), {"video_seconds": 8}, 1, 0.8),
        (Price(usd_per_second={"720p": 0.1, "4k": 0.3}), {"video_seconds": 8, "video_resolution": "4k"}, 1, 2.4),
        (Price(usd_per_second={"default": 0.2}), {"video_seconds": 8, "video_resolution": "1080p"}, 1, 1.6),
        (Price(usd_per_second={"720p": 0.1}), {"video_seconds": 8, "video_resolution": "1080p"}, 1, None),
        (Price(usd_per_second=0.1), {"video_seconds": 8}, 0, None),
        (Price(usd_per_clip=2.0), {"video_seconds": 8}, 0, None),
        (Price(usd_per_second=0.1), {}, 1, None),
        (Price(usd_per_second=0.1), {"video_seconds": "8"}, 1, None),
        (None, {"video_seconds": 8}, 1, None),
    ],
)
def test_a_claimed_job_costs_what_its_usage_says_where_that_says_anything(
    price: Price | None, usage: dict[str, Any], clips: int, usd: float | None
) -> None:
    prices = Prices(listed={MODEL: price} if price else {})
    assert prices.of_usage("venice", REQUEST, usage, clips) == usd


def refreshed(*answers: Any, age_s: float = QUOTE_LIFE_S, times: int = 1) -> tuple[float, int]:
    """Return the quote, and how often it was asked for, `age_s` after it was first used at 2 dollars."""
    with World() as world:
        effects = world.effects(world.process("run"))
        script = Script(CAPABILITIES["venice"], quotes=answers)
        prices = Prices(quotes={KEY: 2.0})

        async def use() -> None:
            vendor = script(None, effects)
            await refresh_quote(prices, "venice", vendor, REQUEST, effects)
            await effects.clock.sleep(age_s)
            for _ in range(times):
                await refresh_quote(prices, "venice", vendor, REQUEST, effects)

        world.run(use())
        return prices.quotes[KEY], script.count("quote")


def test_a_young_quote_is_used_as_it_is() -> None:
    assert refreshed(Quoted(price_usd=9.0), age_s=QUOTE_LIFE_S - 1) == (2.0, 0)


def test_an_old_quote_is_asked_for_again_once() -> None:
    assert refreshed(Quoted(price_usd=3.0), times=5) == (3.0, 1)


def test_of_two_quotes_the_higher_counts() -> None:
    assert refreshed(Quoted(price_usd=1.0)) == (2.0, 1)
    assert refreshed(Quoted(price_usd=0.0)) == (2.0, 1)


@pytest.mark.parametrize("answer", [SILENT, NotSent(message="No route"), Throttled(wait_s=1.0)])
def test_a_vendor_that_does_not_answer_changes_nothing(answer: Any) -> None:
    assert refreshed(answer) == (2.0, 1)


def test_what_was_never_quoted_is_not_asked_for() -> None:
    with World() as world:
        effects = world.effects(world.process("run"))
        script = Script(CAPABILITIES["venice"])
        prices = Prices()
        world.run(refresh_quote(prices, "venice", script(None, effects), REQUEST, effects))
        assert (prices.quotes, script.count("quote")) == ({}, 0)


def asked(*answers: Any) -> tuple[dict[str, float], list[str], int, float]:
    with World() as world:
        effects = world.effects(world.process("run"))
        script = Script(CAPABILITIES["venice"], quotes=answers)
        wanted = {KEY: ("venice", REQUEST), "other": ("modelmax", REQUEST)}
        quotes, unknown = world.run(ask_quotes(wanted, {"venice": script(None, effects)}, effects))
        return quotes, unknown, script.count("quote"), world.loop.time()


def test_quotes_are_asked_for_where_the_vendor_can_quote() -> None:
    assert asked(Quoted(price_usd=0.55)) == ({KEY: 0.55}, [], 1, 0.0)


def test_asking_for_a_quote_goes_on_after_trouble_and_waits_as_it_is_told() -> None:
    quotes, unknown, calls, took_s = asked(SILENT, Throttled(wait_s=20.0), NotSent(message="x"), Quoted(price_usd=0.55))
    assert (quotes, unknown, calls) == ({KEY: 0.55}, [], 4)
    assert 20.0 < took_s < 30.0


def test_a_vendor_that_stays_silent_is_given_up_and_named() -> None:
    quotes, (told,), calls, _ = asked(*[SILENT] * 10)
    assert (quotes, calls) == ({}, QUOTE_TRIES)
    assert told == f"venice gave no quote for {MODELS['venice']}: Bad gateway"


def test_a_definite_no_is_not_asked_again() -> None:
    refused = Refused(scope=Scope.MODEL, kind="model_not_found", message="There is no such model.")
    _, (told,), calls, _ = asked(refused)
    assert calls == 1
    assert "There is no such model." in told


@pytest.mark.parametrize("usd", [0.0, -1.0])
def test_a_quote_that_cannot_be_a_price_is_none(usd: float) -> None:
    quotes, (told,), _, _ = asked(Quoted(price_usd=usd))
    assert quotes == {}
    assert "cannot be the price" in told


class Shelf:
    """Records in memory."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}

    def update(self, name: str, change: Any) -> None:
        self.records[name] = change(self.records.get(name, {}))


def kept_by(world: World, shelf: Shelf, account: str = "a") -> KeptQuotes:
    return KeptQuotes(shelf, VirtualClock(world.loop), {"venice": ("https://api.venice.ai/api/v1", account)})


def test_a_kept_quote_is_taken_for_an_hour_by_the_same_key_alone() -> None:
    with World() as world:
        shelf = Shelf()
        kept_by(world, shelf).keep("venice", KEY, 0.55)
        world.pass_time(QUOTE_LIFE_S - 60)
        later = kept_by(world, shelf)
        assert later.take("venice", KEY) == 0.55
        assert later.ages_s[KEY] == pytest.approx(QUOTE_LIFE_S - 60)
        assert later.take("venice", "another") is None
        assert kept_by(world, shelf, account="b").take("venice", KEY) is None
        world.pass_time(60)
        assert kept_by(world, shelf).take("venice", KEY) is None
        assert [*shelf.records.values()] == [{}, {}]


@pytest.mark.parametrize("odd", ["0.55", [0.55], [0.55, "x"], [-1.0, 0.0], [0.55, 9e12], None, {}])
def test_what_is_no_kept_quote_is_passed_over(odd: Any) -> None:
    with World() as world:
        shelf = Shelf()
        kept_by(world, shelf).keep("venice", "another", 1.0)
        for record in shelf.records.values():
            record[KEY] = odd
        assert kept_by(world, shelf).take("venice", KEY) is None
        assert kept_by(world, shelf).take("venice", "another") == 1.0


def test_quotes_that_are_kept_are_not_asked_for_and_those_that_are_asked_for_are_kept() -> None:
    with World() as world:
        effects = world.effects(world.process("asks"))
        script = Script(CAPABILITIES["venice"], quotes=[Quoted(price_usd=0.7)])
        shelf = Shelf()
        for _ in range(2):
            kept = kept_by(world, shelf)
            asked = ask_quotes({KEY: ("venice", REQUEST)}, {"venice": script(None, effects)}, effects, kept)
            assert world.run(asked) == ({KEY: 0.7}, [])
        assert script.count("quote") == 1
