"""The processes of one machine, started and watched by torch's elastic agent, as `torchrun` does.

Rank 0 has the terminal; the others write into files of the user's cache folder, which are removed if all goes well.
Each rank finds its place in torchrun's environment variables: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.api import SubprocessContext
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from kamerton.core.files import private_folder, remove
from kamerton.core.ranks import noted_run
from kamerton.launch.failures import KILLED, FailedRank, first_failure

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""What stops the ranks in order: Ctrl-C, a scheduler's notice, a terminal that is closed."""
QUICK = 1.0
"""Seconds in which further signals count as the same one, as in `kamerton.cli.interrupts`."""
INTERRUPTED = KILLED + signal.SIGINT
AFTER_FAILURE, AFTER_STOP = 15.0, 600.0
"""Seconds in which ranks must end after one failed, and after a stop was asked for, when rank 0 saves a checkpoint."""
LOOK = 0.05
"""Seconds between two looks at processes that are ending."""
REACH_SECONDS = 900
"""Seconds in which all nodes must have met: torchrun's default."""
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclass(frozen=True)
class Nodes:
    """The machines that share the work, and which of them this is."""

    count: int = 1
    rank: int = 0
    meeting: str = ""
    """HOST:PORT of node 0, where all of them meet; of one machine, any free port is taken."""


@dataclass(frozen=True)
class Ended:
    """How the processes of this machine ended."""

    status: int
    """The exit status of the rank that failed first; 0 if none did, 130 if all were stopped before their end."""
    failure: FailedRank | None = None
    """The rank that failed first; None if all were stopped."""
    logs: Path | None = None
    """The folder of the ranks' output, where it is kept."""
    run: Path | None = None
    """The run that they worked on."""


def launch(processes: int, program: Sequence[str], nodes: Nodes, environment: Mapping[str, str]) -> Ended:
    """Run a program in several processes of this machine until all have ended, or one has failed.

    Args:
        processes: how many on this machine; on each node as many.
        program: of Python, with its arguments: `-m kamerton tune …`.
        nodes: the machines.
        environment: variables that the processes get beside those of this one.

    Raises:
        torch.distributed.DistError: the nodes did not meet.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # failures are reported once, at the end
    if processes > 1:  # one has all cores by itself
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CORES // processes)))
    os.environ.update(environment)
    logs = Path(tempfile.mkdtemp(prefix="kamerton-launch-", dir=private_folder("launches")))
    first = nodes.rank * processes
    silent = {rank: Std.ALL for rank in range(processes) if first + rank}
    spec = WorkerSpec(
        role="rank",
        local_world_size=processes,
        entrypoint=sys.executable,
        args=tuple(program),
        rdzv_handler=get_rendezvous_handler(_meeting(nodes)),
        max_restarts=0,
        local_addr="127.0.0.1" if nodes.count == 1 else None,
    )
    agent = _Agent(spec, DefaultLogsSpecs(str(logs), redirects=silent or Std.NONE))
    agent.run()
    return _ended(agent, first, logs)


def _ended(agent: _Agent, first: int, logs: Path) -> Ended:
    folders = {first + rank: folder for rank, folder in agent.folders.items()}
    run = next(filter(None, map(noted_run, folders.values())), None)
    codes = {first + rank: code for rank, code in agent.failed.items()}
    failure = first_failure(codes, folders) if codes else None
    if failure and not failure.plain and not agent.stopped:
        return Ended(failure.status, failure, logs, run)
    remove(logs)
    if failure and agent.stopped:
        return Ended(INTERRUPTED)
    return Ended(failure.status if failure else 0, failure)


def _meeting(nodes: Nodes) -> RendezvousParameters:
    """Return how the nodes meet: with themselves at any free port, or, in a fixed order, at node 0."""
    if nodes.count == 1:
        return RendezvousParameters("c10d", "localhost:0", str(uuid4()), 1, 1)
    name, number = "kamerton", nodes.count
    return RendezvousParameters("static", nodes.meeting, name, number, number, rank=nodes.rank, timeout=REACH_SECONDS)


class _Agent(LocalElasticAgent):
    """torch's agent, with an end of its own: ranks may save what they have when a stop is asked for."""

    failed: Mapping[int, int] = {}
    """The codes of the local ranks that were seen to have failed first."""
    stopped: float | None = None
    """When a stop was asked for."""

    @property
    def _processes(self) -> SubprocessContext:
        assert isinstance(self._pcontext, SubprocessContext)
        return self._pcontext

    @property
    def folders(self) -> Mapping[int, Path]:
        """Return the folder of each local rank's output."""
        return {rank: Path(file).parent for rank, file in self._processes.error_files.items()}

    def codes(self) -> Mapping[int, int | None]:
        """Return the return code of each local rank; None while it is at work."""
        return {rank: handler.proc.poll() for rank, handler in self._processes.subprocess_handlers.items()}

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        started = super()._start_workers(worker_group)
        for number in STOP_SIGNALS:  # after torch's own, which would end the ranks after 30 seconds
            signal.signal(number, self._stop)
        return started

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        codes = self.codes()
        failed = {rank: code for rank, code in codes.items() if code}
        if not failed and None in codes.values():  # one look decides: torch's own would end the others at once
            return RunResult(state=WorkerState.HEALTHY)
        if failed and not self.failed:
            self.failed = failed
            if self.stopped is None:
                self._send(signal.SIGTERM)
            self._wait(AFTER_FAILURE if self.stopped is None else AFTER_STOP)
            self._send(signal.SIGKILL)
        return super()._monitor_workers(worker_group)

    def _wait(self, seconds: float) -> None:
        """Wait until all ranks have ended, or the time is up."""
        until = time.monotonic() + seconds
        while None in self.codes().values() and time.monotonic() < until:
            time.sleep(LOOK)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Pass Ctrl-C on to the ranks, once for all signals that come within a moment; end all at the second."""
        now = time.monotonic()
        if self.stopped is None:
            self.stopped = now
            self._send(signal.SIGINT)
        elif now - self.stopped > QUICK:
            self._send(signal.SIGKILL)
            os._exit(INTERRUPTED)

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to the ranks that are at work, and to what they started."""
        for rank, code in self.codes().items():
            if code is None:
                os.killpg(self._processes.pids()[rank], number)
