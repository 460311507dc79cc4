"""A batch's folder on the real disk, and the effects to work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.paths import BatchFolder
from tests.ledger.ledgers import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """An empty folder, with real effects whose database connections are watched."""
    machine = Machine(BatchFolder(tmp_path))
    yield machine
    machine.close()
