"""Check all that a run has on disk: files, logs and checkpoints, those of the runs inside it, and the base model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kamerton.core.errors import Fault, KamertonError
from kamerton.core.messages import Message
from kamerton.models.inspect import require_safe
from kamerton.runs.changes import REPLIES, TUNED_REPLIES
from kamerton.runs.run import MODEL, Run
from kamerton.runs.servers import read_replies
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
    """Check every file of a run against its checksum, that its models are safe to load, and its base the same."""
    runs = [run, *run.inner]
    faults = [fault for one in runs for fault in _faults(one)]
    if not faults:
        models = [one.model for one in runs if one.files.exists(MODEL)]
        faults = _raised(partial(open_setup, run), *(partial(require_safe, model) for model in models))
    return Verified(sum(len(one.files.checksums) for one in runs), tuple(faults), other_versions(run.state))


def _faults(run: Run) -> list[Fault]:
    damaged = run.files.damaged(("", MODEL, "data"))
    logs = run.files.damaged_logs()
    if not logs:  # each line is as it was written: it may still say what no log says
        replies = [partial(read_replies, run.files.log(name)) for name in (REPLIES, TUNED_REPLIES)]
        logs = _raised(run.events, *replies)
    return [*run.files.lost_list(), *damaged, *logs, *damaged_checkpoints(run.checkpoints)]


def _raised(*checks: Callable[[], object]) -> list[Fault]:
    faults: list[Fault] = []
    for check in checks:
        try:
            check()
        except KamertonError as error:
            faults += error.faults
    return faults
