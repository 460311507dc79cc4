import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.manifest.model import Entry, ProviderSettings
from pipeline.planning.expand import expand
from pipeline.planning.ids import is_id, row_part
from pipeline.planning.problems import Findings
from tests.planning.fakes import expanded, ids_of, manifest_of, plan_text, png, told_by

DESIGN = """\
version: 1
name: coral-reefs
provider: modelmax
model: veo-3
parameters:
  duration_seconds: 8
  aspect_ratio: 16:9
  negative_prompt: blurry, low quality
clips:
  - id: turtle
    prompt: A sea turtle gliding over a reef
  - id: wave
    prompt: A drone shot of ocean waves
    model: veo-3-fast
    parameters: {duration_seconds: 6, sample_count: 2, negative_prompt: null}
  - id: animals
    prompt: "A {animal} running through {place}"
    matrix: {animal: [fox, deer], place: [snow, sand]}
    exclude: [{animal: deer, place: sand}]
    repeat: 3
    metadata: {split: wild}
  - id: captions
    prompt: "{caption}, cinematic"
    rows: captions.csv
  - id: zoom
    prompt: Camera slowly zooms in
    parameters: {image: inputs/leaf.png}
"""


def test_the_example_of_the_guide_makes_exactly_these_items(tmp_path):
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "leaf.png").write_bytes(png())
    captions = "id,caption,metadata.source\nowl,An owl at night,web\n"
    plan = plan_text(tmp_path, DESIGN, {"captions.csv": captions})
    assert [item.id for item in plan.items] == [
        "turtle",
        "wave",
        "animals-fox-snow",
        "animals-fox-snow-2",
        "animals-fox-snow-3",
        "animals-fox-sand",
        "animals-fox-sand-2",
        "animals-fox-sand-3",
        "animals-deer-snow",
        "animals-deer-snow-2",
        "animals-deer-snow-3",
        "owl",
        "zoom",
    ]
    items = {item.id: item for item in plan.items}
    assert items["animals-deer-snow-2"].request.prompt == "A deer running through snow"
    assert items["animals-deer-snow-2"].metadata == {"split": "wild"}
    assert items["wave"].request.model == "veo-3-fast"
    assert items["wave"].request.parameters == {"duration_seconds": 6, "aspect_ratio": "16:9", "sample_count": 2}
    assert items["owl"].request.prompt == "An owl at night, cinematic"
    assert items["owl"].metadata == {"source": "web"}
    assert items["zoom"].request.files["inputs/leaf.png"].media_type == "image/png"


# --- what an item is made of ---


def test_names_of_the_matrix_set_the_model_and_parameters_and_fill_the_prompt(tmp_path):
    entry = Entry(
        index=0,
        id="a",
        prompt="A {duration_seconds} s {x}",
        parameters={"duration_seconds": 4},
        matrix={"model": ("veo-3", "wan"), "duration_seconds": (6,), "x": ("fox",)},
    )
    one, two = expanded(manifest_of(tmp_path, entry, parameters={"duration_seconds": 8, "resolution": "720p"}))
    assert (one.settings.model, two.settings.model) == ("veo-3", "wan")
    assert one.settings.parameters == {"duration_seconds": 6, "resolution": "720p"}
    assert one.prompt == "A 6 s fox"
    assert one.id == "a-veo-3-6-fox"


def test_null_in_the_matrix_removes_what_is_inherited(tmp_path):
    entry = Entry(index=0, id="a", prompt="x", matrix={"negative_prompt": (None, "blurry")})
    one, two = expanded(manifest_of(tmp_path, entry, parameters={"negative_prompt": "ugly"}))
    assert one.settings.parameters == {}
    assert two.settings.parameters == {"negative_prompt": "blurry"}


def test_a_prompt_without_matrix_or_rows_keeps_its_braces(tmp_path):
    [draft] = expanded(manifest_of(tmp_path, Entry(index=0, id="a", prompt="{not} a {{template}}")))
    assert draft.prompt == "{not} a {{template}}"


