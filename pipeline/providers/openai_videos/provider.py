"""The OpenAI-style `/v1/videos` wire format, as LiteLLM, vLLM-Omni, SGLang and others speak it: one adapter for all.

Create, status, content and models are `POST /videos`, `GET /videos/{id}`, `GET /videos/{id}/content` and `GET /models`
(OpenAI API reference, videos; vLLM-Omni, Videos API; SGLang Diffusion, OpenAI API). Nobody documents at which moment a
server charges, and the format has no idempotency key, so the create is taken to bill: it is made over a connection of
its own and never repeated. There is no one address, and often no key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    Billing,
    Catalogue,
    Deleted,
    Failed,
    Gone,
    ModelInfo,
    NotSent,
    Output,
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
from pipeline.providers.decode import Malformed
from pipeline.providers.exchange import Opened, Outcome, Reply, unanswered, unanswered_billing
from pipeline.providers.line import Line
from pipeline.providers.openai_videos.errors import error_told, refusal, throttled
from pipeline.providers.openai_videos.request import (
    body_format,
    create_billed_seconds,
    create_fields,
    create_problems,
    encode,
)
from pipeline.providers.origin import origin_of, path_segment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.effects import Effects
    from pipeline.providers.answers import (
        ClaimAnswer,
        CleanupAnswer,
        FetchAnswer,
        LookAnswer,
        ModelsAnswer,
        QuoteAnswer,
        SafeFailure,
        SubmitAnswer,
    )
    from pipeline.providers.base import Account, GenerationRequest, RequestProblem
    from pipeline.providers.transport import Patience

COMPLETED_WORDS = {"completed", "succeeded"}
FAILED_WORDS = {"failed", "cancelled", "canceled"}
GONE_WORDS = {"expired", "deleted"}
QUEUED_WORDS = {"queued", "pending"}
JOB_ID_MAX_CHARACTERS = 2048
"""LiteLLM's ids hold the names of provider and model beside the vendor's own id, in base64."""
NO_ACCOUNT = "No server was named; set OPENAI_VIDEOS_BASE_URL."


def api_root(base_url: str) -> str:
    """Return the URL that `/videos` is put after: the base URL as it is, and with `/v1` where it has no path."""
    root = base_url.rstrip("/")
    return root if "/" in root.partition("://")[2] else f"{root}/v1"


def video_path(receipt: Receipt, rest: str = "") -> str:
    """Return `/videos/{id}`, the id escaped: it is the server's text."""
    return f"/videos/{path_segment(receipt.job_id)}{rest}"


def gone_of(outcome: Outcome, what: str, statuses: set[int]) -> Gone | None:
    """Return that a server does not know what it is asked about, if that is what it says, and not a proxy."""
    if not isinstance(outcome, Reply) or outcome.status not in statuses:
        return None
    told = error_told(outcome)
    is_its_word = told.is_api and not told.is_missing_route
    return Gone(message=f"The server does not know {what} ({outcome.status}): {told.message}") if is_its_word else None


