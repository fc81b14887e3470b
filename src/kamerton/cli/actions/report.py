"""What `kamerton report` does."""

from collections.abc import Sequence
from pathlib import Path

from kamerton.cli.output import print_json, require_page
from kamerton.evaluate.compare import compare_as_first
from kamerton.i18n.language import Language
from kamerton.report.card import write_card
from kamerton.report.html import write_comparison, write_report
from kamerton.report.outcome import read_outcome
from kamerton.runs.run import Run


def run(paths: Sequence[Path], out: Path | None, json: bool, language: Language) -> None:
    """Write a run's report anew, or compare several on one page."""
    require_page(out)
    runs = [Run(path) for path in paths]
    outcomes = {str(one.path): read_outcome(one) for one in runs}  # an unfinished run says so
    if len(runs) == 1:
        write_card(runs[0], language)
        page = write_report(runs[0], language)
    else:
        page = write_comparison(compare_as_first(runs), outcomes, out or Path("comparison.html"), language)
    if json:
        print_json({"page": str(page)})
    else:
        print(page)
