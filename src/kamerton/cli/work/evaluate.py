"""What `kamerton evaluate` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kamerton.cli.output import listed, print_json, say_cut, warn
from kamerton.core.message_json import to_json
from kamerton.core.outcomes import ClassResult
from kamerton.deliver.rescore import Rescored, score_on
from kamerton.i18n.language import Language
from kamerton.i18n.voice import ENGLISH, Voice, voice
from kamerton.runs.run import Run


def run(path: Path, data: Path, json: bool, language: Language) -> None:
    """Score a run's tuned model on other data."""
    rescored, speaker = score_on(Run(path), data), voice(language)
    contender = rescored.contender
    if json:
        print_json({**to_json(contender), **_doubts(rescored)})
        return
    for name, value in contender.metrics.items():
        ends = speaker.interval(*(speaker.figure(f"{end:.4f}") for end in (value.low, value.high)))
        interval = speaker.say("{confidence} interval", {"confidence": speaker.figure("95%")})
        print(f"{name:<16} {speaker.figure(f'{value.value:.4f}')}   {interval} {ends}")
    print_classes(contender.per_class, speaker)
    _say_doubts(rescored, speaker)


def _doubts(rescored: Rescored) -> dict[str, object]:
    """Give for machines what one must know to believe the scores."""
    return {
        "rows": rescored.rows,
        "left_out": [{"place": str(entry.place), "reason": entry.reason} for entry in rescored.left_out],
        "cut": [{"place": str(served.place), "tokens": served.prediction.cut} for served in rescored.cut],
        "trained_on": rescored.trained_on,
        "unknown_labels": dict(rescored.unknown),
    }


def _say_doubts(rescored: Rescored, voice: Voice) -> None:
    """Say what one must know to believe the scores."""
    if rescored.left_out:
        places = [f"{entry.place} ({voice.render(entry.reason)})" for entry in rescored.left_out]
        text = "{count} {count:row is|rows are} left out: {places}"
        warn(voice.say(text, {"count": len(places), "places": listed(places, voice)}))
    if rescored.unknown:
        shown = {f"'{label}' {count}": rescored.spelled.get(label) for label, count in rescored.unknown.items()}
        labels = [f"{found} (= '{known}'?)" if known else found for found, known in shown.items()]
        text = "{count} {count:label was|labels were} never trained on, so every such row counts as wrong: {labels}"
        warn(voice.say(text, {"count": len(labels), "labels": listed(labels, voice)}))
    say_cut({str(served.place): served.prediction.cut for served in rescored.cut}, rescored.most_tokens, voice)
    if rescored.trained_on:
        text = "{count} of {rows} rows have a text that this run was trained on: these scores are too good to be true"
        warn(voice.say(text, {"count": rescored.trained_on, "rows": rescored.rows}))


def print_classes(results: Sequence[ClassResult], voice: Voice = ENGLISH) -> None:
    """Write a table of the classes, if there are any."""
    if not results:
        return
    named, *titles = (voice.text(title) for title in ("class", "precision", "recall", "f1", "rows"))
    width = max(len(named), *(len(one.name) for one in results))
    print(f"\n{named:<{width}} " + " ".join(f"{title:>10}" for title in titles))
    for one in results:
        figures = [voice.figure(f"{value:.4f}") for value in (one.precision, one.recall, one.f1)]
        cells = (*figures, voice.figure(f"{one.support:,}"))
        print(f"{one.name:<{width}} " + " ".join(f"{cell:>10}" for cell in cells))
