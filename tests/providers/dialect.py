"""What a vendor says, as data: the whole of what the conformance suite knows of a provider.

A dialect is one vendor's documented answers. The suite branches on capabilities alone and knows nobody's name; the
dialects of the package are in `dialects`, and one of a plugin's is named with `--dialect MODULE:NAME`.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    ClaimAnswer,
    Claimed,
    CleanupAnswer,
    FetchAnswer,
    LookAnswer,
    ModelsAnswer,
    NotSent,
    Output,
    QuoteAnswer,
    Ready,
    Receipt,
    Refused,
    Running,
    Streaming,
    SubmitAnswer,
    Throttled,
    Transient,
)
from pipeline.providers.base import BilledAt
from pipeline.providers.transport import Patience
from tests.providers.loopback import DROP, MP4, Loopback, Script, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from pipeline.providers.base import Capabilities, GenerationRequest

HASTE = Patience(connect_s=0.3, submit_s=0.2, claim_s=0.2, look_s=0.2, gap_s=0.2)
UNIONS = {
    "submit": SubmitAnswer,
    "look": LookAnswer,
    "claim": ClaimAnswer,
    "fetch": FetchAnswer,
    "cleanup": CleanupAnswer,
    "quote": QuoteAnswer,
    "models": ModelsAnswer,
}
"""Every call, and what it may answer."""
UNIVERSAL = {
    Throttled: answer({"error": "slow"}, 429, {"Retry-After": "11"}),
    Refused: answer({"error": "no"}, 401),
    Transient: answer({"error": {"message": "x"}}, 502),
    Ambiguous: answer({"error": {"message": "x"}}, 502),
}
"""What every vendor can say to every call, and how it is to be understood."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One answer of a vendor's to one call, and the class that it is."""

    method: str
    kind: type
    script: Script

    def __str__(self) -> str:
        return f"{self.method}-{self.kind.__name__}"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One vendor's documented answers."""

    factory: Any
    request: GenerationRequest
    path: str = ""
    """What the base URL has after the host."""
    accepted: Mapping[str, Any]
    """The answer to the submit."""
    running: Mapping[str, Any]
    """The answer to a look at a job that goes on; its word is in `status`."""
    says: Mapping[tuple[str, type], Script]
    """The vendor's own answers to a call, by the class that each is: a finished job, a failed one, one that is gone."""
    cannot: frozenset[tuple[str, type]] = frozenset()
    """Classes that this vendor's answers to a call never are."""
    clip: Mapping[str, Any] = field(default_factory=dict)
    """Where a finished clip lies, as an `Output` has it; `{server}` is the vendor's address."""
    job: str = "job-1"

    @property
    def can(self) -> Capabilities:
        capabilities: Capabilities = self.factory.capabilities
        return capabilities

    @property
    def methods(self) -> list[str]:
        """Return the calls that this vendor has."""
        can = self.can
        there = {
            "claim": can.has_claim_step,
            "cleanup": can.cleans_up,
            "quote": can.quotes,
            "models": can.lists_models,
        }
        return [method for method in UNIONS if there.get(method, True)]

    @property
    def billing(self) -> str:
        """Return the call that bills."""
        return "claim" if self.can.billed_at is BilledAt.CLAIM else "submit"

    @property
    def finished(self) -> Script:
        """Return the answer to a look at a finished job."""
        return self.says.get(("look", Streaming)) or self.says["look", Ready]

    def at(self, server: Loopback) -> str:
        """Return the base URL."""
        return server.url + self.path

    def held(self) -> Receipt:
        """Return the receipt of an accepted job, as a ledger would bring it back."""
        return Receipt(job_id=self.job, model=self.request.model, answer=dict(self.accepted))

    def output(self, server: Loopback) -> Output:
        """Return a finished clip at this vendor."""
        location = {key: text.replace("{server}", server.url) for key, text in self.clip.items()}
        return Output(index=0, location=location)

    def calls(
        self, provider: Any, server: Loopback, held: Receipt | None = None
    ) -> dict[str, Callable[[], Awaitable[Any]]]:
        """Return every call that the vendor has, ready to be made."""
        receipt = held or self.held()
        every: dict[str, Callable[[], Awaitable[Any]]] = {
            "submit": lambda: provider.submit(self.request, {}),
            "look": lambda: provider.look(receipt),
            "claim": lambda: provider.claim(receipt),
            "fetch": lambda: provider.fetch(receipt, self.output(server)),
            "cleanup": lambda: provider.cleanup(receipt),
            "quote": lambda: provider.quote(self.request),
            "models": lambda: provider.models(),
        }
        return {method: every[method] for method in self.methods}

    def can_answer(self, method: str, kind: type) -> bool:
        """Tell whether an answer to a call can be of a class."""
        return kind in get_args(UNIONS[method]) and (method, kind) not in self.cannot

    def examples(self) -> Iterator[Example]:
        """Yield an answer for every class that the dialect or every vendor has one for."""
        own = {("submit", Accepted): answer(self.accepted), ("look", Running): answer(self.running), **self.says}
        own.setdefault(("fetch", Streaming), answer(MP4))
        for method in self.methods:
            for kind, script in UNIVERSAL.items():
                if self.can_answer(method, kind):
                    own.setdefault((method, kind), script)
        for (method, kind), script in own.items():
            yield Example(method=method, kind=kind, script=script)

    def unexplained(self) -> set[str]:
        """Return the classes that no example shows and that the vendor is not said to be unable to say."""
        shown = {(example.method, example.kind) for example in self.examples()}
        return {
            f"{method}: {kind.__name__}"
            for method in self.methods
            for kind in get_args(UNIONS[method])
            if kind is not NotSent and self.can_answer(method, kind) and (method, kind) not in shown
        }

    def a_whole_job(self) -> list[Script]:
        """Return the answers to submit, two looks, and what it takes to have the clip then."""
        scripts = [answer(self.accepted), answer(self.running), self.finished]
        if self.can.has_claim_step:
            scripts.append(self.says["claim", Claimed])
        if self.can.has_claim_step or ("look", Streaming) not in self.says:
            scripts.append(answer(MP4))
        return scripts


def nobody_listens() -> tuple[socket.socket, Loopback]:
    """Return a port that is held and on which nobody listens; the socket is the caller's to close."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held, Loopback(lambda _: DROP, port=held.getsockname()[1])
