"""The story of a run on a terminal, and its end in short. What data hold is made safe before it is printed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import assert_never

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kamerton.core import records
from kamerton.core.figures import Figure
from kamerton.core.files import shell_word
from kamerton.core.messages import Joined, Message, Wording, between, msg
from kamerton.i18n.voice import ENGLISH, Voice
from kamerton.report.outcome import Outcome, named, read_outcome, title_of
from kamerton.report.progress import NAME_WIDTHS, Bars, Lines, Pace
from kamerton.runs.run import Run
from kamerton.text.safe import one_line, safe_text

DECISION_STYLES = {
    "ship": "bold white on green",
    "do not ship": "bold white on red",
    "not proven": "bold black on yellow",
}
SEVERITY_STYLES = {"severe": "bold red", "warning": "yellow", "note": "cyan"}
TRAINED_STYLE = "bold black on green"
SAMPLES = 3
LISTED = 8
"""Sequences of one row that are listed."""


class Screen:
    """Draws on a console in the reader's language: live on a terminal, plain lines elsewhere.

    Use it in a `with` statement, so that an error or a stop leaves the terminal as it was.
    """

    def __init__(self, console: Console, voice: Voice = ENGLISH, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.voice = console, voice
        self._meter: Bars | Lines = Bars(console, voice) if console.is_terminal else Lines(console, clock, voice)
        self._pace: Pace | None = None
        self._training = voice.translate("train")

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self._meter.close()

    def show(self, item: records.RunEvent) -> None:
        """Draw one event."""
        match item:
            case records.Stage():
                name = self._safe(named(item.name))
                self._meter.finish(name)
                taken = f"  {self.voice.write(Figure(item.seconds, 'duration'))}"
                self._row(Text("✓", "green"), name, Text.assemble(self._safe(item.message), (taken, "dim")))
            case records.Progress():
                name = self._safe(named(item.stage))
                self._meter.advance(name, item.done, item.total, unit=item.unit)
                if item.done >= item.total:
                    self._meter.finish(name)
            case _:
                self._train(item)

    def _train(self, event: records.Event) -> None:
        match event:
            case records.Started():
                self._pace = Pace(event)
                message = msg(
                    "{trained} of {all} weights, {steps} {steps:step|steps}; {layout}",
                    trained=Figure(event.trainable_parameters, "parameters"),
                    all=Figure(event.parameters, "parameters"),
                    steps=event.steps - event.step,
                    layout=event.layout,
                )
                self._row(Text(" "), self._training, Text(self._safe(message)))
            case records.Stepped():
                if self._pace:
                    note = self.voice.render(self._pace.note(event))
                    self._meter.advance(self._training, event.step, self._pace.steps, note, "steps")
            case records.Validated():
                best = f"  {self.voice.translate('best so far')}" if event.best else ""
                rule = (
                    "step {step}: loss {loss}" if math.isfinite(event.loss) else "step {step}: the loss is not finite"
                )
                loss = msg(rule, step=event.step, loss=Figure(event.loss))
                metrics = (msg("{name} {value}", name=n, value=Figure(v)) for n, v in event.metrics.items())
                text = Text(self._safe(Joined([loss, *metrics], ", "))).append(best, "green")
                self._row(Text(" "), self.voice.translate("validation"), text)
            case records.Halved():
                rule = "memory ran out: passes have at most {tokens} tokens from now on"
                self._row(Text(" "), self._training, Text(self._safe(msg(rule, tokens=event.tokens_per_pass))))
            case records.Overflowed():
                rule = "update {step} was skipped, since gradients overflowed fp16; losses are scaled by {scale} now"
                message = msg(rule, step=event.step, scale=f"{event.scale:g}")
                self._row(Text(" "), self._training, Text(self._safe(message)))
            case records.Stopped():
                self._meter.finish(self._training)
                message = msg(
                    "{reason}; the weights of step {step} are kept; the trained weights moved by {share}",
                    reason=event.reason,
                    step=event.best_step,
                    share=Figure(event.weight_change, "percent"),
                )
                self._row(Text(" "), self._training, Text(self._safe(message)))
            case records.Saved():
                pass  # checkpoints are many, and worth a word only when one is resumed from
            case _:
                assert_never(event)

    def _safe(self, wording: Wording) -> str:
        """Render a message without what could steer a terminal."""
        return safe_text(self.voice.render(wording))

    def _row(self, mark: Text, name: str, message: Text) -> None:
        label = Text(f"{name:{NAME_WIDTHS[self.voice.language]}}", "bold")
        if not self.console.is_terminal:
            lines = Text("\n" + " " * (3 + len(label))).join(message.split("\n"))
            self.console.print(Text.assemble(mark, " ", label, " ", lines), soft_wrap=True)
            return
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(mark, label, message)
        self.console.print(grid)

    def show_verdict(self, run: Run) -> None:
        """Print the short form of a finished run's report.

        Raises:
            RunError: the run is not finished, or its result cannot be read.
        """
        outcome, confidence = read_outcome(run), Figure(run.recipe.evaluate.confidence, "percent")
        decision = outcome.verdict.decision
        self.console.print()
        self._print(Text(f" {self.voice.translate(decision).upper()} ", DECISION_STYLES[decision]))
        self._print(Text(self._safe(outcome.verdict.reason), "bold"))
        self.console.print()
        self.console.print(_contender_table(outcome, confidence, self.voice))
        self.console.print()
        for line in (Text(self._safe(_difference(outcome))), *_remarks(outcome, self.voice)):
            self._print(line)
        self.console.print()
        for line in _next_steps(run, self.voice):
            self.console.print(line, soft_wrap=True)

    def show_findings(self, findings: Sequence[records.Finding]) -> None:
        """Print the findings of the audit, with a few samples each."""
        if not findings:
            self._print(Text(self.voice.translate("The audit found nothing to mend.")))
        for finding in findings:
            severity = f"{self.voice.translate(finding.severity)} "
            head = Text.assemble((f"{severity:8}", SEVERITY_STYLES[finding.severity]))
            self._print(head.append(self._safe(finding.title), "bold"))
            self._print(Text(f"→ {self._safe(finding.remedy)}"), 8)
            for sample in finding.samples[:SAMPLES]:
                self._print(Text(one_line(self.voice.render(sample), self.console.width - 8), "dim"), 8)

    def show_tokens(self, views: Sequence[records.ExampleView]) -> None:
        """Print examples as the model gets them: trained tokens highlighted, or in ⟦brackets⟧ without color."""
        for view in views:
            self._print(Text.assemble((safe_text(str(view.place)), "dim"), "  ", (self._safe(view.title), "bold")))
            self._print(self._drawn(view.tokens), 2)
            for line in self._token_notes(view):
                self._print(line, 2)
            self._show_sequences(view.sequences)
            self.console.print()

    def _token_notes(self, view: records.ExampleView) -> Iterator[Text]:
        parts = [
            msg("{tokens} {tokens:token|tokens}", tokens=len(view.tokens)),
            msg("{trained} trained", trained=sum(token.trained for token in view.tokens)),
            *([msg("{cut} cut", cut=view.cut)] if view.cut else []),
        ]
        yield Text(self._safe(Joined(parts, ", ")), "dim")
        if any(view.targets):
            yield self._dim(_taught(view.targets), 4)
        for warning in view.warnings:
            yield Text(f"! {self._safe(warning)}", "yellow")

    def _show_sequences(self, sequences: Sequence[records.SequenceView]) -> None:
        """Print where each of a row's sequences begins and ends, and those that are drawn."""
        for part in sequences[:LISTED]:
            line = "{title}, {tokens} {tokens:token|tokens}: {ends}"
            self._print(self._dim(msg(line, title=part.title, tokens=part.size, ends=part.ends), 4), 2)
            if part.tokens:
                self._print(self._drawn(part.tokens), 4)
            if any(part.targets):
                self._print(self._dim(_taught(part.targets), 6), 4)
        if len(sequences) > LISTED:
            self._print(Text(self.voice.render(msg("and {count} more", count=len(sequences) - LISTED)), "dim"), 2)

    def _drawn(self, tokens: Sequence[records.TokenView]) -> Text:
        """Mark trained tokens by color, or by brackets that are not those of `[CLS]` and `[INST]`."""
        if self.console.color_system is None or self.console.no_color:
            return Text("|".join(f"⟦{_visible(v.token)}⟧" if v.trained else _visible(v.token) for v in tokens))
        styled = [Text(_visible(view.token), TRAINED_STYLE if view.trained else "") for view in tokens]
        return Text.assemble(("|", "dim")).join(styled)

    def _dim(self, message: Message, margin: int) -> Text:
        """Render a message on one line that leaves a margin of so many columns."""
        return Text(one_line(self.voice.render(message), self.console.width - margin), "dim")

    def _print(self, text: Text, indent: int = 0) -> None:
        """Print a text wrapped to the window; where there is no window, its lines as they are."""
        if self.console.is_terminal:
            self.console.print(Padding(text, (0, 0, 0, indent), expand=False))
            return
        for line in text.split("\n", allow_blank=True):
            self.console.print(Text(" " * indent).append_text(line), soft_wrap=True)


