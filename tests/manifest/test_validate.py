from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Problem, ProblemsFound, Severity
from pipeline.manifest.model import Entry, Limits, Price, ProviderSettings
from pipeline.manifest.validate import PROBLEMS_MAX, WARNINGS_MAX, load_manifest, read_manifest
from tests.manifest.golden import GOLDEN
from tests.manifest.written import HEAD, clip, told

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_wrong_is_told_as_a_sentence_with_its_place(tmp_path: Path, name: str) -> None:
    text, expected = GOLDEN[name]
    (tmp_path / "captions.csv").write_text("caption\n")

    assert told(tmp_path, text) == [f"m.yaml:{line}" for line in expected]


def test_the_sentences_end_and_hold_nothing_that_moves_the_cursor() -> None:
    for _, expected in GOLDEN.values():
        for message in expected:
            assert message.endswith((".", "?"))
            assert message.isprintable()


def test_everything_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = clip("parameters: {duration: 8}", "repeat: 0") + "  - id: turtle\n    prompt: 7\nnam: x\n"

    assert told(tmp_path, text) == [
        "m.yaml:8:18: Unknown key `duration`: did you mean `duration_seconds`?",
        "m.yaml:9:13: `repeat` must be at least 1, not 0.",
        "m.yaml:10:9: The id `turtle` is taken by the entry on line 6; ids must differ in more than case.",
        'm.yaml:11:13: `prompt` must be text, not 7; quote it: "7".',
        "m.yaml:12:1: Unknown key `nam`: did you mean `name`?",
    ]


def test_where_the_text_breaks_off_what_was_read_is_told_and_what_is_missing_is_not(tmp_path: Path) -> None:
    assert told(tmp_path, "version: 2\nclips:\n- {id: a b, prompt: x}\n- {id: c, prompt: [}\n") == [
        "m.yaml:1:10: `version` must be 1, not 2.",
        "m.yaml:3:8: `id` must be letters, digits, `-` and `_`, begin with a letter or a digit, have at most 100 "
        "characters, and hold no `__`; `a b` does not fit, `a-b` would.",
        "m.yaml:4:20: A key or a value is missing here.",
    ]


@pytest.mark.parametrize("key", ["provider", "model", "parameters", "prices", "providers", "limits"])
@pytest.mark.parametrize("value", ["7", "[a]", "null", "{a: [b]}", "abc"])
def test_a_top_level_of_the_wrong_kind_is_told_and_nothing_else_breaks(tmp_path: Path, key: str, value: str) -> None:
    lines = [line for line in HEAD.splitlines() if not line.startswith(f"{key}:")]
    text = "\n".join([*lines, "clips:", "- {id: a, prompt: b}", f"{key}: {value}", ""])

    wrong = [
        message for message in told(tmp_path, text) if message.startswith("m.yaml:6:" if key in HEAD else "m.yaml:7:")
    ]

    assert wrong or (key in {"provider", "model"} and value == "abc")


