"""What requests are checked by: the vendors' lists of models, as `clipmill models` last fetched them, or none at all.

A list is kept in the user's cache, one file for each provider and host, with the day on which it was fetched. A list
that cannot be read, or is older than the one that came with clipmill, is as good as none.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.errors import ClipmillError, Severity
from pipeline.paths import cache_folder
from pipeline.planning.plan import offline_providers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.errors import Problem
    from pipeline.providers.base import Capabilities, Provider
    from pipeline.providers.catalogue import Table

LIST_MAX_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Checking:
    """The lists of models by which this process checks and writes requests.

    The mutable state is `lists`: those in use, by provider.
    """

    effects: Effects
    environ: Mapping[str, str]
    by_list: bool = True
    """False: requests are sent as they are written, whatever is known of their models."""
    lists: dict[str, Table] = field(default_factory=dict)

    def offline(self, name: str) -> Provider:
        """Return a provider that checks and prices, and has no key to send anything with. Raises InputError."""
        return self.equipped(offline_providers(self.effects)(name))

    def equipped(self, provider: Provider) -> Provider:
        """Give a provider the list that was kept of its models, where it can take one; return it."""
        take: Any = getattr(provider, "take_catalogue", None)
        if take is None:
            return provider
        if not self.by_list:
            take(None, "")
            return provider
        kept = read_kept(kept_file(self.environ, provider.capabilities))
        if kept is not None:
            take(kept.answer, kept.fetched_at[:10])
        self.lists[provider.capabilities.name] = provider.catalogue  # type: ignore[attr-defined]  # it takes one
        return provider

    def explained(self, problems: Iterable[Problem]) -> list[str]:
        """Say which lists the errors came of, as their naming a model tells, and what to do where a list is wrong."""
        errors = [problem for problem in problems if problem.severity is Severity.ERROR]
        named = {word.strip(".,;:") for problem in errors for word in problem.message.split()}
        return [
            f"What {name}'s models take is as of {known.as_of}. For today's list: clipmill models --provider {name}. "
            "To send without it: --no-catalogue."
            for name, known in sorted(self.lists.items())
            if named & known.models.keys()
        ]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A vendor's list as it was fetched."""

    answer: Mapping[str, Any]
    fetched_at: str
    """ISO 8601, UTC."""


def kept_file(environ: Mapping[str, str], capabilities: Capabilities) -> Path:
    """Return where the list of the models at a provider's address is kept."""
    url = environ.get(capabilities.base_url_variable, "").strip() or capabilities.default_base_url
    host = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in urlsplit(url).netloc)
    return cache_folder(environ) / "models" / f"{capabilities.name}-{host[:200]}.json"


def read_kept(path: Path) -> Kept | None:
    """Return a list that was kept; None for none, or for one that cannot be read."""
    try:
        if path.stat().st_size > LIST_MAX_BYTES:
            return None
        record = json.loads(path.read_bytes())
        answer, fetched_at = record["answer"], record["fetched_at"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    is_sound = isinstance(answer, dict) and isinstance(fetched_at, str)
    return Kept(answer=answer, fetched_at=fetched_at) if is_sound else None


def keep(path: Path, answer: Mapping[str, Any], fetched_at: datetime, effects: Effects) -> str:
    """Keep a list; return why it could not be kept, or nothing."""
    from pipeline.durable import make_folder, write_atomically

    record = {"fetched_at": fetched_at.isoformat(timespec="seconds"), "answer": answer}
    try:
        make_folder(effects.files, path.parent)
        write_atomically(effects.files, path, json.dumps(record).encode())
    except ClipmillError as refused:
        return f"The list could not be kept for later: {refused}"
    return ""


def checking(effects: Effects, *, by_list: bool) -> Checking:
    """Return what requests are checked by in this process's environment."""
    return Checking(effects=effects, environ=os.environ, by_list=by_list)
