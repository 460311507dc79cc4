from __future__ import annotations

from tests.clips.conftest import real_clip

__all__ = ["real_clip"]
