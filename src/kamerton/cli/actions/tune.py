"""What `kamerton tune` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kamerton.cli.telling import tell
from kamerton.evaluate.verdict import meets
from kamerton.i18n.language import Language
from kamerton.report.outcome import read_outcome
from kamerton.runs.recipe import parse_assignment
from kamerton.session.new_run import new_run
from kamerton.tune import story


def run(
    data: Path,
    out: Path | None,
    flags: Mapping[str, object],
    assignments: Sequence[str],
    require: str | None,
    json: bool,
    language: Language,
) -> bool:
    """Run and draw a tuning; return whether the demanded verdict was reached."""
    settings = {**flags, **dict(parse_assignment(text) for text in assignments)}
    begun = new_run(data, out, settings)
    tell(begun, story(begun), json, language)
    return meets(read_outcome(begun).verdict, require)
