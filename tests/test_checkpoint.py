"""A checkpoint is whole or not there, belongs to its run, and damage is seen and survived."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kamerton.core.errors import RunError
from kamerton.train.checkpoint import TrainState, best_checkpoint, folder_of, latest_checkpoint, save_checkpoint

IDENTITY = {"data": "aaa", "base model": "bbb", "recipe": "ccc"}
STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir"}
"""Audit events of the calls by which files come, change their name and go."""


def tensors_of(step: int) -> dict[str, dict[str, Tensor]]:
    """Make the tensors of a step."""
    drawn = torch.Generator().manual_seed(step)
    return {
        "weights": {"a": torch.randn(7, 5, generator=drawn), "b": torch.full((3,), float(step))},
        "optimizer": {"a/exp_avg": torch.randn(7, 5, generator=drawn), "a/step": torch.tensor(float(step))},
        "random": {"torch": torch.randint(0, 255, (64,), generator=drawn, dtype=torch.uint8)},
    }


def save(root: Path, step: int, best_step: int) -> None:
    state = TrainState(step, best_step, best_score=best_step / 10, best_loss=1 / best_step, stale=step - best_step)
    save_checkpoint(root, state, tensors_of(step), IDENTITY)


def steps_of(root: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in root.glob("step-*"))


def holds(root: Path) -> int:
    """Read the latest checkpoint whole and give its step."""
    latest = latest_checkpoint(root, IDENTITY)
    step = latest.state.step
    for group, tensors in tensors_of(step).items():
        found = latest.tensors(group)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    return step


def test_a_checkpoint_reads_back_as_it_was_written(tmp_path):
    save(tmp_path, 4, best_step=4)
    latest = latest_checkpoint(tmp_path, IDENTITY)
    assert latest.state == TrainState(4, 4, 0.4, 0.25, 0)
    assert holds(tmp_path) == 4


def test_there_is_none_before_the_first(tmp_path):
    assert latest_checkpoint(tmp_path, IDENTITY) is None
    assert latest_checkpoint(tmp_path / "nowhere", IDENTITY) is None


def test_the_latest_is_the_one_of_the_highest_step(tmp_path):
    for step in (999_999, 1_000_000):
        save(tmp_path, step, best_step=999_999)
    assert holds(tmp_path) == 1_000_000


# ── pruning ───────────────────────────────────────────────────────────────────────────────────


def test_the_two_latest_and_their_best_are_kept(tmp_path):
    kept = []
    for step, best in ((1, 1), (2, 1), (3, 1), (4, 1), (5, 5), (6, 5), (7, 5)):
        save(tmp_path, step, best)
        kept.append(steps_of(tmp_path))
    assert kept == [[1], [1, 2], [1, 2, 3], [1, 3, 4], [1, 4, 5], [5, 6], [5, 6, 7]]


def test_the_best_is_opened_even_when_later_ones_are_there(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, best_step=1)
    best = best_checkpoint(tmp_path, latest_checkpoint(tmp_path, IDENTITY).state)
    assert torch.equal(best.tensors("weights")["b"], torch.full((3,), 1.0))


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    (tmp_path / ".step-000002.tmp").mkdir(parents=True)
    (tmp_path / ".step-000002.tmp" / "weights.safetensors").write_bytes(b"half")
    save(tmp_path, 3, best_step=3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path):
    save(tmp_path, 1, best_step=1)
    (folder_of(tmp_path, 1) / "weights.safetensors").write_bytes(b"damaged")
    save(tmp_path, 1, best_step=1)
    assert holds(tmp_path) == 1


# ── identity ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("changed", [["data"], ["base model"], ["recipe"], ["data", "recipe"], list(IDENTITY)])
def test_what_changed_since_is_named(tmp_path, changed):
    save(tmp_path, 1, best_step=1)
    other = {key: "other" if key in changed else value for key, value in IDENTITY.items()}
    with pytest.raises(RunError) as told:
        latest_checkpoint(tmp_path, other)
    [fault] = told.value.faults
    assert str(fault.rule) == f"the run's {', '.join(changed)} changed since its checkpoint"
    assert "new run" in str(fault.remedy)


# ── damage ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints, of which the first is the best."""
    root = tmp_path_factory.mktemp("pair")
    for step in (1, 2):
        save(root, step, best_step=1)
    return root


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


