"""A run drawn while it happens: shared by `tune`, `resume` and `dial`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from kamerton.cli.border import RESUMABLE
from kamerton.cli.output import print_json
from kamerton.core.records import RunEvent
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.report.card import write_card
from kamerton.report.html import write_report
from kamerton.report.terminal import Screen
from kamerton.runs.run import Run


def tell(run: Run, events: Iterator[RunEvent], json: bool, language: Language) -> None:
    """Draw a story while it happens, and its verdict at the end; write its report in the language, too."""
    RESUMABLE.set(run.path)
    if json:
        for _ in events:
            pass
        _other_pages(run, language)
        print_json(run.result)
        return
    with Screen(Console(), voice(language)) as screen:
        for item in events:
            screen.show(item)
        _other_pages(run, language)
        screen.show_verdict(run)


def write_pages(run: Run, language: Language) -> Path:
    """Write a finished run's report and model card in a language, beside the English ones; return the report's path."""
    write_card(run, language)
    return write_report(run, language)


def _other_pages(run: Run, language: Language) -> None:
    """Write the pages in other languages than English, which the story writes."""
    if language != "en":
        write_pages(run, language)
