"""The commands and their flags. Nothing heavy is imported before one runs: what each does is in `actions/`."""

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Context, Exit, Option
from typer.main import get_command
from typer.models import CommandFunctionType

from kamerton.cli import launching, options, proving, serving
from kamerton.cli.border import OK, UNMET
from kamerton.cli.help import Command, CommandGroup, bad_value, misuse
from kamerton.cli.options import AsJson, Language, RunPath, call
from kamerton.cli.speech import LANGUAGE
from kamerton.core.messages import msg
from kamerton.data.named import require_data, require_text_or_file
from kamerton.i18n.language import VARIABLE

app = typer.Typer(
    name="kamerton",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> object:
    """Run the command that the process's arguments name, and return its exit status."""
    try:
        return get_command(app)(standalone_mode=False)
    except typer.TyperException as error:
        lines = [error.format_message()] if len(sys.argv) == 1 else misuse(error)  # without arguments: the help
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        return error.exit_code


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kamerton {metadata.version('kamerton')}")
        raise Exit


@app.callback()
def _all(
    version: Annotated[
        bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    language: Language = None,
) -> None:
    """Fine-tune a pretrained language model on a narrow task, and prove whether it helped."""
    os.environ[VARIABLE] = language or LANGUAGE.get()  # the default of the commands' own option


def _command(*examples: str) -> Callable[[CommandFunctionType], CommandFunctionType]:
    """Return what adds a function as the command of its name, with examples in its help."""
    return app.command(cls=Command, epilog="   |   ".join(examples), context_settings={"allow_extra_args": True})


@_command("kamerton ab log.jsonl --first new", "kamerton ab --simulate 1000")
def ab(
    log: Annotated[Path | None, Argument(help="Outcomes, one JSON object a line.", show_default=False)] = None,
    first: Annotated[str | None, Option(help="The variant whose gain is measured.")] = None,
    margin: Annotated[float, Option(min=0, max=1, help="A loss that still counts as not worse.")] = 0.02,
    confidence: Annotated[
        float, Option(min=0.5, max=0.9999, help="Confidence of the decision and of the interval.")
    ] = 0.95,
    simulate: Annotated[
        int | None, Option(min=1, metavar="OUTCOMES", help="Show false alarms and power for so many outcomes.")
    ] = None,
    disagreement: Annotated[
        float, Option(min=0, max=1, help="For --simulate: share of outcomes that are no ties.")
    ] = 0.2,
    trials: Annotated[int, Option(min=1, help="For --simulate: number of simulated logs.")] = 2000,
    require: options.Require = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Test a log of outcomes of two variants; valid at every look, so stop as soon as it is decided.

    Lines of the log, in order: {"winner": "new"} or {"winner": "tie"}; {"scores": {"new": 0.9, "old": 0.4}};
    {"arm": "new", "outcome": 1}.
    """
    if (log is None) == (simulate is None):
        raise bad_value(msg("give a log, or the number of outcomes to --simulate"), "LOG")
    arguments = (log, first, margin, confidence, simulate, disagreement, trials, require, json)
    met = call("ab:run", *arguments, language=language)
    raise Exit(OK if met else UNMET)


@_command("kamerton audit reviews.csv --model minilm", "kamerton audit reviews.csv --fix --out page.html")
def audit(
    data: options.Data,
    task: options.Task = None,
    columns: options.Columns = None,
    model: options.Model = None,
    max_rows: options.MaxRows = None,
    assignments: options.Assignments = None,
    fix: Annotated[bool, Option("--fix", help="Write a cleaned copy beside the data, and a row ledger.")] = False,
    out: Annotated[Path | None, Option(metavar="PAGE", help="Write the findings as an HTML page.")] = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Find what is wrong with the data; with a model, also what it would cut and how many tokens a word takes."""
    flags, needs = options.data_flags(task, columns, model, max_rows), partial(require_data, data)
    call("audit:run", data, flags, fix, out, json, assignments or [], language=language, needs=needs)


@_command(
    "kamerton compare runs/lora runs/full",
    "kamerton compare runs/new runs/old --require not-worse",
    "kamerton compare runs/a runs/b --detect 0.02",
)
def compare(
    runs: Annotated[list[Path], Argument(metavar="RUN RUN…", help="Runs on the same test rows.", readable=False)],
    metric: Annotated[str | None, Option(help="The metric; that of the first run if not given.")] = None,
    first: Annotated[bool, Option("--first", help="Compare only the first run with each other.")] = False,
    detect: Annotated[float | None, Option(help="Compute how many rows a difference of this size would need.")] = None,
    require: options.Require = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Compare runs on the same test rows, in pairs; --require is about the first run against each other."""
    if detect == 0:
        raise bad_value(msg("no number of rows shows a difference of 0"), "--detect")
    pairs = "first" if first or require else "all"
    met = call("compare:run", runs, metric, pairs, detect, require, json, language=language)
    raise Exit(OK if met else UNMET)


@_command("kamerton curve reviews.csv --model minilm")
def curve(
    data: options.Data,
    task: options.Task = None,
    columns: options.Columns = None,
    model: options.Model = None,
    max_rows: options.MaxRows = None,
    target: Annotated[int | None, Option(min=1, help="Rows to estimate for; twice those given if not.")] = None,
    out: Annotated[Path | None, Option(help="The page's file; in runs/ if not given.")] = None,
    on: options.On = None,
    cores: options.Cores = 1,
    assignments: options.Assignments = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Estimate how much more data would help: scores at five sizes, extrapolated with a band, and a chart."""
    flags, needs = options.data_flags(task, columns, model, max_rows), partial(require_data, data)
    arguments = (data, target, out, flags, assignments or [], on, cores, json)
    call("curve:run", *arguments, language=language, needs=needs)


@_command("kamerton dial runs/reviews", "kamerton dial runs/reviews --out runs/reviews-dialled")
def dial(
    run: RunPath,
    out: Annotated[
        Path | None, Option(help="A new run with the chosen strength: verified, judged and reported like any.")
    ] = None,
    strength: Annotated[
        float | None, Option(min=0.01, max=1, help="Take this strength instead of the one chosen by the rule.")
    ] = None,
    device: options.Device = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Measure a tuned model at several strengths, on the validation rows and on the forgetting probe."""
    call("dial:run", run, out, strength, device, json, language=language)


@_command("kamerton evaluate runs/reviews other.csv", "kamerton evaluate runs/chats --benchmarks arc_easy")
def evaluate(
    run: RunPath,
    data: Annotated[
        Path | None, Argument(metavar="[DATA]", help="A data file that has answers.", show_default=False)
    ] = None,
    benchmarks: options.Benchmarks = None,
    device: options.Device = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Score a run's tuned model on other data that has answers, or run benchmark tasks on it and its base.

    Rows that cannot be scored, rows that are cut to what the model takes, and rows whose text the run was trained on
    are counted on the standard error stream.
    """
    if (data is None) == (benchmarks is None):
        raise bad_value(msg("give either a data file or --benchmarks TASK,…"), "DATA")
    if data is not None:
        call("evaluate:run", run, data, device, json, language=language, needs=partial(require_data, data))
    elif benchmarks is not None:
        call("evaluate:benchmark", run, benchmarks.split(","), device, json, language=language)


@_command("kamerton export runs/reviews --to merged", "kamerton export runs/chat --to gguf --set precision=q8_0")
def export(
    run: RunPath,
    to: Annotated[
        str | None, Option(metavar="FORMAT", help="One of: {exports}. Lists which take the model if not given.")
    ] = None,
    out: Annotated[
        Path | None, Option(metavar="FOLDER", help="A new folder; exported/FORMAT in the run's if not given.")
    ] = None,
    assignments: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting of the format.")
    ] = None,
    device: options.Device = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Export the tuned model, and prove in the engine that it is for that it answers as the run does."""
    call("export:run", run, to, out, assignments or [], device, json, language=language)


@_command("kamerton finish runs/reviews")
def finish(run: RunPath, language: Language = None, json: AsJson = False) -> None:
    """End the training of a run under way after its present epoch; the run then judges its best weights."""
    call("finish:run", run, json, language=language)


@_command(
    "kamerton judge runs/new runs/old --out judge.html",
    "kamerton judge runs/new",
    "kamerton judge --evaluate choices.json",
)
def judge(
    runs: Annotated[
        list[Path] | None,
        Argument(metavar="RUN [RUN]", help="Two runs; of one, its tuned model and the best other contender."),
    ] = None,
    out: Annotated[Path, Option(help="The page to write.")] = Path("judge.html"),
    rows: Annotated[int, Option(min=1, help="Most pairs to judge.")] = 100,
    seed: Annotated[int, Option(min=0, help="Seed of rows, order and sides.")] = 0,
    language: Language = None,
    reference: Annotated[bool, Option("--reference", help="Show the right answer to the judges.")] = False,
    evaluate: Annotated[
        list[Path] | None, Option(metavar="CHOICES", help="Evaluate saved choices; once for each file.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Write a page on which people judge two answers blindly, or evaluate their choices."""
    if bool(runs) == bool(evaluate) or len(runs or []) > 2:
        raise bad_value(msg("give one run or two, or --evaluate with saved choices"), "RUN")
    call("judge:run", runs or [], out, rows, seed, reference, evaluate or [], json, language=language)


_command("kamerton launch 2 -- tune reviews.csv", "kamerton launch 2 -- resume runs/reviews")(launching.launch)


@_command(
    "kamerton models",
    "kamerton models get minilm",
    "kamerton models --task instruction --texts ru --licence commercial --memory 24GB",
)
def models(
    context: Context,
    action: Annotated[
        str | None, Argument(metavar="[get NAME]", help="Get one, and print its folder.", show_default=False)
    ] = None,
    name: Annotated[str | None, Argument(hidden=True)] = None,
    task: Annotated[str | None, Option(help="List those that can do this task, the best first.")] = None,
    texts: Annotated[
        str | None,
        Option(metavar="CODE", help="The language of your texts (ru, en, de …); that of --language if not given."),
    ] = None,
    licence: Annotated[str | None, Option(metavar="commercial|NAME", help="What the licence must be or allow.")] = None,
    memory: Annotated[
        str | None, Option(metavar="SIZE", help="Memory to tune in: 24GB; what is free here if not given.")
    ] = None,
    machine: options.ForMachine = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """List the base models Kamerton knows and which are here, get one, or list those that suit a task."""
    if action not in (None, "get") or (action == "get") != (name is not None):
        raise bad_value(msg("use `kamerton models` or `kamerton models get NAME`"), "get NAME")
    room = options.parse_memory(memory)
    source = context.get_parameter_source("language")
    if name is not None:
        call("models:fetch", name, language=language)
    elif task or texts or licence or memory or machine:
        spoken = texts or (language if source and source.name == "COMMANDLINE" else None)
        call("choose:run", task, spoken, licence, machine, room, json, language=language)
    else:
        call("models:run", json, language=language)


@_command(
    "kamerton plan reviews.csv",
    "kamerton plan answers.jsonl --model smollm2 --method lora",
    "kamerton plan answers.jsonl --for rtx4090",
)
def plan(
    data: options.Data,
    task: options.Task = None,
    model: options.Model = None,
    method: options.Method = None,
    device: options.Device = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    max_rows: options.MaxRows = None,
    columns: options.Columns = None,
    assignments: options.Assignments = None,
    language: Language = None,
    new_tokens: Annotated[
        Path | None,
        Option("--new-tokens", metavar="FILE", help="Write the new tokens that would pay, for model.new_tokens."),
    ] = None,
    machine: options.ForMachine = None,
    json: AsJson = False,
) -> None:
    """Show what `tune` would do and why, the alternatives, and the time and memory that it takes."""
    if device and machine:
        raise bad_value(msg("give --device for this machine, or --for another one"), "--for")
    rate = options.parse_rate(learning_rate)
    others = {"method.name": method, "model.device": device, "train.epochs": epochs, "train.learning_rate": rate}
    flags, needs = options.data_flags(task, columns, model, max_rows, others), partial(require_data, data)
    call("plan:run", data, flags, assignments or [], new_tokens, machine, json, language=language, needs=needs)


@_command('kamerton predict runs/reviews "A fine film"', "cat texts | kamerton predict runs/x -")
def predict(
    run: RunPath,
    input: Annotated[str, Argument(metavar="[TEXT|FILE|-]", help="A text, a data file, or - for lines.")] = "-",
    adapter: Annotated[
        list[Path] | None, Option(metavar="RUN", help="Also answer with this run's adapter over the same base.")
    ] = None,
    device: options.Device = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Answer one text, the rows of a file, or the lines of standard input.

    Each row of a file gets exactly one line, in order: an empty one where the row cannot be used, which is reported on
    the standard error stream with its place. An answer with line ends is written as a JSON string, on one line.
    Blank lines of a CSV file of one column are rows; those of standard input are skipped. Bytes that are not
    UTF-8 are decoded as those of a data file. Inputs that are longer than the model takes are cut, as in training,
    and reported, too.
    """
    needs = partial(require_text_or_file, input)
    call("predict:run", run, input, adapter or [], device, json, language=language, needs=needs)


_command(
    "kamerton prove reviews.csv --base minilm --tuned path/to/model",
    "kamerton prove chats.jsonl --tuned path/to/adapter --trained-on train.jsonl",
    "kamerton prove new.csv --base org/base --tuned org/model --all-test --labels bad,good",
)(proving.prove)


@_command("kamerton report runs/reviews --language ru", "kamerton report runs/lora runs/full")
def report(
    runs: Annotated[
        list[Path], Argument(metavar="RUN…", help="A run; several are compared on one page.", readable=False)
    ],
    language: Language = None,
    out: Annotated[Path | None, Option(help="The comparison's file; comparison.html if not given.")] = None,
    json: AsJson = False,
) -> None:
    """Write a run's report anew and print its path; several runs are compared on one page."""
    if out and len(runs) == 1:
        raise bad_value(msg("a single run's report stands in its own folder"), "--out")
    call("report:run", runs, out, json, language=language)


@_command("kamerton resume runs/reviews")
def resume(
    run: RunPath,
    device: options.Device = None,
    require: options.Require = None,
    on: options.On = None,
    cores: options.Cores = 1,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Continue a run after any stop: Ctrl-C, kill -9, power loss."""
    met = call("tune:resume", run, device, require, on, cores, json, language=language)
    raise Exit(OK if met else UNMET)


_command("kamerton serve runs/reviews", "kamerton serve --ab new=runs/b,old=runs/a --share 0.5")(serving.serve)


@_command("kamerton show answers.jsonl --model smollm2 --rows 3")
def show(
    data: options.Data,
    rows: Annotated[int, Option(min=1, help="How many rows to show.")] = 3,
    task: options.Task = None,
    columns: options.Columns = None,
    model: options.Model = None,
    assignments: options.Assignments = None,
    json: AsJson = False,
    language: Language = None,
) -> None:
    """Show what the model gets: the template, every token, what is trained on, what is cut."""
    flags, needs = options.data_flags(task, columns, model), partial(require_data, data)
    call("show:run", data, rows, flags, assignments or [], json, language=language, needs=needs)


_command("kamerton studio", "kamerton studio ~/experiments --port 0")(serving.studio)


@_command(
    "kamerton tune reviews.csv",
    "kamerton tune answers.jsonl --model smollm2 --method lora",
    "kamerton tune runs/x/recipe.yaml --out runs/again",
)
def tune(
    data: Annotated[Path, Argument(metavar="DATA|RECIPE.yaml", show_default=False, readable=False)],
    task: options.Task = None,
    model: options.Model = None,
    method: options.Method = None,
    device: options.Device = None,
    out: options.Out = None,
    seed: options.Seed = None,
    seeds: Annotated[
        int | None, Option(min=1, help="Train so many times on the same split; the verdict counts the spread.")
    ] = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    max_rows: options.MaxRows = None,
    columns: options.Columns = None,
    too_long: options.TooLong = None,
    against: options.Against = None,
    require: options.Require = None,
    remedy: Annotated[
        str | None, Option(metavar="auto|NAME,…", help="Remedies to try against what training shows: {remedies}.")
    ] = None,
    benchmarks: options.Benchmarks = None,
    on: options.On = None,
    cores: options.Cores = 1,
    assignments: options.Assignments = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Tune a model on a data file and judge it: read, audit, split, contenders, train, verdict, report."""
    others = {
        "method.name": method,
        "model.device": device,
        "seed": seed,
        "seeds": seeds,
        "train.epochs": epochs,
        "train.learning_rate": options.parse_rate(learning_rate),
        "prompt.against": against,
        "data.too_long": too_long,
        "remedy.names": remedy.split(",") if remedy else None,
        "benchmarks.tasks": benchmarks.split(",") if benchmarks else None,
    }
    flags, needs = options.data_flags(task, columns, model, max_rows, others), partial(require_data, data)
    arguments = (data, out, flags, assignments or [], require, on, cores, json)
    met = call("tune:run", *arguments, language=language, needs=needs)
    raise Exit(OK if met else UNMET)


@_command("kamerton verify runs/reviews")
def verify(run: RunPath, language: Language = None, json: AsJson = False) -> None:
    """Check that all files of a run, and its base model, are what they were when it was made."""
    call("verify:run", run, json, language=language)
