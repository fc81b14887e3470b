"""The queue of trainings: a file, and a process of its own that carries them out one after another.

    .studio/queue/queue.json   the jobs in their order; changed under `lock`
    .studio/queue/worker       the lock of the process that works through it; it says which one that is
    .studio/logs/RUN.log       what a training prints

Neither a server's end nor a second server on the same folder matters: the process outlives the one, and there is one of
it for all. Each training has a process group, so that a signal reaches all that it started.

python -P -m kamerton.studio.queue WORKSPACE    works through the queue, in the background
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kamerton.core.children import own_environment
from kamerton.core.errors import Fault, RunError
from kamerton.core.files import write_json
from kamerton.core.locks import Holder, holder_of, holding
from kamerton.core.messages import msg
from kamerton.core.readers import read_object
from kamerton.i18n.language import Language
from kamerton.runs.changes import RunFiles

STUDIO = ".studio"
POLL = 0.2
"""Seconds between two looks at a training whose parent process was killed."""
RESTORE = msg("delete the file: the runs stay, and can be resumed")


def studio_folder(workspace: Path, name: str) -> Path:
    """Return a folder of the studio's own in a workspace, made for the user alone if it is not there."""
    for folder in (workspace / STUDIO, workspace / STUDIO / name):
        folder.mkdir(mode=0o700, exist_ok=True)
    return workspace / STUDIO / name


@dataclass(frozen=True)
class QueuedJob:
    """A training that waits, is at work, or has ended."""

    run: str
    """The name of the run's folder."""
    language: Language = "en"
    """Of what it prints and of its report."""
    pid: int | None = None
    """Of its process, which leads a process group; None while it waits."""
    began: float | None = None
    """Seconds since the epoch."""
    ended: float | None = None
    status: int | None = None
    """How it ended: its exit status, or minus the signal's number; None if nobody saw that."""

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.began is None

    @property
    def at_work(self) -> bool:
        """Whether it has begun, and nobody has noted its end."""
        return self.began is not None and self.ended is None


@dataclass(frozen=True)
class Queue:
    """The queue of a workspace."""

    workspace: Path

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.workspace / STUDIO / "queue"

    @property
    def worker(self) -> Holder | None:
        """The process that works through it."""
        return holder_of(self.folder / "worker")

    def run(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.workspace / "runs" / name

    def log(self, name: str) -> Path:
        """Return the file that a run's training prints to."""
        return self.workspace / STUDIO / "logs" / f"{name}.log"

    def jobs(self) -> dict[str, QueuedJob]:
        """Read the jobs by the names of their runs, in their order.

        Raises:
            RunError: the file was damaged by hand.
        """
        path = self.folder / "queue.json"
        if not path.exists():
            return {}
        try:
            jobs = [QueuedJob(**one) for one in read_object(path, RunError, RESTORE)["jobs"]]
        except (KeyError, TypeError):
            raise RunError(Fault(msg("this is no queue of trainings"), str(path), RESTORE)) from None
        return {job.run: job for job in jobs}

    @contextmanager
    def changing(self) -> Iterator[dict[str, QueuedJob]]:
        """Yield the jobs to be changed; one process at a time does. They are written if the block ends well."""
        studio_folder(self.workspace, "queue")
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            jobs = self.jobs()
            before = list(jobs.values())
            yield jobs
            if list(jobs.values()) != before:
                self._write([job for job in jobs.values() if self.run(job.run).is_dir()])

    def _write(self, jobs: Sequence[QueuedJob]) -> None:
        write_json(self.folder / "queue.json", {"jobs": [_bare(job) for job in jobs]})

    def start_worker(self) -> None:
        """Start a process that works through the queue, if none does; it has left this one when this returns."""
        if self.worker is not None:
            return
        with (self.folder / "worker.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-P", "-m", "kamerton.studio.queue", str(self.workspace)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=own_environment(),
                check=True,
            )


def _bare(job: QueuedJob) -> Mapping[str, object]:
    return {name: value for name, value in asdict(job).items() if value is not None}


def main() -> None:
    """Leave the parent process, and work through the queue of a workspace."""
    queue = Queue(Path(sys.argv[1]))
    if os.fork():
        os._exit(0)
    os.setsid()
    # a training must hear Ctrl-C, which a shell's background jobs ignore: a handler is not inherited, ignoring is
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    work(queue)


def work(queue: Queue) -> None:
    """Carry out what waits, one training after another; return at once if another process does."""
    held = True
    while held and any(job.waits or job.at_work for job in queue.jobs().values()):
        # looked at again after the lock is free: whoever added a job meanwhile found it held, and started no process
        with holding(queue.folder / "worker") as held:
            if held:
                _note_lost(queue)
                while running := _start_next(queue):
                    _await(queue, running)


def _note_lost(queue: Queue) -> None:
    """Wait for a training whose parent process was killed, and note that it has ended."""
    for lost in [job for job in queue.jobs().values() if job.at_work]:
        while RunFiles(queue.run(lost.run)).holder:
            time.sleep(POLL)
        with queue.changing() as jobs:
            jobs[lost.run] = replace(lost, ended=time.time())


def _start_next(queue: Queue) -> subprocess.Popen[bytes] | None:
    """Start the first training that waits; None if there is none."""
    with queue.changing() as jobs:
        job = next((job for job in jobs.values() if job.waits), None)
        if job is None:
            return None
        process = _start(queue, job)
        jobs[job.run] = replace(job, pid=process.pid, began=time.time())
        return process


def _start(queue: Queue, job: QueuedJob) -> subprocess.Popen[bytes]:
    log = studio_folder(queue.workspace, "logs") / queue.log(job.run).name
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "kamerton", "resume", str(queue.run(job.run)), "--language", job.language],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=own_environment(),
            cwd=queue.workspace,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def _await(queue: Queue, process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a training, and note it."""
    status = process.wait()
    with queue.changing() as jobs:
        for job in [job for job in jobs.values() if job.at_work]:  # none if its run was deleted meanwhile
            jobs[job.run] = replace(job, ended=time.time(), status=status)


if __name__ == "__main__":
    main()
