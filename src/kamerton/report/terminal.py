"""The story of a run drawn on a terminal, and its end in short. What data says is made safe before it is printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import assert_never

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kamerton.core.figures import duration, number, parameters, percent, probability, signed
from kamerton.core.files import shell_word
from kamerton.core.messages import Wording
from kamerton.core.records import (
    Event,
    ExampleView,
    Finding,
    Progress,
    RunEvent,
    Saved,
    SequenceView,
    Stage,
    Started,
    Stepped,
    Stopped,
    TokenView,
    Validated,
)
from kamerton.i18n.voice import ENGLISH, Voice
from kamerton.report.outcome import Outcome, read_outcome
from kamerton.report.progress import NAME_WIDTHS, Bars, Lines, Meter, Pace
from kamerton.report.verdict_text import reason_of
from kamerton.runs.run import Run
from kamerton.text.safe import one_line, safe_text

TRAINING = "train"
DECISION_STYLES = {
    "ship": "bold white on green",
    "do not ship": "bold white on red",
    "not proven": "bold black on yellow",
}
SEVERITY_STYLES = {"severe": "bold red", "warning": "yellow", "note": "cyan"}
TRAINED_STYLE = "bold black on green"
SAMPLES = 3
LISTED = 8
"""Sequences of one row that are told of."""


class Screen:
    """Draws on a console in the reader's language: live on a terminal, plain lines elsewhere.

    Use it in a `with` statement, so that an error or a stop leaves the terminal as it was.
    """

    def __init__(self, console: Console, voice: Voice = ENGLISH, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.voice = console, voice
        self._meter: Meter = Bars(console, voice) if console.is_terminal else Lines(console, clock, voice)
        self._pace: Pace | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.close()

    # ── the story ─────────────────────────────────────────────────────────────────────────────

    def show(self, item: RunEvent) -> None:
        """Draw one piece of the story."""
        match item:
            case Stage():
                self._meter.finish(item.name)
                taken = f"  {self.voice.figure(duration(item.seconds))}"
                message = Text.assemble(self._said(item.message), (taken, "dim"))
                self._row(Text("✓", "green"), item.name, message)
            case Progress():
                self._meter.advance(item.stage, item.done, item.total, unit=item.unit)
                if item.done >= item.total:
                    self._meter.finish(item.stage)
            case Started() | Stepped() | Validated() | Saved() | Stopped():
                self._train(item)
            case _:
                assert_never(item)

    def _train(self, event: Event) -> None:
        match event:
            case Started():
                self._pace = Pace(event, self.voice)
                self._row(Text(" "), TRAINING, Text(self._started(event)))
            case Stepped():
                if self._pace:
                    self._meter.advance(TRAINING, event.step, self._pace.steps, self._pace.note(event), "steps")
            case Validated():
                best = self.voice.text("best so far") if event.best else ""
                self._row(Text(" "), "validation", Text(self._validated(event)).append(f"  {best}".rstrip(), "green"))
            case Stopped():
                self._meter.finish(TRAINING)
                self._row(Text(" "), TRAINING, Text(self._stopped(event)))
            case Saved():
                pass  # checkpoints are many, and worth a word only when one is resumed from
            case _:
                assert_never(event)

    def _started(self, event: Started) -> str:
        say, figure = self.voice.say, self.voice.figure
        counts = {
            "trained": figure(parameters(event.trainable_parameters)),
            "all": figure(parameters(event.parameters)),
        }
        steps = {"steps": event.steps - event.step, "layout": self._said(event.layout)}
        return f"{say('{trained} of {all} weights', counts)}, {say('{steps} steps; {layout}', steps)}"

    def _validated(self, event: Validated) -> str:
        figure = self.voice.figure
        scores = [f"{safe_text(name)} {figure(number(value))}" for name, value in event.metrics.items()]
        told = self.voice.say("step {step}: loss {loss}", {"step": event.step, "loss": figure(number(event.loss))})
        return ", ".join([told, *scores])

    def _stopped(self, event: Stopped) -> str:
        say, share = self.voice.say, self.voice.figure(percent(event.weight_change))
        kept = say("the weights of step {step} are kept", {"step": event.best_step})
        return f"{self._said(event.reason)}; {kept}; {say('the trained weights moved by {share}', {'share': share})}"

    def _said(self, text: Wording) -> str:
        """Render a text of the run in the reader's language, safely."""
        return safe_text(self.voice.render(text))

    def _row(self, mark: Text, name: str, message: Text) -> None:
        label = Text(f"{self._said(name):{NAME_WIDTHS[self.voice.language]}}", "bold")
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

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def show_verdict(self, run: Run) -> None:
        """Print the short form of a finished run's report.

        Raises:
            RunError: the run is not finished, or its result cannot be read.

        """
        outcome, confidence = read_outcome(run), run.recipe.evaluate.confidence
        decision = outcome.verdict.decision
        self.console.print()
        self._print(Text(f" {self.voice.text(decision).upper()} ", DECISION_STYLES[decision]))
        self._print(Text(safe_text(reason_of(outcome, confidence, self.voice)), "bold"))
        self.console.print()
        self.console.print(_contender_table(outcome, percent(confidence), self.voice))
        self.console.print()
        for line in (_difference(outcome, self.voice), *_remarks(outcome, self.voice)):
            self._print(line)
        self.console.print()
        for line in _next_steps(run, self.voice):
            self.console.print(line, soft_wrap=True)

    # ── the data ──────────────────────────────────────────────────────────────────────────────

    def show_findings(self, findings: Sequence[Finding]) -> None:
        """Print what the audit found, with a few samples each."""
        if not findings:
            self._print(Text(self.voice.text("The audit found nothing to mend.")))
        for finding in findings:
            severity = f"{self.voice.text(finding.severity)} "
            head = Text.assemble((f"{severity:8}", SEVERITY_STYLES[finding.severity]))
            self._print(head.append(self._said(finding.title), "bold"))
            self._print(Text(f"→ {self._said(finding.remedy)}"), 8)
            for sample in finding.samples[:SAMPLES]:
                self._print(Text(one_line(self.voice.render(sample), self.console.width - 8), "dim"), 8)

    def show_tokens(self, views: Sequence[ExampleView]) -> None:
        """Print examples as the model gets them: trained tokens highlighted, or in ⟦brackets⟧ without colour."""
        plain = self.console.color_system is None or self.console.no_color
        for view in views:
            self._print(Text.assemble((safe_text(str(view.place)), "dim"), "  ", (self._said(view.title), "bold")))
            draw = _bracketed if plain else _coloured
            self._print(draw(view.tokens), 2)
            for line in _token_notes(view, self.console.width - 4, self.voice):
                self._print(line, 2)
            self._show_sequences(view.sequences, draw)
            self.console.print()

    def _show_sequences(self, sequences: Sequence[SequenceView], draw: Callable[[Sequence[TokenView]], Text]) -> None:
        """Print where each of a row's sequences begins and ends, and those that are drawn."""
        for part in sequences[:LISTED]:
            values = {"title": self._said(part.title), "tokens": part.size, "ends": safe_text(part.ends)}
            line = self.voice.say("{title}, {tokens} {tokens:token|tokens}: {ends}", values)
            self._print(Text(one_line(line, self.console.width - 4), "dim"), 2)
            if part.tokens:
                self._print(draw(part.tokens), 4)
            if any(part.targets):
                self._print(Text(one_line(_taught(part.targets, self.voice), self.console.width - 6), "dim"), 4)
        if len(sequences) > LISTED:
            more = self.voice.say("and {count} more", {"count": len(sequences) - LISTED})
            self._print(Text(more, "dim"), 2)

    def _print(self, text: Text, indent: int = 0) -> None:
        """Print a text wrapped to the window; where there is no window, its lines as they are."""
        if self.console.is_terminal:
            self.console.print(Padding(text, (0, 0, 0, indent), expand=False))
            return
        for line in text.split("\n", allow_blank=True):
            self.console.print(Text(" " * indent).append_text(line), soft_wrap=True)


