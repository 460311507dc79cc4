"""What Acme says, for the conformance suite of clipmill; it is not part of the wheel."""

from __future__ import annotations

from acme_clipmill import Acme

from pipeline.providers.answers import Failed, Gone, Ready, Refused, Streaming
from tests.providers.dialect import Dialect
from tests.providers.loopback import answer, asked

DIALECT = Dialect(
    factory=Acme,
    request=asked("acme-1", duration_seconds=5, resolution="720p", aspect_ratio="16:9"),
    path="/v1",
    accepted={"job": "job-1"},
    running={"status": "working"},
    says={
        ("look", Ready): answer({"status": "done"}),
        ("look", Failed): answer({"status": "broken", "reason": "The generator broke."}),
        ("look", Gone): answer({"reason": "There is no such job."}, 404),
        ("fetch", Gone): answer({"reason": "The clip is gone."}, 410),
        ("submit", Refused): answer({"reason": "The key is not known."}, 401),
    },
    cannot=frozenset({("look", Streaming)}),
)
