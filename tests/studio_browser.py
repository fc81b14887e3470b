"""The studio in a real browser: a server of its own in a process, a browser that was let in, and what pages must be."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import html5lib
import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
AXE = importlib.util.find_spec("axe_core_python")
PLAYWRIGHT = importlib.util.find_spec("playwright")
needs_browser = pytest.mark.skipif(
    not (BROWSER and AXE and PLAYWRIGHT), reason="no chromium, playwright or axe on this machine"
)
LINK = re.compile(r"http://\S+")
PHONE, DESK = 360, 1400


@dataclass
class Server:
    """A studio that runs in a process."""

    folder: Path
    process: subprocess.Popen[str]
    link: str
    """Lets one browser in."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.link.partition("/enter")[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        self.process.send_signal(number)
        with self.process:
            return self.process.wait(30)


def start(folder: Path, port: int = 0, environment: Mapping[str, str] = {}) -> Server:
    """Start a studio, and return it when it has printed its link."""
    command = [sys.executable, "-m", "kamerton", "studio", str(folder), "--port", str(port), "--no-browser"]
    usual = {"HF_HUB_OFFLINE": "1", "KAMERTON_LANGUAGE": "en", "OMP_NUM_THREADS": "1"}
    # its standard error is a file, for nobody reads a pipe meanwhile
    with (folder / "studio.err").open("a") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | usual | dict(environment)
        )
    assert process.stdout
    line = process.stdout.readline()
    found = LINK.search(line)
    assert found, line + (folder / "studio.err").read_text()[-2000:]
    return Server(folder, process, found[0].rstrip("."), environment)


@contextmanager
def studio(folder: Path, port: int = 0, environment: Mapping[str, str] = {}) -> Iterator[Server]:
    """A studio for a block; it must end by itself when it is asked to."""
    server = start(folder, port, environment)
    try:
        yield server
    finally:
        if server.process.poll() is None and server.kill(signal.SIGTERM) != 0:
            raise AssertionError((folder / "studio.err").read_text()[-2000:])


@dataclass
class Visitor:
    """A browser context that was let in."""

    context: Any
    server: Server
    asked: list[str] = field(default_factory=list)
    """Addresses that pages asked for."""
    complaints: list[str] = field(default_factory=list)
    """What pages wrote to the console, and errors of their scripts."""

    def page(self, path: str = "/", *, beside: bool = False) -> Any:
        """Open a page of the studio; others are closed first if it is not to be beside them."""
        for other in [] if beside else self.context.pages:
            other.close()
        page = self.context.new_page()
        page.on("console", lambda told: told.type in ("error", "warning") and self.complaints.append(told.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.server.address + path)
        return page

    def foreign(self) -> list[str]:
        """Return requests to anything but the studio."""
        return [one for one in self.asked if not one.startswith((self.server.address, "data:", "blob:"))]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, for all visitors of a test file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visitor(browser: Any, server: Server, link: str = "", **options: Any) -> Iterator[Visitor]:
    """Let a browser context in; by default with a link of the studio's own page for further browsers."""
    context = browser.new_context(**{"viewport": {"width": DESK, "height": 900}, **options})
    context.set_default_timeout(15_000)
    found = Visitor(context, server)
    context.on("request", lambda request: found.asked.append(request.url))
    page = context.new_page()
    page.goto(link or server.link)
    page.close()
    try:
        yield found
    finally:
        context.close()


def violations(page: Any) -> list[tuple[str, list[str]]]:
    """Return the rules of axe that a page breaks, with the elements."""
    assert AXE and AXE.submodule_search_locations
    axe = Path(AXE.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)  # the debugger's way: the page's policy lets no other script in
    found = page.evaluate("axe.run().then(found => found.violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
    return [(rule, nodes) for rule, nodes in found]


def faults_of_html(text: str) -> list[str]:
    """Return what is not valid in a page by html5lib."""
    parser = html5lib.HTMLParser(strict=False)
    parser.parse(text)
    return [f"{place}: {code} {about}" for place, code, about in parser.errors]


def overflow(page: Any) -> int:
    """Return how many pixels a page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width