def test_options_of_the_entry_win_over_the_providers(tmp_path):
    own = {"modelmax": ProviderSettings(options={"a": 1, "b": 1}), "venice": ProviderSettings(options={"c": 1})}
    [draft] = expanded(manifest_of(tmp_path, Entry(index=0, id="a", prompt="x", options={"b": 2}), providers=own))
    assert draft.settings.options == {"a": 1, "b": 2}


def test_equal_settings_are_one_record(tmp_path):
    entry = Entry(index=0, id="a", prompt="{x}", matrix={"x": tuple("abc"), "duration_seconds": (4, 6)}, repeat=5)
    drafts = expanded(manifest_of(tmp_path, entry))
    assert len(drafts) == 30
    assert len({id(draft.settings) for draft in drafts}) == 2


def test_an_exclusion_tells_numbers_from_flags(tmp_path):
    entry = Entry(index=0, id="a", prompt="{x}", matrix={"x": (1, True, 8, "8")}, exclude=({"x": True}, {"x": 8.0}))
    assert [draft.prompt for draft in expanded(manifest_of(tmp_path, entry))] == ["1", "8"]


def test_a_stream_begins_before_the_matrix_is_multiplied_out(tmp_path):
    entry = Entry(index=0, id="a", prompt="{x}{y}", matrix={"x": tuple(range(1000)), "y": tuple(range(1000))})
    first = next(iter(expand(manifest_of(tmp_path, entry), Findings())))
    assert first.id == "a-0-0"


# --- rows ---

ROWS = Entry(index=0, id="c", prompt="{caption}", rows="t.csv")


def rows_of(folder, text, **changes):
    (folder / "t.csv").write_text(text)
    given = {"index": 0, "id": "c", "prompt": "{caption}", "rows": "t.csv"}
    return expanded(manifest_of(folder, Entry(**{**given, **changes}), parameters={"duration_seconds": 8}))


def test_columns_set_parameters_and_an_empty_cell_leaves_the_inherited_one(tmp_path):
    one, two = rows_of(tmp_path, "id,caption,duration_seconds,model\na,x,6,wan\nb,y,,\n")
    assert (one.settings.model, one.settings.parameters) == ("wan", {"duration_seconds": 6})
    assert (two.settings.model, two.settings.parameters) == ("veo-3", {"duration_seconds": 8})


def test_metadata_columns_pass_through_beside_the_entrys(tmp_path):
    [draft] = rows_of(
        tmp_path, "id,caption,metadata.source,metadata.split\na,x,web,test\n", metadata={"split": "wild", "by": "me"}
    )
    assert draft.metadata == {"source": "web", "split": "test", "by": "me"}


def test_rows_and_matrix_multiply(tmp_path):
    drafts = rows_of(
        tmp_path, "id,caption\nu,x\nv,y\n", prompt="{caption} in {place}", matrix={"place": ("snow", "sand")}, repeat=2
    )
    assert [draft.id for draft in drafts] == [
        "u-snow", "u-snow-2", "u-sand", "u-sand-2", "v-snow", "v-snow-2", "v-sand", "v-sand-2",
    ]  # fmt: skip
    assert drafts[-1].prompt == "y in sand"


def test_a_row_without_an_id_is_named_by_its_words_and_its_content(tmp_path):
    [draft] = rows_of(tmp_path, "caption\nA fox in the snow\n")
    assert re.fullmatch("c-a-fox-in-the-snow-[0-9a-f]{6}", draft.id)


def test_a_column_that_shapes_nothing_renames_nothing(tmp_path):
    [bare] = rows_of(tmp_path, "caption\nA fox\n")
    [more] = rows_of(tmp_path, "metadata.k,caption,note\n1,A fox,hm\n")
    assert more.id == bare.id


