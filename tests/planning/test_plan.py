from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError, Severity
from pipeline.manifest.model import Entry, Limits, Price
from pipeline.planning.cost import PriceIs
from pipeline.planning.plan import make_plan, select, unpriced, with_quotes
from tests.planning.fakes import fake_providers, manifest_of, plan_text, png, problems_of, told_by

HEAD = "version: 1\nname: b\nprovider: modelmax\nmodel: veo-3\n"


def entries(*names, **changes):
    return [
        Entry(**{"index": index, "id": name, "prompt": f"Clip {name}", **changes}) for index, name in enumerate(names)
    ]


def plan_of(folder, *given, **changes):
    return make_plan(manifest_of(folder, *given, **changes), fake_providers)


def test_a_plan_holds_what_a_run_needs(tmp_path):
    (tmp_path / "leaf.png").write_bytes(png())
    text = HEAD + (
        "limits: {max_cost_usd: 5, in_flight: 7}\nprices: {modelmax/veo-3: {usd_per_second: 0.5}}\n"
        "clips:\n  - {id: a, prompt: A leaf, parameters: {image: leaf.png}, metadata: {k: v}}\n"
    )
    plan = plan_text(tmp_path, text)
    [item] = plan.items
    assert (plan.name, plan.folder) == ("b", tmp_path.resolve())
    assert plan.manifest_path == tmp_path / "m.yaml"
    assert len(plan.manifest_sha256) == 64
    assert plan.limits.max_cost_usd == 5
    assert plan.provider_limits["modelmax"].in_flight == 7
    assert plan.warnings == ()
    assert (item.id, item.provider, item.request.model, item.request.prompt) == ("a", "modelmax", "veo-3", "A leaf")
    assert item.request.files["leaf.png"].size_bytes == len(png())
    assert (item.price_usd, item.cost.price_is, item.cost.seconds) == (4.0, PriceIs.COMPUTED, 8)
    assert (item.entry_index, item.source.line, item.metadata) == (0, 8, {"k": "v"})
    assert plan.estimate.known_usd == 4.0


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "parameters: {duration_seconds: 9}\nclips:\n  - {id: a, prompt: x}\n",
            "m.yaml:5:32: 8 s is the most.",
        ),
        (
            "clips:\n  - id: a\n    prompt: x\n    parameters:\n      duration_seconds: 9\n",
            "m.yaml:9:25: 8 s is the most.",
        ),
        (
            "clips:\n  - id: a\n    prompt: x\n    matrix: {duration_seconds: [8, 10]}\n",
            "m.yaml:8:36: 8 s is the most.",
        ),
        (f"clips:\n  - id: a\n    prompt: {'x' * 300}\n", "m.yaml:7:13: The prompt is too long."),
        ("clips:\n  - id: a\n    prompt: x\n    provider: venise\n", "m.yaml:8:15: There is no provider 'venise'."),
        (
            "clips:\n  - id: a\n    prompt: x\n    options: {good: 1, bad: 2}\n",
            "m.yaml:8:29: A bad option.",
        ),
        (
            "providers: {modelmax: {options: {bad: 2}}}\nclips:\n  - id: a\n    prompt: x\n",
            "m.yaml:5:39: A bad option.",
        ),
        (
            "clips:\n  - id: a\n    prompt: x\n    parameters: {image: /etc/passwd}\n",
            "m.yaml:8:25: /etc/passwd is not relative",
        ),
        (
            "clips:\n  - id: a\n    prompt: x\n    parameters: {reference_images: [https://x/y, gone.png]}\n",
            "m.yaml:8:50: gone.png does not exist",
        ),
        ("clips:\n  - id: a\n    prompt: x\n    model: tomorrow\n", "m.yaml:8:12: warning: An unknown model."),
        ("clips:\n  - id: a\n    prompt: '{x}'\n    matrix: {x: [1], y: [2]}\n", "m.yaml:8:22: warning: `y` changes"),
    ],
)
def test_a_problem_stands_where_the_user_can_mend_it(tmp_path, body, told):
    [line] = told_by(tmp_path, HEAD + body)
    assert line.startswith(told), line


