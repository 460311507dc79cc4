"""Venice's own list of models: the answer comes in, plain records go out (Venice OpenAPI, /models)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import ModelInfo
from pipeline.providers.decode import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS_MAX_BYTES = 8 << 20
"""The list of all types of model has about 1 MB."""


def texts(value: object) -> tuple[str, ...]:
    """Return the texts of a list; nothing for anything else."""
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def durations(value: object) -> tuple[float, ...]:
    """Return the durations among `["5s", "10s", "Auto"]`, in seconds."""
    matches = (re.fullmatch(r"(\d{1,4})s", text) for text in texts(value))
    return tuple(float(match[1]) for match in matches if match)


def audio_of(constraints: Mapping[str, Any]) -> str:
    """Return whether a model makes sound: the vendor tells whether it does, and whether it can be chosen."""
    if constraints.get("audio_configurable") is True:
        return "optional"
    return {True: "always", False: "never"}.get(constraints.get("audio"), "")  # type: ignore[arg-type]  # any JSON


def info_of(record: object) -> ModelInfo | None:
    """Read one entry; None for one that is no video model."""
    if not isinstance(record, dict) or not isinstance(record.get("id"), str) or record.get("type") != "video":
        return None
    spec = record.get("model_spec")
    spec = spec if isinstance(spec, dict) else {}
    constraints = spec.get("constraints")
    constraints = constraints if isinstance(constraints, dict) else {}
    kind, name, deprecation = constraints.get("model_type"), spec.get("name"), spec.get("deprecation")
    notes = []
    if isinstance(deprecation, dict):
        successor = deprecation.get("replacementModelId")
        notes.append("deprecated" + (f"; use {successor}" if isinstance(successor, str) else ""))
    notes += [word for flag, word in (("offline", "offline"), ("betaModel", "beta")) if spec.get(flag) is True]
    return ModelInfo(
        id=record["id"],
        name=name if isinstance(name, str) else "",
        kind=kind if isinstance(kind, str) else "",
        durations_s=durations(constraints.get("durations")),
        resolutions=texts(constraints.get("resolutions")),
        aspect_ratios=texts(constraints.get("aspect_ratios")),
        audio=audio_of(constraints) if isinstance(constraints.get("audio"), bool | None) else "",
        notes=tuple(notes),
    )


def catalogue_of(answer: Mapping[str, Any]) -> tuple[ModelInfo, ...]:
    """Return the video models that the list names.

    Raises:
        Malformed: the answer is no list of models.
    """
    data = answer.get("data")
    if not isinstance(data, list):
        raise Malformed("it holds no `data`")
    return tuple(info for info in map(info_of, data) if info is not None)
