"""The upstream list: a line that can be pasted into a manifest for every known model, and nothing for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.manifest.validate import load_manifest
from pipeline.providers.modelmax.prices import listed, price_hint
from pipeline.providers.modelmax.provider import ModelMax

if TYPE_CHECKING:
    from pathlib import Path


def test_every_known_model_has_a_line_and_no_other_has() -> None:
    assert set(listed()["usd_per_second"]) == {model.id for model in ModelMax.known_models()}
    assert price_hint("tomorrows-model-9") == ""


@pytest.mark.parametrize("model", sorted(listed()["usd_per_second"]))
def test_the_line_is_yaml_that_a_manifest_takes(model: str, tmp_path: Path) -> None:
    line = ModelMax.price_hint(model).partition(" (")[0]
    head = f"version: 1\nname: b\nprovider: modelmax\nmodel: {model}\nclips:\n  - {{id: a, prompt: x}}\n"
    (tmp_path / "m.yaml").write_text(f"{head}prices:\n  {line}\n")
    price = load_manifest(tmp_path / "m.yaml").prices[f"modelmax/{model}"]
    for resolution in ("720p", "4k"):
        known = listed()["usd_per_second"][model]
        assert price.per_second(resolution) == known.get(resolution, known.get("default"))
