"""Addresses: the one place that decides which URL a request may go to.

The user's base URL comes in once and is frozen as an `Origin`; every request to a vendor is built from it. What a
vendor sends as a URL comes in as text, is parsed here, and goes out either as a path on the frozen origin, as a
download address on an allowed host, or as nothing. No text of a vendor's ever reaches the HTTP client as it came.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from urllib.parse import SplitResult

URL_MAX_CHARACTERS = 4096
"""Longer than any address a vendor has reason to send; a signed link has about 1,000."""

HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
BASE_PATH = re.compile(r"(?:/[A-Za-z0-9_~.-]+)*")
PRINTABLE = re.compile(r"[!-\[\]-~]+")
"""Visible ASCII without the backslash, which some parsers read as a slash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Scheme, host, port and path prefix of a vendor's API, from the user's base URL and from nothing else."""

    scheme: str
    host: str
    port: int
    prefix: str
    """The base URL's own path, without a slash at its end; empty for most."""

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this machine."""
        return is_loopback(self.host)

    @property
    def root(self) -> str:
        """The base URL as text, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if self.port == default else f":{self.port}") + self.prefix

    def url(self, path: str) -> str:
        """Return the address of `path`, which starts with a slash and is below the prefix."""
        if not path.startswith("/") or path.startswith("//"):
            raise ValueError(f"{path!r} is not a path")
        return self.root + path


def is_loopback(host: str) -> bool:
    """Tell whether a host, as written in a URL, is this machine; only `localhost` and literal addresses count."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_url(text: str) -> SplitResult | None:
    """Split an absolute http(s) URL, or return None for anything that two parsers could read differently."""
    if len(text) > URL_MAX_CHARACTERS or not PRINTABLE.fullmatch(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or "@" in parts.netloc or port == 0 or parts.netloc.endswith(":"):
        return None
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return None
        return parts
    return parts if HOST.fullmatch(host) and ".." not in host else None


def port_of(parts: SplitResult) -> int:
    """Return the port that a split URL names or implies."""
    return parts.port or {"https": 443, "http": 80}[parts.scheme]


def check_base_url(url: str) -> str:
    """Return the base URL without a slash at its end, or say what is wrong with it.

    Raises:
        InputError: not an http(s) URL, or plain http to another machine, which would show the key to the network.
    """
    parts = split_url(url)
    if parts is None:
        raise InputError(f"{url!r} is not a base URL; write one such as https://api.example.com.")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise InputError(f"The base URL {url!r} has a query or a fragment; end it with the path.")
    path = parts.path.rstrip("/")
    if not BASE_PATH.fullmatch(path) or any(set(segment) == {"."} for segment in path.split("/")):
        raise InputError(f"The path of the base URL {url!r} may hold letters, digits and - . _ ~ alone.")
    host = parts.hostname or ""
    if parts.scheme == "http" and not is_loopback(host):
        raise InputError(f"The base URL {url!r} would show the key to the network; use https (http is for localhost).")
    return Origin(scheme=parts.scheme, host=host, port=port_of(parts), prefix=path).root


def origin_of(base_url: str) -> Origin:
    """Freeze a base URL.

    Raises:
        InputError: as `check_base_url`.
    """
    parts = urlsplit(check_base_url(base_url))
    return Origin(scheme=parts.scheme, host=parts.hostname or "", port=port_of(parts), prefix=parts.path)


def path_on(origin: Origin, text: str, shape: re.Pattern[str]) -> str | None:
    """Return what a vendor sent as a path below the origin's prefix, or None where it is anything else.

    A path alone, with or without the prefix, and an absolute URL of exactly the same origin are understood.
    """
    if len(text) > URL_MAX_CHARACTERS or not PRINTABLE.fullmatch(text):
        return None
    path = text
    if not text.startswith("/"):
        parts = split_url(text)
        if parts is None or parts.query or parts.fragment:
            return None
        if (parts.scheme, (parts.hostname or "").lower(), port_of(parts)) != (
            origin.scheme,
            origin.host.lower(),
            origin.port,
        ):
            return None
        path = parts.path
    if origin.prefix and path.startswith(origin.prefix + "/"):
        path = path.removeprefix(origin.prefix)
    segments = path.split("/")
    if any(segment and set(segment) == {"."} for segment in segments):
        return None
    return path if shape.fullmatch(path) else None


def path_segment(text: str) -> str:
    """Return a vendor's text, such as an id, as one segment of a path.

    Dots alone would be a step up, and escaped once still are one to some servers; escaped twice they name nothing.
    """
    segment = quote(text, safe="", errors="replace")
    return segment.replace(".", "%252E") if set(segment) == {"."} else segment


def download_url(origin: Origin, text: str, suffixes: Sequence[str]) -> str | None:
    """Return a vendor's download address if it may be fetched, without the key; None where it may not.

    It may where the host ends in one of `suffixes` (".venice.ai") over https on the usual port, or, for an origin on
    this machine, where it stays on this machine.
    """
    parts = split_url(text)
    if parts is None or parts.fragment:
        return None
    host = (parts.hostname or "").lower()
    if origin.is_loopback and is_loopback(host):
        return text
    allowed = any(host.endswith(suffix) for suffix in suffixes)
    return text if parts.scheme == "https" and port_of(parts) == 443 and allowed else None
