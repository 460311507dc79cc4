"""One end of a connection held in memory, which behaves towards its protocol as a TCP socket's transport does.

Bytes, the end of the stream and a reset arrive in the order in which they were sent, each at its own virtual time. What
the receiver has not read yet counts against the sender: past `HIGH_BYTES` its protocol is told to pause, at `LOW_BYTES`
to resume. The figure stands for the sender's buffer and for both kernels' buffers together.
"""

from __future__ import annotations

import asyncio
import errno
from asyncio.transports import _FlowControlMixin
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    Carrier = Callable[["MemoryTransport", "bytes | Ending"], None]
    Observer = Callable[["MemoryTransport", int], None]

HIGH_BYTES = 256 * 1024
LOW_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
"""At most so many bytes are handed over at once, as asyncio's sockets do."""


class Ending(Enum):
    """How a stream of bytes ends."""

    END = "end of stream"
    RESET = "reset"


class MemoryTransport(_FlowControlMixin, asyncio.Transport):
    """One end. The mutable state is the inbox and the flags of its life: open, closing (no more reading), lost."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.Protocol,
        *,
        context: Context,
        carry: Carrier,
        observe: Observer,
        extra: dict[str, Any],
    ) -> None:
        """Make one end; the caller sets `peer` before the first byte.

        Args:
            loop: where deliveries are scheduled.
            protocol: who is told.
            context: in which the protocol is called.
            carry: takes what is written here towards the other end.
            observe: told before each delivery here, with the number of bytes.
            extra: what `get_extra_info` answers.
        """
        self.peer: MemoryTransport = self
        self._inbox: deque[tuple[float, bytes | Ending]] = deque()
        self._inbox_bytes = 0
        self.idle_since = loop.time()
        self._loop = loop
        self._protocol: asyncio.BaseProtocol = protocol
        self._context = context
        self._carry = carry
        self._observe = observe
        self._last_arrival = 0.0
        self._waking = False
        self._reading_paused = False
        self._eof_written = False
        self._closing = False
        self._losing = False
        self._room: asyncio.Future[None] | None = None
        super().__init__(extra, loop)
        self.set_write_buffer_limits(high=HIGH_BYTES, low=LOW_BYTES)

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:  # type: ignore[override,unused-ignore]
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if data and not self._closing:
            self.idle_since = self._loop.time()
            self._carry(self, bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._closing and not self._eof_written:
            self._eof_written = True
            self._carry(self, Ending.END)

    async def send_file(self, file: BinaryIO, offset: int, count: int | None) -> int:
        """Send a part of a file as fast as the other end reads it; return how many bytes were sent."""
        file.seek(offset)
        sent = 0
        while piece := file.read(PIECE_BYTES if count is None else min(PIECE_BYTES, count - sent)):
            if self.peer._inbox_bytes > LOW_BYTES:
                self._room = self._loop.create_future()
                await self._room
            if self._closing:
                raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
            self._carry(self, piece)
            sent += len(piece)
        return sent

    def get_write_buffer_size(self) -> int:
        return self.peer._inbox_bytes

    def _weigh(self) -> None:
        """Tell the protocol to pause or to resume, and finish a close that waited for the bytes to leave."""
        self._maybe_pause_protocol()  # type: ignore[attr-defined]  # typeshed leaves these out
        self._maybe_resume_protocol()  # type: ignore[attr-defined]
        if self._room is not None and (self._closing or self.peer._inbox_bytes <= LOW_BYTES):
            room, self._room = self._room, None
            if not room.done():
                room.set_result(None)
        if self._closing and not self._losing and self.peer._inbox_bytes <= HIGH_BYTES:
            self._lose_soon(None)

    # Reading

    def is_reading(self) -> bool:
        return not self._closing and not self._reading_paused

    def pause_reading(self) -> None:
        self._reading_paused = not self._closing

    def resume_reading(self) -> None:
        self._reading_paused = False
        self._wake()

    def expect(self, item: bytes | Ending, delay_s: float) -> None:
        """Have `item` arrive here in `delay_s`, and not before what was sent earlier."""
        self._last_arrival = max(self._last_arrival, self._loop.time() + delay_s)
        self._inbox.append((self._last_arrival, item))
        if isinstance(item, bytes):
            self._inbox_bytes += len(item)
            self.peer._weigh()
        self._wake()

    def _wake(self) -> None:
        # One delivery is scheduled at a time, so that no order of callbacks can reorder the bytes.
        if self._inbox and not self._waking and not self._reading_paused:
            self._waking = True
            when = self._inbox[0][0]
            if when <= self._loop.time():
                self._loop.call_soon(self._deliver, context=self._context)
            else:
                self._loop.call_at(when, self._deliver, context=self._context)

    def _deliver(self) -> None:
        self._waking = False
        if self._reading_paused or not self._inbox:
            return
        _, item = self._inbox.popleft()
        if self._closing:
            # A kernel answers with a reset, which the other end, told of the close before, no longer reads.
            if isinstance(item, bytes):
                self._read(len(item))
        elif isinstance(item, bytes):
            self._hand_over(item)
        elif item is Ending.RESET:
            self._fail(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
        elif not cast("asyncio.Protocol", self._protocol).eof_received():
            self.close()
        self._wake()

    def _hand_over(self, data: bytes) -> None:
        if len(data) > READ_BYTES:
            self._inbox.appendleft((self._loop.time(), data[READ_BYTES:]))
            data = data[:READ_BYTES]
        self.idle_since = self._loop.time()
        self._read(len(data))
        self._observe(self, len(data))
        try:
            cast("asyncio.Protocol", self._protocol).data_received(data)
        except Exception as error:
            self._loop.call_exception_handler({"message": "data_received() failed", "exception": error})
            self._fail(error)

    def _read(self, size_bytes: int) -> None:
        self._inbox_bytes -= size_bytes
        peer = self.peer
        if peer._protocol_paused or peer._closing or peer._room is not None:  # type: ignore[attr-defined]
            self._loop.call_soon(peer._weigh, context=peer._context)

    # The end

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._stop_reading()
            self._weigh()

    def abort(self) -> None:
        if not self._closing:
            self._stop_reading()
        self._lose_soon(None)

    def vanish(self, *, silently: bool = False) -> None:
        """End as the socket of a killed process does: the kernel sends what was written, then ends the stream.

        With `silently`, as after a power cut: what is still under way is lost, and the other end hears nothing.
        """
        self._losing = True
        self._protocol = asyncio.Protocol()
        if silently:
            self.peer._inbox.clear()
            self.peer._inbox_bytes = 0
            self._closing = True
            self._inbox.clear()
            self._inbox_bytes = 0
        elif not self._closing:
            self._stop_reading()

    def _stop_reading(self) -> None:
        self._closing = True
        now = self._loop.time()
        unread = any(when <= now and isinstance(item, bytes) for when, item in self._inbox)
        if not self._eof_written or unread:
            self._carry(self, Ending.RESET if unread else Ending.END)
        self._reading_paused = False
        self._wake()

    def _fail(self, error: Exception) -> None:
        self._closing = True
        self._lose_soon(error)
        self._weigh()

    def _lose_soon(self, error: Exception | None) -> None:
        if not self._losing:
            self._losing = True
            self._loop.call_soon(self._protocol.connection_lost, error, context=self._context)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol
