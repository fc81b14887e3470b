"""The command that starts others on several processes: its flags, and the command lines that it takes."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Context, Exit, Option

from kamerton.cli.help import bad_value
from kamerton.cli.options import AsJson, Language, call
from kamerton.core.launching import ClusterJob
from kamerton.core.messages import msg

RUN_OF = {"tune": "out", "resume": "run"}
"""The commands that train on several processes, and which of their parameters is the run's folder."""
DEMAND = "require"
"""The parameter of both with the demanded verdict."""
MEETING = "HOST:PORT"


def launch(
    context: Context,
    processes: Annotated[int, Argument(metavar="N", min=1, help="Processes on each machine: one a GPU.")],
    command: Annotated[list[str], Argument(metavar="-- COMMAND", help="What to run: tune or resume, with its flags.")],
    nodes: Annotated[int, Option(min=1, help="Machines, each with as many processes.")] = 1,
    node_rank: Annotated[int, Option("--node-rank", min=0, help="Which of the machines this is, from 0.")] = 0,
    rendezvous: Annotated[
        str | None, Option(metavar=MEETING, help="Machine 0 and a free port of it, which all machines reach.")
    ] = None,
    to: Annotated[
        str | None, Option(metavar="LAUNCHER", help="Start nothing, but write a job file for one of: {launchers}.")
    ] = None,
    assignments: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="For --to: a setting of the launcher.")
    ] = None,
    file: Annotated[Path | None, Option(help="For --to: the job file; named after the run if not given.")] = None,
    submit: Annotated[bool, Option("--submit", help="For --to: submit the job, too.")] = False,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Train on several processes, on this machine or several that each run this command; or write a cluster's job file.

    The processes are started by torch's elastic agent, as torchrun does. Rank 0 writes on the terminal; if another one
    fails, what it wrote is shown once. Ctrl-C and SIGTERM let rank 0 save a checkpoint; a second one ends all at once.
    The exit status is rank 0's.
    """
    parsed = parsed_command(context, command)
    if to is not None:
        run: Path | None = parsed[RUN_OF[command[0]]]
        if run is None:
            raise bad_value(msg("a job that is started again must know its run: add --out FOLDER"), "COMMAND")
        settings = [word for assignment in assignments or [] for word in ("--set", assignment)]
        words = ["kamerton", "launch", str(processes), "--nodes", str(nodes), "--to", to, *settings, "--", *command]
        place = (str(Path.cwd()), nodes, processes)
        job = ClusterJob(run.name, str(run), command, *place, shlex.join(words), parsed[DEMAND])
        raise Exit(call("job:run", job, to, assignments or [], file, submit, json, language=language))
    if assignments or file or submit or json:
        raise bad_value(msg("--set, --file, --submit and --json are about a job file"), "--to")
    if nodes > 1 and not rendezvous:
        raise bad_value(msg("several machines need a place to meet: {place}", place=MEETING), "--rendezvous")
    if node_rank >= nodes:
        raise bad_value(msg("the last of {nodes} machines is {last}", nodes=nodes, last=nodes - 1), "--node-rank")
    raise Exit(call("launch:run", processes, command, nodes, node_rank, rendezvous or "", language=language))


def parsed_command(context: Context, command: Sequence[str]) -> Mapping[str, Any]:
    """Parse the command line that is to be launched, so that its mistakes are told before any process starts.

    Returns its parameters.

    Raises:
        typer.TyperException: what the command itself would say; or it cannot be launched.
    """
    root: Any = context.find_root()
    name, found, arguments = root.command.resolve_command(root, list(command))
    if name not in RUN_OF:
        rule = msg("'{name}' cannot be launched; {known} can", name=name, known=", ".join(RUN_OF))
        raise bad_value(rule, "COMMAND")
    parameters: Mapping[str, Any] = found.make_context(name, arguments, parent=root).params
    return parameters
