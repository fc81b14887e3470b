"""The pages in a real browser: axe's accessibility rules, light and dark, on a phone and on a desk; and judging."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kamerton.core.outcomes import Answers, Curve
from kamerton.core.records import Example, Place, Prediction
from kamerton.evaluate.compare import compare_as_first, tuned_answers
from kamerton.feedback.judging import blind_pairs, read_choices
from kamerton.report.audit import write_audit_page
from kamerton.report.curve import write_curve
from kamerton.report.html import write_comparison, write_report
from kamerton.report.judging import write_judging
from kamerton.report.outcome import read_outcome
from synthetic_run import classification_run
from test_fix import page_of
from test_growth import continued, simulated

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
AXE = importlib.util.find_spec("axe_core_python")
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
FOUND = re.compile(r'<pre id="told">(.*?)</pre>', re.DOTALL)
REPORTING = """axe.run().then(found => {
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify(found.violations.map(one => [one.id, one.nodes.map(node => node.html)]));
  document.body.append(told);
});"""

JUDGING = """
let saved;
URL.createObjectURL = (file) => { saved = file; return "#"; };
for (const key of ["1", "1", "Backspace", "2", "ArrowDown", "x"]) {
  document.dispatchEvent(new KeyboardEvent("keydown", { key }));
}
for (const side of ["left", "right"]) { document.querySelector(`[data-choice=${side}]`).click(); }
document.getElementById("save").click();
saved.text().then(text => {
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify([text, document.getElementById("pair").hidden]);
  document.body.append(told);
});"""

pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium on this machine")
with_axe = pytest.mark.skipif(AXE is None, reason="axe-core-python is not installed")


def told_by(page: Path, scripts: Sequence[str], flags: Sequence[str] = ()) -> Any:
    """Load a page in the browser, run scripts at its end, and return what they wrote down."""
    text = POLICY.sub("", page.read_text(encoding="utf-8"))  # the page itself lets no other script run
    probed = page.with_name(f"probed-{page.name}")
    added = "".join(f"<script>{script}</script>" for script in scripts)
    probed.write_text(text.replace("</body>", f"{added}</body>"), "utf-8")
    usual = ["--headless", "--no-sandbox", "--virtual-time-budget=20000", "--dump-dom"]
    command = [BROWSER, *usual, f"--user-data-dir={page.parent / 'profile'}", *flags, probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = FOUND.search(done.stdout)
    assert found, done.stderr[-500:]
    return json.loads(html.unescape(found[1]))


def violations(page: Path, scheme: int, width: int) -> list[object]:
    """Load a page with axe in it, and return the rules that it breaks."""
    assert AXE is not None and AXE.submodule_search_locations
    axe = Path(AXE.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
    flags = [f"--window-size={width},900", f"--blink-settings=preferredColorScheme={scheme}"]
    told: list[object] = told_by(page, [axe, REPORTING], flags)
    return told


def audit_page(path: Path) -> Path:
    examples = [Example(i, Place("rows.csv", i + 2), f"text {i // 2}", "ab"[i % 3 == 0]) for i in range(80)]
    write_audit_page(path, page_of(examples))
    return path


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
        "audit": audit_page(folder / "a.html"),
        "curve": write_curve(
            Curve("rows.csv", "text-classification", "minilm", continued(simulated(3))), folder / "g.html", "ru"
        ),
        "judging": write_judging(judging, folder / "j.html", language="ru", reference=True),
    }


@with_axe
@pytest.mark.parametrize("page", ["report", "comparison", "judging", "audit", "curve"])
@pytest.mark.parametrize(("scheme", "width"), [(1, 360), (0, 1280)])
def test_axe_finds_nothing(page, scheme, width, pages):
    assert violations(pages[page], scheme, width) == []


def test_what_a_judge_presses_is_what_the_page_saves_and_what_is_counted(tmp_path):
    answers = [
        Answers(name, "tuned", tuple(Prediction(i, f"{name} {i}") for i in range(4)), 1.0) for name in ("new", "old")
    ]
    examples = [Example(i, Place("rows.csv", i + 1), f"request {i}", "") for i in range(4)]
    asked = blind_pairs(*answers, examples, rows=4, seed=1)
    text, over = told_by(write_judging(asked, tmp_path / "j.html", language="en", reference=True), [JUDGING])
    (tmp_path / "choices.json").write_text(text, encoding="utf-8")
    choices = read_choices(tmp_path / "choices.json")
    assert over
    # the second choice was taken back, a key without a meaning did nothing, and neither did a click after the last row
    assert [(one.id, one.choice) for one in choices.choices] == [
        (pair.id, choice) for pair, choice in zip(asked.pairs, ("left", "right", "tie", "left"), strict=True)
    ]
