"""Checkpoints that are whole or not there, and that say what they belong to.

A checkpoint is written into a temporary folder, each file synced, its manifest (sha256 of every file,
and of itself) last, and then renamed: a folder named `step-000100` with a manifest that verifies is
complete. Pruning deletes the manifest first. Weights are safetensors, everything else is JSON; nothing
is ever pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import Writing, read_json, sha256_of, sync_folder, write_json

MANIFEST = "MANIFEST.json"
KEPT = 2
"""Latest checkpoints to keep beside the best: the last one may be damaged."""


@dataclass
class Standing:
    """Where training stands: all that the loop knows beside weights, optimizer and random state."""

    step: int = 0
    best_step: int = 0
    best_score: float | None = None
    best_loss: float | None = None
    stale: int = 0
    """Validations since the best one."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    folder: Path
    standing: Standing

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read one group of tensors: `weights`, `optimizer`, `random`, `dynamics`."""
        return dict(load_file(self.folder / f"{name}.safetensors"))


def folder_of(root: Path, step: int) -> Path:
    """Name the folder of a step's checkpoint."""
    return root / f"step-{step:06d}"


def save_checkpoint(
    root: Path, standing: Standing, tensors: Mapping[str, Mapping[str, Tensor]], identity: Mapping[str, str]
) -> None:
    """Write a checkpoint, then prune the ones that are neither among the latest nor best to one of these.

    Args:
        root: the run's folder of checkpoints.
        standing: where training stands.
        tensors: groups of tensors by file name.
        identity: fingerprints of data, model and recipe: only the same may resume.
    """
    root.mkdir(parents=True, exist_ok=True)
    target, temporary = folder_of(root, standing.step), root / f".step-{standing.step:06d}.tmp"
    for leftover in (target, temporary):
        if leftover.exists():
            _remove(leftover)
    try:
        with Writing(target):
            _write_whole(temporary, standing, tensors, identity)
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # of a full disk: what is half written helps nobody
    sync_folder(root)
    _prune(root)


def _write_whole(
    folder: Path, standing: Standing, tensors: Mapping[str, Mapping[str, Tensor]], identity: Mapping[str, str]
) -> None:
    """Write all files of a checkpoint, the manifest last."""
    folder.mkdir()
    for name, group in tensors.items():
        _write_tensors(folder / f"{name}.safetensors", group)
    files = {path.name: {"sha256": sha256_of(path), "size": path.stat().st_size} for path in folder.iterdir()}
    manifest = {"schema": 1, "standing": asdict(standing), "identity": dict(identity), "files": files}
    write_json(folder / MANIFEST, {**manifest, "seal": _seal(manifest)})


def latest_checkpoint(root: Path, identity: Mapping[str, str]) -> Checkpoint | None:
    """Find the latest checkpoint that is complete and unharmed, as is the best one it names; None if there is none.

    Raises:
        RunError: it was made from other data, another model, or another recipe.
    """
    for folder in reversed(_folders(root)):
        manifest = _verified(folder)
        if manifest is None or not _has_best(root, manifest):
            continue
        changed = [key for key, value in identity.items() if manifest["identity"].get(key) != value]
        if changed:
            remedy = "restore what it was, or start a new run with `kamerton tune`"
            raise RunError(Fault(f"the run's {', '.join(changed)} changed since its checkpoint", str(folder), remedy))
        return Checkpoint(folder, Standing(**manifest["standing"]))
    return None


def best_checkpoint(root: Path, standing: Standing) -> Checkpoint:
    """Open the best checkpoint of a standing.

    Raises:
        RunError: it is damaged.
    """
    folder = folder_of(root, standing.best_step)
    if _verified(folder) is None:
        remedy = "`kamerton resume` goes on from the checkpoint before it"
        raise RunError(Fault("the best checkpoint is missing or damaged", str(folder), remedy))
    return Checkpoint(folder, standing)


def _verified(folder: Path) -> dict[str, Any] | None:
    """Read a checkpoint's manifest if it and every file are what it says."""
    manifest = _manifest(folder)
    if manifest is None:
        return None
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["size"] or sha256_of(path) != facts["sha256"]:
            return None
    return manifest


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Read a manifest if its seal is whole."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(folder / MANIFEST)
    except ValueError:
        return None
    if not isinstance(manifest, dict) or manifest.pop("seal", None) != _seal(manifest):
        return None
    return manifest


def _seal(manifest: Mapping[str, Any]) -> str:
    """Hash a manifest's values, however they are written."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _has_best(root: Path, manifest: Mapping[str, Any]) -> bool:
    """Say whether the best checkpoint that one names is there, if it names one."""
    standing = Standing(**manifest["standing"])
    return standing.best_score is None or _verified(folder_of(root, standing.best_step)) is not None


def _write_tensors(path: Path, group: Mapping[str, Tensor]) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in group.items()}, path)
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _folders(root: Path) -> list[Path]:
    """List the checkpoints, the earliest first."""
    return sorted(root.glob("step-*"), key=lambda folder: int(folder.name.removeprefix("step-")))


def _prune(root: Path) -> None:
    """Keep the latest ones and what is best to them; remove the rest, and what a kill left half written."""
    latest = _folders(root)[-KEPT:]
    standings = [manifest["standing"] for folder in latest if (manifest := _manifest(folder))]
    keep = {*latest, *(folder_of(root, standing["best_step"]) for standing in standings)}
    for folder in [*_folders(root), *root.glob(".step-*.tmp")]:
        if folder not in keep:
            _remove(folder)


def _remove(folder: Path) -> None:
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)