def test_all_problems_are_told_together(tmp_path):
    body = (
        "clips:\n"
        "  - {id: a, prompt: x, parameters: {duration_seconds: 9, image: gone.png}}\n"
        "  - {id: b, prompt: x, provider: venise}\n"
        "  - {id: c, prompt: x, model: tomorrow}\n"
        "  - {id: d, prompt: x, rows: gone.csv}\n"
    )
    told = told_by(tmp_path, HEAD + body.replace("  - {id: d, prompt: x, rows: gone.csv}\n", ""))
    assert [line.split(": ")[0] for line in told] == ["m.yaml:6:65", "m.yaml:7:34", "m.yaml:8:31"]
    schema = told_by(tmp_path, HEAD + body)
    assert any("gone.csv" in line for line in schema)


def test_the_same_problem_of_many_items_is_told_once(tmp_path):
    body = (
        "clips:\n  - {id: a, prompt: '{n}', parameters: {duration_seconds: 9}, matrix: {n: [1, 2, 3]}, repeat: 100}\n"
    )
    assert told_by(tmp_path, HEAD + body) == ["m.yaml:6:59: 8 s is the most. (And 299 more items.)"]


def test_a_missing_input_of_many_items_is_told_once_with_its_count(tmp_path):
    body = "clips:\n  - {id: a, prompt: x, parameters: {image: gone.png}, repeat: 10}\n"
    [line] = told_by(tmp_path, HEAD + body)
    assert line.endswith("(And 9 more items.)")


def test_a_problem_with_a_default_is_told_once_for_all_entries(tmp_path):
    body = "parameters: {duration_seconds: 9}\nclips:\n" + "".join(
        f"  - {{id: a{number}, prompt: x}}\n" for number in range(20)
    )
    assert told_by(tmp_path, HEAD + body) == ["m.yaml:5:32: 8 s is the most. (And 19 more items.)"]


def test_the_same_problem_of_many_rows_is_told_once_with_its_lines(tmp_path):
    body = "clips:\n  - {id: a, prompt: '{n}', rows: t.csv}\n"
    table = "n,duration_seconds\nu,9\nv,8\nw,9\nx,9\n"
    assert told_by(tmp_path, HEAD + body, {"t.csv": table}) == [
        "t.csv:2:1: 8 s is the most. (And 2 more items: lines 4, 5.)"
    ]


def test_an_unknown_model_is_told_once_a_model(tmp_path):
    given = [*entries("a", "b", model="new-1", repeat=5), *entries("c", model="new-2")]
    plan = plan_of(tmp_path, *given)
    assert [problem.severity for problem in plan.warnings] == [Severity.WARNING] * 2


def test_a_repeat_that_meets_another_entry_is_refused_with_both_places(tmp_path):
    body = "clips:\n  - {id: fox-2, prompt: y}\n  - {id: fox, prompt: x, repeat: 2}\n"
    assert told_by(tmp_path, HEAD + body) == [
        "m.yaml:7:5: The id 'fox-2' is taken: the item at m.yaml:6:5 has the same id already. Rename one."
    ]


def test_ids_that_differ_in_case_alone_are_refused(tmp_path):
    body = "clips:\n  - {id: Fox-a, prompt: y}\n  - {id: fOX, prompt: '{x}', matrix: {x: [a]}}\n"
    [line] = told_by(tmp_path, HEAD + body)
    assert "has the id 'Fox-a', which differs only in case, already" in line