class OpenAIVideos:
    """The provider. The mutable state is the wire, made on the first call."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        name="openai-videos",
        billed_at=BilledAt.SUBMIT,
        key_variable="OPENAI_VIDEOS_API_KEY",
        base_url_variable="OPENAI_VIDEOS_BASE_URL",
        default_base_url="",
        limits=DefaultLimits(look_spacing_s=5.0),
        tells_queued_from_running=True,
        quotes=False,
        lists_models=True,
        outputs_max=1,
        id_lifetime_s=None,
        key_is_optional=True,
        cleans_up=True,
    )

    def __init__(self, account: Account | None, effects: Effects, *, patience: Patience | None = None) -> None:
        self._effects = effects
        origin = None if account is None else origin_of(api_root(account.base_url))
        self._line = Line(account, origin, effects, patience=patience)

    def check(self, request: GenerationRequest) -> Sequence[RequestProblem]:
        """Say what the format cannot express. What a model cannot do, its server says."""
        return list(create_problems(request))

    def billed_seconds(self, request: GenerationRequest) -> float:
        """Return the length of the one clip; 0 where the server's default decides."""
        return create_billed_seconds(request)

    def request_body(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the fields of `POST /videos`, written as a form or as JSON when they are sent."""
        return create_fields(request, contents)

    async def submit(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> SubmitAnswer:
        """`POST /videos`, once; it is taken to bill (OpenAI API reference, create video)."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        try:
            fields = self.request_body(request, contents)
            body = await self._effects.threads.run(encode, fields, body_format(request))
        except (TypeError, ValueError, RecursionError):
            return Refused(scope=Scope.ITEM, kind="invalid_request", message="The request cannot be written down.")
        outcome = await wire.submit("/videos", body.content, body.content_type)
        if not isinstance(outcome, Reply):
            return unanswered_billing(outcome)
        if outcome.succeeded:
            return self._accepted(request, fields, outcome)
        told = error_told(outcome)
        if refused := refusal(outcome, told):
            return refused
        if outcome.status == 429:
            return throttled(outcome, told, self._effects.clock.now())
        return outcome.ambiguous(f"The server answered {outcome.status} to the submit: {told.message}")

    async def look(self, receipt: Receipt) -> LookAnswer:
        """`GET /videos/{id}`; never bills (OpenAI API reference, retrieve video)."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.ask("GET", video_path(receipt))
        if isinstance(outcome, Reply) and outcome.succeeded:
            return self._status(outcome)
        return self._failure(outcome, "the job", gone={400, 404, 410})

    async def claim(self, receipt: Receipt) -> ClaimAnswer:  # noqa: ARG002  # the protocol's
        """Refuse: the create is the call that bills, and there is nothing to claim."""
        return Refused(scope=Scope.ACCOUNT, kind="not_supported", message="The format has no claim step.")

    async def fetch(self, receipt: Receipt, output: Output) -> FetchAnswer:  # noqa: ARG002  # one clip a job
        """`GET /videos/{id}/content`, with the key (OpenAI API reference, retrieve video content).

        Other addresses that servers tell are not used: nobody knows whose they are.
        """
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.open("GET", video_path(receipt, "/content"))
        match outcome:
            case Opened():
                return Streaming(source=outcome.source)
            case Reply() if outcome.succeeded:
                return Transient(
                    message=f"The server sent no MP4: {error_told(outcome).message}", status=outcome.status
                )
            case Reply() if 300 <= outcome.status < 400:
                message = "The server keeps the clip at another address, which is not followed."
                return Transient(message=message, status=outcome.status)
        return self._failure(outcome, "the clip", gone={404, 410})

    async def cleanup(self, receipt: Receipt) -> CleanupAnswer:
        """`DELETE /videos/{id}` (OpenAI API reference, delete video). Not every server has it."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.ask("DELETE", video_path(receipt))
        if isinstance(outcome, Reply) and outcome.succeeded:
            record = outcome.record_or_none() or {}
            if record.get("deleted") is True or record.get("status") == "deleted" or outcome.status == 204:
                return Deleted()
            message = f"The server answered {outcome.status} and deleted nothing."
            return Refused(scope=Scope.ITEM, kind="not_deleted", message=message)
        if isinstance(outcome, Reply) and (outcome.status in {405, 501} or error_told(outcome).is_missing_route):
            message = "The server has no call that deletes a video."
            return Refused(scope=Scope.ITEM, kind="not_supported", message=message)
        return self._failure(outcome, "the clip", gone={404, 410})

    async def quote(self, request: GenerationRequest) -> QuoteAnswer:  # noqa: ARG002  # the protocol's
        """Refuse: the format has no call that prices a request."""
        return Refused(scope=Scope.ACCOUNT, kind="not_supported", message="The format quotes no prices.")

    async def models(self) -> ModelsAnswer:
        """`GET /models` (OpenAI API reference, list models). It tells names alone, of all kinds of model."""
        if (wire := self._line.wire()) is None:
            return NotSent(message=NO_ACCOUNT)
        outcome = await wire.ask("GET", "/models")
        if not isinstance(outcome, Reply) or not outcome.succeeded:
            return self._safe_failure(outcome)
        data = (outcome.record_or_none() or {}).get("data")
        if not isinstance(data, list):
            return Transient(message="The server's list of models cannot be read.", status=outcome.status)
        ids = [entry.get("id") for entry in data if isinstance(entry, dict)]
        return Catalogue(models=tuple(ModelInfo(id=name) for name in ids if isinstance(name, str) and name))

    async def close(self) -> None:
        """Let the connections go."""
        await self._line.close()

    def _accepted(self, request: GenerationRequest, fields: Mapping[str, Any], reply: Reply) -> Accepted | Ambiguous:
        try:
            record = reply.record()
        except Malformed as error:
            return reply.ambiguous(f"The server answered {reply.status} to the submit, but {error}.")
        job_id = record.get("id")
        if not isinstance(job_id, str) or not 0 < len(job_id.strip(" .")) <= len(job_id) <= JOB_ID_MAX_CHARACTERS:
            return reply.ambiguous(
                f"The server answered {reply.status} to the submit without an id that can be asked for."
            )
        model = record.get("model")
        model = model if isinstance(model, str) and model else request.model
        warnings = [
            f"The server makes {name} {record[name]} where {fields[name]} was asked for."
            for name in ("seconds", "size")
            if name in fields and isinstance(record.get(name), str) and record[name] != fields[name]
        ]
        if not (request.model.endswith(model) or model.endswith(request.model)):  # LiteLLM drops or adds a prefix
            warnings.append(f"The server makes the clip with {model} in the place of {request.model}.")
        return Accepted(receipt=Receipt(job_id=job_id, model=model, answer=record), warnings=tuple(warnings))

    def _status(self, reply: Reply) -> LookAnswer:
        record = reply.record_or_none() or {}
        told, word = error_told(reply), record.get("status")
        if not isinstance(word, str) or not word.strip():
            return Transient(message=f"The server's answer holds no status: {told.message}", status=reply.status)
        known = word.strip().lower()
        if known in COMPLETED_WORDS:
            return Ready(outputs=(Output(index=0, location={"variant": "video"}),))
        if known in FAILED_WORDS:
            return Failed(kind=told.code or known, message=told.message, billing=Billing.UNKNOWN)
        if known in GONE_WORDS:
            return Gone(message=f"The server says that the job is {known}.")
        return Running(stage=Stage.QUEUED if known in QUEUED_WORDS else Stage.RUNNING, word=word[:64])

    def _failure(self, outcome: Outcome, what: str, *, gone: set[int]) -> Gone | SafeFailure:
        """Read the failure of a call about a job that was accepted and may be paid for: no refusal of it ends the job.

        A 403 has been met just after completion, so it is the account's only where the create says so too.
        """
        failure = self._safe_failure(outcome)
        if isinstance(outcome, Reply) and isinstance(failure, Refused):
            if failure.scope is not Scope.ACCOUNT or outcome.status == 403:
                message = f"The server answered {outcome.status}: {failure.message}"
                failure = Transient(message=message, status=outcome.status)
            return gone_of(outcome, what, gone) or failure
        return failure

    def _safe_failure(self, outcome: Outcome) -> SafeFailure:
        if not isinstance(outcome, Reply):
            return unanswered(outcome)
        told = error_told(outcome)
        if refused := refusal(outcome, told):
            return refused
        if outcome.status == 429:
            return throttled(outcome, told, self._effects.clock.now())
        return Transient(message=f"The server answered {outcome.status}: {told.message}", status=outcome.status)
