"""Where requests go, and as whom: no answer, redirect, name or variable moves them (threats T3 to T7)."""

from __future__ import annotations

import re
import ssl
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from pipeline.cli.keys import environment
from pipeline.errors import InputError
from pipeline.providers.answers import Accepted, Claimed, NotSent, Ready, Streaming
from pipeline.providers.base import Account
from pipeline.providers.http import Wire
from pipeline.providers.origin import check_base_url, origin_of
from pipeline.providers.transport import Patience
from pipeline.system import network
from pipeline.system.effects import system
from tests.providers.dialects import DIALECTS
from tests.providers.loopback import CANARY, MP4, Received, Script, answer, loopback, provided
from tests.torture.fuzz_targets import documented

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from pipeline.effects import Effects
    from tests.providers.dialect import Dialect

EASE = Patience(connect_s=30.0, submit_s=30.0, claim_s=30.0, look_s=30.0, gap_s=30.0)
PACKAGE = Path(__file__).parents[2] / "pipeline"
EVIL = "127.0.0.2"
"""Another address of this machine, on which a second server listens."""
ADDRESSES = (
    *("http://{evil}/v1/queue/m/requests/x", "http://{evil}/v1/queue/m/requests/x/status", "http://{evil}/clip.mp4"),
    *("//{evil}/v1/queue/m/requests/x/content/0", "\\\\{evil}\\x", "/\\{evil}/x", "@{evil}/x", ".{evil}/x"),
    *("http:{evil}/x", "http:/{evil}/x", ":1@{evil}/x", "http://a@{evil}/v1/queue/m/requests/x/content/0"),
    *("/v1/../../admin", "/v1/queue/%2e%2e/requests/x", "/v1/queue/m/requests/x\r\nHost: {evil}", "/" + "x" * 10_000),
    *("http://\u0435xample.{evil}/", "file:///etc/passwd", "data:text/plain,x", "javascript:alert(1)", ""),
)
REDIRECTS = (
    *("http://{evil}/x", "//{evil}/x", "file:///etc/passwd", "http://169.254.169.254/", "gopher://{evil}/"),
    *("http://[::ffff:169.254.169.254]/", "ftp://{evil}/x"),
)


def with_addresses(value: Any, address: str) -> Any:
    """Return an answer in which every text that could be an address, and every name for one, is the address."""
    if isinstance(value, list):
        return [with_addresses(element, address) for element in value]
    if not isinstance(value, dict):
        return value
    names = dict.fromkeys(("status_url", "response_url", "download_url", "url", "cancel_url"), address)
    return {
        **names,
        **{
            name: address
            if isinstance(inner, str) and ("/" in inner or "url" in name)
            else with_addresses(inner, address)
            for name, inner in value.items()
        },
    }


async def whole_way(provider: Any, dialect: Dialect) -> None:
    """Take a job from its submit to its clip, as far as the answers let it."""
    accepted = await provider.submit(dialect.request, {})
    receipt = accepted.receipt if isinstance(accepted, Accepted) else dialect.held()
    found = await provider.look(receipt)
    outputs = found.outputs if isinstance(found, Ready) else ()
    if dialect.can.has_claim_step:
        claimed = await provider.claim(receipt)
        outputs = claimed.outputs if isinstance(claimed, Claimed) else ()
    if isinstance(found, Streaming):
        await found.source.close()
    for output in outputs:
        opened = await provider.fetch(receipt, output)
        if isinstance(opened, Streaming):
            await opened.source.close()


def answers_with(dialect: Dialect, address: str) -> Any:
    """Answer as the vendor documents of a finished job, with the address wherever there is room for one."""
    records = [record for method in ("submit", "look", "claim") for record in documented(dialect, method)]
    whole = {name: value for record in records for name, value in record.items() if name not in {"error", "detail"}}
    is_small = str(dialect.running["status"]).islower()
    whole |= {"status": "completed" if is_small else "COMPLETED", "data": [{"url": address}]}

    def script(request: Received) -> Script:
        return answer(with_addresses(whole, address))

    return script


