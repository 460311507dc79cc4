"""The paths of ModelMax's queue: which of a vendor's addresses are taken, and what stands in for the others.

The reference says to use `status_url`, `response_url` and `data[].url` as they are. They are used where they have the
documented shape on the frozen origin; for anything else the documented path is built from the model and the id.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.providers.origin import path_on, path_segment

if TYPE_CHECKING:
    from pipeline.providers.answers import Receipt
    from pipeline.providers.origin import Origin

SEGMENT = r"(?:[A-Za-z0-9_~=+.:-]|%(?:2[BbFf]|3[AaDd]))+"
"""An id within a path: base64 of either alphabet, `/ + : =` escaped or not, and no other escapes."""
STATUS = re.compile(rf"/v1/queue/{SEGMENT}/requests/{SEGMENT}/status")
RESULT = re.compile(rf"/v1/queue/{SEGMENT}/requests/{SEGMENT}")
CONTENT = re.compile(rf"/v1/queue/{SEGMENT}/requests/{SEGMENT}(?:/{SEGMENT})*/content/[0-9]{{1,6}}")
"""Here an unescaped slash within the id is let through: the address is the only way to a clip that was paid for."""


def told_path(origin: Origin, value: object, shape: re.Pattern[str]) -> str | None:
    """Return an address of a vendor's answer as a path on the origin; None where it is not of the documented shape."""
    return path_on(origin, value, shape) if isinstance(value, str) else None


def submit_path(model: str) -> str:
    """Return `/v1/queue/{model}` (ModelMax reference, queue submit)."""
    return f"/v1/queue/{path_segment(model)}"


def result_path(origin: Origin, receipt: Receipt) -> str:
    """Return the path whose GET bills (ModelMax reference, queue result)."""
    built = f"{submit_path(receipt.model)}/requests/{path_segment(receipt.job_id)}"
    return told_path(origin, receipt.answer.get("response_url"), RESULT) or built


def status_path(origin: Origin, receipt: Receipt) -> str:
    """Return the path whose GET is free (ModelMax reference, queue status)."""
    built = f"{submit_path(receipt.model)}/requests/{path_segment(receipt.job_id)}/status"
    return told_path(origin, receipt.answer.get("status_url"), STATUS) or built
