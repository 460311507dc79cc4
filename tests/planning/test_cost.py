import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.manifest.model import Price
from pipeline.planning.cost import Cost, PriceIs, cost_of, estimate, quote_key
from pipeline.providers.base import GenerationRequest, InputFile


def request(**changes):
    return GenerationRequest(**{"model": "veo-3", "prompt": "A fox", "parameters": {"duration_seconds": 8}, **changes})


def cost(request_, seconds=8.0, prices=None, quotes=None):
    return cost_of("modelmax", request_, seconds=seconds, prices=prices or {}, quotes=quotes or {})


def test_a_price_by_the_second():
    found = cost(request(), 12.0, {"modelmax/veo-3": Price(usd_per_second=0.4)})
    assert (found.price_usd, found.price_is) == (4.8, PriceIs.COMPUTED)


@pytest.mark.parametrize(
    ("table", "asked", "usd"),
    [
        ({"720p": 0.1, "4k": 0.3}, {"resolution": "4k"}, 2.4),
        ({"default": 0.1, "4k": 0.3}, {"resolution": "720p"}, 0.8),
        ({"default": 0.1, "4k": 0.3}, {}, 0.8),
        ({"720p": 0.1}, {"resolution": "4k"}, None),
        ({"720p": 0.1}, {}, None),
        ({"4k": 0.0, "default": 0.1}, {"resolution": "4k"}, 0.0),
    ],
)
def test_a_price_by_the_second_can_depend_on_the_resolution(table, asked, usd):
    prices = {"modelmax/veo-3": Price(usd_per_second=table)}
    assert cost(request(parameters={"duration_seconds": 8, **asked}), 8.0, prices).price_usd == usd


def test_the_resolution_that_is_priced_is_the_one_that_is_sent():
    prices = {"modelmax/veo-3": Price(usd_per_second={"default": 0.1, "4k": 0.3})}
    parameters = {"duration_seconds": 8, "resolution": "720p"}
    sent = request(parameters=parameters, options={"parameters": {"resolution": "4k"}})
    assert cost(sent, 8.0, prices).price_usd == 2.4
    assert cost(request(parameters=parameters, options={"resolution": "4k"}), 8.0, prices).price_usd == 2.4


def test_a_price_by_the_clip_counts_the_samples():
    found = cost(request(parameters={"sample_count": 3}), 24.0, {"modelmax/veo-3": Price(usd_per_clip=0.1)})
    assert (found.price_usd, found.clips) == (0.3, 3)


def test_a_free_model_costs_nothing_and_that_is_known():
    found = cost(request(), 8.0, {"modelmax/veo-3": Price(usd_per_second=0.0)})
    assert (found.price_usd, found.price_is) == (0.0, PriceIs.COMPUTED)


def test_seconds_that_nobody_knows_have_no_price():
    found = cost(request(), 0.0, {"modelmax/veo-3": Price(usd_per_second=0.4)})
    assert (found.price_usd, found.price_is) == (None, PriceIs.UNKNOWN)


def test_another_models_or_providers_price_does_not_hold():
    prices = {"modelmax/veo-3-fast": Price(usd_per_second=0.4), "venice/veo-3": Price(usd_per_second=0.4)}
    assert cost(request(), 8.0, prices).price_usd is None


def test_a_quote_holds_where_the_manifest_says_nothing():
    quotes = {quote_key("modelmax", request()): 1.23}
    assert cost(request(prompt="Another"), quotes=quotes).price_usd == 1.23
    assert cost(request(prompt="Another"), quotes=quotes).price_is is PriceIs.QUOTED
    priced = cost(request(), 8.0, {"modelmax/veo-3": Price(usd_per_second=0.1)}, quotes)
    assert priced.price_usd == 0.8


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "Another"},
        {"parameters": {"duration_seconds": 8, "negative_prompt": "blurry"}},
        {"parameters": {"duration_seconds": 8.0}},
    ],
)
def test_what_does_not_decide_the_price_shares_a_quote(changes):
    assert quote_key("venice", request(**changes)) == quote_key("venice", request())


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "wan"},
        {"parameters": {"duration_seconds": 6}},
        {"parameters": {"duration_seconds": 8, "image": "a.png"}},
        {"options": {"bitrate_mode": "high"}},
    ],
)
def test_what_may_decide_the_price_does_not(changes):
    assert quote_key("venice", request(**changes)) != quote_key("venice", request())


def test_the_provider_decides_the_price():
    assert quote_key("venice", request()) != quote_key("modelmax", request())


def test_pictures_count_by_number_and_videos_by_content():
    def key(parameters, files=None):
        return quote_key("venice", request(parameters=parameters, files=files or {}))

    assert key({"image": "a.png"}) == key({"image": "b.png"})
    assert key({"reference_images": ["a.png"]}) != key({"reference_images": ["a.png", "b.png"]})
    assert key({"video": "https://x/a.mp4"}) != key({"video": "https://x/b.mp4"})
    same = InputFile(path="a.mp4", sha256="1" * 64, size_bytes=1, media_type="video/mp4")
    assert key({"video": "a.mp4"}, {"a.mp4": same}) == key({"video": "b.mp4"}, {"b.mp4": same})


@given(st.lists(st.integers(0, 10_000_000), max_size=60))
def test_a_sum_is_exact_to_the_millionth(micros):
    costs = [Cost(price_usd=micro / 1e6, price_is=PriceIs.COMPUTED, seconds=8, clips=1) for micro in micros]
    total = estimate(("modelmax", f"m{index % 3}", cost) for index, cost in enumerate(costs))
    assert round(total.known_usd * 1e6) == sum(micros)


def test_ten_cents_a_hundred_thousand_times_are_ten_thousand_dollars():
    one = Cost(price_usd=0.1, price_is=PriceIs.COMPUTED, seconds=0.1, clips=1)
    total = estimate(("modelmax", "veo-3", one) for _ in range(100_000))
    assert total.known_usd == 10_000.0
    assert total.items == 100_000


def test_an_unknown_price_is_counted_and_never_zero():
    unknown = Cost(price_usd=None, price_is=PriceIs.UNKNOWN, seconds=8, clips=2)
    known = Cost(price_usd=2.0, price_is=PriceIs.QUOTED, seconds=4, clips=1)
    total = estimate([("modelmax", "veo-3", unknown), ("venice", "wan", known), ("modelmax", "veo-3", known)])
    assert (total.items, total.clips, total.seconds) == (3, 4, 16)
    assert (total.known_usd, total.unknown_items) == (4.0, 1)
    assert [(each.provider, each.model, each.items, each.known_usd, each.unknown_items) for each in total.models] == [
        ("modelmax", "veo-3", 2, 2.0, 1),
        ("venice", "wan", 1, 2.0, 0),
    ]


def test_nothing_costs_nothing():
    total = estimate([])
    assert (total.items, total.known_usd, total.unknown_items, total.models) == (0, 0.0, 0, ())
