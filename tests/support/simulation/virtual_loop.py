"""An event loop whose time jumps: nothing sleeps, and the same program takes the same steps in the same order.

In goes a coroutine; out comes its result, after as much virtual time as its timers asked for and next to no real time.
What always holds:

- Time moves only when no callback is ready, and then exactly to the next timer. Timers of one instant fire in the order
  in which they were set.
- Ready callbacks run first in, first out; with `shuffle`, each turn's callbacks run in an order drawn from that random.
- Nothing depends on memory addresses: tasks hash by the order of their creation, so that sets of tasks (a TaskGroup
  cancelling its children, `asyncio.wait`) are walked in the same order in every run. Bare futures keep asyncio's hash.
- A simulation that cannot go on says so: `Deadlock`, `BusyLoop` or `TimeIsUp` comes out of `run_until_complete`.

The private parts of asyncio that are leant on are `_run_once`, `_ready`, `_scheduled`, the two hooks for asynchronous
generators, `_run_until_complete_cb`, and `_run`, `_cancelled`, `_callback` and `_context` of a handle: the same from
Python 3.11 to 3.14, and named in this file alone.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import socket
from asyncio.base_events import _run_until_complete_cb  # type: ignore[attr-defined]
from collections import deque
from contextvars import Context, ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from types import FrameType

OWNER: ContextVar[object | None] = ContextVar("OWNER", default=None)
"""Whose callback is running. Tasks and timers inherit it, so that one owner's can be abandoned at a crash."""

IMMORTALS: list[object] = []
"""Coroutines that swallowed every attempt to close them; were they collected, they would run once more."""

CLOSE_ATTEMPTS = 100
CANCELLED_TIMERS_KEPT = 100


class Deadlock(Exception):
    """No callback is ready and nobody is waiting for time."""


class BusyLoop(Exception):
    """A great many turns passed without time moving."""


class TimeIsUp(Exception):
    """Virtual time passed the limit given to the loop."""


