"""Independent pieces of work, here and in processes: one result, one order of events."""

from __future__ import annotations

import copy
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import light_work
from kamerton.core.errors import Fault, KamertonError, RecipeError, RunError, TrainingError
from kamerton.core.messages import msg
from kamerton.core.pieces import HERE, Done, Here, Workers, Workload, choose_workers
from kamerton.core.records import Example, Place, Progress
from kamerton.planning.growth import Counted, choose_sizes, count_heads
from kamerton.plugins.metrics.accuracy import Accuracy
from kamerton.plugins.workers.processes import Processes
from kamerton.runs.run import Run
from light_work import named
from stories import DONE, QUICK, weights_of

ADD = Workload(light_work.base, light_work.add)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Workers find the functions of the tests, and never more than one core."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture(scope="module")
def two() -> Workers:
    """Two processes for all tests that do not end them."""
    with Processes(2, 1) as workers:
        yield workers


def told(workers: Workers, work: Workload, *given: object) -> list[object]:
    return list(workers.carry_out(work, named(*given)))


def test_events_and_values_come_as_if_pieces_were_done_one_after_the_other(two):
    assert told(two, ADD, *range(5)) == told(HERE, ADD, *range(5))
    assert [item.value for item in told(two, ADD, *range(5)) if isinstance(item, Done)] == [100, 101, 102, 103, 104]
    assert told(two, ADD) == []


def test_what_the_first_piece_yields_is_passed_on_before_it_is_done(two):
    order = two.carry_out(ADD, named(3, 0))
    assert next(order) == Progress("3", 0, 3)
    assert Done(0, 100) in list(order)


def test_each_process_has_its_own_cores_and_they_work_at_the_same_time(two):
    values = [item.value for item in told(two, Workload(light_work.base, light_work.processes), *range(4))]
    assert len({pid for pid, _ in values} - {os.getpid()}) == 2
    assert {threads for _, threads in values} == {"1"}


def test_what_is_ready_here_is_not_prepared_again():
    [done] = [item for item in told(Here(), Workload(light_work.base, light_work.add, 5), 1) if isinstance(item, Done)]
    assert done.value == 6


def test_an_error_names_its_piece_and_comes_whole(two):
    with pytest.raises(TrainingError) as raised:
        told(Processes(1, 1), Workload(light_work.base, light_work.fail), 7)
    [fault] = raised.value.faults
    assert str(fault) == "train.learning_rate: piece 7: rate 7 is too high\n    → lower it"


def test_a_process_that_was_killed_is_an_error_of_ours():
    with Processes(1, 1) as workers, pytest.raises(RunError, match="piece 1: its worker has ended: signal 9"):
        told(workers, Workload(light_work.base, light_work.die), 1)


def test_a_stop_stops_what_was_begun_and_waits_for_it(tmp_path):
    files = tmp_path / "a", tmp_path / "b"
    with Processes(2, 1) as workers:
        began = time.monotonic()
        order = workers.carry_out(Workload(light_work.base, light_work.wait), named(*files))
        assert next(order) == Progress("waiting", 0, 1)
        while not all(file.exists() and file.read_text() == "waits" for file in files):
            time.sleep(0.01)
        order.close()
        assert [file.read_text() for file in files] == ["stopped", "stopped"]
        assert time.monotonic() - began < 40


@pytest.mark.parametrize("kind", [KamertonError, TrainingError, RunError])
def test_errors_can_be_copied_and_sent(kind):
    error = kind([Fault(msg("a {b}", b=1), "here", msg("do that")), Fault("c")])
    again = copy.copy(error)
    assert (type(again), again.faults, str(again)) == (kind, error.faults, str(error))


@pytest.mark.parametrize(("word", "rule"), [
    ("process", "there is no place of work 'process'"),
    ("processes:none", "'none' is no number of processes"),
    ("processes:0", "'0' is no number of processes"),
    ("no_such.module:Workers", "is code from elsewhere"),
])  # fmt: skip
def test_what_is_no_place_is_a_users_mistake(word, rule):
    with pytest.raises(RecipeError, match=rule):
        choose_workers(word)


def test_one_of_several_processes_starts_no_workers(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="one training on several processes, or several trainings"):
        choose_workers("processes:2")
    assert choose_workers(None) is HERE


def test_ray_is_an_extra_and_its_client_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"pip install 'kamerton\[ray\]'"):
        choose_workers("ray:2")
    monkeypatch.setitem(sys.modules, "ray", object())
    assert (choose_workers("ray:2", 3).count, choose_workers("ray:head:6379").address) == (2, "head:6379")
    with pytest.raises(RecipeError, match="Ray's client cannot pass on"):
        choose_workers("ray://head:10001")


def test_more_processes_than_cards_are_refused(monkeypatch):
    monkeypatch.setattr("kamerton.plugins.workers.processes.cards_here", lambda: ["0", "3"])
    assert choose_workers("processes").cards == ["0", "3"]
    with pytest.raises(RecipeError, match="3 processes need a card each, and 2 are here"):
        choose_workers("processes:3")


def test_points_of_a_curve_are_the_same_in_processes(two):
    random = np.random.default_rng(0)
    features = random.normal(size=(240, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    golds = np.where(features[:, 0] + 0.3 * random.normal(size=240) > 0, "a", "b")
    examples = [Example(i, Place("x", i), "", gold) for i, gold in enumerate(golds)]
    sizes = choose_sizes(240, 240, "x")
    given = features, examples, list(range(240)), Accuracy(), sizes, 0
    *_, here = count_heads(*given)
    *shares, there = count_heads(*given, two)
    assert isinstance(there, Counted)
    assert shares == pytest.approx([n / 15 for n in range(1, 16)])
    assert np.array_equal(here.statistics, there.statistics)


# ── whole runs ────────────────────────────────────────────────────────────────────────────────

STORY = (
    "reviews.csv", "--model", "encoder", "--method", "head", "--epochs", "1", "--seeds", "3",
    "--remedy", "lower-rate,higher-rate", *QUICK, "--learning-rate", "auto",
)  # fmt: skip


def found_by(run: Run) -> tuple[object, ...]:
    """What the pieces of a run found: rates, weights, answers, attempts."""
    runs = (run, *run.inner)
    attempts = [{**vars(one), "seconds": 0} for one in run.read_attempts()]
    answers = [[(one.name, one.predictions) for one in each.read_answers()] for each in runs]
    return run.state.rates, [weights_of(each) for each in runs], answers, attempts, run.result["verdict"]


def test_rates_remedies_and_seeds_in_processes_equal_those_done_here_even_after_a_kill(place):
    here = place.call("tune", *STORY, "--out", "in-order")
    assert here.status == DONE, here.said
    child = place.start("tune", *STORY, "--out", "at-once", "--on", "processes:2")
    seeds = place.folder / "at-once" / "seeds"
    while not (list(seeds.glob("*/predictions.parquet")) or child.has_ended):
        time.sleep(0.01)
    child.kill()
    child.wait()
    done = {path: path.stat().st_mtime_ns for path in seeds.glob("*/model/*.safetensors")}
    ended = place.call("resume", "at-once", "--on", "processes:2")
    assert ended.status == DONE, ended.said
    assert {path: path.stat().st_mtime_ns for path in done} == done
    one, other = (Run(place.folder / name) for name in ("in-order", "at-once"))
    assert len(other.inner) == 4
    assert found_by(one) == found_by(other)
