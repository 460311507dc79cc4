"""What may be asked for, and what a vendor's address becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.providers.addresses import is_public
from pipeline.providers.modelmax.paths import CONTENT, RESULT, STATUS
from pipeline.providers.origin import check_base_url, download_url, origin_of, path_on

if TYPE_CHECKING:
    import re

MODELMAX = origin_of("https://api.modelmax.io")
VENICE = origin_of("https://api.venice.ai/api/v1")
HOSTS = (".venice.ai",)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://api.modelmax.io", "https://api.modelmax.io"),
        ("https://api.venice.ai/api/v1/", "https://api.venice.ai/api/v1"),
        ("https://api.venice.ai:443/api/v1", "https://api.venice.ai/api/v1"),
        ("https://proxy.example.com:8443", "https://proxy.example.com:8443"),
        ("http://127.0.0.1:8080/venice", "http://127.0.0.1:8080/venice"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_is_taken_without_its_last_slash(url: str, clean: str) -> None:
    assert check_base_url(url) == clean
    assert origin_of(url).root == clean


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.modelmax.io",
        "ftp://api.modelmax.io",
        "http://api.modelmax.io",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://0x7f000001",
        "http://10.0.0.1",
        "https://user:pass@api.modelmax.io",
        "https://api.modelmax.io?x=1",
        "https://api.modelmax.io?",
        "https://api.modelmax.io#x",
        "https://api.modelmax.io/../x",
        "https://api.modelmax.io/%2e%2e",
        "https://api.modelmax.io//x",
        "https://api.modelmax.io:0",
        "https://api.modelmax.io:99999",
        "https://api.modelmax.io:",
        "https://api.modelmax.io\\@evil.example",
        "https://api.mödelmax.io",
        "https://api.modelmax.io /x",
        "https://[::1",
        "https://[v1.x]/",
        "https:///x",
    ],
)
def test_a_base_url_that_could_show_the_key_or_be_misread_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        check_base_url(url)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/v1/queue/veo-3/requests/Z2Vt==/status", "/v1/queue/veo-3/requests/Z2Vt==/status"),
        ("/v1/queue/veo-3.1/requests/a%2Fb%2B/status", "/v1/queue/veo-3.1/requests/a%2Fb%2B/status"),
        ("https://api.modelmax.io/v1/queue/veo-3/requests/x/status", "/v1/queue/veo-3/requests/x/status"),
        ("HTTPS://API.ModelMax.io:443/v1/queue/veo-3/requests/x/status", "/v1/queue/veo-3/requests/x/status"),
    ],
)
def test_an_address_of_the_queue_becomes_a_path(text: str, path: str) -> None:
    assert path_on(MODELMAX, text, STATUS) == path


def test_a_base_url_with_a_path_does_not_double_it() -> None:
    origin = origin_of("http://127.0.0.1:8080/modelmax")
    for text in ("/v1/queue/m/requests/x", "/modelmax/v1/queue/m/requests/x"):
        path = path_on(origin, text, RESULT)
        assert path is not None
        assert origin.url(path) == "http://127.0.0.1:8080/modelmax/v1/queue/m/requests/x"


EVIL = [
    "https://evil.example/v1/queue/veo-3/requests/x/status",
    "http://api.modelmax.io/v1/queue/veo-3/requests/x/status",
    "https://api.modelmax.io:444/v1/queue/veo-3/requests/x/status",
    "https://api.modelmax.io@evil.example/v1/queue/veo-3/requests/x/status",
    "https://api.modelmax.io.evil.example/v1/queue/veo-3/requests/x/status",
    "//evil.example/v1/queue/veo-3/requests/x/status",
    "///evil.example/v1/queue/veo-3/requests/x/status",
    "/\\evil.example/v1/queue/veo-3/requests/x/status",
    "\\\\evil.example\\v1",
    "@evil.example/v1/queue/veo-3/requests/x/status",
    ".evil.example/v1/queue/veo-3/requests/x/status",
    "https:evil.example/v1/queue/veo-3/requests/x/status",
    "https:/v1/queue/veo-3/requests/x/status",
    ":80/v1/queue/veo-3/requests/x/status",
    "/v1/../../admin",
    "/v1/queue/../requests/x/status",
    "/v1/queue/veo-3/requests/../status",
    "/v1/queue/veo-3/requests/%2e%2e/status",
    "/v1/queue/veo-3/requests/x%0d%0aHost:evil/status",
    "/v1/queue/veo-3/requests/x\r\nHost: evil/status",
    "/v1/queue/veo-3/requests/x/status?key=1",
    "/v1/queue/veo-3/requests/x/status#a",
    "/v1/queue/veo-3/requests/x/status/",
    "/v1/queue/veo-3/requests/" + "x" * 10_000 + "/status",
    "/v1/queue/veo-3/requests/\u0445/status",
    "https://api.modelma\u0445.io/v1/queue/veo-3/requests/x/status",
    "/v1/queue//requests//status",
    "/v1/config",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:text/html,x",
    " /v1/queue/veo-3/requests/x/status",
    "",
]


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("shape", [STATUS, CONTENT])
def test_any_other_address_is_nothing(text: str, shape: re.Pattern[str]) -> None:
    assert path_on(MODELMAX, text, shape) is None


@given(st.text())
def test_no_text_of_a_vendor_leaves_the_origin(text: str) -> None:
    for shape in (STATUS, RESULT, CONTENT):
        path = path_on(MODELMAX, text, shape)
        assert path is None or MODELMAX.url(path).startswith("https://api.modelmax.io/v1/queue/")


def test_an_origin_builds_from_paths_alone() -> None:
    for path in ("evil", "//evil.example", ""):
        with pytest.raises(ValueError, match="not a path"):
            MODELMAX.url(path)


@pytest.mark.parametrize(
    "url",
    ["https://private-share.venice.ai/a.mp4?sig=a%2Bb&e=1", "https://a.b.venice.ai:443/x", "https://x.VENICE.ai/"],
)
def test_a_download_from_an_allowed_host_is_taken(url: str) -> None:
    assert download_url(VENICE, url, HOSTS) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://private-share.venice.ai/a.mp4",
        "https://private-share.venice.ai:8443/a.mp4",
        "https://evilvenice.ai/a.mp4",
        "https://venice.ai.evil.example/a.mp4",
        "https://x.venice.ai@evil.example/a.mp4",
        "https://evil.example/.venice.ai",
        "https://evil.example\\.venice.ai/",
        "https://evil.example?.venice.ai",
        "http://127.0.0.1/a.mp4",
        "https://127.0.0.1/a.mp4",
        "https://x.venice.ai/a.mp4#f",
        "/a.mp4",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_download_from_anywhere_else_is_not(url: str) -> None:
    assert download_url(VENICE, url, HOSTS) is None


def test_downloads_on_this_machine_belong_to_a_provider_on_this_machine() -> None:
    rehearsal = origin_of("http://127.0.0.1:8080/api/v1")
    assert download_url(rehearsal, "http://127.0.0.1:9/a.mp4", HOSTS) == "http://127.0.0.1:9/a.mp4"
    assert download_url(rehearsal, "http://10.0.0.1/a.mp4", HOSTS) is None


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "64:ff9b::808:808"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::10.0.0.1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:7f00:1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "100::1", "2001:db8::1", "2001::7f00:1",
        "2001:0:7f00:1:0:0:80ff:fffe", "2002:7f00:1::", "2002:a00:1::", "2002:c0a8:1::", "2002:a9fe:a9fe::",
        "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "3fff::1", "5f00::1",
        "localhost", "0x7f.1", "2130706433", "01.01.01.01", "1.1",
    ],
)  # fmt: skip
def test_every_other_address_is_not(address: str) -> None:
    assert not is_public(address)
