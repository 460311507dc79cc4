"""A batch's folder on the real disk, the effects to work on it, and the stores that a ledger can be kept in.

A module of tests that hold on both stores says so with `STORES = BOTH`; in it, what holds in SQLite alone asks for
`sqlite_machine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.paths import BatchFolder
from tests.ledger.ledgers import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.ledger.shared import SharedMachine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a module's tests on every store that it names."""
    stores = getattr(metafunc.module, "STORES", None)
    if stores and "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", stores, indirect=True)


@pytest.fixture
def sqlite_machine(tmp_path: Path) -> Iterator[Machine]:
    """An empty folder, with real effects whose database connections are watched."""
    machine = Machine(BatchFolder(tmp_path))
    yield machine
    machine.close()


@pytest.fixture
def shared_machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedMachine]:
    """The same, with a ledger that workers share."""
    from tests.ledger.shared import SharedMachine

    machine = SharedMachine(BatchFolder(tmp_path), request.getfixturevalue("postgres"))
    yield machine
    machine.close()


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Machine:
    """An empty folder with a ledger of the kind that the module's tests are about; SQLite where it says nothing."""
    return request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_machine")
