"""The command that judges a model that was tuned elsewhere: its flags."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from kamerton.cli import options
from kamerton.cli.border import OK, UNMET
from kamerton.cli.options import AsJson, Language, call
from kamerton.data.named import require_data

SERVED = re.compile(r"https?://.*|.+\.gguf", re.IGNORECASE | re.DOTALL)
"""What is asked by a server: at an address, or by llama.cpp's, which is started for a file."""


def prove(
    data: options.Data,
    tuned: Annotated[
        str,
        Option(
            metavar="MODEL|URL|FILE",
            help="The tuned model: a folder or a Hugging Face id; a server's address; a GGUF file.",
        ),
    ],
    base: Annotated[
        str | None, Option(help="The model that it was tuned from; an adapter's own files name it, too.")
    ] = None,
    base_model: Annotated[
        str | None, Option(metavar="NAME", help="The untuned model's name, where --base is a server's address.")
    ] = None,
    trained_on: Annotated[
        Path | None,
        Option(metavar="FILE", help="Rows that it was trained on: no row that says the same is tested on."),
    ] = None,
    all_test: Annotated[bool, Option("--all-test", help="Test on every row; no contender learns from any.")] = False,
    labels: Annotated[
        str | None, Option(metavar="A,B,…", help="The data's labels in the order of the model's outputs.")
    ] = None,
    template: Annotated[
        Path | None, Option(metavar="FILE", help="The model's chat template, where its own is wrong or missing.")
    ] = None,
    tuned_model: Annotated[str | None, Option(metavar="NAME", help="The model's name on the server.")] = None,
    key_env: Annotated[
        str | None, Option(metavar="VARIABLE", help="The environment variable with the server's key.")
    ] = None,
    task: options.Task = None,
    columns: options.Columns = None,
    device: options.Device = None,
    out: options.Out = None,
    seed: options.Seed = None,
    max_rows: options.MaxRows = None,
    too_long: options.TooLong = None,
    against: options.Against = None,
    require: options.Require = None,
    benchmarks: options.Benchmarks = None,
    assignments: options.Assignments = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Judge a model that was tuned elsewhere: read, audit, split, contenders, test, verdict, report; train nothing.

    Its tokenizer and its chat template are used as they are, and how they differ from the base's is told.
    """
    others = {
        "model.tuned_at" if SERVED.fullmatch(tuned) else "model.tuned": tuned,
        "model.tuned_name": tuned_model,
        "model.tuned_key": key_env,
        "model.labels": labels,
        "model.template": str(template) if template else None,
        "model.device": device,
        "split.train_path": str(trained_on) if trained_on else None,
        "split.by": "test" if all_test else None,
        "seed": seed,
        "prompt.against": against,
        "data.too_long": too_long,
        "benchmarks.tasks": benchmarks.split(",") if benchmarks else None,
    }
    if base and SERVED.fullmatch(base):
        others, base = {**others, "prompt.against": base, "prompt.model": base_model, "prompt.key": key_env}, None
    flags, needs = options.data_flags(task, columns, base, max_rows, others), partial(require_data, data)
    arguments = (data, out, flags, assignments or [], require, None, 1, json)  # by this process alone
    met = call("tune:run", *arguments, language=language, needs=needs)
    raise Exit(OK if met else UNMET)
