"""Axe's accessibility rules in a real browser: light and dark, on a phone and on a desk."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kamerton.evaluate.compare import compare_as_first, tuned_answers
from kamerton.evaluate.judging import blind_pairs
from kamerton.report.comparison import write_comparison
from kamerton.report.html import write_report
from kamerton.report.judging import write_judging
from kamerton.report.outcome import read_outcome
from synthetic_run import classification_run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
AXE = importlib.util.find_spec("axe_core_python")
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
FOUND = re.compile(r'<pre id="axe">(.*?)</pre>', re.DOTALL)
REPORTING = """axe.run().then(found => {
  const told = document.createElement("pre");
  told.id = "axe";
  told.textContent = JSON.stringify(found.violations.map(one => [one.id, one.nodes.map(node => node.html)]));
  document.body.append(told);
});"""

pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="no chromium on this machine"),
    pytest.mark.skipif(AXE is None, reason="axe-core-python is not installed"),
]


def violations(page: Path, scheme: int, width: int) -> list[object]:
    """Load a page with axe in it, its policy against scripts taken out, and return the rules that it breaks."""
    assert AXE is not None and AXE.submodule_search_locations
    axe = Path(AXE.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
    text = POLICY.sub("", page.read_text(encoding="utf-8"))
    probed = page.with_name(f"axe-{page.name}")
    probed.write_text(text.replace("</body>", f"<script>{axe}</script><script>{REPORTING}</script></body>"), "utf-8")
    flags = ["--headless", "--no-sandbox", "--virtual-time-budget=20000", "--dump-dom", f"--window-size={width},900"]
    profile = [f"--user-data-dir={page.parent / 'profile'}", f"--blink-settings=preferredColorScheme={scheme}"]
    done = subprocess.run([BROWSER, *flags, *profile, probed.as_uri()], capture_output=True, text=True, timeout=120)
    found = FOUND.search(done.stdout)
    assert found, done.stderr[-500:]
    told: list[object] = json.loads(html.unescape(found[1]))
    return told


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    runs = [classification_run(folder / name) for name in ("one", "two")]
    outcomes = {str(run.path): read_outcome(run) for run in runs}
    base = next(answers for answers in runs[0].read_answers() if answers.kind == "base")
    judging = blind_pairs(tuned_answers(runs[0]), base, runs[0].read_split().test, rows=5, seed=0)
    return {
        "report": write_report(runs[0]),
        "comparison": write_comparison(compare_as_first(runs, metric="accuracy"), outcomes, folder / "c.html", "ru"),
        "judging": write_judging(judging, folder / "j.html", language="ru", reference=True),
    }


@pytest.mark.parametrize("page", ["report", "comparison", "judging"])
@pytest.mark.parametrize(("scheme", "width"), [(1, 360), (0, 360), (0, 1280)])
def test_axe_finds_nothing(page, scheme, width, pages):
    assert violations(pages[page], scheme, width) == []
