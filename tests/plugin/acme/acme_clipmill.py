"""Acme Video, a vendor that does not exist, as a provider of clipmill: the example of docs/adding-a-provider.md.

Acme bills when it accepts a job. `POST /jobs` answers `{"job": id}`, `GET /jobs/{id}` answers `{"status": word}`, and
`GET /jobs/{id}/clip` is the clip.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.errors import Severity
from pipeline.providers.answers import (
    Accepted,
    Billing,
    Catalogue,
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
    Throttled,
    Transient,
)
from pipeline.providers.base import BilledAt, Capabilities, DefaultLimits, RequestProblem
from pipeline.providers.exchange import Lost, Opened, Reply, Unsent, not_sent
from pipeline.providers.origin import origin_of, path_segment
from pipeline.providers.pacing import wait_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.effects import Effects
    from pipeline.providers.answers import (
        CleanupAnswer,
        FetchAnswer,
        LookAnswer,
        ModelsAnswer,
        QuoteAnswer,
        SafeFailure,
        SubmitAnswer,
    )
    from pipeline.providers.base import Account, GenerationRequest
    from pipeline.providers.http import Wire
    from pipeline.providers.transport import Patience

MODEL = "acme-1"
NO_SUCH_CALL = Refused(scope=Scope.ACCOUNT, kind="not_supported", message="Acme has no such call.")


class Acme:
    """The provider."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        name="acme",
        billed_at=BilledAt.SUBMIT,
        key_variable="ACME_API_KEY",
        base_url_variable="ACME_BASE_URL",
        default_base_url="https://api.acme.example/v1",
        limits=DefaultLimits(submits_per_minute=60, look_spacing_s=2.0),
        tells_queued_from_running=True,
        quotes=False,
        lists_models=False,
        outputs_max=1,
        id_lifetime_s=86_400.0,
    )

    def __init__(self, account: Account | None, effects: Effects, *, patience: Patience | None = None) -> None:
        self._account, self._effects, self._patience = account, effects, patience
        self._opened: Wire | None = None

    # The pure half

    def check(self, request: GenerationRequest) -> list[RequestProblem]:
        """Say what Acme cannot express."""
        problems = []
        if not request.prompt.strip():
            problems.append(RequestProblem(field=("prompt",), message="Acme needs a prompt; say what the clip shows."))
        for name, value in request.parameters.items():
            if name not in {"duration_seconds", "resolution", "aspect_ratio", "sample_count"}:
                fault = f"Acme takes no {name}; leave it out."
            elif name == "duration_seconds" and value not in (5, 10):
                fault = f"Acme makes 5 or 10 s, not {value!r}."
            elif name == "sample_count" and value != 1:
                fault = "Acme makes one clip a job; for more use `repeat`."
            else:
                continue
            problems.append(RequestProblem(field=("parameters", name), message=fault))
        if request.model != MODEL:  # vendors add models monthly: a name that is not known is no error
            message = f"{request.model!r} is not {MODEL}, the one model known; it is sent unchecked."
            problems.append(RequestProblem(field=("model",), message=message, severity=Severity.WARNING))
        return problems

    def billed_seconds(self, request: GenerationRequest) -> float:
        """Return the length of the one clip, 5 s where nothing is said."""
        return float(request.parameters.get("duration_seconds", 5))

    def request_body(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the body of `POST /jobs`."""
        names = {"duration_seconds": "seconds", "resolution": "resolution", "aspect_ratio": "aspect"}
        given = {names[name]: value for name, value in request.parameters.items() if name in names}
        return {"model": request.model, "prompt": request.prompt, **given, **request.options}

    @staticmethod
    def known_models() -> tuple[ModelInfo, ...]:
        """Return what `clipmill models` shows without asking."""
        return (ModelInfo(id=MODEL, kind="text-to-video", durations_s=(5, 10)),)

    # The half that sends

    async def submit(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> SubmitAnswer:
        """`POST /jobs`, once; it bills."""
        if (wire := self._wire()) is None:
            return NotSent(message="No Acme account was given; set ACME_API_KEY.")
        try:
            body = json.dumps(self.request_body(request, contents), allow_nan=False).encode()
        except (TypeError, ValueError):
            return Refused(scope=Scope.ITEM, kind="invalid_request", message="The request cannot be put into JSON.")
        outcome = await wire.submit("/jobs", body)
        if isinstance(outcome, Unsent):
            return not_sent(outcome)  # certainly nothing left: it is sent again
        if isinstance(outcome, Lost):
            return outcome.ambiguous()  # it may have been accepted, and billed: it is held
        record = outcome.record_or_none() or {}
        if outcome.succeeded and isinstance(record.get("job"), str) and record["job"].strip():
            return Accepted(receipt=Receipt(job_id=record["job"], model=request.model, answer=record))
        if refused := self._refusal(outcome):
            return refused
        if 400 <= outcome.status < 500 and record:
            return Refused(scope=Scope.ITEM, kind="invalid_request", message=told(outcome))
        return outcome.ambiguous(f"Acme answered {outcome.status} to the submit: {told(outcome)}")

    async def look(self, receipt: Receipt) -> LookAnswer:
        """`GET /jobs/{id}`; never bills."""
        if (wire := self._wire()) is None:
            return NotSent(message="No Acme account was given; set ACME_API_KEY.")
        outcome = await wire.ask("GET", f"/jobs/{path_segment(receipt.job_id)}")
        record = (outcome.record_or_none() if isinstance(outcome, Reply) else None) or {}
        if not isinstance(outcome, Reply) or not outcome.succeeded or not isinstance(record.get("status"), str):
            return self._failure(outcome)
        match record["status"]:
            case "done":
                return Ready(outputs=(Output(index=0, location={}),))
            case "broken":
                return Failed(kind="broken", message=told(outcome), billing=Billing.BILLED)
            case word:  # one that is not documented means that the job goes on
                return Running(stage=Stage.QUEUED if word == "waiting" else Stage.RUNNING, word=word[:64])

    async def fetch(self, receipt: Receipt, output: Output) -> FetchAnswer:
        """`GET /jobs/{id}/clip`; never bills."""
        if (wire := self._wire()) is None:
            return NotSent(message="No Acme account was given; set ACME_API_KEY.")
        outcome = await wire.open("GET", f"/jobs/{path_segment(receipt.job_id)}/clip")
        return Streaming(source=outcome.source) if isinstance(outcome, Opened) else self._failure(outcome)

    async def claim(self, receipt: Receipt) -> Refused:
        """Refuse: Acme bills at the submit."""
        return NO_SUCH_CALL

    async def cleanup(self, receipt: Receipt) -> CleanupAnswer:
        """Refuse: Acme deletes nothing on demand."""
        return NO_SUCH_CALL

    async def quote(self, request: GenerationRequest) -> QuoteAnswer:
        """Refuse: Acme quotes no prices."""
        return NO_SUCH_CALL

    async def models(self) -> ModelsAnswer:
        """Return the models that are known without asking."""
        return Catalogue(models=self.known_models())

    async def close(self) -> None:
        """Let the connections go."""
        if self._opened is not None:
            await self._opened.close()

    def _wire(self) -> Wire | None:
        if self._opened is None and self._account is not None:
            from pipeline.providers.http import Wire  # a command that only checks does not pay for aiohttp

            origin = origin_of(self._account.base_url)
            self._opened = Wire(origin, self._account.key, self._effects, patience=self._patience)
        return self._opened

    def _refusal(self, reply: Reply) -> Refused | Throttled | None:
        """Return what concerns the whole account, whichever call it answers."""
        if reply.status == 429:
            return Throttled(wait_s=wait_s(reply.headers, self._effects.clock.now()), message=told(reply))
        if reply.status in {401, 402, 403}:
            return Refused(scope=Scope.ACCOUNT, kind=str(reply.status), message=told(reply))
        return None

    def _failure(self, outcome: Reply | Unsent | Lost) -> Gone | SafeFailure:
        """Read the failure of a call that costs nothing."""
        if isinstance(outcome, Unsent):
            return not_sent(outcome)
        if isinstance(outcome, Lost):
            return outcome.transient()
        if outcome.status in {404, 410} and outcome.record_or_none():  # Acme's own word, and no proxy's page
            return Gone(message=f"Acme does not know the job: {told(outcome)}")
        message = f"Acme answered {outcome.status}: {told(outcome)}"
        return self._refusal(outcome) or Transient(message=message, status=outcome.status)


def told(reply: Reply) -> str:
    """Return an answer's own words."""
    reason = (reply.record_or_none() or {}).get("reason")
    return reason[:500] if isinstance(reason, str) and reason else "it gave no reason."