DESIGN = """\
# yaml-language-server: $schema=../schemas/manifest.schema.json
version: 1
name: coral-reefs                 # [a-z0-9][a-z0-9_-]*; output/coral-reefs/
provider: modelmax                # modelmax | venice | any installed plugin
model: veo-3                      # any string: providers add models monthly; known ones are checked
parameters:                       # defaults for every clip, in the field's terms, translated by the provider
  duration_seconds: 8
  aspect_ratio: 16:9              # stays text, quoted or not (YAML 1.2)
  resolution: 720p
  generate_audio: true
  negative_prompt: blurry, low quality
clips:
  - id: turtle
    prompt: A sea turtle gliding over a reef
  - id: wave
    prompt: A drone shot of ocean waves
    model: veo-3-fast             # provider, model and parameters may differ per clip
    parameters: {duration_seconds: 6, sample_count: 2, negative_prompt: null}    # null removes an inherited value
  - id: animals
    prompt: "A {animal} running through {place}"
    matrix: {animal: [fox, deer], place: [snow, sand]}      # others fill {name}
    exclude: [{animal: deer, place: sand}]
    repeat: 3                     # 9 items
    metadata: {split: wild}       # goes through to results and exports
  - id: captions
    prompt: "{caption}, cinematic"
    rows: captions.csv            # .csv .jsonl (.parquet with the extra)
  - id: zoom
    prompt: Camera slowly zooms in
    parameters: {image: inputs/leaf.png}     # a file in the manifest's folder or below, an http(s) URL or a data URL
limits:                           # all optional; the provider's documented values are the defaults
  max_cost_usd: 25                # reserved before each billing call; with a cap, an unknown price is refused
  in_flight: 100
  submits_per_minute: 40
  looks_per_minute: 120
  concurrent_billing: 2           # calls that can cost money at once: Venice submits, ModelMax claims
  concurrent_downloads: 8
prices: {modelmax/veo-3: {usd_per_second: 0.40}}            # where the provider quotes nothing
providers: {venice: {limits: {in_flight: 40}, options: {bitrate_mode: high}}}   # per provider
"""


def test_a_manifest_becomes_the_record_of_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "reefs.yaml"
    path.write_text(DESIGN)
    (tmp_path / "captions.csv").write_text("caption\nA reef\n")
    manifest, problems = read_manifest(path)

    assert problems == []
    assert manifest is not None
    assert (manifest.path, manifest.folder, manifest.version) == (path, tmp_path.resolve(), 1)
    assert (manifest.name, manifest.provider, manifest.model) == ("coral-reefs", "modelmax", "veo-3")
    assert manifest.parameters == {
        "duration_seconds": 8,
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "generate_audio": True,
        "negative_prompt": "blurry, low quality",
    }
    assert manifest.entries == (
        Entry(index=0, id="turtle", prompt="A sea turtle gliding over a reef"),
        Entry(
            index=1,
            id="wave",
            prompt="A drone shot of ocean waves",
            model="veo-3-fast",
            parameters={"duration_seconds": 6, "sample_count": 2, "negative_prompt": None},
        ),
        Entry(
            index=2,
            id="animals",
            prompt="A {animal} running through {place}",
            matrix={"animal": ("fox", "deer"), "place": ("snow", "sand")},
            exclude=({"animal": "deer", "place": "sand"},),
            repeat=3,
            metadata={"split": "wild"},
        ),
        Entry(index=3, id="captions", prompt="{caption}, cinematic", rows="captions.csv"),
        Entry(index=4, id="zoom", prompt="Camera slowly zooms in", parameters={"image": "inputs/leaf.png"}),
    )
    assert manifest.limits == Limits(
        max_cost_usd=25,
        in_flight=100,
        submits_per_minute=40,
        looks_per_minute=120,
        concurrent_billing=2,
        concurrent_downloads=8,
    )
    assert manifest.prices == {"modelmax/veo-3": Price(usd_per_second=0.40)}
    assert manifest.providers == {
        "venice": ProviderSettings(limits=Limits(in_flight=40), options={"bitrate_mode": "high"})
    }
    assert load_manifest(path) == manifest


def test_the_digest_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "m.yaml"
    path.write_bytes((clip() + "# é" * 100_000).encode())

    assert load_manifest(path).text_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


