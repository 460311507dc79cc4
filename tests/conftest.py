"""What holds for every test: no key, no base URL, no mark of the user's, and no packet that leaves this machine.

The guard is an audit hook, which sees every socket whoever opens it, and replaces nothing.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Server

SECRET_OR_ADDRESS = re.compile(r".*_(API_KEY|ADMIN_KEY|BASE_URL)")
NAMES_OF_THIS_MACHINE = {"localhost", "", None}


class NetworkRefused(AssertionError):
    """A test tried to reach another machine."""


def is_loopback(host: Any) -> bool:
    """Tell whether a host, as the socket module is given it, is this machine."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in NAMES_OF_THIS_MACHINE:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def refuse_other_machines(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise NetworkRefused where a test looks up or connects to anything but loopback."""
    match event, arguments:
        case "socket.getaddrinfo", (host, *_):
            pass
        case (("socket.connect" | "socket.sendto"), (_, (host, *_))):
            pass
        case _:
            return
    if not is_loopback(host):
        raise NetworkRefused(f"a test tried to reach {host}; tests stay on loopback")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a plugin's provider be held against the conformance suite (docs/adding-a-provider.md)."""
    parser.addoption("--dialect", action="append", default=[], metavar="MODULE:NAME", help="a provider to try instead")


def pytest_configure(config: pytest.Config) -> None:
    """Take the user's keys and addresses out of the environment, and close the way to other machines."""
    for name in [name for name in os.environ if SECRET_OR_ADDRESS.fullmatch(name)]:
        del os.environ[name]
    state = TemporaryDirectory(prefix="clipmill-tests-")
    config.add_cleanup(state.cleanup)
    os.environ["XDG_STATE_HOME"] = state.name
    os.environ["XDG_CACHE_HOME"] = f"{state.name}/cache"
    sys.addaudithook(refuse_other_machines)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for all tests of this process; each batch in it has a schema of its own."""
    from tests.support.postgres import MISSING, Server, programs

    if programs() is None:
        pytest.skip(MISSING)
    server = Server()
    yield server
    server.close()