FILES = ("MANIFEST.json", "optimizer.safetensors", "random.safetensors", "weights.safetensors")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", range(25))
def test_a_flipped_byte_anywhere_is_seen_and_the_one_before_is_taken(pair, tmp_path, name, part):
    assert [path.name for path in files_of(folder_of(pair, 2))] == list(FILES)
    root = shutil.copytree(pair, tmp_path / "pair")
    path = folder_of(root, 2) / name
    data = bytearray(path.read_bytes())
    drawn = random.Random(f"{name} {part}")
    place = drawn.randrange(len(data) * part // 25, len(data) * (part + 1) // 25)
    data[place] ^= 1 << drawn.randrange(8)
    path.write_bytes(data)
    before = latest_checkpoint(pair, IDENTITY).state
    taken = latest_checkpoint(root, IDENTITY).state
    harmless = name == "MANIFEST.json" and taken == before  # a space became a line's end: it says the same
    assert taken.step == 1 or harmless
    assert holds(root) in (1, 2)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 1, -1])
def test_a_file_that_was_cut_off_is_seen(pair, tmp_path, name, kept):
    root = shutil.copytree(pair, tmp_path / "pair")
    path = folder_of(root, 2) / name
    path.write_bytes(path.read_bytes()[:kept] if name != "MANIFEST.json" or kept >= 0 else b"[]")
    assert holds(root) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_missed(pair, tmp_path, name):
    root = shutil.copytree(pair, tmp_path / "pair")
    (folder_of(root, 2) / name).unlink()
    assert holds(root) == 1


def test_a_checkpoint_without_its_best_is_not_gone_on_from(tmp_path):
    """Else all would be trained to the end, and then the weights to keep would not be there."""
    for step, best in ((1, 1), (2, 2), (3, 2)):
        save(tmp_path, step, best)
    assert steps_of(tmp_path) == [2, 3]
    (folder_of(tmp_path, 2) / "weights.safetensors").write_bytes(b"damaged")
    assert latest_checkpoint(tmp_path, IDENTITY) is None
    with pytest.raises(RunError, match="best checkpoint is missing or damaged"):
        best_checkpoint(tmp_path, TrainState(3, 2, 0.2, 0.5, 1))


def test_all_of_them_damaged_means_none(pair, tmp_path):
    root = shutil.copytree(pair, tmp_path / "pair")
    for step in (1, 2):
        (folder_of(root, step) / "weights.safetensors").unlink()
    assert latest_checkpoint(root, IDENTITY) is None


# ── kill -9 ───────────────────────────────────────────────────────────────────────────────────


def save_until_killed(root: str, step: int, best_step: int, number: int) -> None:
    """Save a checkpoint; before the `number`-th call to the file system under `root`, die."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal number
        if event in STEPS and str(arguments[0]).startswith(root):
            number -= 1
            if number == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    save(Path(root), step, best_step)


@pytest.mark.parametrize(("best_then", "best_now"), [(1, 1), (1, 4), (3, 3)])
def test_a_kill_at_any_file_operation_leaves_the_new_checkpoint_or_the_one_before(
    nursery, tmp_path, best_then, best_now
):
    start = tmp_path / "start"
    for step in (1, 2, 3):
        save(start, step, max(1, best_then if step >= best_then else 1))
    seen = set()
    for number in count(1):
        root = shutil.copytree(start, tmp_path / str(number))
        ended = nursery.run("test_checkpoint:save_until_killed", str(root), 4, best_now, number, cwd=tmp_path)
        assert ended.status in (0, -signal.SIGKILL), ended.said
        step = holds(root)
        seen.add(step)
        best_checkpoint(root, latest_checkpoint(root, IDENTITY).state)
        save(root, step + 1, step + 1)  # and it can be gone on with
        assert holds(root) == step + 1
        assert not list(root.glob(".step*"))
        if ended.status == 0:
            break
    assert seen == {3, 4}
    assert number > 15