def test_an_edit_of_the_template_renames_no_row(tmp_path):
    [old] = rows_of(tmp_path, "caption\nA fox\n")
    [new] = rows_of(tmp_path, "caption\nA fox\n", prompt="{caption}, cinematic")
    assert new.id == old.id
    assert new.prompt != old.prompt


def test_equal_rows_without_ids_are_repeats_of_each_other(tmp_path):
    ids = [draft.id for draft in rows_of(tmp_path, "caption\nA fox\nA deer\nA fox\n", repeat=2)]
    fox, deer = ids[0], ids[2]
    assert ids == [fox, f"{fox}-2", deer, f"{deer}-2", f"{fox}-3", f"{fox}-4"]


def test_an_entry_without_a_prompt_takes_the_column(tmp_path):
    [draft] = rows_of(tmp_path, "id,prompt\na,A {braced} fox\n", prompt=None)
    assert draft.prompt == "A {braced} fox"


def test_rows_say_their_own_line(tmp_path):
    drafts = rows_of(tmp_path, 'id,caption\na,"x\ny"\nb,z\n')
    assert [(draft.source.file, draft.source.line) for draft in drafts] == [
        (str(tmp_path / "t.csv"), 2),
        (str(tmp_path / "t.csv"), 4),
    ]


HEAD = "version: 1\nname: b\nprovider: modelmax\nmodel: veo-3\nclips:\n"
TABLE = HEAD + '  - id: c\n    prompt: "{caption}"\n    rows: t.csv\n'


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("name\nx\n", ["m.yaml:7:13: The prompt needs {caption}, which is no column of t.csv. What there is: name."]),
        ("captoin\nx\n", ["m.yaml:7:13: The prompt needs {caption}", "Did you mean {captoin}?"]),
        ("id,caption\na,\n", ["t.csv:2:1: The prompt needs {caption}, which has no value here."]),
        ("id,caption\na__b,x\n", ["t.csv:2:1: 'a__b' is no id"]),
        ("id,caption\n../x,x\n", ["t.csv:2:1: '../x' is no id"]),
        ("id,caption,duration_seconds\na,x,long\n", ["t.csv:2:1: `duration_seconds` is a whole number"]),
        ("id,caption,duration_seconds\na,x,9\n", ["t.csv:2:1: 8 s is the most."]),
        ("id,caption\na,x\nA,y\n", ["t.csv:3:1: The id 'A' is taken: the item at t.csv:2:1 has the id 'a'"]),
        ("caption\n", ["t.csv:1:1: warning: The table has no rows."]),
        ("", ["t.csv:1:1: The file does not begin with a header"]),
        ("caption,duration\nx,9\n", ["t.csv:2:1: warning: The column `duration` changes", "`duration_seconds`?"]),
        ("caption,note\nx,9\n", ["t.csv:2:1: warning: The column `note` changes", "Name it `metadata.note`"]),
    ],
)
def test_what_is_wrong_with_a_table_is_told_with_its_place(tmp_path, table, told):
    [line] = told_by(tmp_path, TABLE, {"t.csv": table})
    assert all(part in line for part in told), line


def test_a_json_id_that_is_no_text_is_refused(tmp_path):
    text = TABLE.replace("t.csv", "t.jsonl")
    [line] = told_by(tmp_path, text, {"t.jsonl": '{"id": 12, "caption": "x"}\n'})
    assert line == "t.jsonl:1:1: `id` is text, and this is 12: quote it."


def test_a_name_in_both_table_and_matrix_is_refused(tmp_path):
    text = TABLE + "    matrix: {caption: [x]}\n"
    [line] = told_by(tmp_path, text, {"t.csv": "caption\ny\n"})
    assert line.startswith("m.yaml:9:23: `caption` is both a column")