def _contender_table(outcome: Outcome, confidence: Figure, voice: Voice) -> Table:
    interval = voice.render(msg("{confidence} interval", confidence=confidence))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(Text(voice.translate("contender")), overflow="fold")
    table.add_column(Text(safe_text(outcome.primary_metric)), justify="right", no_wrap=True)
    table.add_column(Text(interval), no_wrap=True)
    table.add_column(Text(voice.translate("time")), justify="right", no_wrap=True)
    for contender in outcome.ranking:
        measure = outcome.primary(contender)
        cells = (
            safe_text(voice.render(title_of(contender))),
            voice.write(Figure(measure.value)),
            voice.interval(measure.low, measure.high),
            voice.write(Figure(contender.seconds, "duration")),
        )
        table.add_row(*(Text(cell, "bold" if contender.kind == "tuned" else "") for cell in cells))
    return table


def _difference(outcome: Outcome) -> Message:
    verdict = outcome.verdict
    return msg(
        "Difference to {name}: {difference} ({ends}), p {p}. "
        "{rows} test {rows:row|rows} can show a difference of {least}.",
        name=outcome.title(verdict.against),
        difference=Figure(verdict.difference, "signed"),
        ends=between(verdict.low, verdict.high, "signed"),
        p=Figure(verdict.p_value, "probability"),
        rows=outcome.data.test,
        least=Figure(verdict.minimum_detectable or math.nan),
    )


