"""One epoch of a batch's ledger: the lock, the ledger open for writing, and the high-water mark that moves with it.

Every command that writes to a ledger goes in and out through here, so that the lock is always held, a ledger that was
restored from a copy is noticed before anything is decided on it, and the last word is written whatever happens.
"""

from __future__ import annotations

import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.cli.wording.console import say
from pipeline.ledger.lock import only_process
from pipeline.ledger.mark import refuse_restored, write_mark
from pipeline.ledger.opening import LEASE_S
from pipeline.ledger.store import Ledger
from pipeline.ledger.trial import told_before_anything_is_sent, try_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.paths import BatchFolder


@dataclass(kw_only=True)
class Epoch:
    """A ledger that this process alone may write. The mutable state is `tell`, `ending` and `reached`."""

    ledger: Ledger = field(init=False)
    effects: Effects
    marks: Path | None
    """Where this user's marks lie; None for a rehearsal, which buys nothing that could be bought twice."""
    tell: Callable[[str], None] = say
    """Given what the ledger has to say to the user while it is open."""
    ending: str = "stopped by an error"
    """What the ledger will say of how this epoch ended."""
    reached: int = 0
    """The event that the ledger is known to have come to. A ledger that ends before it was restored beneath us."""

    @contextmanager
    def telling(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Have the user told in another way for a while: bars are drawn over what is simply printed."""
        before, self.tell = self.tell, tell
        try:
            yield
        finally:
            self.tell = before

    async def refuse_restored(self) -> None:
        """Stop where the ledger is older than its mark.

        Raises:
            InputError: it is; the text says how to go on.
        """
        if self.marks is not None:
            ledger = self.ledger
            last = await ledger.last_event()
            refuse_restored(self.marks, await ledger.read_meta("uuid"), last, ledger.path.parent, self.effects.files)
            self.reached = last

    async def move_mark(self) -> None:
        """Note outside the batch's folder how far its ledger has come; never less than it had come to before."""
        if self.marks is None:
            return
        last = await self.ledger.last_event()
        if last >= self.reached:
            self.reached = last
            write_mark(self.marks, await self.ledger.read_meta("uuid"), last, self.effects.files)


@asynccontextmanager
async def begin_epoch(
    folder: BatchFolder,
    effects: Effects,
    marks: Path | None,
    *,
    command: str,
    restored: bool = False,
    alone: bool = False,
    lease_s: float = LEASE_S,
    tell: Callable[[str], None] = say,
) -> AsyncIterator[Epoch]:
    """Take the batch's lock and open its ledger for writing; let both go at the end.

    Args:
        folder: the batch's; it exists.
        effects: what the ledger reaches the world with.
        marks: where this user's marks lie; None for a rehearsal.
        command: the command that writes.
        restored: go on even where the ledger is older than its mark; the caller then moves the mark when it has dealt
            with that.
        alone: whether workers that share the ledger must have ended.
        lease_s: where several share the ledger, for how long this process may be silent before others take over.
        tell: given what there is to say to the user, until the epoch's own is changed.

    Raises:
        BatchLocked: another process runs the batch. InputError: not a ledger of ours, one restored from a copy, or a
            folder that cannot keep one.
        DiskRefused: the disk said no.
    """
    about = {"pid": os.getpid(), "host": socket.gethostname(), "version": __version__, "command": command}
    epoch = Epoch(effects=effects, marks=marks, tell=tell)
    async with AsyncExitStack() as stack:
        with told_before_anything_is_sent():
            shared = effects.files.exists(folder.shared)
            if alone or not shared:
                stack.enter_context(only_process(folder, effects))
            worker = f"{socket.gethostname()}-{os.getpid()}" if shared else ""
            for sentence in await effects.threads.run(try_folder, folder, effects, worker):
                tell(sentence)
        epoch.ledger = ledger = await Ledger.open(
            folder.ledger, effects, about, lambda said: epoch.tell(said), take_in=restored, lease_s=lease_s
        )
        stack.push_async_callback(lambda: ledger.close(epoch.ending))
        if not restored:
            await epoch.refuse_restored()
            await ledger.take_in(epoch.tell)  # into this ledger, and not into a copy that is put away again
            stack.push_async_callback(epoch.move_mark)
        yield epoch
