"""Which providers there are, by name: entry points of the group `clipmill.providers`, imported when named.

A name comes in and a factory goes out; the environment comes in and an account goes out. Nothing here sends.
"""

from __future__ import annotations

import difflib
import re
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from pipeline.errors import InputError
from pipeline.providers.base import Account
from pipeline.providers.origin import check_base_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.providers.base import Capabilities, ProviderFactory

GROUP = "clipmill.providers"
KEY = re.compile(r"[!-~]+")


def provider_names(installed: Iterable[EntryPoint] | None = None) -> tuple[str, ...]:
    """Return the names of the installed providers, sorted; none of them is imported."""
    return tuple(sorted({entry.name for entry in _entries(installed)}))


def find_provider(name: str, installed: Iterable[EntryPoint] | None = None) -> ProviderFactory:
    """Import the provider of that name.

    Raises:
        InputError: no such provider, two of the name, or one that cannot be imported.
    """
    entries = [*_entries(installed)]
    named = {entry.value: entry for entry in entries if entry.name == name}
    if not named:
        names = provider_names(entries)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]}?" if close else f" There are: {', '.join(names) or 'none'}."
        raise InputError(f"There is no provider {name!r}.{hint}")
    if len(named) > 1:
        raise InputError(f"Two installed packages bring a provider {name!r} ({', '.join(named)}); uninstall one.")
    (entry,) = named.values()
    try:
        return cast("ProviderFactory", entry.load())
    except Exception as error:  # a plugin's import can raise anything
        raise InputError(f"The provider {name!r} ({entry.value}) cannot be imported: {error}.") from error


def account_from(environ: Mapping[str, str], capabilities: Capabilities) -> Account:
    """Read the key and the base URL of a provider from the environment.

    Raises:
        InputError: the key is missing or cannot be a key, or the base URL is missing or no good.
    """
    variable = capabilities.key_variable
    key = environ.get(variable, "").strip()
    if not key and not capabilities.key_is_optional:
        raise InputError(f"{variable} is not set; export it, or write {variable}=... into a .env file here.")
    if key and not KEY.fullmatch(key):
        raise InputError(f"{variable} holds a character that no key has; copy the key again.")
    url = environ.get(capabilities.base_url_variable, "").strip() or capabilities.default_base_url
    if not url:
        example = f"{capabilities.base_url_variable}=http://127.0.0.1:8000/v1"
        raise InputError(
            f"{capabilities.base_url_variable} is not set, and {capabilities.name} has no address of its own; "
            f"export your server's, for example {example}."
        )
    return Account(key=key, base_url=check_base_url(url))


def _entries(installed: Iterable[EntryPoint] | None) -> Iterable[EntryPoint]:
    return entry_points(group=GROUP) if installed is None else installed
