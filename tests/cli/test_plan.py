from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.planning.plan import offline_providers, plan_file
from pipeline.system.effects import system
from tests.cli.batches import AT_PROVIDER, DONE, IN_DOUBT, REJECTED, Item, make_batch, planned
from tests.cli.front_door import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Sandbox

MANIFEST = """\
version: 1
name: reefs
provider: modelmax
model: veo-3
parameters: {duration_seconds: 8}
clips:
  - {id: turtle, prompt: A sea turtle}
  - {id: fox, prompt: A fox}
  - {id: wave, prompt: A wave}
  - {id: deer, prompt: A deer}
  - {id: zoom, prompt: A leaf, parameters: {duration_seconds: 4, sample_count: 2}}
  - {id: rock, prompt: A rock, model: veo-3-fast}
prices:
  modelmax/veo-3: {usd_per_second: 0.40}
"""

FRESH = """\
reefs: 6 items, 7 clips, in output/reefs

a run would  items  which are
submit           6  new, or not yet submitted

to submit            items  clips  seconds  price each                 price
modelmax/veo-3           5      6       40       $3.20                $16.00
modelmax/veo-3-fast      1      1        8     unknown               unknown
together                 6      7       48              $16.00 and 1 unknown

Cost: $16.00 and 1 unknown to submit.
Nobody says what modelmax/veo-3-fast costs: add it to the manifest's `prices`.
  modelmax/veo-3-fast: {usd_per_second: 0.15} (Google's list on 2026-11-21, to which ModelMax says that it adds \
nothing; compare it with your own bill)
Time: about 2 min; what modelmax needs for the clips decides, with 2 min a clip (an assumption). Downloads are not \
counted.

id      would   model                  price  prompt
turtle  submit  modelmax/veo-3         $3.20  A sea turtle
fox     submit  modelmax/veo-3         $3.20  A fox
wave    submit  modelmax/veo-3         $3.20  A wave
deer    submit  modelmax/veo-3         $3.20  A deer
zoom    submit  modelmax/veo-3         $3.20  A leaf
rock    submit  modelmax/veo-3-fast  unknown  A rock
"""

GOING_ON = """\
reefs: 6 items, 7 clips, in output/reefs

a run would  items  which are
submit           2  new, or not yet submitted
re-attach        1  at the provider already; going on with them buys nothing new
reuse            1  done; no request is made
leave            1  ended without a clip, and are not submitted again
in doubt         1  held in doubt, and counted as spent

to submit            items  clips  seconds  price each                price
modelmax/veo-3           1      2        8       $3.20                $3.20
modelmax/veo-3-fast      1      1        8     unknown              unknown
together                 2      3       16              $3.20 and 1 unknown

Cost: $3.20 and 1 unknown to submit; $6.84 is spent, reserved or in doubt already.
Nobody says what modelmax/veo-3-fast costs: add it to the manifest's `prices`.
  modelmax/veo-3-fast: {usd_per_second: 0.15} (Google's list on 2026-11-21, to which ModelMax says that it adds \
nothing; compare it with your own bill)
Time: about 40 s; what modelmax needs for the clips decides, with 40 s a clip (as the batch's clips did so far). \
Downloads are not counted.
Changed after they were submitted: deer. A run stops there and asks for --on-change keep (what was bought) or \
--on-change new (a new revision, to be paid for).
No longer in the manifest, and not submitted: old.

id      would      model                  price  prompt
turtle  reuse      modelmax/veo-3         $3.20  A sea turtle
fox     in doubt   modelmax/veo-3         $3.20  A fox
wave    leave      modelmax/veo-3         $3.20  A wave
deer    re-attach  modelmax/veo-3         $3.20  A deer
zoom    submit     modelmax/veo-3         $3.20  A leaf
rock    submit     modelmax/veo-3-fast  unknown  A rock
"""


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the quotes of these plans out of the user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def write(folder: Path, text: str = MANIFEST) -> None:
    (folder / "m.yaml").write_text(text, encoding="utf-8")


