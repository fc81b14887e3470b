"""`kamerton serve` and `kamerton studio`: the commands that answer until they are stopped."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from kamerton.cli import options
from kamerton.cli.border import MISTAKE, OK
from kamerton.cli.help import bad_value
from kamerton.cli.options import Language, call
from kamerton.core.messages import msg


def serve(
    runs: Annotated[
        list[str] | None, Argument(metavar="RUN…", help="Runs, or NAME=RUN; adapters of one base share it.")
    ] = None,
    host: Annotated[
        str, Option(help="The address to listen at; beyond this machine it needs --key-env.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="The port; 0 takes any that is free.")] = 8000,
    key_env: Annotated[
        str | None, Option("--key-env", metavar="NAME", help="The environment variable with the key to demand.")
    ] = None,
    ab: Annotated[
        str | None, Option("--ab", metavar="NAME=RUN,NAME=RUN", help="Test two runs on the requests for model ab.")
    ] = None,
    share: Annotated[float, Option(min=0, max=1, help="For --ab: share of the users that get the first one.")] = 0.5,
    outcomes: Annotated[Path, Option(help="For --ab: the log of outcomes, as `kamerton ab` reads it.")] = Path(
        "outcomes.jsonl"
    ),
    promote: Annotated[
        bool, Option("--promote", help="For --ab: give all requests to the better one once decided.")
    ] = False,
    queue: Annotated[int, Option(min=1, help="Most requests that wait; further ones are told to come again.")] = 64,
    timeout: Annotated[float, Option(min=1, help="Most seconds for a whole answer.")] = 120.0,
    body: Annotated[int, Option(min=1024, help="Most bytes of a request.")] = 1 << 20,
    log_prompts: Annotated[bool, Option("--log-prompts", help="Write requests into the log; else no text is.")] = False,
    base: Annotated[
        bool, Option("--base", help="Also serve the base of each run that writes, as it was before.")
    ] = False,
    device: options.Device = None,
    language: Language = None,
) -> None:
    """Serve tuned models by OpenAI's API: chat, completions, embeddings, classes and decisions; docs/serving.md.

    The log, one JSON object a line, goes to the standard error stream. SIGTERM lets what was asked be answered, and
    ends with status 0. Needs kamerton[serve].
    """
    if not (runs or ab):
        raise bad_value(msg("give a run, or two to test with --ab"), "RUN")
    limits = (queue, timeout, body)
    arguments = (runs or [], host, port, key_env, ab, share, outcomes, promote, *limits, log_prompts, base, device)
    raise Exit(OK if call("serve:run", *arguments, language=language) else MISTAKE)


def studio(
    folder: Annotated[Path, Argument(metavar="[FOLDER]", help="The folder with `runs`.", show_default=False)] = Path(),
    port: Annotated[int, Option(min=0, max=65535, help="The port; 0 takes any that is free.")] = 8400,
    browser: Annotated[bool, Option("--browser/--no-browser", help="Open the link in a browser.")] = True,
    language: Language = None,
) -> None:
    """Show pages over all runs of a folder: from a data file to a verdict without a terminal.

    Only this machine can open them, by the link that is printed. Trainings go on when the studio is closed. Needs
    kamerton[studio].
    """
    call("studio:run", folder, port, browser, language=language)
