"""What the commands do: thin faces over the stages."""

from __future__ import annotations

import json as json_library
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from kamerton.begin import new_run
from kamerton.data.gate import look
from kamerton.errors import Fault, RunError
from kamerton.models.fetch import get
from kamerton.models.locate import Installed, installed, to_fetch
from kamerton.prepare import audit as audit_examples
from kamerton.prepare import choose_base, fit, understand
from kamerton.recipe import parse_assignment, resolve
from kamerton.records import Prediction
from kamerton.report.html import write_report
from kamerton.report.terminal import Screen
from kamerton.run import Run
from kamerton.tune import Told, story
from kamerton.use import Predictor, compare_all, score_on


def tune(
    data: Path,
    out: Path | None,
    flags: Mapping[str, object],
    assignments: Sequence[str],
    require: str | None,
    json: bool,
) -> bool:
    """Make a run and tell its story; say whether the demanded verdict was met."""
    settings = {**flags, **dict(parse_assignment(text) for text in assignments)}
    run = new_run(data, out, settings)
    _tell(run, story(run), json)
    return _met(run, require)


def resume(path: Path, json: bool) -> None:
    """Go on with a run."""
    run = Run(path)
    _tell(run, story(run), json)


def audit(data: Path, flags: Mapping[str, object], json: bool) -> None:
    """Look for what is wrong with the data."""
    understood = choose_base(understand(resolve(None, {"data.path": str(data), **flags})))
    findings = audit_examples(understood, fit(understood) if "model.name" in flags else None)
    if json:
        _print_json([asdict(finding) for finding in findings])
        return
    screen = Screen(Console())
    print(f"{data}: {understood.table.rows_read} rows; {understood.recipe.data.task}: {understood.reason}")
    for entry in [*understood.table.rejected, *understood.left_out][:10]:
        print(f"  {entry.place}: {entry.reason}")
    screen.show_findings(findings)


def show(data: Path, rows: int, flags: Mapping[str, object], assignments: Sequence[str], json: bool) -> None:
    """Show what the model gets for some rows."""
    settings = dict(parse_assignment(text) for text in assignments)
    understood = choose_base(understand(resolve(None, {"data.path": str(data), **flags, **settings})))
    fitted = fit(understood)
    views = look(understood.examples[:rows], fitted.encoded[:rows], fitted.form, fitted.tokenizer, fitted.max_tokens)
    if json:
        _print_json([asdict(view) for view in views])
        return
    print(
        f"{fitted.recipe.data.task} for {fitted.facts.name} ({fitted.facts.kind}), {fitted.max_tokens} tokens at most"
    )
    Screen(Console()).show_tokens(views)


def predict(path: Path, source: str, json: bool) -> None:
    """Answer a text, a file's rows, or the lines of standard input."""
    predictor = Predictor(Run(path))
    for prediction in _predictions(predictor, source):
        if json:
            line = {"id": prediction.id, "prediction": prediction.text, "score": prediction.score}
            print(json_library.dumps(line, ensure_ascii=False), flush=True)
        else:
            print(prediction.text, flush=True)


def evaluate(path: Path, data: Path, json: bool) -> None:
    """Score a run's tuned model on other data."""
    contender = score_on(Run(path), data)
    if json:
        _print_json(asdict(contender))
        return
    for name, value in contender.metrics.items():
        print(f"{name:<16} {value.value:.4f}   95% interval {value.low:.4f} to {value.high:.4f}")


def compare(paths: Sequence[Path], json: bool) -> None:
    """Compare runs with the first one, in pairs."""
    if len(paths) < 2:
        raise RunError(Fault("one run cannot be compared", remedy="name two or more"))
    comparisons = compare_all([Run(path) for path in paths])
    if json:
        _print_json([asdict(comparison) for comparison in comparisons])
        return
    for path, comparison in zip(paths[1:], comparisons, strict=True):
        print(
            f"{paths[0]} minus {path}: {comparison.difference:+.4f} "
            f"(interval {comparison.low:+.4f} to {comparison.high:+.4f}, p = {comparison.p_value:.3g}); "
            f"smallest difference these rows could show: {comparison.minimum_detectable:.4f}"
        )


def report(path: Path) -> None:
    """Write a run's report anew."""
    run = Run(path)
    _ = run.result  # an unfinished run says so
    print(write_report(run))


def models(name: str | None, json: bool) -> None:
    """List the known base models, or get one."""
    if name is not None:
        if notice := to_fetch(name):
            print(notice, file=sys.stderr)
        print(get(name))
        return
    here = installed()
    if json:
        _print_json([asdict(item) for item in here])
        return
    _print_models(here)


def _print_models(here: Sequence[Installed]) -> None:
    for item in here:
        model = item.model
        get_it = f"not here: {model.download_bytes / 1e6:,.0f} MB to get"
        where = f"here: {item.folder}" if item.folder else get_it
        print(f"{model.name:<10} {model.kind}, {model.parameters / 1e6:.1f}M parameters, {model.licence}; {where}")
        print(f"{'':<10} {model.description}; {', '.join(model.languages)}")
    print("\n`kamerton models get NAME` gets one; a folder or a Hugging Face id works in the same place.")


def _tell(run: Run, told: Iterator[Told], json: bool) -> None:
    """Draw a story while it happens, and its verdict at the end."""
    if json:
        for _ in told:
            pass
        _print_json(run.result)
        return
    with Screen(Console()) as screen:
        for item in told:
            screen.show(item)
        screen.show_verdict(run)


def _met(run: Run, require: str | None) -> bool:
    """Say whether the verdict is what was demanded."""
    decision = run.result["verdict"]["decision"]
    return require is None or decision == require or (require == "not-worse" and decision != "do not ship")


def _predictions(predictor: Predictor, source: str) -> Iterable[Prediction]:
    if source == "-":
        return predictor.predict_lines(sys.stdin)
    if _is_file(source):
        return predictor.predict_file(Path(source))
    return predictor.predict([source])


def _is_file(source: str) -> bool:
    try:
        return Path(source).is_file()
    except OSError:  # longer than a file's name can be: it is a text
        return False


def _print_json(value: Any) -> None:
    print(json_library.dumps(value, indent=2, ensure_ascii=False, default=str))  # a path as its text
