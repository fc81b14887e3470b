"""Check all that a run has on disk: files, logs and checkpoints, those of the runs inside it, and the base model."""

from __future__ import annotations

from dataclasses import dataclass

from kamerton.core.errors import Fault, KamertonError
from kamerton.core.messages import Message
from kamerton.runs.changes import LOGS
from kamerton.runs.logs import read_lines
from kamerton.runs.run import MODEL, Run
from kamerton.runs.state import other_versions
from kamerton.session.setup import open_setup
from kamerton.train.checkpoint import damaged_checkpoints


@dataclass(frozen=True)
class Verified:
    """What a check of a run's files found."""

    files: int
    """How many files have checksums; 0 for a run of an older version."""
    faults: tuple[Fault, ...]
    versions: Message | None
    """Which versions differ from those that the run was made with."""


def verify_run(run: Run) -> Verified:
    """Check every file of a run against its checksum, and that its base model is the same."""
    runs = [run, *run.inner]
    faults = [fault for one in runs for fault in _faults(one)]
    if not faults:
        try:
            open_setup(run)
        except KamertonError as error:
            faults += error.faults
    return Verified(sum(len(one.files.checksums) for one in runs), tuple(faults), other_versions(run.state))


def _faults(run: Run) -> list[Fault]:
    faults = run.files.damaged(("", MODEL, "data"))
    for name in LOGS:
        try:
            read_lines(run.files.place(name))
        except KamertonError as error:
            faults += error.faults
    return [*faults, *damaged_checkpoints(run.checkpoints)]
