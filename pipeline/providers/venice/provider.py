"""Venice: a queue whose submit bills, and whose status call can be the clip itself.

Submit, retrieve and quote are `POST /video/queue`, `/video/retrieve` and `/video/quote` (Venice OpenAPI). A submit is
charged before its 200 returns (Venice skills, venice-video), so it is made over a connection of its own and never
repeated. `delete_media_on_completion` is never sent: it ties the deletion to a body that may not have arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    Catalogue,
    Deleted,
    Failed,
    Gone,
    NotSent,
    Output,
    Quoted,
    Ready,
    Receipt,
    Refused,
    Running,
    Scope,
    Stage,
    Streaming,
    Transient,
)
from pipeline.providers.base import BilledAt, Capabilities, DefaultLimits
from pipeline.providers.catalogue import NO_TABLE, Table, table
from pipeline.providers.decode import Malformed
from pipeline.providers.exchange import Opened, Outcome, Reply, encode_json, unanswered, unanswered_billing
from pipeline.providers.line import Line
from pipeline.providers.origin import download_url, origin_of
from pipeline.providers.pacing import number
from pipeline.providers.venice.check import venice_problems
from pipeline.providers.venice.errors import billing_of, error_told, refusal, safe_failure, throttled
from pipeline.providers.venice.models import MODELS_MAX_BYTES, table_of
from pipeline.providers.venice.request import venice_billed_seconds, venice_body, venice_quote_body

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
        QuoteAnswer,
        SafeFailure,
        SubmitAnswer,
    )
    from pipeline.providers.base import Account, GenerationRequest, RequestProblem
    from pipeline.providers.transport import Patience

QUOTE_MAX_USD = 1000.0
"""No clip costs as much; Venice's own range ends at 10 (Venice OpenAPI, x-payment-info)."""
NO_ACCOUNT = "No Venice account was given; set VENICE_API_KEY."


