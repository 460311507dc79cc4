"""Deleting Venice's copies: which call, with what, and what each answer becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.providers.answers import Deleted, Gone, NotSent, Receipt, Refused, Scope, Throttled, Transient
from pipeline.providers.transport import Patience
from pipeline.providers.venice.provider import Venice
from pipeline.system.effects import system
from tests.providers.loopback import CANARY, DROP, STALL, Script, answer, loopback, provided

MODEL = "wan-2.6-text-to-video"
HASTE = Patience(connect_s=0.3, submit_s=0.3, claim_s=0.3, look_s=0.3, gap_s=0.3)


def receipt(**answered: Any) -> Receipt:
    return Receipt(job_id="q-1", model=MODEL, answer={"model": MODEL, "queue_id": "q-1", **answered})


async def cleaned(script: Script, path: str = "") -> tuple[Any, Any]:
    """Clean up a job, one with a download_url where a path is given; return the outcome and the one request."""
    async with loopback(script) as server, provided(Venice, server.url + "/api/v1", patience=HASTE) as provider:
        outcome = await provider.cleanup(receipt(download_url=server.url + path) if path else receipt())
        (request,) = server.received
        return outcome, request


async def test_a_job_without_a_link_is_completed_by_model_and_id_alone() -> None:
    outcome, request = await cleaned(answer({"success": True}))
    assert outcome == Deleted()
    assert (request.method, request.path) == ("POST", "/api/v1/video/complete")
    assert request.json == {"model": MODEL, "queue_id": "q-1"}
    assert request.headers["authorization"] == f"Bearer {CANARY}"


async def test_a_link_is_deleted_without_the_key() -> None:
    outcome, request = await cleaned(answer(b"", 204), "/private-share/a?sig=1")
    assert outcome == Deleted()
    assert (request.method, request.path) == ("DELETE", "/private-share/a?sig=1")
    assert "authorization" not in request.headers
    assert CANARY not in repr(request)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer({"error": "Media could not be found."}, 404), Gone),
        (answer({"error": "Gone."}, 410), Gone),
        (answer({"error": "Invalid id"}, 400), Refused),
        (answer({"success": False}), Refused),
        (answer({}), Refused),
        (answer(b"<html>welcome</html>"), Refused),
        (answer(b"<html>not here</html>", 404), Refused),
        (answer({"error": "no"}, 401), Refused),
        (answer({"error": "slow"}, 429), Throttled),
        (answer({"error": "x"}, 500), Transient),
        (answer(b"", 502), Transient),
        (DROP, Transient),
        (STALL, Transient),
    ],
)
async def test_an_answer_to_complete(script: Script, kind: type) -> None:
    outcome, _ = await cleaned(script)
    assert type(outcome) is kind


async def test_a_refused_key_is_the_accounts_and_an_invalid_id_the_items() -> None:
    for status, scope in ((401, Scope.ACCOUNT), (402, Scope.ACCOUNT), (400, Scope.ITEM)):
        outcome, _ = await cleaned(answer({"error": "no"}, status))
        assert outcome.scope is scope


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer(b"", 200), Deleted),
        (answer(b"<Error/>", 404), Gone),
        (answer(b"<Error/>", 410), Gone),
        (answer(b"<Error/>", 403), Refused),
        (answer(b"", 302, {"Location": "/elsewhere"}), Transient),
        (answer(b"", 429), Throttled),
        (answer(b"", 503), Transient),
        (DROP, Transient),
    ],
)
async def test_an_answer_to_the_deletion_of_a_link(script: Script, kind: type) -> None:
    outcome, request = await cleaned(script, "/private-share/a")
    assert type(outcome) is kind
    assert request.method == "DELETE"


async def test_a_link_that_leads_elsewhere_is_never_asked() -> None:
    async with loopback(answer(b"", 204)) as server, provided(Venice, server.url + "/api/v1") as provider:
        await provider.cleanup(receipt(download_url="https://evil.example/a"))
        (request,) = server.received
        assert json.loads(request.body)["queue_id"] == "q-1"


async def test_without_an_account_nothing_is_sent() -> None:
    assert isinstance(await Venice(None, system()).cleanup(receipt()), NotSent)
