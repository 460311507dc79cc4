"""Runs the conformance suite for every dialect of the package, or for those named with `--dialect MODULE:NAME`."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from tests.providers.dialects import DIALECTS

if TYPE_CHECKING:
    import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for a `dialect` all of them, and one that asks for an `example` all of each."""
    if "dialect" not in metafunc.fixturenames:
        return
    dialects = [resolve_name(name) for name in metafunc.config.getoption("dialect")] or DIALECTS
    names = {id(dialect): dialect.can.name for dialect in dialects}
    if "example" in metafunc.fixturenames:
        pairs = [(dialect, example) for dialect in dialects for example in dialect.examples()]
        ids = [f"{names[id(dialect)]}-{example}" for dialect, example in pairs]
        metafunc.parametrize(("dialect", "example"), pairs, ids=ids)
    else:
        metafunc.parametrize("dialect", dialects, ids=[names[id(dialect)] for dialect in dialects])
