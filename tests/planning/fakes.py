"""A provider that can only check and price, and short ways to a plan."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, ProblemsFound, Severity
from pipeline.manifest.model import Entry, Manifest
from pipeline.planning.expand import expand
from pipeline.planning.plan import make_plan, plan_file
from pipeline.planning.problems import Findings
from pipeline.providers.base import BilledAt, Capabilities, DefaultLimits, GenerationRequest, RequestProblem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.planning.draft import Draft
    from pipeline.planning.plan import Plan

KNOWN_MODELS = {"veo-3", "veo-3-fast", "wan"}


class FakeProvider:
    """Takes durations up to 8 s and prompts up to 200 characters, and knows three models."""

    def __init__(self, name: str = "modelmax") -> None:
        self.capabilities = Capabilities(
            name=name,
            billed_at=BilledAt.CLAIM,
            key_variable="FAKE_KEY",
            base_url_variable="FAKE_URL",
            default_base_url="https://fake.invalid",
            limits=DefaultLimits(submits_per_minute=40, looks_per_minute=120, in_flight=20),
            tells_queued_from_running=True,
            quotes=False,
            lists_models=False,
            outputs_max=4,
            id_lifetime_s=None,
        )

    def check(self, request: GenerationRequest) -> list[RequestProblem]:
        problems = []
        if request.parameters.get("duration_seconds", 8) > 8:
            problems.append(RequestProblem(field=("parameters", "duration_seconds"), message="8 s is the most."))
        if len(request.prompt) > 200:
            problems.append(RequestProblem(field=("prompt",), message="The prompt is too long."))
        if request.model not in KNOWN_MODELS:
            problems.append(RequestProblem(field=("model",), message="An unknown model.", severity=Severity.WARNING))
        if "bad" in request.options:
            problems.append(RequestProblem(field=("options", "bad"), message="A bad option."))
        return problems

    def billed_seconds(self, request: GenerationRequest) -> float:
        return float(request.parameters.get("duration_seconds", 8)) * request.sample_count


def fake_providers(name: str) -> Any:
    """Give `modelmax` and `venice`."""
    if name not in {"modelmax", "venice"}:
        raise InputError(f"There is no provider {name!r}.")
    return FakeProvider(name)


def manifest_of(folder: Path, *entries: Entry, **changes: Any) -> Manifest:
    """Make a manifest of records, without a file."""
    given: dict[str, Any] = {"name": "batch", "provider": "modelmax", "model": "veo-3", "text_sha256": "0" * 64}
    return Manifest(path=folder / "m.yaml", folder=folder.resolve(), entries=entries, **{**given, **changes})


def expanded(manifest: Manifest) -> list[Draft]:
    """Expand a manifest that has nothing wrong with it."""
    findings = Findings()
    drafts = list(expand(manifest, findings))
    errors = [problem for problem in findings.told() if problem.severity is Severity.ERROR]
    assert not errors, errors
    return drafts


def ids_of(manifest: Manifest) -> list[str]:
    """Return the ids of a manifest's items."""
    return [draft.id for draft in expanded(manifest)]


def problems_of(manifest: Manifest) -> list[str]:
    """Return the problems that planning a manifest raises, without the folder's name."""
    try:
        make_plan(manifest, fake_providers)
    except ProblemsFound as found:
        return [str(problem).replace(f"{manifest.path.parent}/", "") for problem in found.problems]
    return []


def plan_text(folder: Path, text: str, files: Mapping[str, str] | None = None) -> Plan:
    """Write a manifest and the files beside it, and plan it."""
    for name, content in (files or {}).items():
        (folder / name).write_text(content, encoding="utf-8")
    path = folder / "m.yaml"
    path.write_text(text, encoding="utf-8")
    return plan_file(path, fake_providers)


def told_by(folder: Path, text: str, files: Mapping[str, str] | None = None) -> list[str]:
    """Return what planning a text tells, as the user sees it but for the folder's name."""
    try:
        told = plan_text(folder, text, files).warnings
    except ProblemsFound as found:
        told = tuple(found.problems)
    return [str(problem).replace(f"{folder}/", "") for problem in told]


def png(shade: int = 0) -> bytes:
    """Return a whole PNG of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, shade]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
