"""ModelMax's error answers: what they say, and how far they reach (ModelMax error-handling page)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.providers.answers import Refused, Scope

if TYPE_CHECKING:
    from pipeline.providers.exchange import Reply

TOLD_MAX_CHARACTERS = 500
ABOUT_MODEL = re.compile(
    r"not a (?:supported )?video model|(?:unknown|unsupported|invalid) model|model.{0,40}not found", re.IGNORECASE
)
ACCOUNT = {
    401: ("unauthorized", "Check MODELMAX_API_KEY."),
    402: ("insufficient_balance", "Top up the account at modelmax.io; what is made already is claimed after that."),
    403: ("forbidden", "The key may not do this: use another, or ask ModelMax's support."),
}
"""Kind and what to do, of each refusal that concerns the account (ModelMax error-handling page; it has no 403)."""
MODEL_ADVICE = (
    "`clipmill models --provider modelmax` lists the known models; any of them may have been retired upstream."
)


def told(reply: Reply) -> str:
    """Return an answer's own words: `error.message`, or `error` as text; a short sentence where there are none."""
    record = reply.record_or_none()
    if record is None:
        return reply.words() or "it gave no reason."
    error = record.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    candidates = (inner, record.get("message"), record.get("detail"))
    text = next((text for text in candidates if isinstance(text, str) and text.strip()), "it gave no reason.")
    return text[:TOLD_MAX_CHARACTERS]


def kind_of(reply: Reply, default: str) -> str:
    """Return the vendor's own name of an error (`error.type`), else `default`."""
    error = (reply.record_or_none() or {}).get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    return kind[:64] if isinstance(kind, str) and kind else default


def refusal(reply: Reply, *, of_submit: bool) -> Refused | None:
    """Return the definite no that an answer is; None where it is none (2xx, 3xx, 408, 5xx).

    401 and 402 are the account's. A page that is not JSON was not written by the API: some proxy or portal refused,
    or the base URL is wrong, and no item is to blame for that.
    """
    status, message = reply.status, told(reply)
    if status in {403, 404, 405, 407, 410} and reply.record_or_none() is None:
        message = f"An answer {status} that is not the API's; check MODELMAX_BASE_URL and the network."
        return Refused(scope=Scope.ACCOUNT, kind="not_the_api", message=message)
    if status in ACCOUNT:
        default, advice = ACCOUNT[status]
        return Refused(scope=Scope.ACCOUNT, kind=kind_of(reply, default), message=with_advice(message, advice))
    if of_submit and (status in {404, 410} or (status == 400 and ABOUT_MODEL.search(message))):
        kind = kind_of(reply, "invalid_model")
        return Refused(scope=Scope.MODEL, kind=kind, message=with_advice(message, MODEL_ADVICE))
    if 400 <= status < 500 and status not in {408, 425, 429}:
        return Refused(scope=Scope.ITEM, kind=kind_of(reply, "invalid_request"), message=message)
    return None


def with_advice(message: str, advice: str) -> str:
    """Return a vendor's words as a sentence, and what to do after it."""
    return f"{message if message.endswith(('.', '!', '?')) else f'{message}.'} {advice}"
