"""What the simulations play: the providers at their worst, and everything that can go wrong, three dozen ways.

A scenario is data; `stage` builds the world of it. Batches are small, since what matters is how many moments there are
at which a process can die, and not how many items it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.manifest.model import Price
from pipeline.sandbox.settings import Fault
from tests.support.batches import MODELS

if TYPE_CHECKING:
    from collections.abc import Mapping

VENICE_LINKED = "grok-imagine-text-to-video-private"
"""A Venice model whose clip comes by a link that is given at acceptance alone."""
PRICES = {
    "modelmax/veo-3": Price(usd_per_second=0.40),
    "modelmax/veo-3-fast": Price(usd_per_second=0.15),
    "venice/wan-2-7-text-to-video": Price(usd_per_second=0.11),
    f"venice/{VENICE_LINKED}": Price(usd_per_second=0.063),
    "openai-videos/sora-2": Price(usd_per_second=0.10),
}
"""As the sandbox charges."""
CONCURRENT_BILLING = 2


class Flavour(StrEnum):
    """What happens to a process at the chosen moment."""

    KILL = "kill"
    """It dies; the machine goes on, and so do the bytes that it has sent."""
    POWER = "power"
    """The machine dies: what was not synced is lost, torn or kept, and what is on the wire is lost."""
    STOP = "stop"
    """Ctrl-C, once."""
    TERMINATE = "terminate"
    """SIGTERM."""
    LEAVE = "leave"
    """Ctrl-C, and again a moment later."""
    STOP_KILL = "stop-kill"
    """Ctrl-C, and a kill a moment later."""


DEATHS = (Flavour.KILL, Flavour.POWER)
SIGNALS = (Flavour.STOP, Flavour.TERMINATE, Flavour.LEAVE, Flavour.STOP_KILL)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One item of a scenario's batch."""

    provider: str
    model: str = ""
    prompt: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of trouble."""

    name: str
    items: tuple[Wanted, ...]
    flavours: tuple[Flavour, ...] = DEATHS
    takes_s: float = 0.3
    """How long a generation takes, about."""
    faults: Mapping[Fault, float] = field(default_factory=dict)
    """What the vendor does wrong, until the faults stop."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the sandbox."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Of the run."""
    wire_faults: float = 0.0
    """How probable it is that a request's connection breaks at some byte."""
    late: tuple[float, float] = (0.0, 0.0)
    """How probable it is that a piece of data is late, and by how many seconds at most."""
    max_cost_usd: float | None = None
    twins: bool = False
    """A second process takes the batch over while the first one still works on it; there is no lock."""
    foreign: Mapping[str, bytes] = field(default_factory=dict)
    """Files of the user's that lie in the batch folder."""
    outage: str = ""
    """From a drawn moment of the first run: `offline`, `revoked`, `poor`, `disk` (full), `bad-disk`, `ledger-reserve`
    or `ledger-journal` (what a full disk leaves of the ledger), `clock` (it jumps, and the machine sleeps)."""
    cleanup: bool = False
    """Whether the vendors' copies are deleted once a clip is here."""
    expires: bool = False
    """Whether the batch may be left alone for longer than the vendor keeps anything."""

    @property
    def is_orderly(self) -> bool:
        """Whether nothing goes wrong but the chosen moment."""
        return not (self.faults or self.wire_faults or self.late[0] or self.outage or self.twins)


def modelmax(count: int, **parameters: Any) -> tuple[Wanted, ...]:
    """Return items of ModelMax's."""
    return tuple(Wanted(provider="modelmax", parameters=parameters) for _ in range(count))


def venice(count: int, model: str = "") -> tuple[Wanted, ...]:
    """Return items of Venice's."""
    return tuple(Wanted(provider="venice", model=model or MODELS["venice"]) for _ in range(count))


def openai_videos(count: int) -> tuple[Wanted, ...]:
    """Return items of an OpenAI-style server's."""
    return tuple(Wanted(provider="openai-videos") for _ in range(count))


