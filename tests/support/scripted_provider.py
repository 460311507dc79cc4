"""A provider whose every answer is scripted, item by item: for answers that no vendor can be made to give on demand.

A `Script` stands in for a provider's factory and outlives the processes that use it. Each of its tables maps an item to
the answers that its calls get, in order; a call beyond them, or of an item that is not in the table, goes well.

    script = Script(Venice.capabilities, submits={"i0": [NotSent(message="no route"), After(90, Ambiguous(...))]})
    batch = Batch(world, items(2, "venice"), factories={"venice": script})
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import (
    Accepted,
    Catalogue,
    Claimed,
    Deleted,
    Output,
    Quoted,
    Ready,
    Receipt,
    Streaming,
)
from tests.support.mp4s import minimal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from pipeline.effects import Clock, Effects
    from pipeline.providers.answers import (
        ClaimAnswer,
        CleanupAnswer,
        FetchAnswer,
        LookAnswer,
        ModelsAnswer,
        QuoteAnswer,
        SubmitAnswer,
    )
    from pipeline.providers.base import Account, Capabilities, GenerationRequest, RequestProblem

CLIP = minimal()
"""A whole MP4."""

Table = dict[str, "Iterable[Any]"]


@dataclass(frozen=True, slots=True)
class After:
    """An answer that takes its time."""

    seconds: float
    answer: Any


@dataclass(frozen=True, slots=True)
class Call:
    """One call that the provider got. `job_id` is empty for a submit."""

    at: float
    kind: str
    item_id: str
    job_id: str = ""


class Body:
    """A `ByteSource` of given pieces; an exception among them is raised in its place, a number is a pause in seconds.

    The mutable state is whether it was closed, and how many bodies of its clock's script are open.
    """

    def __init__(self, *pieces: bytes | float | Exception, length: int | None = None) -> None:
        self.length = length
        self.pieces = pieces
        self.is_closed = False
        self.clock: Clock | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, bytes):
                yield piece
            else:
                assert self.clock is not None
                await self.clock.sleep(piece)

    async def close(self) -> None:
        self.is_closed = True


def streaming(*pieces: bytes | float | Exception, length: int | None = None) -> Streaming:
    """Return an answer with a body of its own; a whole clip where no pieces are given."""
    return Streaming(source=Body(*(pieces or (CLIP,)), length=length))


def receipt_of(item_id: str, attempt: int = 1, model: str = "veo-3") -> Receipt:
    """Return the receipt that the script gives for an item's n-th submit."""
    return Receipt(job_id=f"{item_id}-{attempt}", model=model, answer={"n": attempt})


@dataclass(eq=False)
class Script:
    """What a provider answers, and what it was asked. The mutable state is the calls, and what is open."""

    capabilities: Capabilities
    submits: Table = field(default_factory=dict)
    looks: Table = field(default_factory=dict)
    claims: Table = field(default_factory=dict)
    fetches: Table = field(default_factory=dict)
    cleanups: Table = field(default_factory=dict)
    quotes: Sequence[Any] = ()
    """The answers to quotes, whatever they are for; a quote beyond them is a dollar."""
    calls: list[Call] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    """Every body that was handed out."""
    open_now: Counter[str] = field(default_factory=Counter)
    """How many calls of each kind are under way."""
    open_most: Counter[str] = field(default_factory=Counter)
    on_call: Callable[[Call], None] = lambda call: None
    """Told each call before it is answered; what it raises is raised in the caller."""
    samples: dict[str, int] = field(default_factory=dict)
    """How many clips were asked for, by job id."""
    _tables: dict[tuple[str, str], Iterator[Any]] = field(default_factory=dict)

    def __call__(self, account: Account | None, effects: Effects) -> ScriptedProvider:
        """Make the provider of one process."""
        return ScriptedProvider(self, effects.clock)

    def next_answer(self, table: Mapping[str, Iterable[Any]], kind: str, item_id: str) -> Any:
        """Return the next scripted answer, or None beyond the last."""
        place = (kind, item_id)
        if place not in self._tables:
            self._tables[place] = iter(table.get(item_id, ()))
        return next(self._tables[place], None)

    def forget(self) -> None:
        """Begin every table anew, as it is now."""
        self._tables.clear()

    def count(self, kind: str, item_id: str | None = None) -> int:
        """Return how many calls of a kind there were, of one item or of all."""
        return sum(call.kind == kind and item_id in {None, call.item_id} for call in self.calls)

    def times(self, kind: str, item_id: str | None = None) -> list[float]:
        """Return when the calls of a kind were made."""
        return [call.at for call in self.calls if call.kind == kind and item_id in {None, call.item_id}]