class Venice:
    """The provider. The mutable state is the wire, made on the first call, and the models that requests are held to."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        name="venice",
        billed_at=BilledAt.SUBMIT,
        key_variable="VENICE_API_KEY",
        base_url_variable="VENICE_BASE_URL",
        default_base_url="https://api.venice.ai/api/v1",
        limits=DefaultLimits(submits_per_minute=40, looks_per_minute=120, failures_per_30_s=15, look_spacing_s=5.0),
        tells_queued_from_running=False,
        quotes=True,
        lists_models=True,
        outputs_max=1,
        id_lifetime_s=86_400.0,
        download_hosts=(".venice.ai",),
        cleans_up=True,
    )

    def __init__(self, account: Account | None, effects: Effects, *, patience: Patience | None = None) -> None:
        self._effects = effects
        self._origin = origin_of(account.base_url if account is not None else self.capabilities.default_base_url)
        hosts = self.capabilities.download_hosts
        self._line = Line(account, self._origin, effects, patience=patience, download_hosts=hosts)
        self._models: Table = table("venice")

    @property
    def catalogue(self) -> Table:
        """What requests are held against."""
        return self._models

    def take_catalogue(self, answer: Mapping[str, Any] | None, as_of: str) -> bool:
        """Hold requests against this answer of `GET /models?type=video` from now on, or against nothing."""
        if answer is None:
            self._models = NO_TABLE
            return True
        if as_of < table("venice").as_of:
            return False
        try:
            self._models = table_of(answer, as_of)
        except Malformed:
            return False
        return True

    def check(self, request: GenerationRequest) -> Sequence[RequestProblem]:
        """Say what Venice or the model cannot express."""
        return venice_problems(request, self._models, self._effects.clock.now().date())

    def billed_seconds(self, request: GenerationRequest) -> float:
        """Return the length of the one clip."""
        return venice_billed_seconds(request, self._models)

    def request_body(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the body of `POST /video/queue` (Venice OpenAPI, QueueVideoRequest)."""
        return venice_body(request, contents, self._models)

    @staticmethod
    def known_models() -> tuple[ModelInfo, ...]:
        """Return the built-in, dated catalogue."""
        return table("venice").infos()

    async def submit(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> SubmitAnswer:
        """`POST /video/queue`, once; it bills (Venice OpenAPI, /video/queue)."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        try:
            body = await self._effects.threads.run(encode_json, self.request_body(request, contents))
        except (TypeError, ValueError, RecursionError):
            return Refused(scope=Scope.ITEM, kind="invalid_request", message="The request cannot be put into JSON.")
        outcome = await wire.submit("/video/queue", body)
        if not isinstance(outcome, Reply):
            return unanswered_billing(outcome)
        if outcome.succeeded:
            return self._accepted(request, outcome)
        told = error_told(outcome)
        # A 503 of the API's own is "at capacity" or "offline", before any charge; one of a gateway's says nothing.
        if outcome.status == 429 or (outcome.status == 503 and told.is_api):
            return throttled(outcome, told, self._effects.clock.now())
        return refusal(outcome, told) or outcome.ambiguous(
            f"Venice answered {outcome.status} to the submit: {told.message}"
        )

    async def look(self, receipt: Receipt) -> LookAnswer:
        """`POST /video/retrieve`; never bills. The answer may be the clip (Venice OpenAPI, /video/retrieve)."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.open("POST", "/video/retrieve", retrieve_body(receipt))
        if isinstance(outcome, Opened):
            return Streaming(source=outcome.source)
        if not isinstance(outcome, Reply):
            return unanswered(outcome)
        if outcome.succeeded:
            return self._status(receipt, outcome)
        return self._unfinished(outcome)

    async def claim(self, receipt: Receipt) -> ClaimAnswer:  # noqa: ARG002  # the protocol's
        """Refuse: Venice bills at the submit, and has nothing to claim."""
        return Refused(scope=Scope.ACCOUNT, kind="not_supported", message="Venice has no claim step.")

    async def fetch(self, receipt: Receipt, output: Output) -> FetchAnswer:  # noqa: ARG002  # the protocol's
        """GET the `download_url` without the key (Venice video-generation guide).

        A link that was used too often answers 429; that is the link's affair and not the API's limit, so it is a
        `Transient` and stops no endpoint.
        """
        url = output.location.get("download_url")
        if not isinstance(url, str):
            return Transient(message="The clip has no address of its own; the next look brings it.")
        if download_url(self._origin, url, self.capabilities.download_hosts) is None:
            return Gone(message="The clip's download_url is not an address of Venice's; nothing was fetched.")
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.open_download(url)
        if isinstance(outcome, Opened):
            return Streaming(source=outcome.source)
        if not isinstance(outcome, Reply):
            return unanswered(outcome)
        if outcome.status in {400, 401, 403, 404, 410}:
            return Gone(message=f"The download link no longer works ({outcome.status}).")
        return Transient(message=f"The download link answered {outcome.status}, no MP4.", status=outcome.status)

    async def cleanup(self, receipt: Receipt) -> CleanupAnswer:
        """DELETE the `download_url` where the job has one, else `POST /video/complete` (Venice video-generation guide).

        Of the latter, a 400 was seen that calls every id invalid (Venice skills, venice-video): that deletes nothing,
        so it is a refusal and not a `Gone`.
        """
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        link = self._link(receipt.answer.get("download_url"))
        if link is not None:
            outcome = await wire.delete_download(link)
        else:
            outcome = await wire.ask("POST", "/video/complete", retrieve_body(receipt))
        if not isinstance(outcome, Reply):
            return self._safe_failure(outcome)
        if outcome.succeeded and (link is not None or (outcome.record_or_none() or {}).get("success") is True):
            return Deleted()
        if outcome.status in {404, 410} and (link is not None or error_told(outcome).is_api):
            return Gone(message=f"Venice no longer has the clip ({outcome.status}).")
        if outcome.succeeded or (link is not None and 400 <= outcome.status < 500 and outcome.status != 429):
            message = f"Venice answered {outcome.status} and deleted nothing: {error_told(outcome).message}"
            return Refused(scope=Scope.ITEM, kind="not_deleted", message=message)
        return self._safe_failure(outcome)

    async def quote(self, request: GenerationRequest) -> QuoteAnswer:
        """`POST /video/quote` (Venice OpenAPI). A price of nothing, as quotes have been seen to say, is none."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        try:
            body = encode_json(venice_quote_body(request, self._models))
        except (TypeError, ValueError, RecursionError):
            return Refused(scope=Scope.ITEM, kind="invalid_request", message="The request cannot be put into JSON.")
        outcome = await wire.ask("POST", "/video/quote", body)
        if not isinstance(outcome, Reply) or not outcome.succeeded:
            return self._safe_failure(outcome)
        price = (outcome.record_or_none() or {}).get("quote")
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 < price <= QUOTE_MAX_USD:
            return Transient(message=f"Venice quoted no usable price for {request.model}.", status=outcome.status)
        return Quoted(price_usd=float(price))

    async def models(self) -> ModelsAnswer:
        """`GET /models?type=video` (Venice OpenAPI, /models)."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.ask("GET", "/models?type=video", cap_bytes=MODELS_MAX_BYTES)
        if not isinstance(outcome, Reply) or not outcome.succeeded:
            return self._safe_failure(outcome)
        try:
            answer = outcome.record(MODELS_MAX_BYTES)
            listed = table_of(answer, "").models.values()
            return Catalogue(models=tuple(model.info() for model in listed if model.listed), answer=answer)
        except Malformed as error:
            return Transient(message=f"Venice's list of models cannot be read: {error}.", status=outcome.status)

    async def close(self) -> None:
        """Let the connections go."""
        await self._line.close()

    def _accepted(self, request: GenerationRequest, reply: Reply) -> Accepted | Ambiguous:
        try:
            record = reply.record()
        except Malformed as error:
            return reply.ambiguous(f"Venice answered {reply.status} to the submit, but {error}.")
        job_id = record.get("queue_id")
        if not isinstance(job_id, str) or not job_id.strip():
            return reply.ambiguous(f"Venice answered {reply.status} to the submit without a queue_id.")
        model, warnings = record.get("model"), []
        if not isinstance(model, str) or not model:
            model = request.model
        elif model != request.model:
            warnings.append(f"Venice makes the clip with {model} in the place of {request.model}.")
        url = record.get("download_url")
        if url is not None and self._link(url) is None:
            warnings.append("Venice's download_url is not an address of Venice's; it will not be used.")
        deprecation = reply.headers.get("x-venice-model-deprecation-warning")
        if deprecation:
            warnings.append(f"Venice says of {model}: {deprecation[:300]}")
        return Accepted(
            receipt=Receipt(job_id=job_id, model=model, answer=record),
            warnings=tuple(warnings),
            balance_usd=number(reply.headers.get("x-balance-remaining")),
        )

    def _status(self, receipt: Receipt, reply: Reply) -> LookAnswer:
        record = reply.record_or_none()
        word = record.get("status") if record is not None else None
        if record is None or not isinstance(word, str) or not word:
            message = f"Venice's answer is neither a status nor an MP4: {error_told(reply).message}"
            return Transient(message=message, status=reply.status)
        if word.upper() == "COMPLETED":
            link = self._link(receipt.answer.get("download_url")) or self._link(record.get("download_url"))
            if link is None:
                return Gone(message="Venice says COMPLETED, sends no clip, and gave no download_url when it accepted.")
            return Ready(outputs=(Output(index=0, location={"download_url": link}),))
        elapsed_s, usual_s = seconds(record.get("execution_duration")), seconds(record.get("average_execution_time"))
        return Running(stage=Stage.RUNNING, word=word[:64], elapsed_s=elapsed_s, usual_s=usual_s)

    def _unfinished(self, reply: Reply) -> LookAnswer:
        """Read a look's error. A 400 or 404 is the id's: unknown, another account's, or older than 24 h."""
        told = error_told(reply)
        if reply.status in {400, 404, 410} and told.is_api:
            return Gone(message=f"Venice no longer knows the job ({reply.status}): {told.message}")
        if reply.status == 422 or (reply.status == 500 and told.refunded is not None):
            # A refusal, or a failure that already says what became of the money: replayed for ever, never revived.
            kind = told.code or ("content_policy" if reply.status == 422 else "inference_failed")
            recommended = told.details.get("recommended_model")
            hint = f" Venice recommends {recommended}." if isinstance(recommended, str) else ""
            return Failed(kind=kind, message=told.message + hint, billing=billing_of(told))
        failure = self._safe_failure(reply)
        if isinstance(failure, Refused) and failure.scope is not Scope.ACCOUNT:
            # The job was accepted and paid for: what is said of its model or form now does not end it.
            return Transient(message=f"Venice answered {reply.status}: {told.message}", status=reply.status)
        return failure

    def _safe_failure(self, outcome: Outcome) -> SafeFailure:
        return safe_failure(outcome, self._effects.clock.now())

    def _link(self, value: object) -> str | None:
        return download_url(self._origin, value, self.capabilities.download_hosts) if isinstance(value, str) else None


def retrieve_body(receipt: Receipt) -> bytes:
    """Return the body of a look: the model that Venice named, and the id (Venice OpenAPI, RetrieveVideoRequest)."""
    return encode_json({"model": receipt.model, "queue_id": receipt.job_id})


def seconds(value: object) -> float | None:
    """Return Venice's milliseconds in seconds; None for what is no duration."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return value / 1000
