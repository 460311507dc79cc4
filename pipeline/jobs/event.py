"""The facts that move a job: what happened, to which attempt of which item, when, and what was learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.jobs.state import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One fact. `data` is plain JSON; its keys for each kind are those that `record.apply` reads."""

    kind: EventKind
    item_id: str
    revision: int
    at: datetime
    """Wall time, aware, UTC; only stored and shown, never compared for a decision."""
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the event as plain JSON."""
        return {
            "kind": self.kind.value,
            "item_id": self.item_id,
            "revision": self.revision,
            "at": self.at.isoformat(),
            "data": dict(self.data),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Event:
        """Read what `to_json` wrote."""
        return cls(
            kind=EventKind(value["kind"]),
            item_id=value["item_id"],
            revision=value["revision"],
            at=datetime.fromisoformat(value["at"]),
            data=value["data"],
        )
