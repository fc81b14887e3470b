"""What `kamerton export` does."""

from collections.abc import Iterator
from pathlib import Path

from kamerton.cli.output import open_run, print_json
from kamerton.core.figures import Figure
from kamerton.core.message_json import to_json
from kamerton.core.messages import Message, msg
from kamerton.deliver.export import Exported, export_run
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice


def run(path: Path, to: str, out: Path | None, device: str | None, json: bool, language: Language) -> None:
    """Export, and print what came of it."""
    exported = export_run(open_run(path, device), to, out)
    if json:
        print_json(to_json(exported))
        return
    speaker = voice(language)
    print(f"{exported.folder}   {speaker.write(Figure(exported.bytes, 'memory'))}")
    for line in lines(exported):
        print(speaker.render(line))


def lines(exported: Exported) -> Iterator[Message]:
    """Yield how the exported model is loaded, and how far it equals the run's."""
    if exported.base:
        yield msg("loaded by PEFT over {base}", base=exported.base)
    else:
        yield msg("loaded by transformers alone")
    if exported.module:
        yield msg("first import {module}, which brings PEFT a type of its own", module=exported.module)
    proof, difference = exported.proof, f"{exported.proof.largest_relative_difference:.1g}"
    if exported.changed_answers is None:
        yield msg(
            "in a fresh process its logits for {rows} test {rows:row|rows} are the run's "
            "(largest difference {difference})",
            rows=proof.rows,
            difference=difference,
        )
    else:
        yield msg(
            "merged into rounded matrices: in a fresh process its logits for {rows} test {rows:row|rows} differ by up "
            "to {difference} of the largest; {changed} of {answers} test {answers:answer|answers} changed",
            rows=proof.rows,
            difference=difference,
            changed=exported.changed_answers,
            answers=exported.test_rows,
        )
    if exported.temperature != 1:
        rule = "divide its logits by {temperature} for the run's probabilities"
        yield msg(rule, temperature=Figure(exported.temperature, "hundredths"))
