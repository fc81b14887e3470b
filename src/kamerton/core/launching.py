"""The contract of launchers: the job that they get, and what they write, check and submit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from kamerton.core.messages import Wording

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ClusterJob:
    """A training on several processes that is to run elsewhere."""

    name: str
    run: str
    """The run's folder, on storage that all machines share; relative to `folder` if it is not absolute."""
    command: Sequence[str]
    """What begins the run: arguments of `kamerton`."""
    folder: str
    """The working folder, an absolute path."""
    nodes: int
    """Machines."""
    processes: int
    """Processes on each machine."""
    written_by: str
    """The command line that asked for the job."""
    demand: str | None = None
    """The verdict that the command demands (`--require`)."""

    @property
    def begins(self) -> bool:
        """Whether the command begins a run, which later starts go on with."""
        return tuple(self.command[:1]) != self.resume[:1]

    @property
    def resume(self) -> tuple[str, ...]:
        """What goes on with the run once it has begun."""
        return ("resume", self.run, *(("--require", self.demand) if self.demand else ()))


class Launcher(Protocol):
    """One way to run a job elsewhere. A frozen pydantic model of its own settings (`--set NAME=VALUE`)."""

    suffix: ClassVar[str]
    """How the job file's name ends."""

    def write(self, job: ClusterJob) -> str:
        """Return the job file. Raises `Unusable` if the job and the settings do not fit together."""

    def check(self, path: Path) -> Wording:
        """Check a job file as far as it can be done here; return how. Raises `Unusable` with what is wrong."""

    def submission(self, path: Path) -> Sequence[str]:
        """Return the command line that submits a job file."""