SOUND: Sequence[str] = (
    "$schema: ../schemas/manifest.schema.json\n" + clip(),
    clip() + "x-anything: {at: [all]}\n",
    clip("rows: captions.csv").replace("    prompt: A turtle\n", ""),
    clip("parameters: {video: a.mp4, upscale_factor: 2}").replace("    prompt: A turtle\n", ""),
    clip("matrix: {prompt: [A turtle, A ray]}").replace("    prompt: A turtle\n", ""),
    clip("matrix: {model: [veo-3, veo-3-fast]}").replace("model: veo-3\n", "", 1),
    clip("rows: captions.csv").replace("model: veo-3\n", "", 1),
    clip("rows: captions.csv", "matrix: {animal: [fox]}").replace("A turtle", "'{animal}, {caption}'"),
    clip("matrix: {animal: [fox]}").replace("A turtle", "'{{literal}} {animal} { animal }'"),
    clip().replace("A turtle", '\'{"scene": {"animal": 1}}\''),
    clip("matrix: {duration_seconds: [4, 8]}", "exclude: [{duration_seconds: 8.0}]"),
    clip("matrix: {negative_prompt: [null, blurry]}"),
    clip().replace("turtle\n    prompt", "2024-01-01\n    prompt"),
    clip().replace("turtle\n    prompt", "no\n    prompt"),
    clip().replace("turtle\n    prompt", '"0012"\n    prompt'),
    clip() + "prices: {modelmax/veo-3: {usd_per_clip: 0}, modelmax/veo-3-fast: {usd_per_clip: 1}}\n",
    clip("options: {a: [{b: null}], 'c d': 1.5}", "metadata: {'two words': {deep: [1, {er: x}]}}"),
)


@pytest.mark.parametrize("text", SOUND)
def test_what_may_be_written_is_accepted_without_a_word(tmp_path: Path, text: str) -> None:
    (tmp_path / "captions.csv").write_text("caption\n")

    assert told(tmp_path, text) == []


def test_two_clips_may_have_the_same_prompt(tmp_path: Path) -> None:
    assert told(tmp_path, clip() + "  - id: again\n    prompt: A turtle\n") == []


# --- the file itself ---


def whole_file_message(path: Path) -> str:
    with pytest.raises(ProblemsFound) as caught:
        load_manifest(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(path), 0)
    return problem.message


def test_a_missing_file_a_folder_a_pipe_and_a_device_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")

    assert whole_file_message(tmp_path / "nothing.yaml").startswith("There is no such file.")
    assert whole_file_message(tmp_path) == "This is a folder; name the manifest within it."
    assert whole_file_message(tmp_path / "pipe.yaml") == "This is not a regular file; save it as one."
    assert whole_file_message(Path("/dev/zero")) == "This is not a regular file; save it as one."
    assert whole_file_message(tmp_path / "loop.yaml").startswith("The file cannot be opened:")
    assert whole_file_message(tmp_path / "a\0b").startswith("The file cannot be opened:")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.touch(mode=0)

    assert "Permission denied" in whole_file_message(path)


def test_the_file_is_named_as_the_user_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text("version: 1\n")
    _, problems = read_manifest(Path("m.yaml"))

    assert {problem.file for problem in problems} == {"m.yaml"}


# --- tables ---


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("/etc/passwd.csv", "`/etc/passwd.csv` must be a path within the manifest's folder."),
        ("~/secret.csv", "`~/secret.csv` must be a path within the manifest's folder."),
        ("https://a.b/c.csv", "`https://a.b/c.csv` must be a path within the manifest's folder."),
        ("a/../../c.csv", "`a/../../c.csv` must be a path within the manifest's folder."),
        ("out.csv", "`out.csv` is a link that leads out of the manifest's folder."),
        ("linked/c.csv", "`linked/c.csv` is a link that leads out of the manifest's folder."),
        ("folder.csv", "`folder.csv` is not a regular file."),
        ("pipe.csv", "`pipe.csv` is not a regular file."),
        ("loop.csv", "`loop.csv` cannot be read:"),
        ("empty.csv/c.csv", "`empty.csv/c.csv` cannot be read: Not a directory."),
        ("no/c.csv", "There is no `no/c.csv` in the manifest's folder."),
    ],
)
def test_a_table_must_be_a_regular_file_in_the_folder_or_below(tmp_path: Path, rows: str, message: str) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    (tmp_path / "c.csv").touch()
    (folder / "empty.csv").touch()
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "out.csv").symlink_to(tmp_path / "c.csv")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "loop.csv").symlink_to(folder / "loop.csv")

    (line,) = told(folder, clip(f"rows: {rows}"))

    assert line.startswith(f"m.yaml:8:11: {message}")


