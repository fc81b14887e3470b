"""The story of a run drawn on a terminal, and its end in short. What data says is made safe before it is printed."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import assert_never

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kamerton.records import (
    Event,
    ExampleView,
    Finding,
    Progress,
    Saved,
    Stage,
    Started,
    Stepped,
    Stopped,
    TokenView,
    Validated,
)
from kamerton.report.outcome import Outcome, read_outcome
from kamerton.report.progress import NAME_WIDTH, Bars, Lines, Meter, Pace
from kamerton.report.text import duration, number, one_line, parameters, percent, probability, safe_text, signed
from kamerton.run import Run

TRAINING = "train"
DECISION_STYLES = {
    "ship": "bold white on green",
    "do not ship": "bold white on red",
    "not proven": "bold black on yellow",
}
SEVERITY_STYLES = {"severe": "bold red", "warning": "yellow", "note": "cyan"}
TRAINED_STYLE = "bold black on green"
SAMPLES = 3


class Screen:
    """Draws on a console: live on a terminal, plain lines elsewhere.

    Use it in a `with` statement, so that an error or a stop leaves the terminal as it was.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._meter: Meter = Bars(console) if console.is_terminal else Lines(console, clock)
        self._pace: Pace | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.close()

    # ── the story ─────────────────────────────────────────────────────────────────────────────

    def show(self, item: Stage | Progress | Event) -> None:
        """Draw one piece of the story."""
        match item:
            case Stage():
                self._meter.finish(item.name)
                message = Text.assemble(safe_text(item.message), (f"  {duration(item.seconds)}", "dim"))
                self._row(Text("✓", "green"), item.name, message)
            case Progress():
                self._meter.advance(item.stage, item.done, item.total, "")
                if item.done >= item.total:
                    self._meter.finish(item.stage)
            case Started() | Stepped() | Validated() | Saved() | Stopped():
                self._train(item)
            case _:
                assert_never(item)

    def _train(self, event: Event) -> None:
        match event:
            case Started():
                self._pace = Pace(event)
                trained = f"{parameters(event.trainable_parameters)} of {parameters(event.parameters)} weights"
                rest = f"{event.steps - event.step} steps; {safe_text(event.layout)}"
                self._row(Text(" "), TRAINING, Text(f"{trained}, {rest}"))
            case Stepped():
                if self._pace:
                    self._meter.advance(TRAINING, event.step, self._pace.steps, self._pace.note(event))
            case Validated():
                scores = ", ".join(f"{safe_text(name)} {number(value)}" for name, value in event.metrics.items())
                text = Text(f"step {event.step}: loss {number(event.loss)}{', ' if scores else ''}{scores}")
                self._row(Text(" "), "validation", text.append("  best so far" if event.best else "", "green"))
            case Stopped():
                self._meter.finish(TRAINING)
                moved = f"the trained weights moved by {percent(event.weight_change)}"
                kept = f"the weights of step {event.best_step} are kept"
                self._row(Text(" "), TRAINING, Text(f"{safe_text(event.reason)}; {kept}; {moved}"))
            case Saved():
                pass  # checkpoints are many, and worth a word only when one is resumed from
            case _:
                assert_never(event)

    def _row(self, mark: Text, name: str, message: Text) -> None:
        label = Text(f"{safe_text(name):{NAME_WIDTH}}", "bold")
        if not self.console.is_terminal:
            self.console.print(Text.assemble(mark, " ", label, " ", message), soft_wrap=True)
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
        outcome = read_outcome(run)
        verdict = outcome.verdict
        self.console.print()
        self._print(Text(f" {verdict.decision.upper()} ", DECISION_STYLES[verdict.decision]))
        self._print(Text(safe_text(verdict.reason), "bold"))
        self.console.print()
        self.console.print(_contender_table(outcome, percent(run.recipe.evaluate.confidence)))
        self.console.print()
        for line in (_difference(outcome), *_remarks(outcome)):
            self._print(line)
        self.console.print()
        for line in _next_steps(run):
            self.console.print(line, soft_wrap=True)

    # ── the data ──────────────────────────────────────────────────────────────────────────────

    def show_findings(self, findings: Sequence[Finding]) -> None:
        """Print what the audit found, with a few samples each."""
        if not findings:
            self._print(Text("The audit found nothing to mend."))
        for finding in findings:
            head = Text.assemble((f"{finding.severity:8}", SEVERITY_STYLES[finding.severity]))
            self._print(head.append(safe_text(finding.title), "bold"))
            self._print(Text(f"→ {safe_text(finding.remedy)}"), 8)
            for sample in finding.samples[:SAMPLES]:
                self._print(Text(one_line(sample, self.console.width - 8), "dim"), 8)

    def show_tokens(self, views: Sequence[ExampleView]) -> None:
        """Print examples as the model gets them: trained tokens highlighted, or in ⟦brackets⟧ without colour."""
        plain = self.console.color_system is None or self.console.no_color
        for view in views:
            self._print(Text.assemble((safe_text(str(view.place)), "dim"), "  ", (safe_text(view.title), "bold")))
            self._print(_bracketed(view.tokens) if plain else _coloured(view.tokens), 2)
            for line in _token_notes(view, self.console.width - 4):
                self._print(line, 2)
            self.console.print()

    def _print(self, text: Text, indent: int = 0) -> None:
        """Print a text wrapped to the window; where there is no window, its lines as they are."""
        if self.console.is_terminal:
            self.console.print(Padding(text, (0, 0, 0, indent), expand=False))
            return
        for line in text.split("\n", allow_blank=True):
            self.console.print(Text(" " * indent).append_text(line), soft_wrap=True)