def test_rows_that_share_their_digits_by_chance_are_asked_for_ids(tmp_path):
    captions = (chr(0x4E00 + number // 5000) + chr(0x4E00 + number % 5000) for number in range(25_000_000))
    seen: dict[str, str] = {}
    for caption in captions:
        other = seen.setdefault(row_part({"caption": caption}), caption)
        if other != caption:
            break
    [line] = told_by(tmp_path, TABLE, {"t.csv": f"caption\n{other}\n{caption}\n"})
    assert line.startswith("t.csv:3:1: The id")
    assert line.endswith("Give the table a column `id`.")


# --- nothing renames an item but its own values ---

TEXT = st.text(max_size=12)
VALUE = TEXT | st.integers(-5, 50) | st.booleans()
VALUES = st.lists(VALUE, min_size=1, max_size=3, unique_by=lambda value: (type(value), value)).map(tuple)
MATRIX = st.dictionaries(st.sampled_from(["animal", "place", "light"]), VALUES, max_size=3)
SLOW_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def entry_of(name, matrix, repeat=1):
    prompt = " ".join(["A clip", *(f"{{{key}}}" for key in matrix)])
    return Entry(index=0, id=name, prompt=prompt, matrix=matrix, repeat=repeat)


def by_prompt(folder, *entries):
    """Return the ids of items by entry and prompt; equal prompts are repeats, in their order."""
    named = {}
    for draft in expand(manifest_of(folder, *entries), Findings()):
        named.setdefault((draft.entry.id, draft.prompt), []).append(draft.id)
    return named


@SLOW_FOLDER
@given(MATRIX, MATRIX, st.integers(1, 3))
def test_other_entries_change_no_id(tmp_path, matrix, other, repeat):
    entry = entry_of("mine", matrix, repeat)
    alone = ids_of(manifest_of(tmp_path, entry))
    among = manifest_of(tmp_path, entry_of("before", other), entry, entry_of("after", other, 2))
    assert [draft.id for draft in expanded(among) if draft.entry.id == "mine"] == alone
    assert all(is_id(name) for name in alone)


@SLOW_FOLDER
@given(MATRIX.filter(bool), st.randoms(), VALUE)
def test_reordering_and_inserting_values_changes_no_id(tmp_path, matrix, random, value):
    name = random.choice(sorted(matrix))
    more = [*matrix[name], value]
    random.shuffle(more)
    old = by_prompt(tmp_path, entry_of("mine", matrix))
    new = by_prompt(tmp_path, entry_of("mine", {**matrix, name: tuple(more)}))
    for key, ids in old.items():
        assert set(ids) <= set(new[key])


@SLOW_FOLDER
@given(MATRIX, st.integers(1, 4), st.integers(0, 4))
def test_raising_repeat_renames_nothing(tmp_path, matrix, repeat, more):
    old = by_prompt(tmp_path, entry_of("mine", matrix, repeat))
    new = by_prompt(tmp_path, entry_of("mine", matrix, repeat + more))
    if all(len(ids) == repeat for ids in old.values()):  # values that read alike share a prompt
        assert {key: ids[:repeat] for key, ids in new.items()} == old


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=15).filter(str.strip)


def csv_of(captions):
    return "caption\n" + "".join('"{}"\n'.format(text.replace('"', '""')) for text in captions)


@SLOW_FOLDER
@given(st.lists(CELL, min_size=1, max_size=6), st.lists(CELL, max_size=3), st.randoms())
def test_reordering_and_inserting_rows_changes_no_id(tmp_path, captions, inserted, random):
    def ids(rows):
        (tmp_path / "t.csv").write_text(csv_of(rows), encoding="utf-8")
        return {draft.id for draft in expanded(manifest_of(tmp_path, ROWS))}

    more = [*captions, *inserted]
    random.shuffle(more)
    assert ids(captions) <= ids(more)
    assert len(ids(more)) == len(more)


@SLOW_FOLDER
@given(MATRIX.filter(bool))
def test_different_values_of_one_name_never_share_an_id(tmp_path, matrix):
    for name, values in matrix.items():
        drafts = expanded(manifest_of(tmp_path, entry_of("mine", {name: values})))
        assert len({draft.id for draft in drafts}) == len({draft.prompt for draft in drafts})
