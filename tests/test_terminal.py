"""The drawing on the terminal: whole lines without control codes elsewhere, and nothing hostile anywhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from kamerton.core.errors import RunError
from kamerton.core.figures import number, probability, signed
from kamerton.core.records import (
    ExampleView,
    Finding,
    Place,
    Progress,
    SequenceView,
    Stage,
    Started,
    Stepped,
    TokenView,
    Validated,
)
from kamerton.report.html import write_report
from kamerton.report.outcome import read_outcome
from kamerton.report.progress import RECENT_STEPS, Pace
from kamerton.report.terminal import LISTED, Screen
from kamerton.runs.run import Run
from synthetic_run import REVIEWS, STEPS, Words, classification_run, generation_run

SPITEFUL = "\x1b[2J\x1b]0;title\x07[bold red]markup[/] :bomb: \u202egnp.exe\x9b31m \x07\x08"
HARMLESS = "[bold red]markup[/] :bomb: gnp.exe"
NOT_SHOWN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def drawn(draw: Callable[[Screen], object], *, width: int = 80, terminal: bool = False, color: bool = False) -> str:
    """Return everything that is written to a console."""
    file = io.StringIO()
    system = "truecolor" if color else None
    console = Console(file=file, width=width, force_terminal=terminal, color_system=system, _environ={})
    with Screen(console) as screen:
        draw(screen)
    return file.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = classification_run(tmp_path_factory.mktemp("runs") / "reviews")
    write_report(made)
    return made


def tell(screen: Screen, run: Run) -> None:
    """Draw a whole story, from the first stage to the verdict."""
    screen.show(Stage("read", "650 rows of reviews.csv", 0.41))
    screen.show(Progress("untuned", 32, 96, "rows"))
    screen.show(Stage("untuned", "base model", 6.3))
    for event in run.events():
        screen.show(event)
    screen.show_findings(run.read_findings())
    screen.show_verdict(run)


# ── the story ─────────────────────────────────────────────────────────────────────────────────


def test_plain_lines_hold_no_control_codes(run):
    text = drawn(lambda screen: tell(screen, run))
    assert NOT_SHOWN.search(text) is None
    assert "✓ read        650 rows of reviews.csv  0.4 s\n" in text
    assert "  untuned     32 of 96 rows\n" in text
    assert f"{STEPS} steps; flat, because the attention kernel allows it" in text
    assert "all epochs done; the weights of step 180 are kept" in text


def test_every_validation_is_a_line_and_the_best_so_far_are_marked(run):
    lines = drawn(lambda screen: tell(screen, run)).splitlines()
    shown = [line for line in lines if line.startswith("  validation")]
    validations = [event for event in run.events() if isinstance(event, Validated)]
    assert [re.findall(r"step (\d+): loss ([\d.]+)", line) for line in shown] == [
        [(str(event.step), number(event.loss))] for event in validations
    ]
    assert [line.endswith("best so far") for line in shown] == [event.best for event in validations]


def test_plain_training_lines_come_at_most_every_two_seconds(run):
    now = 0.0
    file = io.StringIO()
    screen = Screen(Console(file=file, width=80), clock=lambda: now)
    for event in run.events():
        if isinstance(event, Started | Stepped):
            now += 0.5
            screen.show(event)
    steps = [int(step) for step in re.findall(rf"train +(\d+) of {STEPS} steps", file.getvalue())]
    assert steps == list(range(1, STEPS + 1, 4))


def test_the_pace_is_that_of_the_recent_steps():
    pace = Pace(Started(0, 100, 1, 1, ""))
    for step in range(1, 11):
        pace.note(Stepped(step, 0.1, 1.0, 1e-4, 1.0, 10, 60.0))
    for step in range(11, 11 + RECENT_STEPS):
        note = pace.note(Stepped(step, 0.1, 0.5, 1e-4, 1.0, 100, 0.5))
    assert str(note) == "loss 0.500  200 tokens/s  35 s left"


def test_a_terminal_gets_a_bar_that_is_gone_in_the_end_and_the_cursor_back(run):
    text = drawn(lambda screen: tell(screen, run), terminal=True, color=True)
    assert "━" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0


def test_an_error_leaves_the_terminal_as_it_was():
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, _environ={"TERM": "xterm"})
    with pytest.raises(KeyboardInterrupt), Screen(console) as screen:
        screen.show(Progress("untuned", 1, 10))
        raise KeyboardInterrupt
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize("width", [60, 100, 200])
def test_no_line_is_wider_than_the_window(width, run):
    def draw(screen: Screen) -> None:
        screen.show(Stage("read", "650 rows " * 40, 0.4))
        screen.show_findings(run.read_findings())
        screen.show_tokens([view()] * 2)
        screen.show_verdict(run)

    text = drawn(draw, width=width, terminal=True)
    lines = [line for line in text.splitlines() if str(run.path) not in line]
    assert max(cell_len(line) for line in lines) <= width


# ── the verdict ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [classification_run, generation_run])
def test_the_short_verdict_says_what_the_report_says(make, tmp_path):
    run = make(tmp_path / "a run")
    text = " ".join(drawn(lambda screen: screen.show_verdict(run)).split())
    outcome = read_outcome(run)
    verdict = outcome.verdict
    difference = f"{signed(verdict.difference)} ({signed(verdict.low)} to {signed(verdict.high)})"
    told = [verdict.decision.upper(), verdict.reason, difference, probability(verdict.p_value), *outcome.warnings]
    told += [part for item in outcome.diagnosis for part in (item.name, item.evidence, item.remedy)]
    told += [f'kamerton predict "{run.path}"', "mild forgetting: It lost a little"]
    for contender in outcome.contenders:
        measure = outcome.primary(contender)
        told.append(f"{number(measure.value)} {number(measure.low)} to {number(measure.high)}")
    for words in told:
        assert words in text


def test_the_report_is_named_once_it_is_there(run, tmp_path):
    assert f"report  {run.path}/report.html\n" in drawn(lambda screen: screen.show_verdict(run))
    bare = classification_run(tmp_path / "bare")
    assert "report.html" not in drawn(lambda screen: screen.show_verdict(bare))


def test_an_unfinished_run_has_no_verdict(run, tmp_path):
    with pytest.raises(RunError, match="not finished"):
        drawn(lambda screen: screen.show_verdict(Run.create(tmp_path / "run", run.recipe)))


# ── the data ──────────────────────────────────────────────────────────────────────────────────


def test_findings_show_severity_title_remedy_and_a_few_samples():
    samples = tuple(f"f.csv:{i}: {'long ' * 40}" for i in range(9))
    text = drawn(lambda s: s.show_findings([Finding("c", "severe", "2 rows clash", "mend them", (), (), samples)]))
    assert text.splitlines()[:2] == ["severe  2 rows clash", "        → mend them"]
    assert len(text.splitlines()) == 5
    assert all(len(line) <= 80 for line in text.splitlines())


def test_no_finding_is_said_too():
    assert drawn(lambda screen: screen.show_findings([])) == "The audit found nothing to mend.\n"


TOKENS = (("[CLS]", True), ("Name", False), (" the\n", False), ("[INST]", False), (" Па", True), ("риж", True))


def view(tokens: tuple[tuple[str, bool], ...] = TOKENS, cut: int = 0) -> ExampleView:
    return ExampleView(
        Place("f.csv", 7), "a title", tuple(TokenView(*t) for t in tokens), ("Париж",), cut, ("mind this",)
    )


def test_show_tokens_brackets_exactly_the_trained_tokens_without_colour():
    text = drawn(lambda screen: screen.show_tokens([view()]))
    assert re.findall("⟦(.*?)⟧", text) == [token for token, trained in TOKENS if trained]
    body = "".join(line[2:] for line in text.splitlines()[1:3])
    assert re.sub("[⟦⟧|↵]", "", body) == "".join(token for token, _ in TOKENS).replace("\n", "")


def test_show_tokens_highlights_exactly_the_trained_tokens_in_colour():
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200, record=True)
    Screen(console).show_tokens([view()])
    html = console.export_html(inline_styles=True)
    backgrounds = re.findall(r'<span style="[^"]*background-color[^"]*">([^<]*)</span>', html)
    assert backgrounds == [token for token, trained in TOKENS if trained]
    assert re.findall(r'<span style="[^"]*">([^<]*)</span>', html).count("|") == len(TOKENS) - 1
    assert "</span>Name<span" in html  # other tokens are plain text between the bars


def test_show_tokens_counts_what_is_trained_and_cut():
    text = drawn(lambda screen: screen.show_tokens([view(cut=12)]))
    assert "f.csv:7  a title" in text
    assert "6 tokens, 3 trained, 12 cut" in text
    assert "taught: Париж" in text
    assert "! mind this" in text
    assert "cut" not in drawn(lambda screen: screen.show_tokens([view()]))


def test_show_tokens_tells_of_every_sequence_of_a_row_up_to_a_few():
    other = SequenceView(
        "rejected answer", 2, "Name the", (TokenView("Ber", True), TokenView("lin", True)), ("Berlin",)
    )
    text = drawn(lambda screen: screen.show_tokens([replace(view(), sequences=(other, *[other] * 20))]))
    assert "rejected answer, 2 tokens: Name the\n    ⟦Ber⟧|⟦lin⟧\n    taught: Berlin\n" in text
    assert text.count("rejected answer") == LISTED
    assert f"and {21 - LISTED} more" in text


def test_a_stage_of_several_lines_stands_below_its_first():
    text = drawn(lambda screen: screen.show(Stage("audit", "severe: one\nwarning: two", 0.1)))
    [first, second] = text.splitlines()
    assert second.index("warning") == first.index("severe")


# ── hostile data ──────────────────────────────────────────────────────────────────────────────


def test_hostile_text_cannot_steer_the_terminal_or_be_taken_for_markup(tmp_path: Path):
    labels = [f"{SPITEFUL} {i}" for i in range(3)]
    run = classification_run(tmp_path / "run", Words(REVIEWS.texts, labels, SPITEFUL, SPITEFUL))
    result = run.result
    result["verdict"] |= {"reason": SPITEFUL, "against": SPITEFUL}
    result["warnings"] = [SPITEFUL]
    result["contenders"][0]["name"] = result["primary_metric"] = SPITEFUL
    result["diagnosis"][0] |= {"name": SPITEFUL, "evidence": SPITEFUL, "remedy": SPITEFUL}
    run.write_result(result)

    def draw(screen: Screen) -> None:
        tell(screen, run)
        screen.show(Stage(SPITEFUL, SPITEFUL, 1.0))
        screen.show(Progress(SPITEFUL, 1, 2))
        screen.show(Validated(1, 0.1, 1.0, {SPITEFUL: 0.5}, True))
        screen.show_tokens([view(((SPITEFUL, True), (SPITEFUL, False)))])

    text = drawn(draw)
    assert NOT_SHOWN.search(text) is None
    assert text.count(HARMLESS) >= 15
    assert "\x1b[2J" not in drawn(draw, terminal=True, color=True)
