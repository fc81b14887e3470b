"""Several processes train what one does: the same losses and answers, after a stop, a kill, or a request to end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from crossing import Models
from kamerton.core.files import write_json
from kamerton.kernels.processes import dealt
from kamerton.runs.finishing import REQUEST
from kamerton.train import loop
from parallel_runs import Cell, Trained, begun, carried_out, on_ranks, stop_after

FP32 = {"model.precision": "fp32"}
"""Products in 16 bits depend on which rows are multiplied together."""
CELLS = (
    Cell("full", "encoder", FP32),
    Cell("lora", "decoder", {**FP32, "train.gradient_checkpointing": True}),
    Cell("full", "seq2seq", {**FP32, "train.parallel": "fsdp"}),
)
SOON = 15


def work(place: str) -> None:
    """Train on one and on two processes; stop on two, and go on with one; kill a rank, and go on."""
    loop.SAVE_SECONDS = -1.0
    folder = Path(place)
    models = Models(folder / "models")
    models.folder.mkdir()
    for kind in ("encoder", "decoder", "seq2seq"):
        models[kind]
    one = carried_out(CELLS, 1, folder, models)
    two = carried_out(CELLS, 2, folder, models)
    on_ranks(2, lambda: stop_after(CELLS[1], folder / "stopped", models, 4))
    [stopped] = carried_out(CELLS[1:2], 1, folder / "stopped", models)
    on_ranks(2, lambda: stop_after(CELLS[1], folder / "asked", models, 1))
    write_json(folder / "asked" / CELLS[1].name / "run" / REQUEST, {"epoch": 1})
    [asked] = carried_out(CELLS[1:2], 2, folder / "asked", models)
    began: list[float] = []

    def kill(children: list[int]) -> None:
        checkpoints = folder / "killed" / CELLS[1].name / "run" / "checkpoints"
        while not [*checkpoints.glob("step-*/MANIFEST.json")]:  # whole folders: they come by a rename
            time.sleep(0.01)
        os.kill(children[1], signal.SIGKILL)
        began.append(time.monotonic())

    statuses = on_ranks(2, lambda: [*begun(CELLS[1], folder / "killed", models)[1]], kill)
    seconds = time.monotonic() - began[0]
    carried_out(CELLS[1:2], 2, folder / "killed", models)
    same = _sha(folder / "2" / CELLS[1].name) == _sha(folder / "killed")
    found = {
        "one": [vars(it) for it in one],
        "two": [vars(it) for it in two],
        "stopped": vars(stopped),
        "asked": vars(asked),
        "killed": [statuses, seconds, same],
    }
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def _sha(folder: Path) -> str:
    [weights] = folder.rglob("run/model/*.safetensors")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def found(nursery, tmp_path_factory):
    """Return what became of all trainings."""
    folder = tmp_path_factory.mktemp("processes")
    ended = nursery.run("test_processes:work", str(folder), cwd=folder)
    assert ended.status == 0, ended.said
    assert "Warning" not in ended.err
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


def is_like(other: Trained, one: Trained) -> bool:
    """Say whether a training had the losses and the answers of another, but for rounding."""
    assert len(one.losses) >= 6
    near = [pytest.approx(each, rel=1e-5) for each in (one.losses, one.norms, one.validations)]
    return [other.losses, other.norms, other.validations] == near and other.answers == one.answers


@pytest.mark.parametrize("place", range(len(CELLS)), ids=[cell.name for cell in CELLS])
def test_two_processes_train_what_one_does(found, place):
    assert is_like(Trained(**found["two"][place]), Trained(**found["one"][place]))


def test_a_run_that_was_stopped_goes_on_with_another_number_of_processes(found):
    assert is_like(Trained(**found["stopped"]), Trained(**found["one"][1]))


def test_a_training_that_was_asked_to_end_after_its_epoch_does_on_all_processes(found):
    asked, whole = (Trained(**one) for one in (found["asked"], found["one"][1]))
    assert 0 < len(asked.losses) < len(whole.losses)
    assert asked.losses == pytest.approx(whole.losses[: len(asked.losses)], rel=1e-5)
    assert asked.validations == pytest.approx(whole.validations[: len(asked.validations)], rel=1e-5)


def test_a_killed_rank_ends_all_soon_and_loses_nothing(found):
    statuses, seconds, same = found["killed"]
    assert statuses == [1, -signal.SIGKILL]
    assert seconds < SOON
    assert same


def test_rows_are_dealt_evenly_and_each_once():
    hands = dealt([9, 1, 5, 3, 3, 3], 3)
    assert sorted(item for hand in hands for item in hand) == [0, 1, 2, 3, 4, 5]
    assert [sum([9, 1, 5, 3, 3, 3][i] for i in hand) for hand in hands] == [9, 8, 7]
    assert dealt([], 2) == [[], []]
    assert dealt([4], 2) == [[0], []]
