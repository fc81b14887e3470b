"""Measure the studio: how soon an event is on the page, and how much memory the server takes.

    python benchmarks/studio.py [events] [memory] [paint]

`events`: a run that has 5,000 events is open in a browser; events are appended to its log at random moments, and the
time from the end of each write to the change of the page is taken by the page itself. `memory`: every page of 100 runs
of 5,000 events each is asked for, then 8 of them are followed at the same time while they grow; the most XX
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from kamerton.core.records import Stepped  # noqa: E402
from kamerton.runs.run import Run  # noqa: E402
from studio_browser import Server, chromium, studio, visitor  # noqa: E402
from synthetic_run import classification_run, unfinished_run  # noqa: E402

EVENTS, RUNS, FOLLOWED, WRITTEN, LISTED, OPENED = 5000, 100, 8, 40, 200, 10
SOON, MEMORY = 0.5, 300 * 2**20
"""Seconds and bytes that were promised."""
WATCH = """() => {
  window.seen = {};
  const look = () => {
    const step = parseInt(document.querySelector("#figures dd").textContent.replaceAll(",", ""));
    window.seen[step] ??= (performance.timeOrigin + performance.now()) / 1000;
  };
  new MutationObserver(look).observe(document.querySelector("#figures"), { childList: true, subtree: true });
}"""


def append(run: Run, step: int) -> float:
    """Append an event, and return when it was written."""
    run.append(Stepped(step, step / 60, 0.3, 5e-4, 1.4, 1100, 0.11))
    return time.time()


def events(folder: Path) -> bool:
    """Measure how soon events are on the page."""
    run, drawn = unfinished_run(folder / "runs" / "reviews", EVENTS), random.Random(0)
    with studio(folder) as server, chromium() as browser, visitor(browser, server) as inside:
        page = inside.page("/runs/reviews/live")
        page.wait_for_selector("#figures dd")
        page.wait_for_timeout(2000)
        page.evaluate(WATCH)
        written = {}
        for step in range(EVENTS + 1, EVENTS + 1 + WRITTEN):
            written[step] = append(run, step)
            time.sleep(drawn.uniform(0.3, 1.5))
        page.wait_for_timeout(1000)
        seen = {int(step): when for step, when in page.evaluate("() => window.seen").items()}
    waits = [min(when for later, when in seen.items() if later >= step) - at for step, at in written.items()]
    middle, nine_of_ten = statistics.median(waits), statistics.quantiles(waits, n=10)[-1]
    print(
        f"events: on the page after {middle:.3f} s (median), {nine_of_ten:.3f} s (nine of ten), "
        f"{max(waits):.3f} s at most"
    )
    return max(waits) <= SOON


@contextmanager
def let_in(server: Server) -> Any:
    """A client with the cookie."""
    with httpx2.Client(base_url=server.address, follow_redirects=True, timeout=60) as client:
        client.get(server.link)
        yield client


def memory(folder: Path) -> bool:
    """Measure the most memory that the server takes."""
    first = unfinished_run(folder / "runs" / "run-000", EVENTS)
    names = [first.path.name, *(f"run-{number:03}" for number in range(1, RUNS))]
    for name in names[1:]:
        shutil.copytree(first.path, folder / "runs" / name)
    with studio(folder) as server, let_in(server) as client:
        empty = resident(server, "VmRSS")
        client.get("/").raise_for_status()
        for name in names:
            client.get(f"/runs/{name}/live").raise_for_status()
        followed = names[:FOLLOWED]
        with ThreadPoolExecutor(FOLLOWED) as threads:
            heard = [threads.submit(listen, server, client.cookies, name) for name in followed]
            for step in range(EVENTS + 1, EVENTS + 11):
                for name in followed:
                    append(Run(folder / "runs" / name), step)
                time.sleep(0.5)
            assert all(one.result() > 0 for one in heard)
        most, now = resident(server, "VmHWM"), resident(server, "VmRSS")
    sizes = f"{empty / 2**20:.0f} MiB at first, {now / 2**20:.0f} MiB with all, {most / 2**20:.0f} MiB at most"
    print(f"memory: {sizes}; {RUNS} runs of {EVENTS} events, {FOLLOWED} followed")
    return most <= MEMORY


def paint(folder: Path) -> bool:
    """Measure when pages are painted first."""
    first = classification_run(folder / "runs" / "run-000")
    for number in range(1, LISTED):
        shutil.copytree(first.path, folder / "runs" / f"run-{number:03}")
    most = []
    with studio(folder) as server, chromium() as browser, visitor(browser, server) as inside:
        for path in ("/", "/runs/run-007/verdict"):
            waits = [first_paint(inside.page(path)) for _ in range(OPENED)]
            most.append(max(waits))
            print(f"paint: {path} after {statistics.median(waits):.3f} s (median), {max(waits):.3f} s at most")
    return max(most) <= SOON


def first_paint(page: Any) -> float:
    """Return the seconds until a page was painted first."""
    page.wait_for_timeout(500)
    (found,) = page.evaluate("performance.getEntriesByName('first-paint').map(one => one.startTime)")
    return float(found) / 1000


def listen(server: Server, cookies: Any, name: str, seconds: float = 6.0) -> int:
    """Follow the page of a run for a while; return how many parts of it were sent."""
    until, parts = time.monotonic() + seconds, 0
    with (
        httpx2.Client(base_url=server.address, cookies=cookies, timeout=60) as client,
        client.stream("GET", f"/runs/{name}/stream") as answer,
    ):
        for line in answer.iter_lines():
            parts += line.startswith("data:")
            if time.monotonic() > until:
                break
    return parts


def resident(server: Server, key: str) -> int:
    """Return a figure of the server's memory in bytes."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


MEASURED: Mapping[str, Callable[[Path], bool]] = {"events": events, "memory": memory, "paint": paint}


def main() -> int:
    """Measure what the command line names, or all."""
    kept = True
    for name in sys.argv[1:] or MEASURED:
        with tempfile.TemporaryDirectory() as folder:
            kept &= MEASURED[name](Path(folder))
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