SUBMIT_FAULTS = {
    Fault.DROP_BEFORE_ACCEPT: 0.08,
    Fault.DROP_AFTER_ACCEPT: 0.08,
    Fault.SUBMIT_500: 0.06,
    Fault.SUBMIT_502: 0.06,
    Fault.THROTTLE: 0.06,
}
LOOK_FAULTS = {Fault.LOSE_ANSWER: 0.06, Fault.ERROR_5XX: 0.06}
BODY_FAULTS = {
    Fault.TRUNCATE: 0.12,
    Fault.TRUNCATE_SILENTLY: 0.12,
    Fault.DISGUISE: 0.08,
    Fault.SLOW: 0.06,
}
CLAIM_FAULTS = {Fault.CLAIM_DROP: 0.12, Fault.CLAIM_502: 0.1}
REFUSE = "[sandbox: refuse]"

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="modelmax", items=modelmax(3)),
        Scenario(name="modelmax-samples", items=modelmax(2, sample_count=2)),
        Scenario(
            name="modelmax-faults",
            items=modelmax(3),
            faults=SUBMIT_FAULTS | LOOK_FAULTS | BODY_FAULTS | CLAIM_FAULTS,
            settings={"slow_s": 3.0},
        ),
        Scenario(name="modelmax-wire", items=modelmax(3), wire_faults=0.08, late=(0.004, 150.0)),
        Scenario(name="modelmax-signals", items=modelmax(3), flavours=SIGNALS),
        Scenario(name="modelmax-twins", items=modelmax(3), twins=True),
        Scenario(name="modelmax-budget", items=modelmax(4), max_cost_usd=3 * 3.2, faults={Fault.CLAIM_DROP: 0.3}),
        Scenario(name="venice", items=venice(3)),
        Scenario(name="venice-links", items=venice(3, VENICE_LINKED)),
        Scenario(
            name="venice-faults",
            items=venice(4),
            faults=SUBMIT_FAULTS
            | LOOK_FAULTS
            | BODY_FAULTS
            | {Fault.EARLY_404: 0.2, Fault.GENERATION_FAILURE: 0.06, Fault.GENERATION_ERROR: 0.06},
            settings={"slow_s": 3.0, "early_404_s": 5.0},
        ),
        Scenario(
            name="venice-links-faults",
            items=venice(3, VENICE_LINKED),
            faults=LOOK_FAULTS | BODY_FAULTS | {Fault.EXPIRED_LINK: 0.15, Fault.EARLY_404: 0.2},
            settings={"slow_s": 3.0, "early_404_s": 5.0},
            expires=True,
        ),
        Scenario(name="venice-wire", items=venice(3), wire_faults=0.08, late=(0.004, 80.0)),
        Scenario(name="venice-signals", items=venice(3), flavours=SIGNALS),
        Scenario(name="venice-twins", items=venice(3), twins=True),
        Scenario(name="venice-budget", items=venice(5), max_cost_usd=3 * 0.55, faults={Fault.DROP_AFTER_ACCEPT: 0.25}),
        Scenario(
            name="venice-limits",
            items=(*venice(3), *(Wanted(provider="venice", prompt=REFUSE) for _ in range(4))),
            settings={"venice_queue_per_minute": 6, "venice_retrieve_per_minute": 20, "venice_failures": 3},
            limits={"submits_per_minute": 6, "looks_per_minute": 20, "failures_per_30_s": 2},
        ),
        Scenario(name="openai", items=openai_videos(3)),
        Scenario(
            name="openai-faults",
            items=openai_videos(4),
            faults=SUBMIT_FAULTS
            | LOOK_FAULTS
            | BODY_FAULTS
            | {Fault.EARLY_404: 0.2, Fault.GENERATION_FAILURE: 0.06, Fault.GENERATION_ERROR: 0.06},
            settings={"slow_s": 3.0, "early_404_s": 5.0},
        ),
        Scenario(name="openai-wire", items=openai_videos(3), wire_faults=0.08, late=(0.004, 80.0)),
        Scenario(name="openai-signals", items=openai_videos(3), flavours=SIGNALS),
        Scenario(
            name="openai-budget",
            items=openai_videos(5),
            max_cost_usd=3 * 0.4,
            faults={Fault.DROP_AFTER_ACCEPT: 0.25, Fault.GENERATION_FAILURE: 0.1},
        ),
        Scenario(
            name="openai-cleanup",
            items=openai_videos(3),
            faults=LOOK_FAULTS | {Fault.TRUNCATE: 0.12, Fault.THROTTLE: 0.06},
            cleanup=True,
        ),
        Scenario(
            name="both",
            items=(
                *modelmax(1),
                Wanted(provider="modelmax", model="veo-3-fast"),
                *venice(1),
                *venice(1, VENICE_LINKED),
            ),
            foreign={"clips/i0.mp4": b"my own film", "clips/notes.txt": b"do not touch", "clips/.i2.part": b"mine too"},
        ),
        Scenario(
            name="cleanup",
            items=(*venice(2), *venice(2, VENICE_LINKED), *modelmax(1)),
            faults=LOOK_FAULTS | {Fault.TRUNCATE: 0.12, Fault.THROTTLE: 0.06},
            cleanup=True,
        ),
        Scenario(
            name="mixed-faults",
            items=(
                *modelmax(1, sample_count=2),
                Wanted(provider="modelmax", model="veo-3-fast"),
                *venice(2),
                *venice(1, VENICE_LINKED),
            ),
            faults={
                **SUBMIT_FAULTS,
                **LOOK_FAULTS,
                **BODY_FAULTS,
                **CLAIM_FAULTS,
                Fault.CLAIM_EMPTY: 0.1,
                Fault.EARLY_404: 0.2,
                Fault.EXPIRED_LINK: 0.15,
                Fault.GENERATION_FAILURE: 0.06,
                Fault.GENERATION_ERROR: 0.06,
            },
            settings={"slow_s": 3.0, "early_404_s": 5.0},
            cleanup=True,
        ),
        Scenario(
            name="cleanup-refused",
            items=venice(3),
            settings={"venice_complete_works": False},
            cleanup=True,
        ),
        Scenario(name="slow-twins", items=(*modelmax(2), *venice(2)), takes_s=9.0, twins=True),
        Scenario(name="cleanup-twins", items=(*venice(2), *venice(1, VENICE_LINKED)), twins=True, cleanup=True),
        Scenario(name="cleanup-wire", items=(*venice(2), *venice(1, VENICE_LINKED)), wire_faults=0.08, cleanup=True),
        Scenario(name="cleanup-signals", items=(*venice(2), *venice(1, VENICE_LINKED)), flavours=SIGNALS, cleanup=True),
        Scenario(name="funds", items=(*venice(2), *modelmax(2)), outage="poor"),
        Scenario(name="revoked", items=(*venice(2), *modelmax(2)), outage="revoked"),
        Scenario(name="offline", items=(*venice(2), *modelmax(2)), outage="offline"),
        Scenario(name="full-disk", items=(*modelmax(2), *venice(1)), outage="disk"),
        Scenario(name="bad-disk", items=(*modelmax(2), *venice(1)), outage="bad-disk"),
        Scenario(
            name="clocks",
            items=(*modelmax(2), *venice(2)),
            outage="clock",
            faults={Fault.EARLY_404: 0.3},
            settings={"early_404_s": 5.0},
        ),
        Scenario(name="full-ledger", items=(*modelmax(2), *venice(2)), outage="ledger-reserve"),
        Scenario(name="broken-ledger", items=(*modelmax(2), *venice(2)), outage="ledger-journal"),
    )
}
