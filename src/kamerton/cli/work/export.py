"""What `kamerton export` does."""

from __future__ import annotations

from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.core.figures import memory
from kamerton.core.message_json import to_json
from kamerton.deliver.export_run import Exported, export_run
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.runs.run import Run

ALONE, OVER = "loaded by transformers alone", "loaded by PEFT over {base}"
FIRST = "first import {module}, which brings PEFT a type of its own"
SAME = "in a fresh process its logits for {rows} test {rows:row|rows} are the run's (largest difference {difference})"
APART = (
    "merged into rounded matrices: in a fresh process its logits for {rows} test {rows:row|rows} differ by up to "
    "{difference} of the largest; {changed} of {answers} test {answers:answer|answers} changed"
)
COOLED = "divide its logits by {temperature} for the run's probabilities"


def run(path: Path, to: str, out: Path | None, json: bool, language: Language) -> None:
    """Export, and say what came of it."""
    exported = export_run(Run(path), to, out)
    if json:
        print_json(to_json(exported))
        return
    speak = voice(language)
    print(f"{exported.folder}   {speak.figure(memory(exported.bytes))}")
    for line in lines(exported, speak):
        print(line)


def lines(exported: Exported, voice: Voice) -> list[str]:
    """Say how it is loaded, and how far it is the run's model."""
    said = [voice.say(OVER, {"base": exported.base}) if exported.base else voice.text(ALONE)]
    if exported.module:
        said.append(voice.say(FIRST, {"module": exported.module}))
    proof = exported.proof
    values = {"rows": proof.rows, "difference": voice.figure(f"{proof.largest_relative_difference:.1g}")}
    if exported.changed_answers is None:
        said.append(voice.say(SAME, values))
    else:
        said.append(voice.say(APART, {**values, "changed": exported.changed_answers, "answers": exported.test_rows}))
    if exported.temperature != 1:
        said.append(voice.say(COOLED, {"temperature": voice.figure(f"{exported.temperature:.2f}")}))
    return said