class OwnedTask(asyncio.Task[Any]):
    """A task that knows its owner and hashes by its number."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, number: int, owner: object | None, **rest: Any) -> None:
        self.number = number
        self.owner = owner
        super().__init__(coro, **rest)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop. As a context manager it abandons what is left of its tasks and closes.

    The mutable state is the time, the ready callbacks and the timers; they change in `_run_once`, in the `call_…`
    family and in `abandon`.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[tuple[float, int, asyncio.TimerHandle]]  # type: ignore[assignment,unused-ignore]
    _timer_cancelled_count: int

    def __init__(
        self, *, shuffle: random.Random | None = None, turns_per_instant: int = 1_000_000, limit_s: float = math.inf
    ) -> None:
        """Make a loop at time 0.

        Args:
            shuffle: draws the order of each turn's callbacks; None for first in, first out.
            turns_per_instant: how many turns may pass without time moving before `BusyLoop` is raised.
            limit_s: the virtual time past which `TimeIsUp` is raised.
        """
        super().__init__()
        self.troubles: list[str] = []
        """What callbacks and forgotten tasks raised with nobody to hear it."""
        self.resolve: Callable[[str], list[str]] | None = None
        """Host name to addresses; OSError for an unknown one. A network sets it. Real names are never looked up."""
        self.before_callback: Callable[[], None] | None = None
        """Called between any two callbacks, whoever's they are; what it raises leaves `run_until_complete`."""
        self._now = 0.0
        self._shuffle = shuffle
        self._turns_per_instant = turns_per_instant
        self._turns = 0
        self._limit_s = limit_s
        self._timer_numbers = count()
        self._task_numbers = count(1)
        self._interruption: BaseException | None = None
        self._inert = False
        self._abandoned_some = False
        self._dead_generators: set[int] = set()
        self._generator_owners: WeakKeyDictionary[Any, object | None] = WeakKeyDictionary()
        self.set_task_factory(self._make_task)

    def __enter__(self) -> VirtualLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()
        self.close()

    # Time and callbacks

    def time(self) -> float:
        return self._now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if self._inert:
            timer.cancel()
        else:
            heapq.heappush(self._scheduled, (when, next(self._timer_numbers), timer))
            timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def call_soon(  # type: ignore[override]  # what the arguments are is the caller's affair
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self._inert:
            handle = asyncio.Handle(callback, args, self, context)
            handle.cancel()
            return handle
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)  # every thread of a simulation is this one

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run the work at once, in the caller's stack."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002  # asyncio's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        """Answer from `resolve` alone."""
        if self.resolve is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in self.resolve(host)
        ]

    async def sendfile(
        self, transport: Any, file: Any, offset: int = 0, count: int | None = None, *, fallback: bool = True
    ) -> int:
        """Have a memory transport send a file; asyncio's own way is for sockets."""
        sent: int = await transport.send_file(file, offset, count)
        return sent

    def run_until_complete(self, future: Any) -> Any:
        """Run until a future is done; what ends the run early leaves nothing behind that would end the next one."""
        try:
            return super().run_until_complete(future)
        except BaseException:
            self._ready = deque(each for each in self._ready if each._callback is not _run_until_complete_cb)  # type: ignore[attr-defined]
            raise

    def interrupt(self, error: BaseException) -> None:
        """Have `error` leave `run_until_complete` as soon as the callback that runs now returns."""
        self._interruption = error

    def _run_once(self) -> None:
        self._forget_cancelled_timers()
        ready, timers = self._ready, self._scheduled
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            self._jump()
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)
        self._turns += 1
        if self._turns > self._turns_per_instant:
            raise BusyLoop(f"{self._turns_per_instant} turns at {self._now:.6f} s: {self._who_waits()}")
        if self._shuffle is not None and len(ready) > 1:
            order = list(ready)
            self._shuffle.shuffle(order)
            ready.clear()
            ready.extend(order)
        for _ in range(len(ready)):
            try:
                if self.before_callback is not None:
                    self.before_callback()
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
            except BaseException:
                self._interruption = None
                raise
            if self._interruption is not None:
                error, self._interruption = self._interruption, None
                raise error

    def _jump(self) -> None:
        if not self._scheduled:
            raise Deadlock(f"nobody is waiting for time at {self._now:.6f} s: {self._who_waits()}")
        when = self._scheduled[0][0]
        if when > self._limit_s:
            raise TimeIsUp(f"the next timer is at {when:.6f} s, past the limit: {self._who_waits()}")
        if when > self._now:
            self._now = when
            self._turns = 0

    def _forget_cancelled_timers(self) -> None:
        timers = self._scheduled
        if self._timer_cancelled_count > max(CANCELLED_TIMERS_KEPT, len(timers) // 2):
            timers[:] = [entry for entry in timers if not entry[2]._cancelled]
            heapq.heapify(timers)
            self._timer_cancelled_count = 0
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)[2]._scheduled = False  # type: ignore[attr-defined]
            self._timer_cancelled_count = max(0, self._timer_cancelled_count - 1)

    # Tasks

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, context: Context | None = None, **rest: Any
    ) -> asyncio.Task[Any]:
        owner = OWNER.get() if context is None else context.get(OWNER)
        return OwnedTask(coro, number=next(self._task_numbers), owner=owner, loop=loop, context=context, **rest)

    def _tasks(self) -> list[OwnedTask]:
        return sorted((task for task in asyncio.all_tasks(self) if isinstance(task, OwnedTask)), key=lambda t: t.number)

    def _who_waits(self) -> str:
        places = [f"{task.get_name()} at {where(task.get_coro())}" for task in self._tasks()]
        return "; ".join(places[:10]) + ("; …" if len(places) > 10 else "") or "no task is left"

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody heard. After a crash, what its victims left behind is no news."""
        message = str(context.get("message"))
        left_behind = "never retrieved" in message or "destroyed" in message or "Unclosed" in message
        if not (left_behind and (self._abandoned_some or self._inert)):
            self.troubles.append(f"{message}: {context.get('exception')!r}")

    # Crashes

    def abandon(self, owner: object | None = None) -> None:
        """Let go of every task, timer and callback of `owner` (None: of everybody) as a killed process does.

        Nothing of theirs is ever scheduled again. Python closes a coroutine when it is collected and runs its `finally`
        blocks doing so; that happens here and now, with a loop that takes no callbacks, so that the blocks reach
        nothing but the effects, which their owner must have closed before this call.
        """
        assert not self.is_running(), "abandon tasks after the loop has stopped"
        self._abandoned_some = True
        victims = [task for task in self._tasks() if owner is None or task.owner is owner]
        self._ready = deque(handle for handle in self._ready if not belongs(handle, owner))
        for entry in self._scheduled:
            if belongs(entry[2], owner):
                entry[2].cancel()
        # Python leaves it to the finaliser hook whether a generator's `finally` runs. Weak references are cleared
        # before that, so the dead are remembered by their address until then.
        self._dead_generators.update(
            id(generator)
            for generator, its_owner in self._generator_owners.items()
            if generator.ag_frame is not None and (owner is None or its_owner is owner)
        )
        self._inert = True
        try:
            for task in victims:
                close_for_good(task.get_coro())
        finally:
            self._inert = False

    def _asyncgen_firstiter_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generator_owners[generator] = OWNER.get()
        super()._asyncgen_firstiter_hook(generator)  # type: ignore[misc]

    def _asyncgen_finalizer_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        if id(generator) in self._dead_generators:
            self._dead_generators.discard(id(generator))
        elif not self._inert:
            super()._asyncgen_finalizer_hook(generator)  # type: ignore[misc]


def belongs(handle: asyncio.Handle, owner: object | None) -> bool:
    """Tell whether a callback was scheduled by `owner`; everything belongs to None."""
    context: Context = handle._context  # type: ignore[attr-defined]
    return owner is None or context.get(OWNER) is owner


def close_for_good(coroutine: Any) -> None:
    """Close a coroutine however often it awaits something while closing, and whatever it raises."""
    for _ in range(CLOSE_ATTEMPTS):
        try:
            coroutine.close()
        except RuntimeError:  # it awaited in a `finally`: closing it again ends that wait as well
            if coroutine.cr_frame is None:
                return
        except (Exception, SystemExit, asyncio.CancelledError, GeneratorExit):
            return
        else:
            return
    IMMORTALS.append(coroutine)


def where(coroutine: Any) -> str:
    """Name the line at which a suspended coroutine waits."""
    frame: FrameType | None = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None) or frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "its start"
