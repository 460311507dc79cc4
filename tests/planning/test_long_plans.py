"""Plans that are too long for memory say what short ones say, item by item and problem by problem."""

from dataclasses import replace

import pytest

from pipeline.errors import ProblemsFound
from pipeline.manifest.model import Entry, Price
from pipeline.manifest.validate import read_manifest
from pipeline.pages import HELD_MOST, Pages
from pipeline.planning.plan import make_plan, select, unpriced, with_quotes
from tests.planning.fakes import fake_providers, manifest_of, plan_text

LONG = HELD_MOST + 600
HEADER = "version: 1\nname: long\nprovider: modelmax\nmodel: veo-3\nclips:\n"


def entry(number: int) -> str:
    return f"  - {{id: e{number}, prompt: Number {number}, parameters: {{duration_seconds: {4 + number % 4}}}}}\n"


@pytest.fixture(scope="module")
def long_text() -> str:
    # What stands below the entries holds for all of them, and is known only when the last has been read.
    below = "parameters: {aspect_ratio: 16:9}\nprices: {modelmax/veo-3: {usd_per_second: 0.5}}\n"
    return HEADER + "".join(map(entry, range(LONG))) + below


def test_a_long_manifest_makes_the_items_that_each_of_its_entries_would_make_alone(tmp_path, long_text):
    plan = plan_text(tmp_path, long_text)
    assert isinstance(plan.items, Pages)
    assert len(plan.items) == plan.estimate.items == LONG
    short = HEADER + entry(LONG - 7) + long_text[long_text.index("parameters: {aspect") :]
    [alone] = plan_text(tmp_path, short).items
    there = plan.items[LONG - 7]
    assert there == replace(alone, entry_index=LONG - 7, source=replace(alone.source, line=6 + LONG - 7))
    assert [item.source.line for item in plan.items] == list(range(6, LONG + 6))
    assert sum(item.price_usd for item in plan.items) == pytest.approx(plan.estimate.known_usd)


def test_the_first_of_two_equal_ids_is_found_however_far_apart_they_are(tmp_path, long_text):
    (tmp_path / "m.yaml").write_text(long_text.replace(f"id: e{LONG - 1},", "id: E3,"))
    manifest, [problem] = read_manifest(tmp_path / "m.yaml")
    assert manifest is None
    assert (problem.line, "line 9" in problem.message) == (LONG + 5, True)


def test_items_of_the_same_id_are_told_with_the_place_of_the_first(tmp_path):
    first = Entry(index=0, id="a", prompt="{n}", matrix={"n": tuple(range(LONG))})
    second = Entry(index=1, id=f"a-{LONG - 5}", prompt="x")
    with pytest.raises(ProblemsFound) as found:
        make_plan(manifest_of(tmp_path, first, second), fake_providers)
    [problem] = found.value.problems
    assert f"The id 'a-{LONG - 5}' is taken: the item at" in problem.message


def test_a_long_plan_is_selected_from_and_priced(tmp_path):
    given = Entry(index=0, id="a", prompt="{n}", matrix={"n": tuple(range(LONG)), "duration_seconds": (4,)})
    plan = make_plan(manifest_of(tmp_path, given), fake_providers)
    assert len(select(plan, only="a-*7-4", limit=50)) == 50
    asked = unpriced(plan)
    assert len(asked) == 1
    priced = with_quotes(plan, dict.fromkeys(asked, 0.25))
    assert priced.estimate.known_usd == LONG * 0.25
    assert {item.price_usd for item in priced.items} == {0.25}
    assert unpriced(priced) == {}
    listed = make_plan(manifest_of(tmp_path, given, prices={"modelmax/veo-3": Price(usd_per_clip=1)}), fake_providers)
    assert [item.fingerprint for item in listed.items] == [item.fingerprint for item in priced.items]
