"""What `kamerton tune` and `kamerton resume` do, and how a run is drawn while it happens."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kamerton.cli.border import work_on
from kamerton.cli.output import open_console, open_run, print_json
from kamerton.core.pieces import HERE, Workers, choose_workers
from kamerton.evaluate.verdict import meets
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.report.card import write_card
from kamerton.report.html import write_report
from kamerton.report.outcome import read_outcome
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment
from kamerton.runs.run import Run
from kamerton.session.new_run import new_run
from kamerton.tune import story


def run(
    data: Path,
    out: Path | None,
    flags: Mapping[str, object],
    assignments: Sequence[str],
    require: str | None,
    on: str | None,
    cores: int,
    json: bool,
    language: Language,
) -> bool:
    """Run and draw a tuning; return whether the demanded verdict was reached."""
    workers = choose_workers(on, cores)
    begun = new_run(data, out, {**flags, **dict(map(parse_assignment, assignments))})
    tell(begun, json, language, workers)
    return meets(read_outcome(begun).verdict, require)


def resume(
    path: Path, device: str | None, require: str | None, on: str | None, cores: int, json: bool, language: Language
) -> bool:
    """Continue a run; return whether the demanded verdict was reached."""
    run = open_run(path, device)
    tell(run, json, language, choose_workers(on, cores))
    return meets(read_outcome(run).verdict, require)


def tell(run: Run, json: bool, language: Language, workers: Workers = HERE) -> None:
    """Draw a run's story while it happens, and its verdict at the end; write its report in the language, too."""
    work_on(run.path)
    if json:
        with workers:
            for _ in story(run, workers):
                pass
        _write_translated(run, language)
        print_json(run.result)
        return
    with Screen(open_console(), voice(language)) as screen:
        with workers:
            for item in story(run, workers):
                screen.show(item)
        _write_translated(run, language)
        screen.show_verdict(run)


def _write_translated(run: Run, language: Language) -> None:
    """Write the model card and the report in other languages than English, in which the story writes them."""
    if language != "en":
        write_card(run, language)
        write_report(run, language)
