"""Atomic checkpoints, each with the identity of its data, model and recipe.

A checkpoint is written into a temporary folder, each file synced, its manifest (sha256 of every file, and of itself)
last, and then renamed: a folder named `step-000100` with a manifest that verifies is complete. Pruning deletes the
manifest first. Weights are safetensors, everything else is JSON; nothing is pickled.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import Writing, sha256_of, sync, write_json
from kamerton.core.messages import Joined, msg
from kamerton.core.readers import read_object

MANIFEST = "MANIFEST.json"
STEP = re.compile(r"step-\d{6,}")
KEPT = 2
"""Latest checkpoints to keep beside the best, since the last one may be damaged."""


@dataclass
class TrainState:
    """The state of the loop beside weights, optimizer and random state."""

    step: int = 0
    best_step: int = 0
    best_score: float | None = None
    best_loss: float | None = None
    stale: int = 0
    """Validations since the best one."""
    scale: float = 1.0
    """What losses are multiplied by (`kamerton.train.scaling`)."""
    calm: int = 0
    """Updates since the scale has changed."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    folder: Path
    state: TrainState

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Load one group of tensors: `weights`, `optimizer`, `random`, `dynamics`."""
        return dict(load_file(self.folder / f"{name}.safetensors"))


def folder_of(root: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return root / f"step-{step:06d}"


def save_checkpoint(
    root: Path, state: TrainState, tensors: Mapping[str, Mapping[str, Tensor]], identity: Mapping[str, str]
) -> None:
    """Write a checkpoint, then prune all but the latest ones and their best ones.

    `tensors` are groups by file name; `identity` has the fingerprints without which none may resume.
    """
    root.mkdir(parents=True, exist_ok=True)
    target, temporary = folder_of(root, state.step), root / f".step-{state.step:06d}.tmp"
    for leftover in (target, temporary):
        if leftover.exists():
            _remove(leftover)
    try:
        with Writing(target):
            _write_whole(temporary, state, tensors, identity)
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # of a full disk
    sync(root)
    _prune(root)


def _write_whole(
    folder: Path, state: TrainState, tensors: Mapping[str, Mapping[str, Tensor]], identity: Mapping[str, str]
) -> None:
    folder.mkdir()
    for name, group in tensors.items():
        path = folder / f"{name}.safetensors"
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in group.items()}, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    files = {path.name: {"sha256": sha256_of(path), "size": path.stat().st_size} for path in folder.iterdir()}
    manifest = {"schema": 1, "standing": asdict(state), "identity": dict(identity), "files": files}
    write_json(folder / MANIFEST, {**manifest, "seal": _seal(manifest)})


def latest_checkpoint(root: Path, identity: Mapping[str, str]) -> Checkpoint | None:
    """Return the latest checkpoint that is intact, as is the best one it names; None if there is none.

    Raises:
        RunError: it was made from other data, another model, or another recipe.
    """
    for folder in reversed(_folders(root)):
        manifest = _verified(folder)
        if manifest is None:
            continue
        state = TrainState(**manifest["standing"])
        if state.best_score is not None and _verified(folder_of(root, state.best_step)) is None:
            continue
        changed = [key for key, value in identity.items() if manifest["identity"].get(key) != value]
        if changed:
            rule = msg("the run's {parts} changed since its checkpoint", parts=Joined(changed, ", "))
            remedy = msg("restore what it was, or start a new run with `kamerton tune`")
            raise RunError(Fault(rule, str(folder), remedy))
        return Checkpoint(folder, state)
    return None


def best_checkpoint(root: Path, state: TrainState) -> Checkpoint:
    """Open the best checkpoint that a state names.

    Raises:
        RunError: it is damaged.
    """
    folder = folder_of(root, state.best_step)
    if _verified(folder) is None:
        remedy = msg("`kamerton resume` continues from the checkpoint before it")
        raise RunError(Fault(msg("the best checkpoint is missing or damaged"), str(folder), remedy))
    return Checkpoint(folder, state)


def damaged_checkpoints(root: Path) -> list[Fault]:
    """Return a fault for each checkpoint that is not intact; a run goes on from the latest one that is."""
    remedy = msg("remove the folder; `kamerton resume` continues from the checkpoint before it")
    return [
        Fault(msg("the checkpoint is damaged"), str(folder), remedy)
        for folder in _folders(root)
        if _verified(folder) is None
    ]


def _verified(folder: Path) -> dict[str, Any] | None:
    """Return a checkpoint's manifest if it and every file are intact."""
    manifest = _manifest(folder)
    for name, facts in manifest["files"].items() if manifest else ():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["size"] or sha256_of(path) != facts["sha256"]:
            return None
    return manifest


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Return a manifest if its seal matches."""
    try:
        manifest = read_object(folder / MANIFEST)
    except RunError:
        return None
    return manifest if manifest.pop("seal", None) == _seal(manifest) else None


def _seal(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _folders(root: Path) -> list[Path]:
    folders = [folder for folder in root.glob("step-*") if STEP.fullmatch(folder.name)]
    return sorted(folders, key=lambda folder: int(folder.name.removeprefix("step-")))


def _prune(root: Path) -> None:
    """Keep the latest checkpoints and their best ones; remove the rest, and what a kill left incomplete."""
    folders = _folders(root)
    manifests = filter(None, map(_manifest, folders[-KEPT:]))
    keep = {*folders[-KEPT:], *(folder_of(root, one["standing"]["best_step"]) for one in manifests)}
    for folder in [*folders, *root.glob(".step-*.tmp")]:
        if folder not in keep:
            _remove(folder)


def _remove(folder: Path) -> None:
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)
