"""A line to a vendor that is opened by the first call: a command that only checks and prices pays for no connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.effects import Effects
    from pipeline.providers.base import Account
    from pipeline.providers.http import Wire
    from pipeline.providers.origin import Origin
    from pipeline.providers.transport import Patience


class Line:
    """One account's line to one origin; without either nothing can be sent. The mutable state is the wire."""

    def __init__(
        self,
        account: Account | None,
        origin: Origin | None,
        effects: Effects,
        *,
        patience: Patience | None = None,
        download_hosts: tuple[str, ...] = (),
    ) -> None:
        self._account = account
        self._origin = origin
        self._effects = effects
        self._patience = patience
        self._download_hosts = download_hosts
        self._opened: Wire | None = None

    def wire(self) -> Wire | None:
        """Return the wire, made on the first call; None where there is nothing to send with."""
        if self._opened is None and self._account is not None and self._origin is not None:
            from pipeline.providers.http import Wire  # loading aiohttp takes longer than all else together

            key, hosts, patience = self._account.key, self._download_hosts, self._patience
            self._opened = Wire(self._origin, key, self._effects, download_hosts=hosts, patience=patience)
        return self._opened

    async def close(self) -> None:
        """Let the connections go."""
        if self._opened is not None:
            await self._opened.close()
