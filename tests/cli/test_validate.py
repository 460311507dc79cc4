from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.cli.wording.problems import MOST
from tests.cli.front_door import call, run

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "version: 1\nname: reefs\nprovider: modelmax\nmodel: veo-3\n"
GOOD = HEAD + "clips:\n  - {id: turtle, prompt: A sea turtle}\n"
BAD = {
    "empty": "",
    "not a mapping": "- 1\n",
    "no version": GOOD.replace("version: 1\n", ""),
    "a version of the future": GOOD.replace("version: 1", "version: 2"),
    "no name": GOOD.replace("name: reefs\n", ""),
    "a name that is a path": GOOD.replace("name: reefs", "name: ../reefs"),
    "no clips": HEAD,
    "an empty list of clips": HEAD + "clips: []\n",
    "a slip in a key": GOOD + "limts: {}\n",
    "the same key twice": GOOD + "name: again\n",
    "the same id twice": GOOD + "  - {id: TURTLE, prompt: again}\n",
    "an id that is a number": GOOD.replace("id: turtle", "id: 0012"),
    "an id that is a path": GOOD.replace("id: turtle", "id: a/b"),
    "no prompt": GOOD.replace(", prompt: A sea turtle", ""),
    "an unknown parameter": GOOD.replace("}", ", parameters: {duration: 8}}"),
    "an unknown provider": GOOD.replace("provider: modelmax", "provider: modelmex"),
    "a parameter that the provider cannot express": GOOD.replace("}", ", parameters: {upscale_factor: 2}}"),
    "an input that is not there": GOOD.replace("}", ", parameters: {image: leaf.png}}"),
    "an input outside of the folder": GOOD.replace("}", ", parameters: {image: ../../etc/passwd}}"),
    "a table that is not there": GOOD.replace("}", ", rows: none.csv}"),
    "an unfilled name": GOOD.replace("A sea turtle", '"A {x}", matrix: {y: [1]}'),
    "a broken line": GOOD + "  - {id: [\n",
    "a merge key": HEAD + "x-a: &a {id: b}\nclips:\n  - {<<: *a, prompt: x}\n",
    "a tag": GOOD + "x-a: !!python/object:os.system {}\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_bad_manifest_exits_2_and_names_a_place(tmp_path: Path, text: str) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(text)
    said = call("validate", manifest)
    assert said.code == 2
    assert said.out == ""
    assert f"{manifest}:" in said.err.splitlines()[0]
    assert said.err.splitlines()[-1].endswith("; nothing was sent.")


def test_a_good_manifest_exits_0_with_one_line_on_stdout(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(GOOD)
    said = run("validate", "m.yaml", cwd=tmp_path)
    assert (said.code, said.out, said.err) == (0, "m.yaml: OK, 1 item, 1 clip\n", "")


def test_schema_planning_and_provider_problems_are_told_with_their_places(tmp_path: Path) -> None:
    clips = (
        "clips:\n  - {id: a, prompt: x, parameters: {image: no.png}}\n  - {id: b, prompt: x, parameters: {audio: b}}\n"
    )
    (tmp_path / "m.yaml").write_text(HEAD + clips)
    lines = run("validate", "m.yaml", cwd=tmp_path).err.splitlines()
    assert [line.split(": ")[0] for line in lines[:2]] == ["m.yaml:6:44", "m.yaml:7:44"]


def test_a_manifest_that_is_not_there_exits_2(tmp_path: Path) -> None:
    said = run("validate", "none.yaml", cwd=tmp_path)
    assert (said.code, "none.yaml" in said.err, said.out) == (2, True, "")


def test_a_warning_is_shown_and_does_not_fail(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(GOOD.replace("veo-3", "veo-77"))
    said = run("validate", "m.yaml", cwd=tmp_path)
    assert said.code == 0
    assert said.err.startswith("m.yaml:4:")
    assert "warning:" in said.err
    assert said.out == "m.yaml: OK, 1 item, 1 clip, 1 warning\n"


def test_more_problems_than_anybody_reads_are_counted(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(HEAD + "clips:\n" + "".join(f"  - {{id: c{n}, prompt: 1}}\n" for n in range(80)))
    lines = call("validate", tmp_path / "m.yaml").err.splitlines()
    assert len(lines) == MOST + 2
    assert lines[-2:] == ["... and 30 more", f"{tmp_path}/m.yaml: 80 errors; nothing was sent."]


def test_json_is_one_document_with_every_problem(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(HEAD + "clips:\n" + "".join(f"  - {{id: c{n}, prompt: 1}}\n" for n in range(80)))
    said = run("validate", "m.yaml", "--json", cwd=tmp_path)
    assert said.code == 2
    assert (said.json["manifest"], said.json["valid"], said.json["items"]) == ("m.yaml", False, None)
    assert len(said.json["problems"]) == 80
    first = said.json["problems"][0]
    assert (first["file"], first["line"], first["severity"]) == ("m.yaml", 6, "error")
    (tmp_path / "m.yaml").write_text(GOOD)
    assert run("validate", "m.yaml", "--json", cwd=tmp_path).json == {
        "manifest": "m.yaml",
        "valid": True,
        "problems": [],
        "items": 1,
    }


def test_hostile_text_in_a_manifest_reaches_no_terminal(tmp_path: Path) -> None:
    text = GOOD.replace("id: turtle", r'id: "\e]0;pwned\a\u202e\r\n[INFO] DONE"')
    (tmp_path / "m.yaml").write_text(text)
    said = call("validate", tmp_path / "m.yaml")
    assert said.code == 2
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(said.out + said.err)
    assert not any(line.startswith("[INFO]") for line in said.err.splitlines())
