"""What manifests are held against: the built-in list of models, the one that was fetched, or none; and which files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.cli.running.checking import Checking, keep, kept_file, read_kept
from pipeline.cli.running.settings import BatchSettings
from pipeline.providers.venice.provider import Venice
from pipeline.system.effects import system
from tests.cli.front_door import call, run
from tests.planning.fakes import png

if TYPE_CHECKING:
    from pathlib import Path

VEO = "veo3.1-fast-text-to-video"


def listed(model: str = VEO, spec: dict[str, Any] | None = None, **constraints: Any) -> dict[str, Any]:
    """An answer of the vendor's with one model."""
    known = {
        "model_type": "text-to-video",
        "aspect_ratios": ["16:9"],
        "resolutions": ["720p"],
        "durations": ["8s"],
        "audio": True,
        "audio_configurable": True,
    }
    record = {"id": model, "type": "video", "model_spec": {"constraints": known | constraints} | (spec or {})}
    return {"object": "list", "type": "video", "data": [record]}


def manifest(folder: Path, model: str = VEO, **parameters: Any) -> Path:
    given = {"duration_seconds": 8, "aspect_ratio": "16:9", "resolution": "720p"} | parameters
    path = folder / "m.yaml"
    clips = [{"id": "fox", "prompt": "A fox", "parameters": given}]
    head = {"version": 1, "name": "fox", "provider": "venice", "model": model}
    path.write_text(json.dumps({**head, "clips": clips}, indent=1))
    return path


@pytest.fixture
def by(tmp_path: Path) -> Checking:
    return Checking(effects=system(), environ={"XDG_CACHE_HOME": str(tmp_path / "cache")})


def fetched(by: Checking, answer: Any, day: str = "2099-01-02") -> None:
    path = kept_file(by.environ, Venice.capabilities)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"fetched_at": f"{day}T03:04:05+00:00", "answer": answer}))


def offline(by: Checking) -> Venice:
    provider = by.offline("venice")
    assert isinstance(provider, Venice)
    return provider


def test_a_list_that_was_fetched_goes_over_the_built_in_one(by: Checking) -> None:
    assert offline(by).catalogue.models[VEO].durations_s == (4, 6, 8)
    fetched(by, listed(durations=["8s", "12s"]))
    known = offline(by).catalogue
    assert (known.fetched, known.as_of) == (True, "2099-01-02")
    assert known.models[VEO].durations_s == (8, 12)
    assert by.lists["venice"].as_of == "2099-01-02"
    assert not known.models["wan-2-7-text-to-video"].listed


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"answer": 1, "fetched_at": "2099"}',
        b'{"answer": {}, "fetched_at": 1}',
        b"[" * 9999,
    ],
)
def test_a_list_that_cannot_be_read_is_as_good_as_none(by: Checking, text: bytes) -> None:
    path = kept_file(by.environ, Venice.capabilities)
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    assert read_kept(path) is None
    assert not offline(by).catalogue.fetched


@pytest.mark.parametrize(("answer", "day"), [({"data": 1}, "2099-01-02"), (listed(), "2020-01-02")])
def test_a_list_that_is_none_or_older_than_the_built_in_one_is_left_aside(by: Checking, answer: Any, day: str) -> None:
    fetched(by, answer, day)
    assert not offline(by).catalogue.fetched


def test_a_list_is_kept_for_each_host(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path), "VENICE_BASE_URL": "http://127.0.0.1:8080/../x"}
    there = kept_file(environ, Venice.capabilities)
    assert there == tmp_path / "clipmill" / "models" / "venice-127.0.0.1_8080.json"
    assert kept_file({"HOME": "/home/u"}, Venice.capabilities).parts[-4:-1] == (".cache", "clipmill", "models")


def test_a_cache_that_cannot_be_written_is_told_and_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "clipmill").write_text("a file in the way")
    path = kept_file({"XDG_CACHE_HOME": str(tmp_path)}, Venice.capabilities)
    effects = system()
    assert "could not be kept" in keep(path, {}, effects.clock.now(), effects)


