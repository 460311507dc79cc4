"""What the sandbox tells about itself: the bill, and the counts.

`GET /sandbox/bill` and `GET /sandbox/requests` need no key; the server listens on loopback alone.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.settings import Provider
from pipeline.sandbox.state import Charge, ChargeKind, CountKind, money

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.sandbox.desk import Desk


def moment(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def totals(charges: Iterable[Charge]) -> dict[str, float]:
    """Return what was charged, what was refunded, and the difference."""
    sums: dict[ChargeKind, list[float]] = {ChargeKind.CHARGE: [], ChargeKind.REFUND: []}
    for charge in charges:
        sums[charge.kind].append(charge.amount_usd)
    charged, refunded = money(sums[ChargeKind.CHARGE]), money(sums[ChargeKind.REFUND])
    return {"charged_usd": charged, "refunded_usd": refunded, "net_usd": round(charged - refunded, 6)}


def job_calls(desk: Desk) -> dict[str, dict[str, int]]:
    """Return, for each job, how often each of its calls was made."""
    calls: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (kind, name, detail), count in desk.state.counts.items():
        if kind == CountKind.JOB:
            calls[name][detail] = count
    return calls


def bill(desk: Desk) -> dict[str, Any]:
    """Return the whole bill: every row, the totals, and what each accepted job cost and was asked."""
    state = desk.state
    for job in state.jobs.values():
        desk.settle(job)
    calls = job_calls(desk)
    rows: defaultdict[str, list[Charge]] = defaultdict(list)
    for charge in state.charges:
        rows[charge.job].append(charge)
    by_provider = {p.value: totals(c for c in state.charges if c.provider is p) for p in Provider}
    return {
        "charges": [
            {
                "provider": charge.provider,
                "key": charge.key,
                "job": charge.job,
                "model": charge.model,
                "kind": charge.kind,
                "amount_usd": charge.amount_usd,
                "time": moment(charge.at_s),
            }
            for charge in state.charges
        ],
        "totals": totals(state.charges) | {"by_provider": by_provider},
        "jobs": {
            job.id: {
                "provider": job.provider,
                "key": job.key,
                "model": job.model,
                "prompt": job.prompt,
                "price_usd": job.price_usd,
                "outputs": job.outputs,
                "accepted_at": moment(job.accepted_s),
                "ends_at": moment(job.ends_s),
                "ending": job.ending,
                "deleted": job.deleted,
                "charges": state.billed[job.id],
                **totals(rows[job.id]),
                "requests": calls[job.id],
            }
            for job in state.jobs.values()
        },
        "accepted": len(state.jobs),
    }


def requests(desk: Desk) -> dict[str, Any]:
    """Return how often each endpoint gave each status, and what went wrong on purpose or by the client."""
    endpoints: defaultdict[str, dict[str, int]] = defaultdict(dict)
    faults: dict[str, int] = {}
    for (kind, name, detail), count in desk.state.counts.items():
        if kind == CountKind.ANSWER:
            endpoints[name][detail] = count
        elif kind == CountKind.FAULT:
            faults[name] = count
    events = {name: desk.state.counts[CountKind.EVENT, name, ""] for name in ("throttled", "blocked", "leak")}
    return {
        "endpoints": endpoints,
        "total": sum(sum(statuses.values()) for statuses in endpoints.values()),
        "throttled": events["throttled"],
        "blocked": events["blocked"],
        "leaks": events["leak"],
        "faults": faults,
    }


def routes(desk: Desk) -> list[web.RouteDef]:
    """Return the routes of the sandbox's own pages."""

    async def show_bill(_: web.Request) -> web.Response:
        return web.json_response(bill(desk))

    async def show_requests(_: web.Request) -> web.Response:
        return web.json_response(requests(desk))

    return [
        web.get("/sandbox/bill", show_bill, name="sandbox-bill"),
        web.get("/sandbox/requests", show_requests, name="sandbox-requests"),
    ]
