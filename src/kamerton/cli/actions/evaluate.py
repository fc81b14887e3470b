"""What `kamerton evaluate` does: scores on other data, or on benchmark tasks."""

from collections.abc import Sequence
from pathlib import Path

from kamerton.cli.output import listed, open_run, print_json, warn, warn_cut
from kamerton.core import registry
from kamerton.core.figures import Figure
from kamerton.core.message_json import to_json
from kamerton.core.messages import between, msg
from kamerton.core.outcomes import ClassResult
from kamerton.deliver.predictor import Predictor
from kamerton.deliver.rescore import Rescored, score_on
from kamerton.forgetting.benchmarks import find_tasks
from kamerton.i18n.language import Language
from kamerton.i18n.voice import ENGLISH, Voice, voice
from kamerton.pipeline.forgetting import measure_benchmarks


def run(path: Path, data: Path, device: str | None, json: bool, language: Language) -> None:
    """Score a run's tuned model on other data."""
    rescored, speaker = score_on(open_run(path, device), data), voice(language)
    contender = rescored.contender
    if json:
        limits = {
            "rows": rescored.rows,
            "left_out": [{"place": str(entry.place), "reason": entry.reason} for entry in rescored.left_out],
            "cut": [{"place": str(served.place), "tokens": served.prediction.cut} for served in rescored.cut],
            "trained_on": rescored.trained_on,
            "unknown_labels": dict(rescored.unknown),
            "undefined": rescored.undefined,
        }
        print_json({**to_json(contender), **limits})
        return
    for name, value in contender.metrics.items():
        ends = msg("95% interval {ends}", ends=between(value.low, value.high, "ten-thousandths"))
        print(f"{name:<16} {speaker.write(Figure(value.value, 'ten-thousandths'))}   {speaker.render(ends)}")
    for name, reason in rescored.undefined.items():
        print(f"{name:<16} {speaker.render(msg('undefined: {reason}', reason=reason))}")
    print_classes(contender.per_class, speaker)
    _warn(rescored)


def benchmark(path: Path, names: Sequence[str], device: str | None, json: bool, language: Language) -> None:
    """Ask the base and the tuned model of a run the same rows, and print both beside each other."""
    registry.allow(names)
    find_tasks(names)
    predictor, speaker = Predictor(open_run(path, device)), voice(language)
    setup = predictor.setup
    changes = [one.change for one in measure_benchmarks(setup, predictor.engine, names, setup.recipe.benchmarks.rows)]
    if json:
        print_json([to_json(change) for change in changes])
        return
    width = max((len(speaker.render(change.name)) for change in changes), default=0)
    rule = "base {base}   tuned {tuned}   change {change} ({ends})"
    for one in changes:
        base, tuned = Figure(one.base, "ten-thousandths"), Figure(one.tuned, "ten-thousandths")
        ends = between(one.low, one.high, "signed ten-thousandths")
        line = msg(rule, base=base, tuned=tuned, change=Figure(one.change, "signed ten-thousandths"), ends=ends)
        print(f"{speaker.render(one.name):<{width}}   {speaker.render(line)}")


def _warn(rescored: Rescored) -> None:
    """Warn of what limits the scores."""
    if rescored.left_out:
        places = [msg("{place} ({reason})", place=str(one.place), reason=one.reason) for one in rescored.left_out]
        rule = "{count} {count:row is|rows are} left out: {places}"
        warn(msg(rule, count=len(places), places=listed(places)))
    if rescored.unknown:
        shown = {f"'{label}' {count}": rescored.spelled.get(label) for label, count in rescored.unknown.items()}
        labels = [f"{found} (= '{known}'?)" if known else found for found, known in shown.items()]
        rule = "{count} {count:label was|labels were} never trained on, so every such row counts as wrong: {labels}"
        warn(msg(rule, count=len(labels), labels=listed(labels)))
    warn_cut({str(served.place): served.prediction.cut for served in rescored.cut}, rescored.most_tokens)
    if rescored.trained_on:
        rule = "{count} of {rows} rows have a text that this run was trained on: these scores are too good to be true"
        warn(msg(rule, count=rescored.trained_on, rows=rescored.rows))


def print_classes(results: Sequence[ClassResult], voice: Voice = ENGLISH) -> None:
    """Write a table of the classes, if there are any."""
    if not results:
        return
    named = voice.translate("class")
    titles = [voice.translate("precision"), voice.translate("recall"), voice.translate("f1"), voice.translate("rows")]
    width = max(len(named), *(len(one.name) for one in results))
    print(f"\n{named:<{width}} " + " ".join(f"{title:>10}" for title in titles))
    for one in results:
        shares = [voice.write(Figure(value, "ten-thousandths")) for value in (one.precision, one.recall, one.f1)]
        cells = (*shares, voice.write(one.support))
        print(f"{one.name:<{width}} " + " ".join(f"{cell:>10}" for cell in cells))