@pytest.mark.parametrize(
    ("answer", "parameters", "told"),
    [
        (listed(durations=["5s"]), {}, "makes 5 s; the nearest is 5."),
        (listed(resolutions=[]), {}, "has one size; leave resolution out"),
        (listed(aspect_ratios=[]), {}, "leave aspect_ratio out"),
        (listed(audio_configurable=False, audio=False), {"generate_audio": True}, "makes silent clips"),
        (listed(prompt_character_limit=4), {}, "5 characters; veo3.1-fast-text-to-video takes 4 at most."),
        (listed(spec={"deprecation": {"autoRemap": False, "date": "2026-01-01T00:00:00Z", "removesAt": "2026-01-01"}}),
         {}, "was removed on 2026-01-01; take another model."),
        (listed(spec={"deprecation": {"autoRemap": False, "removesAt": "2026-01-01", "replacementModelId": "veo-9"}}),
         {}, "was removed on 2026-01-01; use veo-9."),
    ],
)  # fmt: skip
def test_the_fetched_list_decides_what_is_refused(
    by: Checking, tmp_path: Path, answer: Any, parameters: dict[str, Any], told: str
) -> None:
    fetched(by, answer)
    said = run("validate", manifest(tmp_path, **parameters), cwd=tmp_path, **by.environ)
    assert said.code == 2
    assert told in said.err
    assert "as of 2099-01-02. For today's list: clipmill models --provider venice." in said.err


def test_an_error_that_came_of_no_list_is_told_without_one(tmp_path: Path) -> None:
    said = call("validate", manifest(tmp_path, "wan-2-7-image-to-video", image="none.png", aspect_ratio=None))
    assert "does not exist" in said.err
    assert "--no-catalogue" not in said.err


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"deprecation": {"autoRemap": True, "removesAt": "2026-01-01", "replacementModelId": "veo-9"}},
         "deprecated, removed on 2026-01-01; use veo-9, which then makes its clips."),
        ({"deprecation": {"autoRemap": False, "startsAt": "2026-01-01", "removesAt": "2999-01-01"}},
         "is deprecated since 2026-01-01, removed on 2999-01-01."),
        ({"offline": True}, "offline."),
        ({"betaModel": True}, "beta."),
        ({"regionRestrictions": ["US", "CA"]}, "only in US, CA."),
    ],
)  # fmt: skip
def test_what_the_list_says_of_a_model_is_a_warning(
    by: Checking, tmp_path: Path, spec: dict[str, Any], told: str
) -> None:
    fetched(by, listed(spec=spec))
    said = run("validate", manifest(tmp_path), cwd=tmp_path, **by.environ)
    assert said.code == 0
    assert told in said.err


def test_without_the_catalogue_the_request_is_sent_as_it_is_written(tmp_path: Path) -> None:
    path = manifest(tmp_path, duration_seconds=5, generate_audio=False)
    assert call("validate", path).code == 2
    said = call("validate", path, "--no-catalogue")
    assert (said.code, said.err) == (0, "")
    by = Checking(effects=system(), environ={}, by_list=False)
    request = plan_request(by, path)
    assert offline(by).request_body(request, {})["audio"] is False
    assert "audio" not in offline(Checking(effects=system(), environ={})).request_body(request, {})


def plan_request(by: Checking, path: Path) -> Any:
    from pipeline.planning.plan import plan_file

    return plan_file(path, by.offline).items[0].request


def test_the_choice_of_no_catalogue_and_the_allowed_folders_stay_with_the_batch(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "leaf.png").write_bytes(png())
    (tmp_path / "in").mkdir()
    path = manifest(tmp_path / "in", "wan-2-7-image-to-video", duration_seconds=4, image="../shared/leaf.png")
    refused = run("run", path, "--sandbox", "--no-catalogue", cwd=tmp_path)
    assert (refused.code, "--allow-inputs DIR" in refused.err) == (2, True)
    assert not (tmp_path / "output").exists()
    said = run("run", path, "--sandbox", "--no-catalogue", "--allow-inputs", shared, cwd=tmp_path)
    assert said.code == 3, said.err  # the sandbox makes no 4 s, and was asked all the same
    assert "6 s" not in said.err
    shown = run("show", tmp_path / "output" / "fox-sandbox", "fox", cwd=tmp_path)
    assert "duration" in shown.out


def test_settings_of_an_older_ledger_hold_no_folders_and_the_list() -> None:
    old = {"manifest": "m", "inputs": "i", "max_cost_usd": None, "prices": {}, "limits": {}}
    settings = BatchSettings.from_json(old)
    assert (settings.allowed_inputs, settings.by_list) == ((), True)


def test_a_folder_can_be_allowed_when_a_batch_is_resumed(tmp_path: Path) -> None:
    settings = BatchSettings(manifest="m", inputs="i", max_cost_usd=None, prices={}, limits={}, allowed_inputs=("/a",))
    more = settings.allowing([tmp_path, tmp_path])
    assert more.allowed_inputs == ("/a", str(tmp_path))
    assert BatchSettings.from_json(more.to_json()).allowed_inputs == more.allowed_inputs
    assert run("resume", tmp_path, "--allow-inputs", tmp_path / "none", cwd=tmp_path).code == 2
