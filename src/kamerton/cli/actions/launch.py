"""What `kamerton launch` does on this machine."""

import shlex
import sys
from collections.abc import Sequence

from kamerton.cli.border import print_fault
from kamerton.core.errors import Fault
from kamerton.core.messages import Wording, msg
from kamerton.core.ranks import LAUNCHED_AS, resume_command
from kamerton.i18n.language import Language
from kamerton.launch.failures import FailedRank
from kamerton.launch.local import Ended, Nodes, launch
from kamerton.text.safe import safe_text


def run(processes: int, command: Sequence[str], nodes: int, node_rank: int, meeting: str, language: Language) -> int:
    """Run a command on several processes, report the first failure, and return the exit status."""
    return run_program(processes, ("-P", "-m", "kamerton", *command), Nodes(nodes, node_rank, meeting))


def run_program(processes: int, program: Sequence[str], nodes: Nodes) -> int:
    """Run a program of Python on several processes, report the first failure, and return the exit status."""
    place = ["--nodes", str(nodes.count), "--node-rank", str(nodes.rank), "--rendezvous", nodes.meeting]
    words = ["kamerton", "launch", str(processes), *(place if nodes.count > 1 else []), "--"]
    ended = launch(processes, program, nodes, {LAUNCHED_AS: shlex.join(words)})
    if ended.failure:
        _report(ended, ended.failure)
    return ended.status


def _report(ended: Ended, failure: FailedRank) -> None:
    if failure.text:
        print(safe_text(failure.text.rstrip()), file=sys.stderr, flush=True)
    if failure.plain:
        return
    again: Wording = ""
    if ended.run:
        again = msg("`{command}` goes on", command=resume_command(ended.run))
    print_fault(Fault(_rule(failure), str(ended.logs), again))


def _rule(failure: FailedRank) -> Wording:
    if failure.signal_name:
        return msg("rank {rank} was ended by {signal}", rank=failure.rank, signal=failure.signal_name)
    return msg("rank {rank} failed with exit status {status}", rank=failure.rank, status=failure.status)
