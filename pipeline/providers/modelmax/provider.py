"""ModelMax: a queue whose result call bills.

Submit, status, result and content are the documented four calls (ModelMax guide, steps 1 to 4). Nothing is billed
until the result of a COMPLETED job is asked for (ModelMax billing page), so `claim` is that call, made over a
connection of its own and never repeated. Paths come from the vendor's answers where they have the documented shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    Billing,
    Catalogue,
    Claimed,
    Failed,
    Gone,
    NotSent,
    Ready,
    Receipt,
    Refused,
    Running,
    Scope,
    Stage,
    Streaming,
    Throttled,
    Transient,
)
from pipeline.providers.base import BilledAt, Capabilities, DefaultLimits
from pipeline.providers.catalogue import table
from pipeline.providers.decode import Malformed
from pipeline.providers.exchange import Opened, Reply, encode_json, unanswered, unanswered_billing
from pipeline.providers.line import Line
from pipeline.providers.modelmax.errors import refusal, told
from pipeline.providers.modelmax.paths import CONTENT, RESULT, STATUS, result_path, status_path, submit_path, told_path
from pipeline.providers.modelmax.prices import price_hint
from pipeline.providers.modelmax.request import asked_seconds, effective, modelmax_body, modelmax_problems
from pipeline.providers.modelmax.result import CLAIM_MAX_BYTES, outputs_of, packed, usage_warnings
from pipeline.providers.origin import origin_of
from pipeline.providers.pacing import wait_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.effects import Effects
    from pipeline.providers.answers import (
        ClaimAnswer,
        CleanupAnswer,
        FetchAnswer,
        LookAnswer,
        ModelInfo,
        ModelsAnswer,
        Output,
        QuoteAnswer,
        SubmitAnswer,
    )
    from pipeline.providers.base import Account, GenerationRequest, RequestProblem
    from pipeline.providers.transport import Patience

COMPLETED_WORDS = {"COMPLETED", "SUCCESS", "SUCCEEDED"}
FAILED_WORDS = {"FAILED", "ERROR"}
QUEUED_WORDS = {"IN_QUEUE", "QUEUED"}
NO_ACCOUNT = "No ModelMax account was given; set MODELMAX_API_KEY."


def word_of(record: Mapping[str, Any]) -> str:
    """Return an answer's status word in capitals; the first-party client meets SUCCESS and succeeded too."""
    word = record.get("status")
    return word.strip().upper()[:64] if isinstance(word, str) else ""


def running(word: str) -> Running:
    """Say that a job goes on; a word that is not documented counts as running."""
    return Running(stage=Stage.QUEUED if word in QUEUED_WORDS else Stage.RUNNING, word=word)