def started_batch(folder: Path) -> None:
    """Write a ledger in which the manifest's items stand in every way, and one that the manifest does not have."""
    ids = {item.id: item for item in plan_file(folder / "m.yaml", offline_providers(system())).items}

    def item(name: str, *events: object, fingerprint: str = "") -> Item:
        plan = planned(ids[name].request.prompt, fingerprint=fingerprint or ids[name].fingerprint)
        return Item(id=name, plan=plan, events=events[0] if events else ())  # type: ignore[arg-type]

    make_batch(
        folder / "output" / "reefs",
        item("turtle", DONE),
        item("fox", IN_DOUBT),
        item("wave", REJECTED),
        item("deer", AT_PROVIDER, fingerprint="changed"),
        item("zoom"),
        Item(id="old"),
    )


def test_a_fresh_plan_is_told_by_model_with_unknown_prices_told_plainly(tmp_path: Path) -> None:
    write(tmp_path)
    said = run("plan", "m.yaml", cwd=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert said.out == FRESH
    assert not (tmp_path / "output").exists()


def test_a_plan_beside_a_ledger_says_what_is_reused_reattached_and_held(tmp_path: Path) -> None:
    write(tmp_path)
    started_batch(tmp_path)
    batch = tmp_path / "output" / "reefs"
    before = {path.name: path.read_bytes() for path in batch.iterdir()}
    assert run("plan", "m.yaml", cwd=tmp_path).out == GOING_ON
    assert {path.name: path.read_bytes() for path in batch.iterdir()} == before


def test_json_has_every_item_and_the_same_numbers(tmp_path: Path) -> None:
    write(tmp_path)
    started_batch(tmp_path)
    told = run("plan", "m.yaml", "--json", cwd=tmp_path).json
    names = ("items", "clips", "submit", "reattach", "reuse", "leave", "in_doubt")
    assert [told[name] for name in names] == [6, 7, 2, 1, 1, 1, 1]
    assert (told["known_usd"], told["unknown_items"], told["committed_usd"]) == (3.2, 1, 6.84)
    assert (told["changed"], told["withdrawn"], told["expected_s"]) == (["deer"], ["old"], 40.0)
    assert [item["would"] for item in told["plan"]] == ["reuse", "in doubt", "leave", "re-attach", "submit", "submit"]
    assert told["plan"][5]["price_usd"] is None


def test_an_item_that_left_the_manifest_is_told_as_finished_anyway(tmp_path: Path) -> None:
    write(tmp_path)
    make_batch(tmp_path / "output" / "reefs", Item(id="gone", events=AT_PROVIDER))
    assert (
        "No longer in the manifest, but paid for and brought home: 1 item." in run("plan", "m.yaml", cwd=tmp_path).out
    )


def test_a_cap_is_held_against_the_plan(tmp_path: Path) -> None:
    known = MANIFEST.replace(", model: veo-3-fast", "")
    write(tmp_path, known + "limits: {max_cost_usd: 10}\n")
    assert "Cost: $19.20 to submit. The cap is $10.00: $9.20 too little." in run("plan", "m.yaml", cwd=tmp_path).out
    write(tmp_path, known + "limits: {max_cost_usd: 20}\n")
    assert "The cap is $20.00: it suffices." in run("plan", "m.yaml", cwd=tmp_path).out
    write(tmp_path, MANIFEST + "limits: {max_cost_usd: 20}\n")
    assert "With the cap of $20.00, a run refuses an unknown price." in run("plan", "m.yaml", cwd=tmp_path).out


def test_a_long_plan_lists_its_first_items_and_counts_the_others(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST.replace("prompt: A rock", "prompt: A rock, repeat: 30"))
    lines = run("plan", "m.yaml", cwd=tmp_path).out.splitlines()
    assert lines[-1] == "... and 15 more items"
    assert lines[-2].startswith("rock-15 ")


def test_a_bad_manifest_exits_2_with_its_problems(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST + "limts: {}\n")
    said = run("plan", "m.yaml", "--json", cwd=tmp_path)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("m.yaml:15:1: ")


def test_hostile_prompts_reach_no_terminal(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST.replace("A sea turtle", r'"\e]0;pwned\a\u202e\r\n[INFO] DONE"'))
    for form in ([], ["--json"]):
        said = run("plan", "m.yaml", *form, cwd=tmp_path)
        assert said.code == 0
        assert not {"\x1b", "\x07", "\u202e", "\r"} & set(said.out)
        assert not any(line.startswith("[INFO]") for line in said.out.splitlines())


VENICE = """\
version: 1
name: reefs
provider: venice
model: wan-2.6-text-to-video
parameters: {duration_seconds: 5, aspect_ratio: 16:9, resolution: 720p}
clips:
  - {id: turtle, prompt: A sea turtle}
  - {id: fox, prompt: A fox}
  - {id: rock, prompt: A rock, provider: modelmax, model: veo-3, parameters: {duration_seconds: 8}}
"""


def test_quoting_needs_the_key_of_a_provider_that_quotes_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, VENICE)
    said = run("plan", "m.yaml", "--quote", cwd=tmp_path)
    assert (said.code, said.out) == (2, "")
    assert "VENICE_API_KEY is not set" in said.err
    write(tmp_path)
    said = run("plan", "m.yaml", "--quote", cwd=tmp_path)
    assert said.code == 0
    assert said.err == "modelmax quotes no prices; write them into the manifest's `prices`.\n"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_quotes_fill_in_the_prices_and_buy_nothing(tmp_path: Path, sandbox: Sandbox, form: list[str]) -> None:
    write(tmp_path, VENICE)
    said = run("plan", "m.yaml", "--quote", *form, cwd=tmp_path, **sandbox.environ)
    assert said.code == 0
    if form:
        prices = {item["id"]: item["price_usd"] for item in said.json["plan"]}
        assert prices["turtle"] == prices["fox"] > 0
        assert prices["rock"] is None
    else:
        assert "Nobody says what modelmax/veo-3 costs" in said.out
    assert (sandbox.bill()["charges"], sandbox.bill()["accepted"]) == ([], 0)


