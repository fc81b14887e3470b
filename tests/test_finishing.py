"""Ending a training after its present epoch, asked for by another process; and what a run says it is at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kamerton.core.errors import RunError
from kamerton.core.messages import msg
from kamerton.core.records import Progress, Saved, Stage, Started, Stepped, Stopped, Validated
from kamerton.runs.finishing import REQUEST, ask_to_finish, is_asked_to_end, requested_epoch
from kamerton.runs.mirror import MARK
from kamerton.runs.recipe import Recipe
from kamerton.runs.run import Run
from kamerton.runs.underway import CONTENDERS, DATA, TRAINING, UNDERWAY, UnderwayFile, read_underway
from kamerton.session.new_run import new_run
from kamerton.tune import story
from stories import DONE, MISTAKE, Place

# of a name that PEFT asks for in every model
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has its recipe alone."""
    return Run.create(tmp_path / "run", Recipe())


def stepped(step: int, epoch: float) -> Stepped:
    return Stepped(step, epoch, 1.0, 1e-3, 1.0, 100, 0.1)


# ── the request ───────────────────────────────────────────────────────────────────────────────


def test_the_epoch_under_way_is_asked_for(run):
    with pytest.raises(RunError, match="has not begun"):
        ask_to_finish(run)
    run.record(Started(0, 40, 1, 1, ""))
    assert ask_to_finish(run) == 1
    run.append(stepped(7, 0.7))
    assert ask_to_finish(run) == 1
    run.append(stepped(10, 1.0))
    assert ask_to_finish(run) == requested_epoch(run.path) == 2
    assert [is_asked_to_end(run.path, epoch) for epoch in (1, 2, 3)] == [False, True, True]
    run.append(Stopped(20, 10, "", 0.1))
    with pytest.raises(RunError, match="training is over"):
        ask_to_finish(run)


def test_the_command_says_after_which_epoch_training_ends(place: Place):
    run = Run.create(place.folder / "begun", Recipe())
    run.record(Started(0, 40, 1, 1, ""))
    told = place.call("finish", "begun")
    assert (told.status, "after epoch 1" in told.out) == (DONE, True)
    assert json.loads(place.call("finish", "begun", "--json").out) == {"run": "begun", "epoch": 1}
    assert requested_epoch(run.path) == 1


def test_a_copy_of_a_run_that_trains_elsewhere_takes_no_request(run):
    run.record(Started(0, 40, 1, 1, ""))
    (run.path / MARK).write_text('{"address": "s3://bucket/run", "writer": "w", "number": 1}')
    with pytest.raises(RunError, match="no process of this machine"):
        ask_to_finish(Run(run.path))
    assert requested_epoch(run.path) is None


@pytest.mark.parametrize("text", ["", "{}", '{"epoch": "2"}', "[2]", '{"epoch'])
def test_a_file_that_is_no_request_asks_for_nothing(run, text):
    (run.path / REQUEST).write_text(text)
    assert not is_asked_to_end(run.path, 99)


def test_a_run_that_was_asked_ends_with_its_epoch_after_a_kill_as_well_and_its_recipe_says_so(place: Place):
    settings = {"model.name": str(place.folder / "encoder"), "method.name": "head", "train.epochs": 4.0}
    quick = {"evaluate.forgetting": "off", "evaluate.resamples": 200, "train.learning_rate": 3e-3}
    run = new_run(place.folder / "reviews.csv", place.folder / "asked", {**settings, **quick})
    parts = []
    for event in story(run):
        parts.append(read_underway(run.path).part)
        if isinstance(event, Stepped) and event.epoch < 1 and not (run.path / REQUEST).exists():
            assert ask_to_finish(run) == 1
        if isinstance(event, Stopped):
            break  # before the model is kept
    assert list(dict.fromkeys(map(str, parts))) == ["data", "contenders", "training"]
    assert (run.path / REQUEST).exists()
    assert [stage.name for stage in read_underway(run.path).done][:2] == ["read", "model"]
    events = [event for event in story(Run(run.path)) if isinstance(event, Stopped | Stepped)]
    assert (events[-1].asked, events[-1].step) == (True, event.step)
    assert run.finished and not (run.path / REQUEST).exists() and not (run.path / UNDERWAY).exists()
    assert run.recipe.remedy.last_step == event.step
    told = place.call("finish", "asked")
    assert (told.status, "training is over" in told.err) == (MISTAKE, True)


def test_each_validation_shows_the_answers_to_the_same_few_rows(place: Place):
    for name, right in (("full", {"good", "bad"}), ("answers", None)):
        run = place.run(name)
        validations = [event for event in run.events() if isinstance(event, Validated)]
        rows = [[(sample.id, sample.text, sample.gold) for sample in event.samples] for event in validations]
        assert len(validations) > 1 and len(rows[0]) == 3 and all(one == rows[0] for one in rows)
        assert {id for id, *_ in rows[0]} <= {example.id for example in run.read_split().validation}
        answers = [sample for event in validations for sample in event.samples]
        if right:
            assert {gold for *_, gold in rows[0]} == {sample.answer for sample in answers} | right == right
            assert all(0.5 <= sample.probability <= 1 for sample in answers)


# ── what it is at ─────────────────────────────────────────────────────────────────────────────


def test_a_run_says_what_it_is_at_at_most_once_a_second(tmp_path):
    now = 1000.0
    written = UnderwayFile(tmp_path, 0o600, lambda: now)
    written.begin(DATA)
    assert (tmp_path / UNDERWAY).stat().st_mode & 0o777 == 0o600
    now = 1001.0
    written.note(Stage("read", msg("{rows} rows", rows=3), 1.0))
    written.begin(CONTENDERS)
    written.note(Progress("base", 0, 90, "rows"))
    for done in (30, 60):
        written.note(Progress("base", done, 90, "rows"))
    assert read_underway(tmp_path).now == Progress("base", 0, 90, "rows")
    now = 1002.5
    written.note(Progress("base", 90, 90, "rows"))
    found = read_underway(tmp_path)
    assert (found.part, found.since, found.now) == (CONTENDERS, 1001.0, Progress("base", 90, 90, "rows"))
    assert found.done == (Stage("read", msg("{rows} rows", rows=3), 1.0),)
    written.note(Saved(1, 0.1))
    assert read_underway(tmp_path) == found


def test_a_training_says_how_far_it_is_and_a_later_process_goes_on(tmp_path):
    now = 0.0
    written = UnderwayFile(tmp_path, 0o600, lambda: now)
    written.begin(TRAINING)
    written.note(Started(2, 9, 1, 1, ""))
    now = 5.0
    written.note(stepped(3, 0.3))
    assert read_underway(tmp_path).now == Progress("train", 3, 9, "steps")
    written.note(Stage("train", "saved", 4.0))
    now = 60.0
    UnderwayFile(tmp_path, 0o600, lambda: now).begin(TRAINING)
    found = read_underway(tmp_path)
    assert (found.since, found.now, [stage.name for stage in found.done]) == (60.0, None, ["train"])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"part": 3, "since": "x"}', json.dumps({"done": [{"name": "x"}]})])
def test_a_file_that_cannot_be_read_says_nothing(tmp_path, text):
    (tmp_path / UNDERWAY).write_text(text)
    assert read_underway(tmp_path) is None


def test_a_folder_that_cannot_be_written_to_does_not_stop_a_run(tmp_path):
    written = UnderwayFile(tmp_path / "gone", 0o600)
    written.begin(DATA)
    written.remove()
    assert not (tmp_path / "gone").exists()