def test_a_table_may_lie_below_and_be_a_link_within(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/a.CSV").touch()
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "tables/a.CSV")

    assert told(tmp_path, clip("rows: tables/a.CSV")) == []
    assert told(tmp_path, clip("rows: b.jsonl")) == []


# --- many ---


def test_so_many_problems_are_kept_and_the_rest_of_the_file_is_not_read(tmp_path: Path) -> None:
    clips = "".join(f"- {{id: c{n}, prompt: x, wrong{n}: 1}}\n" for n in range(PROBLEMS_MAX + 50))
    lines = told(tmp_path, HEAD + "clips:\n" + clips + "nonsense: [")

    assert len(lines) == PROBLEMS_MAX + 1
    assert f"m.yaml: There are more than {PROBLEMS_MAX:,} problems. Mend these first." in lines


def test_very_many_unknown_keys_of_one_entry_are_not_all_judged(tmp_path: Path) -> None:
    keys = "".join(f", x-{n}: 1" for n in range(PROBLEMS_MAX + 50))

    assert len(told(tmp_path, HEAD + f"clips:\n- {{id: c, prompt: x{keys}}}\n")) == PROBLEMS_MAX + 1


def test_very_many_warnings_hide_nothing_and_stop_nothing(tmp_path: Path) -> None:
    clips = "".join(f"- {{id: c{n}, prompt: x, metadata: {{n: 007}}}}\n" for n in range(WARNINGS_MAX + 50))
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + "clips:\n" + clips)
    manifest, problems = read_manifest(path)

    assert manifest is not None
    assert len(manifest.entries) == WARNINGS_MAX + 50
    assert [problem.severity for problem in problems] == [Severity.WARNING] * WARNINGS_MAX


def test_a_matrix_too_large_for_any_number_is_refused(tmp_path: Path) -> None:
    names = ", ".join(f"n{n}: [1, 2]" for n in range(20_000))

    assert told(tmp_path, clip(f"matrix: {{{names}}}"))[0].endswith(
        "This makes countless clips; 1,000,000 is the most for one entry. Split it."
    )


def test_a_sound_manifest_is_read_without_the_validator_that_finds_words(tmp_path: Path) -> None:
    import subprocess

    path = tmp_path / "m.yaml"
    path.write_text(clip())
    program = (
        "import sys; from pathlib import Path; from pipeline.manifest.validate import load_manifest; "
        "load_manifest(Path(sys.argv[1])); sys.exit('jsonschema' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 0


# --- any bytes ---


@given(data=st.binary(max_size=300))
@settings(max_examples=200)
def test_random_bytes_raise_nothing_but_problems_found(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.yaml"
    path.write_bytes(data)

    with pytest.raises(ProblemsFound) as caught:
        load_manifest(path)
    assert all(isinstance(problem, Problem) and problem.message for problem in caught.value.problems)


@given(
    cut=st.tuples(st.integers(0, len(DESIGN)), st.integers(0, 40)),
    put=st.text(st.sampled_from(list("{}[]&*!|>'\"%@`#:-?, \n\t~<abc019.é")), max_size=12),
)
@settings(max_examples=400)
def test_a_damaged_manifest_is_read_or_refused_with_places(
    tmp_path_factory: pytest.TempPathFactory, cut: tuple[int, int], put: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    start, length = cut
    path.write_text(DESIGN[:start] + put + DESIGN[start + length :], encoding="utf-8")
    manifest, problems = read_manifest(path)

    assert (manifest is None) == any(problem.severity is Severity.ERROR for problem in problems)
    lines = path.read_text(encoding="utf-8").count("\n") + 2
    assert all(problem.line <= lines for problem in problems)
