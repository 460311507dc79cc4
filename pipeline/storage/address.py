"""Where a store is: the URL that the user names, taken apart once; credentials are never part of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pipeline.errors import InputError
from pipeline.providers.origin import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES: Final = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
"""Each with what the variables begin with that its credentials come from."""
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,253}")
STEP = re.compile(r"[A-Za-z0-9!_.*'()=+@,-]+")
"""One step of a prefix, in signs that every store and every shell takes as they are."""
ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
IN_THE_CLEAR: Final = "AWS_ALLOW_HTTP"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A bucket, and the prefix below which everything of one batch or one export lies."""

    scheme: str
    bucket: str
    prefix: str
    """Without a slash at its ends; empty for the whole bucket."""

    @property
    def url(self) -> str:
        """The address as text, without a slash at its end."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def is_remote(text: str) -> bool:
    """Tell whether a destination is meant to be in an object store, and not on disk."""
    return "://" in text


def parse_store(text: str) -> Address:
    """Take a URL apart.

    Raises:
        InputError: it is none of a store, or holds what belongs elsewhere.
    """
    known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise InputError("A store is named like s3://bucket/prefix; this is no URL.") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            "The URL of a store holds a bucket and a prefix and nothing else, such as s3://bucket/prefix. Credentials "
            "come from the environment (for s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)."
        )
    if parts.scheme not in SCHEMES:
        raise InputError(f"{text} is no store that is known here. Name one of {known}, such as s3://bucket/prefix.")
    if not BUCKET.fullmatch(parts.netloc):
        raise InputError(f"{text} names no bucket. It looks like {parts.scheme}://bucket/prefix.")
    prefix = parts.path.strip("/")
    if prefix and not all(STEP.fullmatch(step) and set(step) != {"."} for step in prefix.split("/")):
        raise InputError(f"{text}: the steps of a prefix are letters, digits and !_.*'()=+@,- between single slashes.")
    return Address(scheme=parts.scheme, bucket=parts.netloc, prefix=prefix)


def endpoint_is_loopback(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment sends S3 to a server on this machine.

    Raises:
        InputError: it sends S3 to another machine without TLS, and does not say that this is meant.
    """
    endpoint = next((environ[name] for name in ENDPOINTS if environ.get(name)), "")
    parts = urlsplit(endpoint)
    loopback = is_loopback(parts.hostname or "")
    meant = environ.get(IN_THE_CLEAR, "").lower() in {"1", "true", "yes", "on"}
    if parts.scheme == "http" and not loopback and not meant:
        raise InputError(
            f"{endpoint} is not encrypted, and not on this machine. Use https, or say that this is meant with "
            f"{IN_THE_CLEAR}=true in the environment."
        )
    return loopback
