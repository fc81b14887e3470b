"""Trainings of a workspace: start, stop and resume them, and what became of each.

A training is `kamerton resume RUN` in a process of its own. What it is doing follows from the run's folder, its lock
and the queue, so a run begun on the command line is seen as well, and nothing is lost with the server.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kamerton.core.errors import Fault, RunError
from kamerton.core.locks import Holder
from kamerton.core.messages import msg
from kamerton.i18n.language import Language
from kamerton.runs.changes import RunFiles
from kamerton.runs.run import RECIPE, RESULT
from kamerton.studio.queue import Queue, QueuedJob

JobState = Literal["waiting", "running", "stopped", "failed", "done"]
STOPPED = (None, 130, -signal.SIGINT)
"""Ends of a training that are no failure: nobody saw it (the machine was switched off), or Ctrl-C, as the command line
reports it and as the system does before Python has started."""


@dataclass(frozen=True)
class Jobs:
    """The trainings of a workspace.

    Args:
        workspace: the folder; its runs are in `runs/`.
    """

    workspace: Path

    @property
    def queue(self) -> Queue:
        """The queue of the workspace."""
        return Queue(self.workspace)

    def enqueue(self, run: str, language: Language = "en", *, first: bool = False) -> None:
        """Append a run to the queue; it starts at once if nothing is at work.

        Args:
            run: the name of its folder; one that was stopped or has failed goes on from where it stands.
            language: of what is printed, and of the report.
            first: whether it comes before all that wait.

        Raises:
            RunError: there is no such run, or it is at work or waits already.
        """
        files = self._files(run)
        queue = self.queue
        with queue.changing() as jobs:
            if self._state(files, jobs.get(run)) in ("running", "waiting"):
                raise RunError(Fault(msg("'{run}' is at work or waits already", run=run), remedy=msg("wait for it")))
            others = [job for job in jobs.values() if job.run != run]
            place = next((i for i, job in enumerate(others) if job.waits), len(others)) if first else len(others)
            others.insert(place, QueuedJob(run, language))
            jobs.clear()
            jobs.update({job.run: job for job in others})
        queue.start_worker()

    def start(self, run: str, language: Language = "en") -> None:
        """Put a run at the head of the queue. Raises as `enqueue` does."""
        self.enqueue(run, language, first=True)

    def go_on(self) -> None:
        """Go on with what waits, if no process does: after the machine was switched off."""
        if any(job.waits or job.at_work for job in self.queue.jobs().values()):
            self.queue.start_worker()

    def stop(self, run: str) -> None:
        """Stop a training as Ctrl-C does, wherever it was begun; take it from the queue if it waits.

        What is done is kept. Nothing happens if it is not at work.

        Raises:
            RunError: there is no such run, or it is at work on another machine or is another user's.
        """
        files = self._files(run)
        with self.queue.changing() as jobs:
            job, holder = jobs.get(run), files.holder
            if job and job.waits:
                del jobs[run]
            elif job and job.pid and job.at_work and self.queue.worker:  # else the number may be another process's
                with suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGINT)
            elif holder:
                _interrupt(run, holder)

    def state(self, run: str) -> JobState:
        """Return what a run is doing. Raises `RunError` if there is no such run."""
        return self._state(self._files(run), self.queue.jobs().get(run))

    def states(self) -> dict[str, JobState]:
        """Return what each run of the workspace is doing, by name."""
        jobs, folder = self.queue.jobs(), self.workspace / "runs"
        names = [one.name for one in folder.iterdir() if (one / RECIPE).exists()] if folder.is_dir() else []
        return {name: self._state(RunFiles(folder / name), jobs.get(name)) for name in sorted(names)}

    def waiting(self) -> list[str]:
        """Return the runs that wait, in their order."""
        return [job.run for job in self.queue.jobs().values() if job.waits]

    def job(self, run: str) -> QueuedJob | None:
        """Return what the queue knows of a run: when it began and how it ended; None if it was never in it."""
        return self.queue.jobs().get(run)

    def log(self, run: str) -> Path:
        """Return the file with what a run's trainings printed; it is not there before one has begun."""
        return self.queue.log(run)

    def _files(self, run: str) -> RunFiles:
        folder = self.queue.run(run)
        if Path(run).name != run or not RunFiles(folder).exists(RECIPE):
            raise RunError(Fault(msg("there is no run '{run}' in this workspace", run=run)))
        return RunFiles(folder)

    def _state(self, files: RunFiles, job: QueuedJob | None) -> JobState:
        if files.holder or (job and job.at_work and self.queue.worker):
            return "running"
        if job and job.waits:
            return "waiting"
        if files.exists(RESULT):
            return "done"
        return "stopped" if job is None or job.status in STOPPED else "failed"


def _interrupt(run: str, holder: Holder) -> None:
    """Send Ctrl-C to a process that was begun on the command line."""
    if not holder.is_here:
        rule = msg("'{run}' is at work on another machine: {host}", run=run, host=holder.host)
        raise RunError(Fault(rule, remedy=msg("stop it there")))
    try:
        os.kill(holder.pid, signal.SIGINT)
    except ProcessLookupError:
        return
    except PermissionError:
        rule = msg("'{run}' is at work in a process of another user", run=run)
        raise RunError(Fault(rule, str(holder.pid), msg("let them stop it"))) from None
