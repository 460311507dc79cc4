"""Venice's catalogue and its billing pages.

Source: Venice OpenAPI, /models; Venice billing pages, balance and usage history.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.bill import moment
from pipeline.sandbox.desk import Key, Refused
from pipeline.sandbox.settings import Provider
from pipeline.sandbox.state import Charge, ChargeKind
from pipeline.sandbox.venice.catalogue import VENICE_MODELS, Audio, Kind, VeniceModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.sandbox.desk import Desk
    from pipeline.sandbox.venice.door import Door

PAGE_SIZES = range(10, 1001)
FILTERS = {"startTimestamp", "endTimestamp", "currency", "pageSize"}


class Account:
    """What Venice tells beside making clips."""

    def __init__(self, desk: Desk, door: Door) -> None:
        self._desk = desk
        self._door = door

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, named by endpoint."""
        base, guard = "/api/v1", self._door.guard
        history = guard(self.usage_history, None)
        return [
            web.get(f"{base}/models", self._door.open(self.models), name="venice-models"),
            web.get(f"{base}/billing/balance", guard(self.balance, None), name="venice-balance"),
            web.get(f"{base}/billing/usage-history", history, name="venice-usage-history"),
        ]

    async def models(self, request: web.Request) -> web.StreamResponse:
        """List the models; the video models where `type=video` (or `all`) is asked for."""
        wanted = request.query.get("type", "video")
        shown = [m for m in VENICE_MODELS.values() if m.listed] if wanted in {"video", "all"} else []
        return web.json_response({"object": "list", "type": wanted, "data": [described(model) for model in shown]})

    def _admin(self, key: Key) -> None:
        if not key.is_admin:
            raise Refused(401, "AUTHENTICATION_FAILED", "Admin API key required")

    async def balance(self, _request: web.Request, key: Key) -> web.StreamResponse:
        """Tell the account's balance: what the inference keys have spent is taken off it."""
        self._admin(key)
        left = round(self._desk.settings.balance_usd - sum(self._desk.state.spent_usd.values()), 6)
        balances = {"diem": None, "usd": left if left > 0 else None, "bundledCredits": None, "earnedCredits": None}
        answer = {"canConsume": left >= 0.1, "consumptionCurrency": "USD", "balances": balances}
        return web.json_response(answer | {"diemEpochAllocation": 0})

    async def usage_history(self, request: web.Request, key: Key) -> web.StreamResponse:
        """List the Venice rows of the bill, oldest first, a debit negative."""
        self._admin(key)
        return web.json_response(usage_page(self._desk, request.query))


def described(model: VeniceModel) -> dict[str, Any]:
    """Return one element of the model list."""
    constraints: dict[str, Any] = {
        "aspect_ratios": model.aspects,
        "resolutions": model.resolutions,
        "durations": model.durations,
        "model_type": model.model_type,
        "audio": model.audio is not Audio.SILENT,
        "audio_configurable": model.audio is Audio.CHOICE,
        "audio_input": "audio_url" in model.takes,
        "video_input": model.kind in {Kind.VIDEO, Kind.UPSCALE},
        "prompt_character_limit": model.prompt_limit,
    }
    spec: dict[str, Any] = {
        "name": model.id.replace("-", " ").title(),
        "privacy": model.privacy,
        "betaModel": False,
        "offline": False,
        "traits": [],
    }
    if model.is_recorded:
        spec["constraints"] = constraints
    if model.ends:
        spec["deprecation"] = {"autoRemap": False, "date": model.ends["removesAt"], **model.ends}
    return {
        "id": model.id,
        "object": "model",
        "type": "video",
        "created": 1_767_225_600,
        "owned_by": "venice.ai",
        "model_spec": spec,
    }


def usage_page(desk: Desk, query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of Venice's usage history: `{data, nextCursor}`, ascending (Venice /billing/usage-history).

    Raises:
        Refused: 400, for an unknown parameter, a cursor beside filters, or a value that makes no sense.
    """
    try:
        wanted = read_cursor(query["cursor"]) if set(query) == {"cursor"} else read_filters(query)
    except (ValueError, KeyError, binascii.Error) as error:
        raise Refused(400, "INVALID_REQUEST", f"Invalid query parameters: {error}") from None
    rows = [
        charge
        for charge in desk.state.charges
        if charge.provider is Provider.VENICE and wanted["from"] <= charge.at_s < wanted["to"]
    ]
    end = wanted["offset"] + wanted["size"]
    more = end < len(rows)
    cursor = base64.urlsafe_b64encode(json.dumps(wanted | {"offset": end}).encode()).decode().rstrip("=")
    return {"data": [usage_row(row) for row in rows[wanted["offset"] : end]], "nextCursor": cursor if more else None}


def read_cursor(text: str) -> dict[str, Any]:
    """Return the walk that a cursor continues."""
    walk = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if not isinstance(walk, dict) or set(walk) != {"from", "to", "offset", "size"}:
        raise ValueError("Invalid or expired cursor; restart from the first page")
    return walk


def read_filters(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the walk that the filters of a first page begin."""
    unknown = set(query) - FILTERS
    if unknown:
        raise ValueError(f"unrecognized {', '.join(sorted(unknown))}")
    size = int(query.get("pageSize", "1000"))
    if size not in PAGE_SIZES:
        raise ValueError("pageSize must be from 10 to 1000")
    start, end = (
        datetime.fromisoformat(query.get(name, default)).timestamp()
        for name, default in (("startTimestamp", "1970-01-02T00:00:00Z"), ("endTimestamp", "2999-01-01T00:00:00Z"))
    )
    if end <= start:
        raise ValueError("endTimestamp must be later than startTimestamp")
    return {"from": start, "to": end, "offset": 0, "size": size}


def usage_row(charge: Charge) -> dict[str, Any]:
    """Return one row as Venice shows it."""
    is_charge = charge.kind is ChargeKind.CHARGE
    return {
        "timestamp": moment(charge.at_s),
        "sku": f"{charge.model}-video-unit",
        "units": 1,
        "pricePerUnitUsd": charge.amount_usd,
        "amount": -charge.amount_usd if is_charge else charge.amount_usd,
        "currency": "USD",
        "notes": "API Inference" if is_charge else "Refund",
        "inferenceDetails": {
            "requestId": charge.job,
            "promptTokens": None,
            "completionTokens": None,
            "inferenceExecutionTime": None,
        },
    }
