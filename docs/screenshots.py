"""Take the pictures of the README: the bars of a run, and the page of its report. `make screenshots` runs this.

A real run against the sandbox, with faults, in a terminal of its own; the screen that it has drawn and the page that
it leaves are photographed. It takes a minute, writes nothing but `docs/images/`, and needs Chromium and a font for
terminals (Debian: apt-get install chromium fonts-dejavu-core).
"""

from __future__ import annotations

import fcntl
import html
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import pyte
from PIL import Image

from tests.judges.browser import chromium

if TYPE_CHECKING:
    from collections.abc import Mapping

    from playwright.sync_api import Browser

HERE = Path(__file__).parent
IMAGES = HERE / "images"
MANIFEST = HERE / "screenshots.yaml"
CLIPMILL = [sys.executable, "-m", "pipeline"]
FAULTS = ("generation-error=0.05", "claim-drop=0.04")
FOLDER = "output/weather-studies"
COLUMNS, LINES = 92, 11
MARGIN = 12
PHOTOGRAPHED_AT = 0.6
"""Of the items done, when the bars are taken."""
DRAWN = re.compile(r"^done\s.*?(\d+)/(\d+)")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TERMINAL = (
    "margin: 0; padding: 20px 26px; border-radius: 12px; background: #1b1b19; color: #eeede8; display: inline-block; "
    # ten pixels a sign, so that the blocks of a bar meet without a seam
    "font: 16.61px/25px 'DejaVu Sans Mono', monospace"
)


def main() -> None:
    """Run, look, and take the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as name:
        work = Path(name)
        manifest = shutil.copy(MANIFEST, work / "weather.yaml")
        faults = [word for fault in FAULTS for word in ("--fault", fault)]
        sandbox = subprocess.Popen(  # noqa: S603
            [*CLIPMILL, "sandbox", "--until-eof", "--speed", "12", "--seed", "4", *faults],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert sandbox.stdout
        addresses = json.loads(sandbox.stdout.readline())
        environ = {
            "MODELMAX_BASE_URL": addresses["modelmax"],
            "VENICE_BASE_URL": addresses["venice"],
            "MODELMAX_API_KEY": "rehearsal",
            "VENICE_API_KEY": "rehearsal",
            "XDG_STATE_HOME": str(work / "state"),
            "COLUMNS": str(COLUMNS),
        }
        drawn = run_in_terminal([*CLIPMILL, "run", manifest.name, "-o", FOLDER], work, environ)
        sandbox.communicate()
        subprocess.run([*CLIPMILL, "report", FOLDER], cwd=work, env=with_path(environ), check=True)  # noqa: S603
        with chromium() as browser:
            photograph_terminal(browser, drawn)
            for scheme in SCHEMES:
                photograph_page(browser, work / FOLDER / "report.html", scheme)


def with_path(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command that is run from this checkout."""
    return {**os.environ, "PYTHONPATH": str(HERE.parent), **environ}


def run_in_terminal(command: list[str], work: Path, environ: Mapping[str, str]) -> list[str]:
    """Run a command on a terminal; return the lines on its screen when enough was done."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(work)
        os.execve(command[0], command, with_path(environ))  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    taken: list[str] = []
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # what Linux answers when the last process has left the terminal
            data = b""
        if not data:
            break
        stream.feed(data)
        if not taken and share_done(screen.display) >= PHOTOGRAPHED_AT:
            taken = list(screen.display)
    os.waitpid(child, 0)
    return taken


def share_done(lines: list[str]) -> float:
    """Return which share of the items the bars show as done."""
    found = [DRAWN.match(line) for line in lines]
    return max((int(match[1]) / max(1, int(match[2])) for match in found if match), default=0.0)


def photograph_terminal(browser: Browser, lines: list[str]) -> None:
    """Draw a screen's lines as a terminal would."""
    text = "\n".join(line.rstrip() for line in ["$ clipmill run weather.yaml", *lines] if line.strip())
    page = browser.new_page(viewport={"width": 1100, "height": 500})
    page.set_content(f'<pre style="{TERMINAL}">{html.escape(text)}</pre>')
    page.locator("pre").screenshot(path=IMAGES / "run.png", omit_background=True)
    page.close()


def photograph_page(browser: Browser, report: Path, scheme: Literal["light", "dark"]) -> None:
    """Take a report from its top to the second row of clips."""
    page = browser.new_page(viewport={"width": 1280, "height": 3000}, color_scheme=scheme)
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready-ms]")
    page.wait_for_timeout(1000)  # thumbnails in sight are decoded
    last = page.locator(".cards li").nth(7).bounding_box()
    assert last
    height = round(last["y"] + last["height"]) + MARGIN
    taken = page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": height})
    Image.open(io.BytesIO(taken)).save(IMAGES / f"report-{scheme}.webp", quality=85, method=6)
    page.close()


if __name__ == "__main__":
    main()
