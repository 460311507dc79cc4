"""Which network addresses a download may go to: those of the public internet, and no others.

A host name on the allow-list can still resolve to an address inside the user's network. Every address it resolves to
is unwrapped (IPv4 inside IPv6, 6to4, NAT64) and must be public; the connection then goes to an address that
was checked, so that a second, different resolution cannot slip in between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port in, addresses out; raises OSError where the name does not resolve."""

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches it; the last four bytes are the real address (RFC 6052)."""

RESERVED = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16", "fec0::/10"))
)
"""Special-purpose blocks of the IANA registries that some Python releases still count as global."""


def is_public(address: str) -> bool:
    """Tell whether an address, with every address hidden inside it, is on the public internet."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed in NAT64:
        return is_public(str(ipaddress.IPv4Address(parsed.packed[-4:])))
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return False
    if any(parsed in network for network in RESERVED):
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return True
    hidden = [parsed.ipv4_mapped, parsed.sixtofour]
    if parsed.packed[:12] == bytes(12):  # ::a.b.c.d, the retired "compatible" form
        hidden.append(ipaddress.IPv4Address(parsed.packed[-4:]))
    return all(is_public(str(inner)) for inner in hidden if inner is not None)


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Resolve with the system's resolver, in its order of preference, each address once."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
