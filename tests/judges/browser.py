"""A browser for judges: Debian's Chromium, driven by Playwright, that speaks to nobody by itself."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
MISSING = "; ".join(
    (
        *([] if shutil.which("chromium") else ["chromium is not installed (Debian: apt-get install chromium)"]),
        *([] if find_spec("playwright") else ["playwright is not installed (pip install --group judges)"]),
    )
)
"""What a test that needs the browser lacks; empty where it lacks nothing."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, and end it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