VALUES = st.lists(st.sampled_from(["a", "b", "a-b", "b-a", "A", "a b", "a_b", 1, "1", "", "é"]), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(VALUES, VALUES, st.integers(1, 2))
def test_items_of_a_plan_never_share_a_name_on_any_file_system(tmp_path, first, second, repeat):
    entry = Entry(index=0, id="e", prompt="{x}/{y}", matrix={"x": tuple(first), "y": tuple(second)}, repeat=repeat)
    manifest = manifest_of(tmp_path, entry)
    told = problems_of(manifest)
    assert all("is taken" in line for line in told)
    if not told:
        items = make_plan(manifest, fake_providers).items
        assert len({item.id.lower() for item in items}) == len(first) * len(second) * repeat


def test_the_fingerprint_follows_the_request_and_nothing_else(tmp_path):
    [old] = plan_of(tmp_path, *entries("a")).items
    [same] = plan_of(
        tmp_path,
        *entries("a", metadata={"k": 1}),
        limits=Limits(in_flight=1),
        prices={"modelmax/veo-3": Price(usd_per_clip=1)},
    ).items
    [inherited] = plan_of(tmp_path, *entries("a"), parameters={"resolution": "720p"}).items
    assert same.fingerprint == old.fingerprint
    assert inherited.fingerprint != old.fingerprint


def test_where_a_parameter_is_written_does_not_count(tmp_path):
    [top] = plan_of(tmp_path, *entries("a"), parameters={"duration_seconds": 8}).items
    [own] = plan_of(tmp_path, *entries("a", parameters={"duration_seconds": 8})).items
    [set_] = plan_of(tmp_path, *entries("a", matrix={"duration_seconds": (8,)})).items
    assert top.fingerprint == own.fingerprint == set_.fingerprint


def test_an_edited_input_changes_the_fingerprint(tmp_path):
    given = entries("a", parameters={"image": "leaf.png"})
    (tmp_path / "leaf.png").write_bytes(png(1))
    [old] = plan_of(tmp_path, *given).items
    (tmp_path / "leaf.png").write_bytes(png(2))
    [new] = plan_of(tmp_path, *given).items
    assert new.fingerprint != old.fingerprint
    assert new.id == old.id


def test_selecting(tmp_path):
    plan = plan_of(tmp_path, *entries("fox-1", "fox-2", "deer"), prices={"modelmax/veo-3": Price(usd_per_clip=1)})

    def selected(**wish: Any) -> list[str]:
        ids = select(plan, **wish)
        return [item.id for item in plan.items if item.id in ids]

    assert selected(only="fox-*") == ["fox-1", "fox-2"]
    assert selected(limit=2) == ["fox-1", "fox-2"]
    assert selected(only="*[!1]", limit=1) == ["fox-2"]
    assert selected() == ["fox-1", "fox-2", "deer"]
    assert selected(limit=0) == []
    with pytest.raises(InputError, match=r"No item's id matches 'Fox\*'"):
        select(plan, only="Fox*")


def test_a_few_quotes_price_a_large_plan(tmp_path):
    given = entries(*(f"a{number}" for number in range(50)), matrix={"duration_seconds": (4, 8)})
    plan = plan_of(tmp_path, *given)
    asked = unpriced(plan)
    assert len(asked) == 2
    priced = with_quotes(plan, {key: item.cost.seconds / 10 for key, item in asked.items()})
    assert priced.estimate.known_usd == 50 * 0.4 + 50 * 0.8
    assert priced.estimate.unknown_items == 0
    assert unpriced(priced) == {}
    assert [item.fingerprint for item in priced.items] == [item.fingerprint for item in plan.items]


def test_a_price_of_the_manifest_is_not_asked_for(tmp_path):
    plan = plan_of(tmp_path, *entries("a"), prices={"modelmax/veo-3": Price(usd_per_clip=1)})
    assert unpriced(plan) == {}


def test_a_manifest_that_does_not_obey_the_schema_is_told_as_it_is(tmp_path):
    assert any("m.yaml:" in line for line in told_by(tmp_path, HEAD + "clips: 3\n"))


def test_a_provider_without_a_model_is_told(tmp_path):
    assert problems_of(manifest_of(tmp_path, *entries("a"), model=None)) == [
        "m.yaml:1:1: The entry has no model. Set `model:` here, or at the top for all."
    ]


def test_equal_parts_are_shared_between_a_hundred_thousand_items(tmp_path):
    plan = plan_of(tmp_path, *entries("a", repeat=1000), parameters={"duration_seconds": 8})
    assert len({id(item.request.parameters) for item in plan.items}) == 1
    assert len({id(item.request.files) for item in plan.items}) == 1
    assert len({id(item.cost) for item in plan.items}) == 1
    assert len({id(item.source) for item in plan.items}) == 1


def test_a_provider_that_cannot_clean_up_is_told_once_and_where(tmp_path):
    text = HEAD + "cleanup: true\nclips:\n  - {id: a, prompt: x}\n  - {id: b, prompt: y}\n"
    plan = plan_text(tmp_path, text)
    assert plan.cleanup
    [warning] = plan.warnings
    assert str(warning).endswith("modelmax has no call that deletes a clip, so `cleanup` changes nothing there.")
    assert (warning.line, warning.severity) == (5, Severity.WARNING)
    assert not plan_text(tmp_path, text.replace("true", "false")).warnings
