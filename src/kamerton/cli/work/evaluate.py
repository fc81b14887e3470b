"""What `kamerton evaluate` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.language.voice import ENGLISH, Language, Voice, voice
from kamerton.outcomes import ClassResult
from kamerton.rescore import score_on
from kamerton.run import Run


def run(path: Path, data: Path, json: bool, language: Language) -> None:
    """Score a run's tuned model on other data."""
    contender = score_on(Run(path), data)
    if json:
        print_json(asdict(contender))
        return
    for name, value in contender.metrics.items():
        ends = voice(language).interval(*(voice(language).figure(f"{end:.4f}") for end in (value.low, value.high)))
        interval = voice(language).say("{confidence} interval", {"confidence": voice(language).figure("95%")})
        print(f"{name:<16} {voice(language).figure(f'{value.value:.4f}')}   {interval} {ends}")
    print_classes(contender.per_class, voice(language))


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
