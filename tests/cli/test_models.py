from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.commands.models import durations
from tests.cli.front_door import call, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Sandbox


@pytest.mark.parametrize(
    ("seconds", "text"), [((), ""), ((8.0,), "8"), ((4, 6, 8), "4 6 8"), ((5, 6), "5 6"), ((1, 2, 3, 10), "1-3 10")]
)
def test_runs_of_durations_are_told_as_a_range(seconds: tuple[float, ...], text: str) -> None:
    assert durations(seconds) == text


def test_a_provider_without_a_list_of_its_own_shows_the_dated_built_in_one(tmp_path: Path) -> None:
    said = run("models", "--provider", "modelmax", cwd=tmp_path)
    assert said.code == 0
    assert said.err.startswith("5 models known to clipmill on 20")
    assert {line.split()[0] for line in said.out.splitlines()} >= {"model", "veo-3", "veo-3-fast"}


def test_without_a_key_the_built_in_list_is_shown_and_said_to_be_so(tmp_path: Path) -> None:
    said = run("models", "--provider", "venice", "--json", cwd=tmp_path)
    assert said.code == 0
    assert "VENICE_API_KEY is not set" in said.err
    assert (said.json["source"], said.json["as_of"][:2]) == ("built-in", "20")


def test_models_of_one_kind_are_listed_and_a_kind_that_is_none_is_told(tmp_path: Path) -> None:
    said = run("models", "--provider", "venice", "--kind", "upscale", cwd=tmp_path)
    assert said.code == 0
    assert "1 upscale model known to clipmill on 20" in said.err
    header, row = said.out.splitlines()
    assert header.split() == [
        "model",
        "needs",
        "seconds",
        "resolutions",
        "aspect",
        "ratios",
        "audio",
        "prompt",
        "notes",
    ]
    assert row.split() == ["topaz-video-upscale", "video", "-", "-", "-", "never"]
    wrong = run("models", "--provider", "venice", "--kind", "text-to-vdeo", cwd=tmp_path)
    assert (wrong.code, wrong.out) == (2, "")
    assert "Did you mean text-to-video?" in wrong.err


def test_the_vendors_list_is_kept_and_shown_where_it_cannot_be_asked_for(tmp_path: Path, sandbox: Sandbox) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    live = run("models", "--provider", "venice", "--json", cwd=tmp_path, **sandbox.environ, **cache)
    (kept,) = (tmp_path / "cache" / "clipmill" / "models").iterdir()
    assert kept.name.startswith("venice-127.0.0.1_")
    assert "rehearsal" not in kept.read_text()
    away = {**sandbox.environ, **cache, "VENICE_API_KEY": ""}
    said = run("models", "--provider", "venice", "--json", cwd=tmp_path, **away)
    assert said.json["source"] == "kept"
    assert said.json["as_of"][:2] == "20"
    assert {model["id"] for model in said.json["models"]} == {model["id"] for model in live.json["models"]}
    elsewhere = run("models", "--provider", "venice", "--json", cwd=tmp_path, **cache)
    assert elsewhere.json["source"] == "built-in"


def test_with_a_key_the_vendor_is_asked(tmp_path: Path, sandbox: Sandbox) -> None:
    said = run("models", "--provider", "venice", "--json", cwd=tmp_path, **sandbox.environ)
    assert (said.code, said.json["source"], said.json["as_of"]) == (0, "live", None)
    assert said.err == f"venice lists {len(said.json['models'])} models.\n"
    assert {"id", "kind", "durations_s", "resolutions"} <= set(said.json["models"][0])


def test_a_vendor_that_cannot_be_reached_leaves_the_built_in_list(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        environ = {"VENICE_API_KEY": "canary-key", "VENICE_BASE_URL": base_url}
        said = run("models", "--provider", "venice", cwd=tmp_path, **environ)
    assert said.code == 0
    assert "venice's own list could not be had: " in said.err
    assert said.out.startswith("model ")
    assert "canary-key" not in said.err + said.out


def test_an_unknown_provider_exits_2_with_the_nearest_name() -> None:
    said = call("models", "--provider", "venize")
    assert (said.code, "Did you mean venice?" in said.err) == (2, True)


def test_a_base_url_that_would_show_the_key_exits_2(tmp_path: Path) -> None:
    environ = {"VENICE_API_KEY": "canary-key", "VENICE_BASE_URL": "http://example.com"}
    said = run("models", "--provider", "venice", cwd=tmp_path, **environ)
    assert (said.code, said.out) == (2, "")
    assert "canary-key" not in said.err
