"""What every provider owes the runner: sound facts, pure checks, and the right class for every answer of the vendor's.

What a hostile network can do to it is in `test_conformance_hostile`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import Severity
from pipeline.providers.answers import (
    Accepted,
    Catalogue,
    Claimed,
    NotSent,
    Output,
    Ready,
    Receipt,
    Refused,
    Running,
    Scope,
    Streaming,
    Throttled,
)
from pipeline.providers.base import BilledAt
from pipeline.providers.origin import check_base_url
from pipeline.system.effects import system
from tests.providers.dialect import nobody_listens
from tests.providers.loopback import CANARY, DROP, MP4, answer, bytes_of, loopback, provided

if TYPE_CHECKING:
    from tests.providers.dialect import Dialect, Example


# --- what needs no network ---


def test_the_capabilities_are_sound(dialect: Dialect) -> None:
    can = dialect.can
    assert can.name == can.name.lower()
    assert can.key_variable.endswith("_API_KEY")
    assert can.base_url_variable.endswith("_BASE_URL")
    if can.default_base_url:
        assert check_base_url(can.default_base_url) == can.default_base_url
        assert can.default_base_url.startswith("https://")
    assert can.has_claim_step == (can.billed_at is BilledAt.CLAIM) == (("claim", Claimed) in dialect.says)
    assert can.outputs_max >= 1
    assert can.limits.look_spacing_s > 0
    assert all(host.startswith(".") for host in can.download_hosts)


def test_the_models_that_are_known_without_asking_are_told_once(dialect: Dialect) -> None:
    known = getattr(dialect.factory, "known_models", tuple)()
    assert len({model.id for model in known}) == len(known)
    assert known or dialect.can.lists_models, "nobody can say which models there are"


def test_a_provider_without_an_account_checks_and_prices(dialect: Dialect) -> None:
    provider = dialect.factory(None, system())
    request = dialect.request
    assert not provider.check(request)
    assert provider.billed_seconds(request) >= request.parameters["duration_seconds"]
    assert json.dumps(provider.request_body(request, {}))


async def test_a_provider_without_an_account_sends_nothing(dialect: Dialect) -> None:
    async with loopback(DROP) as server:
        provider = dialect.factory(None, system())
        for method, call in dialect.calls(provider, server).items():
            if method != "fetch" or not dialect.can.download_hosts:  # whose address it is, nobody can say then
                assert isinstance(await call(), NotSent), method
        await provider.close()
        assert not server.received


def test_checking_is_pure(dialect: Dialect) -> None:
    provider = dialect.factory(None, system())
    request = dialect.request
    assert provider.request_body(request, {}) == provider.request_body(request, {})
    assert provider.check(request) == provider.check(request)


def test_an_unknown_model_is_a_warning_at_most(dialect: Dialect) -> None:
    provider = dialect.factory(None, system())
    problems = provider.check(replace(dialect.request, model="tomorrows-model-9"))
    knows = hasattr(dialect.factory, "known_models")
    assert [(problem.severity, problem.field) for problem in problems] == [(Severity.WARNING, ("model",))] * knows


def test_more_clips_than_a_job_can_yield_are_an_error(dialect: Dialect) -> None:
    provider = dialect.factory(None, system())
    parameters = {**dialect.request.parameters, "sample_count": dialect.can.outputs_max + 1}
    problems = provider.check(replace(dialect.request, parameters=parameters))
    assert any(p.field == ("parameters", "sample_count") and p.severity is Severity.ERROR for p in problems)


@pytest.mark.parametrize("value", [None, [], {}, "", -1, 1e999, float("nan"), True, "\ud800", 10**30])
def test_whatever_a_parameter_holds_is_checked_and_never_raised(dialect: Dialect, value: Any) -> None:
    provider = dialect.factory(None, system())
    names = ("duration_seconds", "resolution", "aspect_ratio", "generate_audio", "negative_prompt", "sample_count")
    for name in (*names, "image", "end_image", "video", "reference_images", "elements", "upscale_factor", "no_such"):
        parameters = {**dialect.request.parameters, name: value}
        for problem in provider.check(replace(dialect.request, parameters=parameters)):
            assert problem.message.strip().endswith((".", "?"))
            assert problem.field


def test_options_reach_the_body_verbatim_and_last(dialect: Dialect) -> None:
    provider = dialect.factory(None, system())
    request = replace(dialect.request, options={"prompt": "B", "tomorrow": {"a": [1, None]}})
    body = provider.request_body(request, {})
    assert (body["prompt"], body["tomorrow"]) == ("B", {"a": [1, None]})


# --- every answer of the vendor's ---


def test_every_class_of_answer_has_an_example_or_cannot_be_given(dialect: Dialect) -> None:
    assert not dialect.unexplained()


async def test_each_answer_is_of_its_class_and_took_one_request(dialect: Dialect, example: Example) -> None:
    async with loopback(example.script) as server:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            outcome = await dialect.calls(provider, server)[example.method]()
            assert isinstance(outcome, example.kind)
            if isinstance(outcome, Throttled):
                assert outcome.wait_s == 11
            if isinstance(outcome, Refused):
                assert outcome.scope is Scope.ACCOUNT
            if isinstance(outcome, Streaming):
                await outcome.source.close()
        assert len(server.received) == 1
        if example.method != "fetch" or not dialect.can.download_hosts:
            assert server.received[0].path.startswith(f"{dialect.path}/")


async def test_a_job_goes_from_submit_to_clip(dialect: Dialect) -> None:
    scripts = dialect.a_whole_job()
    async with loopback(*scripts) as server:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            accepted = await provider.submit(dialect.request, {})
            assert isinstance(accepted, Accepted)
            assert accepted.receipt.answer == dialect.accepted
            assert not accepted.warnings
        # Another process goes on, with what a ledger kept and nothing else.
        kept = Receipt(**json.loads(json.dumps(asdict(accepted.receipt))))
        async with provided(dialect.factory, dialect.at(server)) as provider:
            assert isinstance(await provider.look(kept), Running)
            found = await provider.look(kept)
            outputs = found.outputs if isinstance(found, Ready) else ()
            if dialect.can.has_claim_step:
                assert found == Ready()
                claimed = await provider.claim(kept)
                assert isinstance(claimed, Claimed)
                assert not claimed.warnings
                outputs = claimed.outputs
            if outputs:
                found = await provider.fetch(kept, Output(**json.loads(json.dumps(asdict(outputs[0])))))
            assert isinstance(found, Streaming)
            assert await bytes_of(found.source) == MP4
        assert len(server.received) == len(scripts)
        assert {request.headers["authorization"] for request in server.received} == {f"Bearer {CANARY}"}


async def test_a_job_that_was_adopted_by_its_id_is_asked_for_as_one_that_was_submitted(dialect: Dialect) -> None:
    async with loopback(answer(dialect.running)) as server:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            await provider.look(dialect.held())
            assert isinstance(await provider.look(replace(dialect.held(), answer={})), Running)
        assert len(set(server.paths)) == 1
        assert len({request.body for request in server.received}) == 1


async def test_a_bad_request_is_the_items(dialect: Dialect) -> None:
    async with (
        loopback(answer({"error": "no"}, 400)) as server,
        provided(dialect.factory, dialect.at(server)) as provider,
    ):
        outcome = await provider.submit(dialect.request, {})
        assert isinstance(outcome, Refused)
        assert outcome.scope is Scope.ITEM


@pytest.mark.parametrize("status", [401, 402])
async def test_no_key_and_no_money_are_the_accounts(dialect: Dialect, status: int) -> None:
    async with (
        loopback(answer({"error": "no"}, status)) as server,
        provided(dialect.factory, dialect.at(server)) as provider,
    ):
        for method, call in dialect.calls(provider, server).items():
            outcome = await call()
            if dialect.can_answer(method, Refused):
                assert isinstance(outcome, Refused), method
                assert outcome.scope is Scope.ACCOUNT


async def test_an_unknown_word_means_still_running(dialect: Dialect) -> None:
    async with (
        loopback(answer({**dialect.running, "status": "DAYDREAMING"})) as server,
        provided(dialect.factory, dialect.at(server)) as provider,
    ):
        outcome = await provider.look(dialect.held())
        assert isinstance(outcome, Running)
        assert outcome.word == "DAYDREAMING"


async def test_what_the_vendor_has_no_call_for_sends_nothing(dialect: Dialect) -> None:
    async with loopback(DROP) as server:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            if not dialect.can.has_claim_step:
                assert isinstance(await provider.claim(dialect.held()), Refused)
            if not dialect.can.cleans_up:
                assert isinstance(await provider.cleanup(dialect.held()), Refused)
            if not dialect.can.quotes:
                assert isinstance(await provider.quote(dialect.request), Refused)
            if not dialect.can.lists_models:
                assert isinstance(await provider.models(), Catalogue)
        assert not server.received


async def test_what_certainly_was_not_sent_says_so(dialect: Dialect) -> None:
    held, server = nobody_listens()
    with held:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            for method, call in dialect.calls(provider, server).items():
                assert isinstance(await call(), NotSent), method
