"""The providers of a batch, each ready to be called: its key, its limits, and where a rehearsal sends it instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.cli.running.checking import Checking
from pipeline.cli.running.rehearsal import KEY, overlay
from pipeline.providers.base import Account
from pipeline.providers.registry import account_from, find_provider
from pipeline.runner.context import LaneLimits, Seat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.cli.running.settings import BatchSettings
    from pipeline.effects import Effects

SANDBOX_ORIGIN = "sandbox"
"""The origin that a rehearsal's jobs are frozen to; its port may change from run to run."""


def make_seats(
    names: Iterable[str],
    settings: BatchSettings,
    effects: Effects,
    environ: Mapping[str, str],
    *,
    speed: float,
    urls: Mapping[str, str],
) -> dict[str, Seat]:
    """Make a seat for each of the providers named.

    Args:
        names: the providers.
        settings: the batch's.
        effects: what its providers reach the world with.
        environ: holds the keys and the base URLs.
        speed: of the rehearsal's sandbox; 0 for a real run.
        urls: where the rehearsal's sandbox stands in for each provider; unused in a real run.

    Raises:
        InputError: there is no such provider, or its key is missing.
    """
    by = Checking(effects=effects, environ=environ, by_list=settings.by_list)
    seats = {}
    for name in names:
        factory = find_provider(name)
        capabilities = factory.capabilities
        here = environ
        if speed:
            here = overlay(environ, urls, name, capabilities.key_variable, capabilities.base_url_variable)
        account = account_from(here, capabilities)
        seats[name] = Seat(
            provider=by.equipped(factory(account, effects)),
            capabilities=capabilities,
            base_url=SANDBOX_ORIGIN if speed else account.base_url,
            account=account.fingerprint,
            limits=_lane_limits(settings, name, speed or 1.0),
        )
    return seats


def whereabouts(name: str, environ: Mapping[str, str], *, rehearsal: bool) -> tuple[str, str]:
    """Return the base URL and the fingerprint of the key that a provider's jobs are submitted with now.

    Raises:
        InputError: there is no such provider, or its key is missing.
    """
    if rehearsal:
        return SANDBOX_ORIGIN, Account(key=KEY, base_url=SANDBOX_ORIGIN).fingerprint
    account = account_from(environ, find_provider(name).capabilities)
    return account.base_url, account.fingerprint


def _lane_limits(settings: BatchSettings, name: str, speed: float) -> LaneLimits:
    documented = find_provider(name).capabilities.limits
    limits = settings.limits_of(name, documented)
    return LaneLimits(
        in_flight=limits.in_flight,
        submits_per_minute=limits.submits_per_minute and limits.submits_per_minute * speed,
        looks_per_minute=limits.looks_per_minute and limits.looks_per_minute * speed,
        failures_per_30_s=documented.failures_per_30_s and int(documented.failures_per_30_s * speed),
        look_spacing_s=documented.look_spacing_s,
        concurrent_billing=limits.concurrent_billing,
        concurrent_downloads=limits.concurrent_downloads,
        speed=speed,
    )