def _remarks(outcome: Outcome, voice: Voice) -> Iterator[Text]:
    """Yield what should be known beside the verdict."""
    remarks: list[tuple[Wording, Wording, Wording]] = [(msg("warning"), warning, "") for warning in outcome.warnings]
    forgotten = {"mild": msg("mild forgetting"), "severe": msg("severe forgetting")}.get(outcome.forgetting.decision)
    if forgotten:
        remarks.append((forgotten, outcome.forgetting.reason, ""))
    remarks += [(named(item.name), item.evidence, item.remedy) for item in outcome.diagnosis]
    for name, evidence, remedy in remarks:
        shown = [safe_text(voice.render(wording)) for wording in (name, evidence, remedy)]
        text = Text.assemble((f"{shown[0]}: ", "yellow"), shown[1])
        yield text.append(f" → {shown[2]}" if remedy else "")


def _next_steps(run: Run, voice: Voice) -> Iterator[Text]:
    folder, language = shell_word(run.path), voice.language
    report = run.path / ("report.html" if language == "en" else f"report.{language}.html")
    names = voice.translate("report"), voice.translate("next")
    width = max(map(len, names)) + 2
    if report.exists():
        yield Text.assemble((f"{names[0]:{width}}", "dim"), safe_text(str(report)))
    if not run.model.exists():  # it answers at an address
        return
    command = f'kamerton predict {safe_text(folder)} "{voice.translate("your text")}"'
    yield Text.assemble((f"{names[1]:{width}}", "dim"), command)


def _visible(token: str) -> str:
    return safe_text(token).replace("\n", "↵\n").replace("\t", "⇥")


def _taught(targets: Sequence[Wording]) -> Message:
    return msg("taught: {targets}", targets=Joined(targets, " "))