class ModelMax:
    """The provider. The mutable state is the wire, made on the first call."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        name="modelmax",
        billed_at=BilledAt.CLAIM,
        key_variable="MODELMAX_API_KEY",
        base_url_variable="MODELMAX_BASE_URL",
        default_base_url="https://api.modelmax.io",
        limits=DefaultLimits(look_spacing_s=5.0),
        tells_queued_from_running=True,
        quotes=False,
        lists_models=False,
        outputs_max=4,
        id_lifetime_s=None,
    )

    def __init__(self, account: Account | None, effects: Effects, *, patience: Patience | None = None) -> None:
        self._effects = effects
        root = account.base_url if account is not None else self.capabilities.default_base_url
        # Every documented path begins with /v1; a base URL that ends in it would double it.
        self._origin = origin_of(root.rstrip("/").removesuffix("/v1"))
        self._line = Line(account, self._origin, effects, patience=patience)

    def check(self, request: GenerationRequest) -> Sequence[RequestProblem]:
        """Say what ModelMax cannot express, and as warnings what the model is known to refuse."""
        return modelmax_problems(request)

    def billed_seconds(self, request: GenerationRequest) -> float:
        """Return seconds by samples: billing is by duration, resolution and audio (ModelMax billing page)."""
        return asked_seconds(request)

    def request_body(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the body of `POST /v1/queue/{model}` (ModelMax reference, queue submit)."""
        return modelmax_body(request, contents)

    @staticmethod
    def known_models() -> tuple[ModelInfo, ...]:
        """Return the built-in, dated catalogue (ModelMax guide, available models)."""
        return table("modelmax").infos()

    @staticmethod
    def price_hint(model: str) -> str:
        """Return a line for the manifest's `prices`, with where it is from; empty where there is none."""
        return price_hint(model)

    async def submit(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> SubmitAnswer:
        """`POST /v1/queue/{model}`, once. Does not bill (ModelMax billing page)."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        try:
            body = await self._effects.threads.run(encode_json, self.request_body(request, contents))
        except (TypeError, ValueError, RecursionError):
            return Refused(scope=Scope.ITEM, kind="invalid_request", message="The request cannot be put into JSON.")
        outcome = await wire.submit(submit_path(request.model), body)
        if not isinstance(outcome, Reply):
            return unanswered_billing(outcome)
        if outcome.succeeded:
            return self._accepted(request, outcome)
        if outcome.status == 429:
            return self._throttled(outcome)
        return refusal(outcome, of_submit=True) or outcome.ambiguous(
            f"ModelMax answered {outcome.status} to the submit: {told(outcome)}"
        )

    async def look(self, receipt: Receipt) -> LookAnswer:
        """`GET .../requests/{id}/status`; never bills (ModelMax guide, step 2)."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.ask("GET", status_path(self._origin, receipt))
        if not isinstance(outcome, Reply):
            return unanswered(outcome)
        if outcome.succeeded:
            return self._status(outcome)
        return self._failure(outcome, "the job")

    async def claim(self, receipt: Receipt) -> ClaimAnswer:
        """`GET .../requests/{id}`, once; it bills where the job is COMPLETED (ModelMax reference, queue result)."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.claim(result_path(self._origin, receipt), CLAIM_MAX_BYTES)
        if not isinstance(outcome, Reply):
            return unanswered_billing(outcome)
        if outcome.succeeded:
            return self._result(receipt, outcome)
        if outcome.status == 429:
            return self._throttled(outcome)
        return refusal(outcome, of_submit=False) or outcome.ambiguous(
            f"ModelMax answered {outcome.status} to the result call: {told(outcome)}"
        )

    async def fetch(self, receipt: Receipt, output: Output) -> FetchAnswer:  # noqa: ARG002  # the protocol's
        """`GET .../content/{index}` with the key (ModelMax reference, queue content), or a clip that came inline."""
        if "base64" in output.location:
            return packed(output)
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        path = told_path(self._origin, output.location.get("path"), CONTENT)
        if path is None:
            return Gone(message=f"The address of clip {output.index} is not one of ModelMax's; nothing was fetched.")
        outcome = await wire.open("GET", path)
        if isinstance(outcome, Opened):
            return Streaming(source=outcome.source)
        if not isinstance(outcome, Reply):
            return unanswered(outcome)
        if outcome.succeeded:
            return Transient(message=f"ModelMax sent no MP4: {told(outcome)}", status=outcome.status)
        return self._failure(outcome, "the clip")

    async def cleanup(self, receipt: Receipt) -> CleanupAnswer:  # noqa: ARG002  # the protocol's
        """Refuse: ModelMax documents no call that deletes a clip."""
        return Refused(scope=Scope.ACCOUNT, kind="not_supported", message="ModelMax deletes no clips on demand.")

    async def quote(self, request: GenerationRequest) -> QuoteAnswer:  # noqa: ARG002  # the protocol's
        """Refuse: ModelMax documents no call that prices a request."""
        return Refused(scope=Scope.ACCOUNT, kind="not_supported", message="ModelMax quotes no prices.")

    async def models(self) -> ModelsAnswer:
        """Return the built-in catalogue: no reference page documents a call that lists the models."""
        return Catalogue(models=self.known_models())

    async def close(self) -> None:
        """Let the connections go."""
        await self._line.close()

    def _accepted(self, request: GenerationRequest, reply: Reply) -> Accepted | Ambiguous:
        try:
            record = reply.record()
        except Malformed as error:
            return reply.ambiguous(f"ModelMax answered {reply.status} to the submit, but {error}.")
        job_id = record.get("request_id")
        if not isinstance(job_id, str) or not job_id.strip():
            return reply.ambiguous(f"ModelMax answered {reply.status} to the submit without a request_id.")
        receipt = Receipt(job_id=job_id, model=request.model, answer=record, asked=effective_usage(request))
        warnings = [
            f"The {name} is missing or not an address of ModelMax's queue; the documented path is used."
            for name, shape in (("status_url", STATUS), ("response_url", RESULT))
            if told_path(self._origin, record.get(name), shape) is None
        ]
        return Accepted(receipt=receipt, warnings=tuple(warnings))

    def _status(self, reply: Reply) -> LookAnswer:
        record = reply.record_or_none()
        if record is None:
            return Transient(message="ModelMax's status is not JSON.", status=reply.status)
        word = word_of(record)
        if word in COMPLETED_WORDS:
            return Ready()
        if word in FAILED_WORDS:
            return Failed(kind="failed", message=told(reply), billing=Billing.UNBILLED)
        if not word:
            return Transient(message=f"ModelMax's answer holds no status: {told(reply)}", status=reply.status)
        return running(word)

    def _result(self, receipt: Receipt, reply: Reply) -> ClaimAnswer:
        try:
            record = reply.record(CLAIM_MAX_BYTES)
        except Malformed as error:
            return reply.ambiguous(f"ModelMax answered {reply.status} to the result call, but {error}.")
        word = word_of(record)
        if word in FAILED_WORDS:
            return Failed(kind="failed", message=told(reply), billing=Billing.UNBILLED)
        # An answer that names clips or usage is a result, whatever its word: it has been billed.
        if word not in COMPLETED_WORDS and not record.get("data") and not record.get("usage"):
            if word:
                return running(word)
            return reply.ambiguous(f"ModelMax's result holds no status: {told(reply)}")
        usage = record.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        outputs, answer, warnings = outputs_of(self._origin, record)
        warnings += usage_warnings(receipt.asked, usage, len(outputs))
        return Claimed(outputs=tuple(outputs), usage=usage, answer=answer, warnings=tuple(warnings))

    def _failure(self, reply: Reply, what: str) -> Refused | Throttled | Transient | Gone:
        if reply.status == 429:
            return self._throttled(reply)
        is_its_word = reply.record_or_none() is not None  # and no proxy's page
        if reply.status in {400, 404, 410} and is_its_word:
            return Gone(message=f"ModelMax does not know {what} ({reply.status}): {told(reply)}")
        refused = refusal(reply, of_submit=False)
        if refused is not None and refused.scope is Scope.ACCOUNT:
            return refused
        return Transient(message=f"ModelMax answered {reply.status}: {told(reply)}", status=reply.status)

    def _throttled(self, reply: Reply) -> Throttled:
        return Throttled(wait_s=wait_s(reply.headers, self._effects.clock.now()), message=told(reply))


def effective_usage(request: GenerationRequest) -> dict[str, Any]:
    """Return what the request asked for, by the names under which it can be compared with the usage."""
    asked = effective(request)
    return {name: asked[name] for name in ("duration_seconds", "resolution", "generate_audio", "sample_count")}
