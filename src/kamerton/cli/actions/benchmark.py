"""What `kamerton evaluate RUN --benchmarks` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.core.message_json import to_json
from kamerton.core.messages import msg
from kamerton.deliver.predictor import Predictor
from kamerton.forgetting.benchmarks import find_tasks
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.pipeline.forgetting import measure_benchmarks
from kamerton.runs.run import Run


def run(path: Path, names: Sequence[str], json: bool, language: Language) -> None:
    """Ask the base and the tuned model of a run the same rows, and print both beside each other."""
    find_tasks(names)
    predictor, speaker = Predictor(Run(path)), voice(language)
    setup = predictor.setup
    changes = [one.change for one in measure_benchmarks(setup, predictor.engine, names, setup.recipe.benchmarks.rows)]
    if json:
        print_json([to_json(change) for change in changes])
        return
    digits = speaker.symbols.localize
    width = max((len(speaker.render(change.name)) for change in changes), default=0)
    for one in changes:
        line = msg(
            "base {base}   tuned {tuned}   change {change} ({low} to {high})",
            base=digits(f"{one.base:.4f}"),
            tuned=digits(f"{one.tuned:.4f}"),
            change=digits(f"{one.change:+.4f}"),
            low=digits(f"{one.low:+.4f}"),
            high=digits(f"{one.high:+.4f}"),
        )
        print(f"{speaker.render(one.name):<{width}}   {speaker.render(line)}")
