"""What pages make of finished runs: made once, and kept until a run changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Generic, TypeVar

from kamerton.runs.run import Run

Made = TypeVar("Made")


class Kept(Generic[Made]):
    """Values made of runs, each for the states that the runs' manifests describe.

    Args:
        most: how many values are kept; the one that was not asked for longest goes first.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, tuple[list[str], Made]] = OrderedDict()
        self._lock = Lock()

    def of(self, runs: Sequence[Run], make: Callable[[], Made], about: Hashable = None) -> Made:
        """Return the value made of runs; two requests at once wait for one making.

        Args:
            runs: what it is made of.
            make: makes it.
            about: what else it depends on.
        """
        key = tuple(str(run.path) for run in runs), about
        with self._lock:
            versions = [run.files.version for run in runs]
            known = self._values.pop(key, None)
            if known is None or known[0] != versions or "" in versions:
                known = versions, make()
            self._values[key] = known
            while len(self._values) > self._most:
                self._values.popitem(last=False)
            return known[1]
