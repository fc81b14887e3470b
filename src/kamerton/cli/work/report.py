"""What `kamerton report` does."""

from __future__ import annotations

from pathlib import Path

from kamerton.language.voice import Language
from kamerton.report.html import write_report
from kamerton.run import Run


def run(path: Path, language: Language) -> None:
    """Write a run's report anew."""
    done = Run(path)
    _ = done.result  # an unfinished run says so
    print(write_report(done, language))
