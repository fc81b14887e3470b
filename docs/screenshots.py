"""Use the studio as its users do, on real data, and photograph five of its pages: docs/images/studio-*.png.

    python docs/screenshots.py [--rows 600] [--out docs/images]

Two runs are made from a part of the movie reviews: a quick look, and the balanced one, which waits for it. Takes some
minutes, and needs a Chromium and playwright.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from studio_browser import chromium, studio, visitor

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 1200, 800
MINUTES = 60_000


def write_rows(path: Path, rows: int) -> None:
    """Write some of the movie reviews, drawn at random."""
    whole = path.with_name("whole.csv")
    subprocess.run(
        [sys.executable, str(ROOT / "examples" / "get_data.py"), "movie-reviews", "--out", str(whole)], check=True
    )
    with whole.open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *random.Random(0).sample(lines, rows)])


def start(page: Any, file: Path, plan: str) -> None:
    """Go from a file to a started run."""
    page.goto(page.url.partition("/new")[0].partition("/runs")[0].rstrip("/") + "/new")
    page.set_input_files("#file", file)
    page.wait_for_selector("button.main:text-is('Start')", timeout=5 * MINUTES)
    page.click(f"label:has-text('{plan}')")


def photograph(page: Any, out: Path, name: str) -> None:
    """Write one picture."""
    page.screenshot(path=out / f"studio-{name}.png", animations="disabled")
    print(f"{out / f'studio-{name}.png'}")


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600, help="of the movie reviews")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reviews.csv"
        write_rows(file, given.rows)
        window = {"viewport": {"width": WIDTH, "height": HEIGHT}, "locale": "en"}
        with studio(Path(folder)) as server, chromium() as browser, visitor(browser, server, **window) as inside:
            page = inside.page()
            start(page, file, "Quick look")
            page.click("button.main:text-is('Start')")
            page.wait_for_url("**/live")
            start(page, file, "Balanced")
            photograph(page, given.out, "new")
            page.click("button.main:text-is('Start')")
            page.wait_for_url("**/live")
            page.wait_for_selector("svg.lines circle.validation >> nth=2", state="attached", timeout=30 * MINUTES)
            page.locator("h2:has-text('Training')").first.evaluate("heading => heading.scrollIntoView()")
            photograph(page, given.out, "live")
            page.wait_for_url("**/verdict", timeout=60 * MINUTES)
            photograph(page, given.out, "verdict")
            page.click("a:has-text('Try')")
            page.click("a:has-text('Surprise me')")
            page.click("button:has-text('Ask the models')")
            page.wait_for_selector("meter", timeout=2 * MINUTES)
            photograph(page, given.out, "try")
            page.goto(server.address)
            photograph(page, given.out, "home")


if __name__ == "__main__":
    main()
