"""What `kamerton export` does."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kamerton.cli.output import open_run, print_json
from kamerton.core.exporting import FormatChoice
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Wording, msg, verbatim
from kamerton.deliver.export import Exported, export_run
from kamerton.deliver.formats import formats_of
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.runs.recipe import parse_assignment

STANDINGS = {
    "better": msg("better"),
    "equivalent": msg("equivalent"),
    "not worse": msg("not worse"),
    "unclear": msg("too few rows to tell whether it is worse"),
}


def run(
    path: Path, to: str | None, out: Path | None, assignments: Sequence[str], device: str | None, json: bool,
    language: Language,
) -> None:  # fmt: skip
    """Export, and print what came of it; without a format, print which can take the model."""
    if to is None:
        formats = formats_of(open_run(path, device))
        print_json(formats) if json else print("\n".join(map(voice(language).render, _listed(formats))))
        return
    settings = dict(parse_assignment(assignment) for assignment in assignments)
    exported = export_run(open_run(path, device), to, out, settings)
    if json:
        print_json(exported)
        return
    speaker = voice(language)
    print(f"{exported.folder}   {speaker.write(Figure(exported.bytes, 'memory'))}")
    for line in lines(exported):
        print(speaker.render(line))


def _listed(formats: Sequence[FormatChoice]) -> Iterator[Wording]:
    width = max(len(one.name) for one in formats)
    for one in formats:
        yield Joined((f"{one.name:<{width}} ", one.refusal or one.what), " " if not one.refusal else "– ")
        for setting in () if one.refusal else one.settings:
            choices = "|".join(setting.choices) or "…"
            yield Joined((f"{'':<{width}}   --set {setting.name}={choices}", setting.meaning), "   ")


def lines(exported: Exported) -> Iterator[Wording]:
    """Yield how the exported model is loaded, and how far it equals the run's."""
    if exported.base:
        yield msg("loaded by PEFT over {base}", base=exported.base)
    elif not exported.commands:
        yield msg("loaded by transformers alone")
    if exported.module:
        yield msg("first import {module}, which brings PEFT a type of its own", module=exported.module)
    yield from _proof(exported)
    if exported.temperature != 1:
        rule = "divide its logits by {temperature} for the run's probabilities"
        yield msg(rule, temperature=Figure(exported.temperature, "hundredths"))
    for command in exported.commands:
        yield verbatim(f"  {command}")


def _proof(exported: Exported) -> Iterator[Wording]:
    proof, again = exported.proof, exported.rescoring
    difference, changed = proof.largest_relative_difference, exported.changed_answers
    if proof.unproven:
        yield proof.unproven
    if proof.divergence is not None:
        yield msg(
            "{where} its tokens of {texts} {texts:text|texts} are the run's, and its distributions on {rows} test "
            "{rows:row|rows} (largest divergence {divergence} nats; from the untuned model {untuned})",
            where=msg("in {engine}", engine=proof.engine),
            texts=proof.texts,
            rows=proof.rows,
            divergence=f"{proof.divergence:.1g}",
            untuned=f"{proof.from_untuned:.1g}",
        )
    elif again is None and difference is not None:
        where = msg("in a fresh process") if proof.engine == "transformers" else msg("in {engine}", engine=proof.engine)
        yield msg(
            "{where} its logits for {rows} test {rows:row|rows} are the run's (largest difference {difference})",
            where=where,
            rows=proof.rows,
            difference=f"{difference:.1g}",
        )
    elif difference is not None:
        yield msg(
            "rounded: its logits for {rows} test {rows:row|rows} differ by up to {difference} of the largest",
            rows=proof.rows,
            difference=f"{difference:.1g}",
        )
    if again is not None and again.comparison is None:
        yield msg("rounded, and its test rows were not answered again: {reason}", reason=again.reason)
    elif again is not None and again.standing and again.comparison:
        yield msg(
            "rounded: {changed} of {answers} test {answers:answer|answers} changed; {metric} {difference}, {standing}",
            changed=changed or 0,
            answers=exported.test_rows,
            metric=again.metric,
            difference=Figure(again.comparison.difference, "signed"),
            standing=STANDINGS[again.standing],
        )
