"""A program that `kamerton launch` starts in tests in place of a training: each rank does what a word says."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from kamerton.cli.border import Border, work_on
from kamerton.cli.interrupts import stop_properly
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import verbatim

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")
LONG = 60
LOST = verbatim("another rank has ended")


def launch(processes: int, word: str, node: int = 0, meeting: str = "") -> None:
    """Be `kamerton launch`, with this file in place of `-m kamerton`."""
    from kamerton.cli.actions.launch import run_program
    from kamerton.launch.local import Nodes

    if word == "save":
        _look_slowly()
    os.environ["KAMERTON_CACHE"] = str(Path.cwd())
    with Border():
        nodes = Nodes(2, node, meeting) if meeting else Nodes()
        sys.exit(run_program(processes, (__file__, word), nodes))


def _look_slowly() -> None:
    """Let ranks end between the agent's look at them and what it does next."""
    from kamerton.launch import local

    look = local._Agent.codes

    def codes(agent: local._Agent) -> Mapping[int, int | None]:
        seen = look(agent)
        time.sleep(0.2 if agent.stopped else 0)
        return seen

    local._Agent.codes = codes


def work(word: str, rank: int) -> None:
    """Do what a word says of ranks: `1-crash` lets rank 1 crash while the others wait."""
    which, _, action = word.rpartition("-")
    print("said by rank", rank, flush=True)
    if which and str(rank) not in which:
        Path(f"waiting-{rank}").touch()
        time.sleep(LONG)
    for name in VARIABLES if action == "show" else ():
        Path(f"{rank}-{name}").write_text(os.environ[name])
    match action:
        case "crash":
            raise ZeroDivisionError(f"of rank {rank}")
        case "mistake":
            raise RunError(Fault(verbatim(f"a mistake that rank {rank} found")))
        case "lost" if rank == 0:  # by the failure of rank 1, which has left its record
            mine = Path(os.environ["TORCHELASTIC_ERROR_FILE"])
            while not (mine.parent.parent / "1" / mine.name).exists():
                time.sleep(0.001)
            raise RunError(Fault(LOST))
        case "lost":
            raise ZeroDivisionError("of rank 1")
        case "abort":
            os.write(2, b"a library's last words\n")
            os.abort()
        case "unmet":
            sys.exit(3)
        case "save":
            _wait_and_save(rank)
        case "stubborn":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            Path(f"waiting-{rank}").touch()
            time.sleep(LONG)


def _wait_and_save(rank: int) -> None:
    Path(f"waiting-{rank}").touch()
    try:
        time.sleep(LONG)
    except KeyboardInterrupt:
        time.sleep(0.5 * (rank == 0))  # the others end while rank 0 saves
        Path(f"saved-{rank}").touch()
        raise


if __name__ == "__main__":
    with Border():
        stop_properly()
        work_on(Path("runs/x"))
        work(sys.argv[1], int(os.environ["RANK"]))