def _contender_table(outcome: Outcome, confidence: str, voice: Voice) -> Table:
    figure = voice.figure
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(Text(voice.text("contender")), overflow="fold")
    table.add_column(Text(safe_text(outcome.primary_metric)), justify="right", no_wrap=True)
    table.add_column(Text(voice.say("{confidence} interval", {"confidence": figure(confidence)})), no_wrap=True)
    table.add_column(Text(voice.text("time")), justify="right", no_wrap=True)
    for contender in outcome.ranking:
        measure = outcome.primary(contender)
        cells = (
            voice.repeat(safe_text(contender.name)),
            figure(number(measure.value)),
            voice.interval(figure(number(measure.low)), figure(number(measure.high))),
            figure(duration(contender.seconds)),
        )
        style = "bold" if contender.kind == "tuned" else ""
        table.add_row(*(Text(cell, style) for cell in cells))
    return table


def _difference(outcome: Outcome, voice: Voice) -> Text:
    verdict, figure = outcome.verdict, voice.figure
    values = {
        "name": voice.repeat(safe_text(verdict.against)),
        "difference": figure(signed(verdict.difference)),
        "ends": voice.interval(figure(signed(verdict.low)), figure(signed(verdict.high))),
        "p": figure(probability(verdict.p_value)),
        "rows": outcome.data.test,
        "least": figure(number(verdict.minimum_detectable)),
    }
    told = "Difference to {name}: {difference} ({ends}), p {p}. {rows} test rows can show a difference of {least}."
    return Text(voice.say(told, values))


