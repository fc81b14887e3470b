"""The tail of a run's events, compact in memory; and what a page is sent of it."""

from __future__ import annotations

import asyncio
import math
from itertools import count
from pathlib import Path

import pytest

from kamerton.core.messages import msg
from kamerton.core.records import Halved, SampleAnswer, Started, Stepped, Stopped, Validated
from kamerton.report.charts import Updates, View, curves, log_scale
from kamerton.runs.recipe import Recipe
from kamerton.runs.run import LOG, Run
from kamerton.studio.follow import LiveCourse, LiveCourses
from kamerton.studio.live import Answered, changes, sampled_rows, tail
from synthetic_run import steps_until


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose training has begun."""
    run = Run.create(tmp_path / "run", Recipe())
    run.record(Started(0, 90, 1, 1, msg("packed")))
    return run


def stepped(step: int, loss: float = 1.0) -> Stepped:
    return Stepped(step, step / 10, loss, 1e-3, 1.0, 100, 0.1)


def as_read_anew(course: LiveCourse) -> bool:
    """Return whether a course holds what one that reads the log from its beginning does."""
    other = LiveCourse(course.folder)
    other.catch_up()
    kept = [(one.columns, one.validations, one.started, one.stopped, one.offset, one.lines) for one in (course, other)]
    return kept[0] == kept[1]


# ── the tail ──────────────────────────────────────────────────────────────────────────────────


def test_a_course_goes_on_from_where_it_was(run):
    course = LiveCourse(run.path)
    for event in [stepped(1), stepped(2), Halved(2, 64), Validated(2, 0.2, 0.9, {"f1": 0.5}, best=True), stepped(3)]:
        run.append(event)
        course.catch_up()
        assert as_read_anew(course)
    assert (course.step, [one.step for one in course.validations], course.notes) == (3, [2], [Halved(2, 64)])
    assert course.tokens_per_second == pytest.approx(1000)
    assert course.seconds_left == pytest.approx(8.7)
    run.append(Stopped(3, 2, msg("all epochs done"), 0.1))
    course.catch_up()
    assert course.stopped and course.seconds_left is None


def test_half_a_line_waits_for_its_rest(run):
    course = LiveCourse(run.path)
    run.append(stepped(1))
    run.append(stepped(2, math.nan))
    whole = (run.path / LOG).read_bytes()
    for cut in range(len(whole) - 60, len(whole)):
        (run.path / LOG).write_bytes(whole[:cut])
        course.catch_up()
        assert course.step == 1
    (run.path / LOG).write_bytes(whole)
    course.catch_up()
    assert course.step == 2 and math.isnan(course.columns["loss"][1])


def test_a_log_that_was_rewound_is_read_anew_however_long_it_has_become(run):
    course = LiveCourse(run.path)
    for step in range(1, 9):
        run.append(stepped(step))
    course.catch_up()
    run.record(Started(4, 90, 1, 1, msg("packed")))
    course.catch_up()
    assert course.step == 4 and as_read_anew(course)
    for step in range(5, 40):
        run.append(stepped(step, 2.0))
    run.record(Started(6, 90, 1, 1, msg("packed")))
    for step in range(7, 60):
        run.append(stepped(step, 3.0))
    course.catch_up()
    assert list(course.columns["loss"]) == [1.0] * 4 + [2.0] * 2 + [3.0] * 53 and as_read_anew(course)


def test_nothing_is_shown_after_a_damaged_line(run):
    for step in (1, 2, 3):
        run.append(stepped(step))
    text = (run.path / LOG).read_text()
    (run.path / LOG).write_text(text.replace('"step": 2, "epoch"', '"step": 7, "epoch"'))
    course = LiveCourse(run.path)
    course.catch_up()
    assert (course.step, course.damaged) == (1, 3)


def test_a_log_that_goes_away_or_was_never_there_is_empty(run):
    course = LiveCourse(run.path)
    run.append(stepped(1))
    course.catch_up()
    (run.path / LOG).rename(run.path / "moved")
    course.catch_up()
    assert (course.step, course.started) == (0, None)


def test_only_the_courses_that_were_followed_last_are_kept(tmp_path):
    courses = LiveCourses(2)
    first, second = courses.of(tmp_path / "a"), courses.of(tmp_path / "b")
    assert courses.of(tmp_path / "a") is first
    courses.of(tmp_path / "c")
    assert courses.of(tmp_path / "a") is first and courses.of(tmp_path / "b") is not second


# ── what is drawn ─────────────────────────────────────────────────────────────────────────────


def test_charts_are_zoomed_smoothed_and_logarithmic():
    events = steps_until(200)
    steps = [event for event in events if isinstance(event, Stepped)]
    seen = [event for event in events if isinstance(event, Validated)]
    drawn = curves(Updates.of(steps), seen, "macro-f1", 200, View(0.0, 0.1, "log"))
    assert {point.step for line in drawn.loss.lines for point in line.points} == set(range(180, 201))
    assert [line.kind for line in drawn.loss.lines] == ["raw", "validation"]
    assert drawn.metric and [point.step for point in drawn.metric.lines[0].points] == [180]
    assert (drawn.loss.steps.low, drawn.loss.steps.high) == (180, 200)
    assert drawn.loss.values.low > 0 and drawn.loss.values.at(drawn.loss.values.low) == 0
    smooth = curves(Updates.of(steps), seen, "macro-f1", 200, View(0.2)).loss
    assert [line.kind for line in smooth.lines] == ["raw", "smooth", "validation"]


@pytest.mark.parametrize("ends", [(1e-9, 1e7), (0.5, 0.5), (1.0, 1.0), (0.999, 1.001), (3e-5, 4e-5)])
def test_a_logarithmic_axis_covers_what_it_shows(ends):
    axis = log_scale(*ends)
    assert axis.low <= ends[0] and ends[1] <= axis.high
    assert 2 <= len(axis.ticks) <= 20 and axis.ticks == tuple(sorted(axis.ticks, key=lambda tick: tick.at))


def test_answers_that_stay_the_same_are_one():
    def at(step: int, answer: str, probability: float) -> Validated:
        return Validated(step, 1.0, 1.0, {}, True, (SampleAnswer(7, "text", "good", answer, probability),))

    [row] = sampled_rows([at(10, "bad", 0.6), at(20, "good", 0.7), at(30, "good", 0.9), Validated(40, 1, 1, {}, True)])
    assert list(row.answers) == [Answered(20, 30, "good", 0.9), Answered(10, 10, "bad", 0.6)]


def test_the_tail_of_a_log_begins_with_a_whole_line(tmp_path):
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_text("\n".join(f"строка {number}" for number in range(5000)))
    lines = tail(log).split("\n")
    assert lines == [f"строка {number}" for number in range(4940, 5000)]


# ── the stream ────────────────────────────────────────────────────────────────────────────────


def sent(looks: list[str], makes: list[dict[str, str]], after: str = "") -> list[object]:
    """Collect what a stream sends while its page changes so."""
    rest, made, ended = iter(looks), iter(makes), count()

    async def collect() -> list[object]:
        over = lambda: next(ended) >= len(looks)  # noqa: E731
        return [one async for one in changes(lambda: next(rest), lambda: next(made), after, over)]

    return asyncio.run(collect())


def test_only_parts_that_changed_are_sent_with_the_id_of_the_state_they_belong_to(monkeypatch):
    monkeypatch.setattr("kamerton.studio.live.LOOK", 0.0)
    monkeypatch.setattr("kamerton.studio.live.SHARE", math.inf)
    pages = [{"a": "1", "b": "1"}, {"a": "2", "b": "1"}]
    first = [{"id": "a", "html": "1"}, {"id": "b", "html": "1", "event": "x"}]
    then = [{"id": "a", "html": "2", "event": "y"}]
    assert sent(["x", "x", "y", "y"], pages) == [*first, *then]
    assert sent(["x", "x", "y"], pages[1:], after="x") == [
        {"id": "a", "html": "2"},
        {"id": "b", "html": "1", "event": "y"},
    ]
    monkeypatch.setattr("kamerton.studio.live.BEAT", 0.0)
    assert sent(["x", "x"], [], after="x") == [None, None]


def test_drawing_takes_a_small_share_of_the_time(monkeypatch):
    monkeypatch.setattr("kamerton.studio.live.LOOK", 0.001)
    made = []

    def make() -> dict[str, str]:
        made.append(sum(range(200_000)))
        return {"a": str(len(made))}

    async def collect() -> None:
        ids, ended = count(), count()
        async for _ in changes(lambda: str(next(ids)), make, "", lambda: next(ended) > 30):
            pass

    asyncio.run(collect())
    assert len(made) < 5