def test_asking_for_quotes_is_offered_where_somebody_quotes_and_has_not_been_asked(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    write(tmp_path, VENICE)
    assert "`prices`, or ask with --quote." in run("plan", "m.yaml", cwd=tmp_path).out
    assert "--quote" not in run("plan", "m.yaml", "--quote", cwd=tmp_path, **sandbox.environ).out


def test_each_distinct_price_is_asked_for_once_and_not_again_within_the_hour(tmp_path: Path, sandbox: Sandbox) -> None:
    longer = "  - {id: deer, prompt: A deer, parameters: {duration_seconds: 10}}\n"
    write(tmp_path, VENICE + longer)

    def asked() -> int:
        return sum(sandbox.requests()["endpoints"].get("venice-quote", {}).values())

    before = asked()
    first = run("plan", "m.yaml", "--quote", "--json", cwd=tmp_path, **sandbox.environ).json
    assert asked() - before == 2
    again = run("plan", "m.yaml", "--quote", "--json", cwd=tmp_path, **sandbox.environ).json
    assert asked() - before == 2
    assert again["plan"] == first["plan"]
    other = {**sandbox.environ, "VENICE_API_KEY": "another-key"}
    run("plan", "m.yaml", "--quote", "--json", cwd=tmp_path, **other)
    assert asked() - before == 4


def test_the_dearest_items_are_named_where_prices_differ(tmp_path: Path) -> None:
    table = "modelmax/veo-3: {usd_per_second: {default: 0.40, 4k: 0.60}}"
    text = MANIFEST.replace("modelmax/veo-3: {usd_per_second: 0.40}", table)
    write(tmp_path, text.replace("prompt: A wave", "prompt: A wave, parameters: {resolution: 4k, sample_count: 3}"))
    said = run("plan", "m.yaml", cwd=tmp_path).out
    assert "the dearest  model           seconds   price  which is\n" in said
    assert "\nwave         modelmax/veo-3       24  $14.40  computed\n" in said
    assert run("plan", "m.yaml", "--json", cwd=tmp_path).json["dearest"][0] == "wave"
    write(tmp_path)
    assert "the dearest" not in run("plan", "m.yaml", cwd=tmp_path).out
    assert run("plan", "m.yaml", "--json", cwd=tmp_path).json["dearest"] == []
