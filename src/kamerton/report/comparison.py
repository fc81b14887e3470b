"""The page that compares several runs: scores, cost, forgetting, and differences in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kamerton.core.files import write_text
from kamerton.core.outcomes import ComparedRuns
from kamerton.i18n.language import Language
from kamerton.report.html import environment
from kamerton.report.outcome import Outcome


def write_comparison(
    compared: ComparedRuns, outcomes: Mapping[str, Outcome], path: Path, language: Language = "en"
) -> Path:
    """Write the page and return its path.

    Args:
        compared: the runs on the same rows.
        outcomes: by the run's name in `compared`.
        path: the page.
        language: of the page.
    """
    template = environment(language).get_template("comparison.html.j2")
    html = template.render(compared=compared, outcomes=outcomes, confidence=compared.confidence)
    write_text(path, html.strip() + "\n")
    return path
