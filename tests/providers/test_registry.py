"""Providers by name, accounts from the environment."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.providers.modelmax.provider import ModelMax
from pipeline.providers.openai_videos.provider import OpenAIVideos
from pipeline.providers.registry import GROUP, account_from, find_provider, provider_names
from pipeline.providers.venice.provider import Venice
from tests.providers.loopback import CANARY

ROOT = Path(__file__).parents[2]
DECLARED = [
    EntryPoint(name=name, value=value, group=GROUP)
    for name, value in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP].items()
]


def test_every_declared_provider_is_found_by_its_name() -> None:
    assert provider_names(DECLARED) == ("modelmax", "openai-videos", "venice")
    for name in provider_names(DECLARED):
        assert find_provider(name, DECLARED).capabilities.name == name


def test_a_name_that_is_nearly_right_gets_a_hint() -> None:
    with pytest.raises(InputError, match="Did you mean venice"):
        find_provider("venise", DECLARED)
    with pytest.raises(InputError, match="modelmax, openai-videos, venice"):
        find_provider("qqq", DECLARED)
    with pytest.raises(InputError, match="none"):
        find_provider("venice", [])


def test_two_packages_with_one_name_are_refused() -> None:
    twin = EntryPoint(name="venice", value="other:Venice", group=GROUP)
    with pytest.raises(InputError, match="uninstall one"):
        find_provider("venice", [*DECLARED, twin])
    assert find_provider("venice", [*DECLARED, *DECLARED]) is Venice


def test_a_plugin_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(InputError, match="no_such_module"):
        find_provider("x", [EntryPoint(name="x", value="no_such_module:X", group=GROUP)])


def test_naming_a_provider_imports_no_http_client() -> None:
    code = (
        "import sys; from pipeline.providers import registry; registry.provider_names();"
        "from pipeline.providers.venice.provider import Venice;"
        "from pipeline.providers.modelmax.provider import ModelMax;"
        "from pipeline.providers.openai_videos.provider import OpenAIVideos;"
        "assert not {'aiohttp', 'yarl'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_account_comes_from_the_environment_with_the_documented_default() -> None:
    account = account_from({"VENICE_API_KEY": f" {CANARY}\n"}, Venice.capabilities)
    assert (account.key, account.base_url) == (CANARY, "https://api.venice.ai/api/v1")
    assert CANARY not in repr(account)
    other = account_from({"MODELMAX_API_KEY": "k", "MODELMAX_BASE_URL": "http://127.0.0.1:1/"}, ModelMax.capabilities)
    assert other.base_url == "http://127.0.0.1:1"


def test_where_no_key_is_needed_the_address_is_enough_and_has_to_be_told() -> None:
    capabilities = OpenAIVideos.capabilities
    assert account_from({"OPENAI_VIDEOS_BASE_URL": "http://localhost:8000/v1"}, capabilities).key == ""
    with pytest.raises(InputError, match=r"OPENAI_VIDEOS_BASE_URL is not set.*export your server's"):
        account_from({"OPENAI_VIDEOS_API_KEY": "k"}, capabilities)
    with pytest.raises(InputError, match="copy the key again"):
        account_from({"OPENAI_VIDEOS_BASE_URL": "http://localhost:8000", "OPENAI_VIDEOS_API_KEY": "a b"}, capabilities)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, r"VENICE_API_KEY.*\.env"),
        ({"VENICE_API_KEY": "  "}, "VENICE_API_KEY is not set"),
        ({"VENICE_API_KEY": "a b"}, "copy the key again"),
        ({"VENICE_API_KEY": "a\r\nX: y"}, "copy the key again"),
        ({"VENICE_API_KEY": "k", "VENICE_BASE_URL": "http://api.venice.ai"}, "https"),
    ],
)
def test_what_is_missing_or_wrong_is_said_without_the_key(environ: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        account_from(environ, Venice.capabilities)
