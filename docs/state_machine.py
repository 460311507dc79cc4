"""Prints docs/state-machine.md: `make docs` writes it, and a test holds it against what this prints.

Everything comes from pipeline/jobs/state.py: the tables from its values, the sentences from its source, where they
stand below the names that they explain.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from typing import TYPE_CHECKING

from pipeline.jobs import state
from pipeline.jobs.state import (
    CLIP_MOVES,
    COPY_MOVES,
    ENDED,
    IN_DOUBT,
    LIVE,
    MOVES,
    UNSUCCESSFUL,
    ClipState,
    CopyState,
    EventKind,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from enum import StrEnum

Move = tuple[str, EventKind, str]

EVERYWHERE = EventKind.ITEM_RELABELLED
"""Leads from every state to itself; left out of the diagram."""
DOORS = (
    EventKind.SUBMIT_DEFERRED,
    EventKind.SUBMIT_ORPHANED,
    EventKind.DOUBT_RESUBMITTED,
    EventKind.RETRIED,
)
"""The only ways back to `planned`, and so the only ways to a second submission."""


def sentences(name: str) -> dict[str, str]:
    """Return what stands below each member of an enumeration in the source."""
    tree = ast.parse(inspect.getsource(state))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    told: dict[str, str] = {}
    for assignment, text in itertools.pairwise(body):
        match assignment, text:
            case ast.Assign(value=ast.Constant(value=str(member))), ast.Expr(value=ast.Constant(value=str(sentence))):
                told[member] = " ".join(sentence.split())
    return told


def kind_of(value: State) -> str:
    """Return what resume makes of a state."""
    for group, word in (
        (IN_DOUBT, "held"),
        (LIVE, "at the vendor"),
        (UNSUCCESSFUL, "ended, no clip"),
        (ENDED, "ended"),
    ):
        if value in group:
            return word
    return "to be submitted"


def in_order(states: type[StrEnum], moves: Iterable[tuple[StrEnum | None, EventKind, StrEnum]]) -> list[Move]:
    """Return moves as text, in the order in which states and events are declared; `[*]` is no job yet."""
    places, events = [None, *states], [*EventKind]
    ordered = sorted(moves, key=lambda move: (places.index(move[0]), events.index(move[1]), places.index(move[2])))
    return [(source or "[*]", event, target) for source, event, target in ordered]


def diagram(moves: Iterable[Move]) -> Iterator[str]:
    """Yield a Mermaid diagram; events that lead from one state to the same other share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for source, event, target in moves:
        arrows.setdefault((source, target), []).append(event)
    yield "```mermaid"
    yield "stateDiagram-v2"
    for (source, target), events in arrows.items():
        yield f"    {source} --> {target}: {', '.join(events)}"
    yield "```"


def table(header: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield a Markdown table."""
    yield header
    yield "|" + " --- |" * header.count(" | ") + " --- |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def page() -> str:
    """Return the whole page."""
    job_moves = in_order(State, MOVES)
    drawn = [move for move in job_moves if move[1] is not EVERYWHERE]
    clip_moves = in_order(ClipState, CLIP_MOVES)
    copy_moves = in_order(CopyState, COPY_MOVES)
    told, clips_told, copies_told = sentences("State"), sentences("ClipState"), sentences("CopyState")
    back = {event for _, event, target in drawn if target == State.PLANNED} - {
        EventKind.ITEM_PLANNED,
        EventKind.ITEM_REVISED,
    }
    assert back == set(DOORS), "the doors back to planned have changed"
    doors = [f"`{door}`" for door in DOORS]
    lines = [
        "# States of a job and of its clips",
        "",
        "Generated from `pipeline/jobs/state.py` by `make docs`; change that file and not this one. The database of "
        "every ledger holds the same table, and refuses whatever is not in it.",
        "",
        "## A job",
        "",
        *table("| state | for resume | meaning |", ((f"`{s}`", kind_of(s), told[s]) for s in State)),
        "",
        *diagram(drawn),
        "",
        f"Beside these, `{EVERYWHERE}` leads from every state to itself, and `{EventKind.ITEM_WITHDRAWN}` removes an "
        f"item in `{State.PLANNED}` that has cost nothing.",
        "",
        f"A second submission always passes one of four doors back to `{State.PLANNED}`: {', '.join(doors[:-1])} and "
        f"{doors[-1]}. To ask where an item could be paid for twice is to search for those four words.",
        "",
        *table("| from | event | to |", ((f"`{a}`", f"`{e}`", f"`{b}`") for a, e, b in drawn)),
        "",
        "## A clip of a job",
        "",
        *table("| state | meaning |", ((f"`{s}`", clips_told[s]) for s in ClipState)),
        "",
        *diagram(clip_moves),
        "",
        *table("| from | event | to |", ((f"`{a}`", f"`{e}`", f"`{b}`") for a, e, b in clip_moves)),
        "",
        "## The second copy of a clip",
        "",
        "Where the user named an object store, a finished clip's copy there has a state of its own; the clip's own "
        "does not wait for it.",
        "",
        *table("| state | meaning |", ((f"`{s}`", copies_told[s]) for s in CopyState)),
        "",
        *table("| from | event | to |", ((f"`{a}`", f"`{e}`", f"`{b}`") for a, e, b in copy_moves)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