class ScriptedProvider:
    """One process's view of a script."""

    def __init__(self, script: Script, clock: Clock) -> None:
        self.capabilities = script.capabilities
        self._script = script
        self._clock = clock

    def check(self, request: GenerationRequest) -> Sequence[RequestProblem]:
        return ()

    def billed_seconds(self, request: GenerationRequest) -> float:
        return float(request.parameters.get("duration_seconds", 8)) * request.sample_count

    def request_body(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> dict[str, Any]:
        return {"prompt": request.prompt}

    async def submit(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> SubmitAnswer:
        item_id = request.prompt.rpartition(" ")[2]
        receipt = receipt_of(item_id, self._script.count("submit", item_id) + 1, request.model)
        self._script.samples[receipt.job_id] = request.sample_count
        return await self._answer(self._script.submits, "submit", item_id, "", Accepted(receipt=receipt))

    async def look(self, receipt: Receipt) -> LookAnswer:
        usual = Ready() if self.capabilities.has_claim_step else streaming()
        return await self._of(self._script.looks, "look", receipt, usual)

    async def claim(self, receipt: Receipt) -> ClaimAnswer:
        count = self._script.samples.get(receipt.job_id, 1)
        outputs = tuple(Output(index=index, location={"n": index}) for index in range(count))
        usual = Claimed(outputs=outputs, usage={"video_seconds": 8}, answer={"status": "COMPLETED"})
        return await self._of(self._script.claims, "claim", receipt, usual)

    async def fetch(self, receipt: Receipt, output: Output) -> FetchAnswer:
        return await self._of(self._script.fetches, "fetch", receipt, streaming())

    async def cleanup(self, receipt: Receipt) -> CleanupAnswer:
        return await self._of(self._script.cleanups, "cleanup", receipt, Deleted())

    async def quote(self, request: GenerationRequest) -> QuoteAnswer:
        nth = self._script.count("quote")
        self._script.calls.append(Call(self._clock.monotonic(), "quote", ""))
        return self._script.quotes[nth] if nth < len(self._script.quotes) else Quoted(price_usd=1.0)

    async def models(self) -> ModelsAnswer:
        return Catalogue(models=())

    async def close(self) -> None:
        assert not any(self._script.open_now.values()), f"closed with calls under way: {self._script.open_now}"

    async def _of(self, table: Table, kind: str, receipt: Receipt, usual: Any) -> Any:
        return await self._answer(table, kind, receipt.job_id.rpartition("-")[0], receipt.job_id, usual)

    async def _answer(self, table: Table, kind: str, item_id: str, job_id: str, usual: Any) -> Any:
        script = self._script
        call = Call(self._clock.monotonic(), kind, item_id, job_id)
        script.calls.append(call)
        script.on_call(call)
        script.open_now[kind] += 1
        script.open_most[kind] = max(script.open_most[kind], script.open_now[kind])
        try:
            answer = script.next_answer(table, kind, item_id)
            if isinstance(answer, After):
                await self._clock.sleep(answer.seconds)
                answer = answer.answer
        finally:
            script.open_now[kind] -= 1
        if answer is None:
            answer = usual
        if isinstance(answer, Streaming) and isinstance(answer.source, Body):
            answer.source.clock = self._clock
            script.bodies.append(answer.source)
        return answer
