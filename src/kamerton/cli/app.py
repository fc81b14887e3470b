"""The commands and their flags. Nothing heavy is imported here: what a command does is reached when it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kamerton import plugins
from kamerton.errors import KamertonError

OK, MISTAKE, USAGE, UNMET, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="kamerton",
    help="Fine-tune a pretrained language model on a narrow task, and prove whether it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[Path, typer.Argument(help="A data file: CSV, TSV, JSON, JSONL or Parquet.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]
Task = Annotated[str | None, typer.Option(help="The kind of job, if the columns do not tell.")]
Columns = Annotated[str | None, typer.Option(metavar="ROLE=NAME,…", help="Which column plays which role.")]
Model = Annotated[str | None, typer.Option(help="A known name, a folder, or a Hugging Face id.")]
MaxRows = Annotated[int | None, typer.Option(help="Use at most this many rows, drawn at random.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="GROUP.FIELD=VALUE", help="Any other setting.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.command(
    epilog="Examples:  kamerton tune reviews.csv   |   kamerton tune answers.jsonl --model smollm2 --method lora"
    "   |   kamerton tune runs/x/recipe.yaml --out runs/again"
)
def tune(
    data: Annotated[Path, typer.Argument(metavar="DATA|RECIPE.yaml", show_default=False)],
    task: Task = None,
    model: Model = None,
    method: Annotated[str | None, typer.Option(help=f"One of: {', '.join(plugins.names('methods'))}.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; a new one under runs/ if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training rows.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the schedule.")] = None,
    max_rows: MaxRows = None,
    columns: Columns = None,
    require: Annotated[str | None, typer.Option(metavar="ship|not-worse", help="Exit with 3 if unmet.")] = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """Tune a model on a data file and judge it: read, audit, split, contenders, train, verdict, report."""
    flags = {
        "data.task": task,
        "model.name": model,
        "method.name": method,
        "seed": seed,
        "train.epochs": epochs,
        "train.learning_rate": learning_rate,
        "data.max_rows": max_rows,
        "data.columns": _columns(columns),
    }
    if require not in (None, "ship", "not-worse"):
        raise typer.BadParameter(f"'{require}' is neither ship nor not-worse", param_hint="--require")
    met = _call("tune", data, out, _given(flags), assignments or [], require, json)
    raise typer.Exit(OK if met else UNMET)


@app.command(epilog="Example:  kamerton resume runs/reviews")
def resume(run: RunPath, json: AsJson = False) -> None:
    """Go on with a run after any stop: Ctrl-C, kill -9, power loss."""
    _call("resume", run, json)


@app.command(epilog="Example:  kamerton audit reviews.csv --model minilm")
def audit(
    data: Data,
    task: Task = None,
    columns: Columns = None,
    model: Model = None,
    max_rows: MaxRows = None,
    json: AsJson = False,
) -> None:
    """Say what is wrong with the data; with a model, also what it would cut."""
    flags = {
        "data.task": task,
        "data.columns": _columns(columns),
        "data.max_rows": max_rows,
        "model.name": model,
    }
    _call("audit", data, _given(flags), json)


@app.command(epilog="Example:  kamerton show answers.jsonl --model smollm2 --rows 3")
def show(
    data: Data,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to show.")] = 3,
    task: Task = None,
    columns: Columns = None,
    model: Model = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """Show what the model gets: the template, every token, what is trained on, what is cut."""
    flags = {"data.task": task, "data.columns": _columns(columns), "model.name": model}
    _call("show", data, rows, _given(flags), assignments or [], json)


@app.command(
    epilog='Examples:  kamerton predict runs/reviews "A fine film"   |   cat texts | kamerton predict runs/x -'
)
def predict(
    run: RunPath,
    input: Annotated[str, typer.Argument(metavar="[TEXT|FILE|-]", help="A text, a data file, or - for lines.")] = "-",
    json: AsJson = False,
) -> None:
    """Answer one text, the rows of a file, or the lines of standard input."""
    _call("predict", run, input, json)


@app.command(epilog="Example:  kamerton evaluate runs/reviews other.csv")
def evaluate(run: RunPath, data: Data, json: AsJson = False) -> None:
    """Score a run's tuned model on other data that has answers."""
    _call("evaluate", run, data, json)


@app.command(epilog="Example:  kamerton compare runs/lora runs/full")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Runs on the same test rows.")],
    json: AsJson = False,
) -> None:
    """Compare runs on the same test rows, in pairs, with intervals."""
    _call("compare", runs, json)


@app.command(epilog="Example:  kamerton report runs/reviews")
def report(run: RunPath) -> None:
    """Write a run's report anew and say where it is."""
    _call("report", run)


@app.command(epilog="Examples:  kamerton models   |   kamerton models get minilm")
def models(
    action: Annotated[str | None, typer.Argument(metavar="[get NAME]", show_default=False)] = None,
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    json: AsJson = False,
) -> None:
    """List the base models Kamerton knows and which are here, or get one."""
    if action not in (None, "get") or (action == "get") != (name is not None):
        raise typer.BadParameter("use `kamerton models` or `kamerton models get NAME`")
    _call("models", name, json)


def main() -> None:
    """Run the command line and exit: 0 done, 1 a mistake of the user, 2 wrong usage, 3 demand unmet, 130 stopped."""
    app()


def _call(name: str, *arguments: object) -> Any:
    """Run a command: import what it needs, and turn a user's mistake into a message and a status."""
    try:
        return plugins.load(f"kamerton.cli.commands:{name}")(*arguments)
    except KamertonError as error:
        for fault in error.faults:
            print(f"kamerton: {fault}", file=sys.stderr)
        raise typer.Exit(MISTAKE) from None
    except KeyboardInterrupt:
        print("kamerton: stopped; what was done is kept, `kamerton resume RUN` goes on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # whoever read our output went away, which is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _given(flags: Mapping[str, object]) -> dict[str, object]:
    return {path: value for path, value in flags.items() if value is not None}


def _columns(text: str | None) -> dict[str, str] | None:
    """Read `text=review,label=stars`."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(equals and role.strip() and name.strip() for role, equals, name in pairs):
        raise typer.BadParameter(
            "takes ROLE=NAME,ROLE=NAME: for example text=review,label=stars", param_hint="--columns"
        )
    return {role.strip(): name.strip() for role, _, name in pairs}
