"""The way out: connectors over real sockets, and the TLS that they demand."""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


CONNECTIONS = 64
"""Of one connector at once: what a provider's looks and downloads share."""


def system_connector(fresh: bool) -> aiohttp.BaseConnector:
    """Return a connector over real sockets: system trust store, TLS 1.2 or newer, at most `CONNECTIONS`."""
    import aiohttp  # a command that sends nothing does not pay for its import

    return aiohttp.TCPConnector(limit=CONNECTIONS, force_close=fresh, ssl=_tls())


@cache
def _tls() -> ssl.SSLContext:
    """Return the one context of the process: to read the system's trust store takes 30 ms."""
    return tls_context()


def tls_context() -> ssl.SSLContext:
    """Return a context with the system's trust store, TLS 1.2 or newer, that checks names and certificates.

    Not `create_default_context`: that one writes every session's secrets to where SSLKEYLOGFILE says.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.load_default_certs(ssl.Purpose.SERVER_AUTH)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    return tls