def _remarks(outcome: Outcome, voice: Voice) -> Iterator[Text]:
    """Go through what should be known beside the verdict."""
    remarks: list[tuple[Wording, Wording, Wording]] = [("warning", warning, "") for warning in outcome.warnings]
    if (degree := outcome.forgetting.decision) in ("mild", "severe"):
        named = voice.say("{degree} forgetting", {"degree": voice.text(degree)})
        remarks.append((named, outcome.forgetting.reason, ""))
    remarks += [(item.name, item.evidence, item.remedy) for item in outcome.diagnosis]
    for name, evidence, remedy in remarks:
        said = [safe_text(voice.render(text)) for text in (name, evidence, remedy)]
        text = Text.assemble((f"{said[0]}: ", "yellow"), said[1])
        yield text.append(f" → {said[2]}" if remedy else "")


def _next_steps(run: Run, voice: Voice) -> Iterator[Text]:
    folder, language = shell_word(run.path), voice.language
    report = run.path / ("report.html" if language == "en" else f"report.{language}.html")
    width = max(len(voice.text(name)) for name in ("report", "next")) + 2
    if report.exists():
        yield Text.assemble((f"{voice.text('report'):{width}}", "dim"), safe_text(str(report)))
    command = f'kamerton predict {safe_text(folder)} "{voice.text("your text")}"'
    yield Text.assemble((f"{voice.text('next'):{width}}", "dim"), command)


def _coloured(tokens: Sequence[TokenView]) -> Text:
    styled = [Text(_visible(view.token), TRAINED_STYLE if view.trained else "") for view in tokens]
    return Text.assemble(("|", "dim")).join(styled)


def _bracketed(tokens: Sequence[TokenView]) -> Text:
    """Mark trained tokens by brackets that are not those of `[CLS]` and `[INST]`."""
    return Text("|".join(f"⟦{_visible(v.token)}⟧" if v.trained else _visible(v.token) for v in tokens))


def _visible(token: str) -> str:
    return safe_text(token).replace("\n", "↵\n").replace("\t", "⇥")


def _taught(targets: Sequence[str], voice: Voice) -> str:
    return voice.say("taught: {targets}", {"targets": " ".join(targets)})


def _token_notes(view: ExampleView, room: int, voice: Voice) -> Iterator[Text]:
    counts = {"tokens": len(view.tokens), "trained": sum(token.trained for token in view.tokens), "cut": view.cut}
    told = "{tokens} {tokens:token|tokens}, {trained} trained" + (", {cut} cut" if view.cut else "")
    yield Text(voice.say(told, counts), "dim")
    if any(view.targets):
        yield Text(one_line(_taught(view.targets, voice), room), "dim")
    for warning in view.warnings:
        yield Text(f"! {safe_text(voice.render(warning))}", "yellow")
