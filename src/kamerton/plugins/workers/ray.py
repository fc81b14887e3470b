"""Do pieces of work on Ray."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kamerton.core import registry
from kamerton.core.errors import Fault, RecipeError
from kamerton.core.files import scratch_folder
from kamerton.core.messages import msg
from kamerton.core.pieces import Done, Given, InOrder, PieceRunner, Shared, Value, WorkItem, Workload, lost
from kamerton.core.records import RunEvent
from kamerton.kernels.device import cards_here

RUNNER = PieceRunner()
"""Of this process, where Ray made it for tasks."""
LONGEST = 40
"""Letters of a folder in which Ray can make its sockets, whose names may have 107."""


class Ray:
    """`--on ray`: a Ray of its own on this machine, which ends with the command; `ray:4` has four workers.

    `ray:HOST:PORT` is a cluster of which this machine is a part, `ray:auto` the one that runs here. Its machines share
    the folders of runs, data and models, under the same paths, and have the same version of Kamerton. Needs
    kamerton[ray].
    """

    def __init__(self, address: str, count: int, cores: int) -> None:
        self.address, self.count, self.cores = address, count, cores
        self._ray: Any = None
        self._open = ExitStack()
        self._works = 0

    @classmethod
    def at(cls, place: str, cores: int) -> Self:
        """Return a Ray here with so many workers, or the cluster at an address.

        Raises:
            RecipeError: Ray is not installed, or there is no such place.
        """
        registry.require("ray", "ray")
        if place.startswith("//"):
            rule = msg("Ray's client cannot pass on what happens during a piece of work")
            remedy = msg("run the command on a machine of the cluster, with --on ray:auto")
            raise RecipeError(Fault(rule, "--on", remedy))
        if place and not place.isdecimal():
            return cls(place, 0, cores)
        count = int(place) if place else len(cards_here()) or max(1, len(os.sched_getaffinity(0)) // cores)
        return cls("", count, cores)

    def carry_out(
        self, work: Workload[Shared, Given, Value], pieces: Sequence[WorkItem[Given]]
    ) -> Iterator[RunEvent | Done[Given, Value]]:
        """Do pieces, as many at the same time as Ray has room for."""
        if not pieces:
            return
        ray, order = self._started(), InOrder(pieces)
        self._works += 1
        task = ray.remote(_do).options(num_returns="streaming", max_retries=0, **self._needs(ray))
        bare = ray.put(Workload(work.prepare, work.do))
        going = {task.remote(self._works, bare, one.given, str(Path.cwd())): at for at, one in enumerate(pieces)}
        try:
            while going:
                [ready], _ = ray.wait(list(going), num_returns=1)
                try:
                    item = ray.get(next(ready))
                except StopIteration:
                    del going[ready]
                    continue
                except ray.exceptions.RayError as error:
                    raise lost(pieces[going[ready]], str(error).strip().partition("\n")[0]) from error
                yield from order.take(going[ready], item)
        finally:
            for left in going:
                ray.cancel(left)

    def _needs(self, ray: Any) -> dict[str, float]:
        """Return what Ray gives each piece of its own: cores, and a card if there are any and they may compute."""
        cards = ray.cluster_resources().get("GPU", 0) if self.address else len(cards_here())
        return {"num_cpus": self.cores, "num_gpus": 1 if cards and not _only_cpu() else 0}

    def _started(self) -> Any:
        """Start or join Ray, once: without telemetry and dashboard, its logs in a folder that is removed at the end."""
        if self._ray is None:
            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
            ray = registry.require("ray", "ray")
            quiet = {"log_to_driver": False, "logging_level": "error"}
            if self.address:
                try:
                    ray.init(address=self.address, **quiet)
                except (ConnectionError, ValueError) as error:
                    rule = msg("Ray cannot be reached: {reason}", reason=str(error).strip().partition("\n")[0])
                    remedy = msg("`ray status` on that machine shows whether it runs")
                    raise RecipeError(Fault(rule, f"--on ray:{self.address}", remedy)) from error
            else:
                folder = self._open.enter_context(scratch_folder())
                if len(str(folder)) > LONGEST:
                    folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="kamerton-")))
                cores = self.count * self.cores
                ray.init(num_cpus=cores, include_dashboard=False, _temp_dir=str(folder), **quiet)
            self._open.callback(ray.shutdown)
            self._ray = ray
        return self._ray

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        self._ray = None


def _only_cpu() -> bool:
    """Return whether the user lets models compute on CPUs only."""
    return os.environ.get("KAMERTON_DEVICE") == "cpu"


def _do(key: int, work: Workload[Any, Any, Any], given: object, folder: str) -> Iterator[object]:
    """Do a piece in a process of Ray's, in the folder of the command: paths may be relative to it."""
    os.chdir(folder)
    yield from RUNNER.doing(key, work, given)
