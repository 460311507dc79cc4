"""Clips that several files here look at, encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import mp4s

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def real_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s of 320x180 H.264 with AAC, 24 fps, headers first."""
    pytest.importorskip("av", reason="real clips are encoded with PyAV")
    return mp4s.encode(tmp_path_factory.mktemp("clips") / "real.mp4")