# T3


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.can.name)
async def test_no_address_that_a_vendor_sends_is_followed_elsewhere(dialect: Dialect, address: str) -> None:
    async with loopback(answer(MP4), host=EVIL) as evil:
        target = address.replace("{evil}", f"{EVIL}:{evil.port}")
        # A rehearsal's own machine is trusted for downloads; so the origin is one whose name stands for this machine.
        async with loopback(by=answers_with(dialect, target)) as server:
            with leading(vendor_example=server.port) as made:
                account = Account(key=CANARY, base_url=f"https://vendor.example{dialect.path}")
                provider = dialect.factory(account, made, patience=EASE)
                await whole_way(provider, dialect)
                await provider.close()
            assert server.received, "the vendor itself was never asked"
            assert all(request.path.startswith(("/v1/", "/api/v1/", dialect.path)) for request in server.received)
            assert not any(".." in request.path or "%2e" in request.path.lower() for request in server.received)
        assert not evil.received


class Leading(aiohttp.TCPConnector):
    """Reaches some hosts at ports of this machine, without TLS, and everything else as it is."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        super().__init__(force_close=True)
        self._ports_here = ports

    async def connect(self, req: aiohttp.ClientRequest, traces: Any, timeout: Any) -> Any:
        if req.url.host in self._ports_here:
            req.url = req.url.with_scheme("http").with_host("127.0.0.1").with_port(self._ports_here[req.url.host])
        return await super().connect(req, traces, timeout)


@contextmanager
def leading(**ports: int) -> Iterator[Effects]:
    """Make effects in whose network some hosts are this machine; an underscore in a name stands for a dot."""
    hosts = {name.replace("_", "."): port for name, port in ports.items()}
    made = replace(system(), connector=lambda fresh: Leading(hosts))
    try:
        yield made
    finally:
        made.threads.close()


# T4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.can.name)
async def test_no_call_of_a_provider_follows_a_redirect(dialect: Dialect, status: int) -> None:
    async with loopback(answer(dialect.accepted)) as elsewhere:
        script = answer({}, status, {"Location": elsewhere.url + "/v1/queue/m"})
        async with loopback(script) as server:
            async with provided(dialect.factory, server.url + dialect.path, patience=EASE) as provider:
                await whole_way(provider, dialect)
            assert len(server.received) == len({(each.method, each.path) for each in server.received})
        assert not elsewhere.received


@pytest.mark.parametrize("target", REDIRECTS)
async def test_a_download_is_redirected_to_allowed_addresses_alone(target: str) -> None:
    async def public(host: str, port: int) -> list[str]:
        return ["8.8.8.8"]

    async with loopback(answer(MP4), host=EVIL) as evil:
        hop = answer(b"", 302, {"Location": target.replace("{evil}", f"{EVIL}:{evil.port}")})
        async with loopback(hop) as links:
            with leading(**{"8_8_8_8": links.port}) as made:
                origin = origin_of("https://vendor.example")
                wire = Wire(origin, CANARY, made, download_hosts=(".example",), patience=EASE, resolve=public)
                await wire.open_download("https://vendor.example/a.mp4")
                await wire.close()
            assert len(links.received) == 1
            assert "authorization" not in links.received[0].headers
        assert not evil.received


# T5: the table of addresses is in tests/providers/test_origin.py; here is what is done with it


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:169.254.169.254"], ["64:ff9b::a00:1"]]
)
async def test_a_name_that_leads_into_the_users_network_is_not_connected_to(addresses: list[str]) -> None:
    connected: list[str] = []

    class Noting(aiohttp.TCPConnector):
        async def connect(self, req: aiohttp.ClientRequest, traces: Any, timeout: Any) -> Any:
            connected.append(str(req.url))
            raise aiohttp.ConnectionTimeoutError("noted")

    async def rebinding(host: str, port: int) -> list[str]:
        return addresses

    made = replace(system(), connector=lambda fresh: Noting())
    wire = Wire(origin_of("https://v.example"), CANARY, made, download_hosts=(".example",), resolve=rebinding)
    await wire.open_download("https://cdn.example/a.mp4")
    await wire.close()
    assert not connected


# T6


@pytest.mark.parametrize(
    "url", ["http://api.example.com", "http://10.0.0.1", "http://0.0.0.0:80", "http://localhost.evil.example"]
)
def test_a_key_never_travels_without_tls(url: str) -> None:
    with pytest.raises(InputError, match="use https"):
        check_base_url(url)


AUTHORITY = trustme.CA()
CERTIFICATES = {
    "self-signed": trustme.CA().issue_cert("localhost"),
    "another's": AUTHORITY.issue_cert("other.example"),
    "expired": AUTHORITY.issue_cert(
        "localhost", not_before=datetime(2001, 1, 1, tzinfo=UTC), not_after=datetime(2002, 1, 1, tzinfo=UTC)
    ),
}


@asynccontextmanager
async def over_tls(server_side: ssl.SSLContext) -> AsyncIterator[tuple[int, list[str]]]:
    """Serve over TLS; yield the port, and what was asked for."""
    asked: list[str] = []

    async def ask(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization", ""))
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", ask)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_side).start()
    try:
        yield int(runner.addresses[0][1]), asked
    finally:
        await runner.cleanup()


async def asked_over(server_side: ssl.SSLContext) -> tuple[object, list[str]]:
    """Send a submit over TLS, trusting `AUTHORITY`; return the answer and the keys that the server saw."""
    trusting = network.tls_context()
    AUTHORITY.configure_trust(trusting)
    made = replace(system(), connector=lambda fresh: aiohttp.TCPConnector(ssl=trusting, force_close=fresh))
    dialect = DIALECTS[0]
    async with over_tls(server_side) as (port, asked):
        account = Account(key=CANARY, base_url=f"https://localhost:{port}{dialect.path}")
        provider = dialect.factory(account, made, patience=EASE)
        outcome = await provider.submit(dialect.request, {})
        await provider.close()
    made.threads.close()
    return outcome, asked


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_a_server_that_cannot_prove_its_name_is_told_nothing(kind: str) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATES[kind].configure_cert(server_side)
    outcome, asked = await asked_over(server_side)
    assert isinstance(outcome, NotSent)
    assert not asked


async def test_a_server_that_proves_its_name_is_asked() -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(server_side)
    outcome, asked = await asked_over(server_side)
    assert asked == [f"Bearer {CANARY}"], outcome


def test_tls_is_never_old_and_never_unchecked() -> None:
    context = network.tls_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    unchecked = re.compile(r"verify=False|CERT_NONE|ssl=False|check_hostname = False|_create_unverified")
    assert not [path for path in PACKAGE.rglob("*.py") if unchecked.search(path.read_text(encoding="utf-8"))]


# T7


async def test_the_environment_moves_no_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    async with loopback(answer({})) as proxy, loopback(answer({})) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        wire = Wire(origin_of(server.url), CANARY, system(), patience=EASE)
        await wire.ask("GET", "/free")
        await wire.close()
        assert [request.headers["authorization"] for request in server.received] == [f"Bearer {CANARY}"]
        assert not proxy.received


def test_tls_secrets_are_written_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "secrets.log"))
    assert network.tls_context().keylog_filename is None
    assert not list(tmp_path.iterdir())


def test_a_file_of_keys_cannot_move_the_base_url(tmp_path: Path) -> None:
    lines = [
        "VENICE_API_KEY=a-key",
        "VENICE_BASE_URL=https://evil.example",
        "https_proxy=http://evil.example",
        "PATH=/tmp",
    ]
    (tmp_path / ".env").write_text("\n".join([*lines, "export MODELMAX_BASE_URL='https://evil.example'"]))
    assert environment({"MODELMAX_API_KEY": "mine"}, tmp_path) == {
        "VENICE_API_KEY": "a-key",
        "MODELMAX_API_KEY": "mine",
    }
