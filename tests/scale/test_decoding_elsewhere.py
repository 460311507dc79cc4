"""What a node does with a clip that it is asked to decode; Ray itself is not needed to say so."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline.scale.tasks import decode_there

if TYPE_CHECKING:
    from pathlib import Path

TWICE = """
import json, sys
from pathlib import Path
from pipeline.scale.tasks import decode_there
path = sys.argv[1]
status = Path(path).stat()
print(json.dumps([decode_there(path, (status.st_size, status.st_mtime_ns)) for _ in range(2)]))
"""


def test_a_clip_is_decoded_by_one_process_after_the_other_and_none_is_left(real_clip: Path) -> None:
    pytest.importorskip("av", reason="the full decode is PyAV's")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TWICE, str(real_clip)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [seen["frames"] for seen in json.loads(done.stdout)] == [48, 48]
    assert done.stderr == ""


def test_a_node_that_does_not_see_the_file_leaves_it_to_others(tmp_path: Path) -> None:
    assert decode_there(str(tmp_path / "none.mp4"), (1, 1)) is None


def test_a_file_of_the_same_name_that_is_another_is_not_taken_for_the_clip(real_clip: Path) -> None:
    status = real_clip.stat()
    assert decode_there(str(real_clip), (status.st_size, status.st_mtime_ns + 1)) is None
    assert decode_there(str(real_clip), (status.st_size + 1, status.st_mtime_ns)) is None