def _contender_table(outcome: Outcome, confidence: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(Text("contender"), overflow="fold")
    table.add_column(Text(safe_text(outcome.primary_metric)), justify="right", no_wrap=True)
    table.add_column(Text(f"{confidence} interval"), no_wrap=True)
    table.add_column(Text("time"), justify="right", no_wrap=True)
    for contender in outcome.ranking:
        measure = outcome.primary(contender)
        cells = (
            safe_text(contender.name),
            number(measure.value),
            f"{number(measure.low)} to {number(measure.high)}",
            duration(contender.seconds),
        )
        style = "bold" if contender.kind == "tuned" else ""
        table.add_row(*(Text(cell, style) for cell in cells))
    return table


def _difference(outcome: Outcome) -> Text:
    verdict = outcome.verdict
    return Text(
        f"Difference to {safe_text(verdict.against)}: {signed(verdict.difference)}"
        f" ({signed(verdict.low)} to {signed(verdict.high)}), p {probability(verdict.p_value)}."
        f" {outcome.data.test:,} test rows can show a difference of {number(verdict.minimum_detectable)}."
    )


def _remarks(outcome: Outcome) -> Iterator[Text]:
    """Go through what should be known beside the verdict."""
    remarks = [("warning", warning, "") for warning in outcome.warnings]
    if outcome.forgetting.decision in ("mild", "severe"):
        remarks.append((f"{outcome.forgetting.decision} forgetting", outcome.forgetting.reason, ""))
    remarks += [(item.name, item.evidence, item.remedy) for item in outcome.diagnosis]
    for name, evidence, remedy in remarks:
        text = Text.assemble((f"{safe_text(name)}: ", "yellow"), safe_text(evidence))
        yield text.append(f" → {safe_text(remedy)}" if remedy else "")


def _next_steps(run: Run) -> Iterator[Text]:
    folder, report = shlex.quote(str(run.path)), run.path / "report.html"
    if report.exists():
        yield Text.assemble(("report  ", "dim"), safe_text(str(report)))
    yield Text.assemble(("next    ", "dim"), f'kamerton predict {safe_text(folder)} "your text"')


def _coloured(tokens: Sequence[TokenView]) -> Text:
    styled = [Text(_visible(view.token), TRAINED_STYLE if view.trained else "") for view in tokens]
    return Text.assemble(("|", "dim")).join(styled)


def _bracketed(tokens: Sequence[TokenView]) -> Text:
    """Mark trained tokens by brackets that are not those of `[CLS]` and `[INST]`."""
    return Text("|".join(f"⟦{_visible(v.token)}⟧" if v.trained else _visible(v.token) for v in tokens))


def _visible(token: str) -> str:
    return safe_text(token).replace("\n", "↵\n").replace("\t", "⇥")


def _token_notes(view: ExampleView, room: int) -> Iterator[Text]:
    trained = sum(token.trained for token in view.tokens)
    cut = f", {view.cut} cut" if view.cut else ""
    yield Text(f"{len(view.tokens)} tokens, {trained} trained{cut}", "dim")
    if view.targets:
        yield Text(one_line(f"taught: {' '.join(view.targets)}", room), "dim")
    for warning in view.warnings:
        yield Text(f"! {safe_text(warning)}", "yellow")
