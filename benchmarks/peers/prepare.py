"""Draw up a workload's job: the frozen split, the initial weights, the order of the rows. Not timed.

python benchmarks/peers/prepare.py WORKLOAD SEED ROWS UPDATES FOLDER     (0 updates: all)
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from protocol import Job, Row, Work, write
from torch import nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from workloads import RANDOM, WORKLOADS, Workload

from kamerton.core.files import write_json
from kamerton.core.records import Encoded, Example
from kamerton.engine.prefix_tree import join
from kamerton.forms.turns import tokenize, write_prompt
from kamerton.models.load import load_model
from kamerton.models.locate import locate
from kamerton.models.saved import is_adapter, save_model
from kamerton.pipeline.freeze import freeze
from kamerton.runs.run import Run
from kamerton.session.engines import attach_method, load_base
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, Setup, make_method, open_setup
from kamerton.train.batches import UpdatePlan
from kamerton.train.optimizer import learning_rate

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "runs" / "bench" / "data"
AT_ONCE = 16
"""Prompts in a batch of the peers'."""
EVAL_BATCH = {"encoder": 32, "decoder": 8}


def frozen_run(workload: Workload, seed: int, rows: int, folder: Path) -> Run:
    """Read, audit and split the data as `kamerton tune` does; make the data first where it is missing."""
    path = DATA / workload.data.file
    if not path.exists():
        DATA.mkdir(parents=True, exist_ok=True)
        script, *arguments = workload.data.make
        subprocess.run([sys.executable, ROOT / script, *arguments, "--out", path], check=True)
    settings = {"model.name": model_of(workload), "data.max_rows": rows, "seed": seed, **workload.settings}
    run = new_run(path, folder, settings)
    for stage in freeze(run, Clock(run)):
        print(f"  {stage.name}: {stage.message}", flush=True)
    return run


def model_of(workload: Workload) -> str:
    """Give the model's name, or the folder of one of random weights, which is made where it is missing."""
    folder = DATA.parent / "models" / workload.model
    if workload.model not in RANDOM:
        return workload.model
    if not (folder / "config.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(locate("smollm2"))
        tokenizer.save_pretrained(folder)
        config = LlamaConfig(vocab_size=len(tokenizer), **RANDOM[workload.model])
        torch.manual_seed(0)
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return str(folder)


def encoded(setup: Setup, examples: Sequence[Example]) -> list[Row]:
    """Encode examples as Kamerton trains on them."""
    return [Row(list(item.tokens), list(item.output_positions), list(item.targets)) for item in setup.encode(examples)]


def draw_up(run: Run, setup: Setup, folder: Path, updates: int) -> Job:
    """Save the initial weights, and fix rows, order and rates."""
    recipe = setup.recipe
    model = attach_method(setup, load_base(setup, make_method(setup.recipe)))
    save_model(folder / "initial", model, setup.tokenizer)
    plan = UpdatePlan(len(setup.split.train), recipe.train.batch_size or 1, recipe.train.epochs or 1, recipe.seed)
    count = min(plan.updates, updates or plan.updates)
    adapter = is_adapter(folder / "initial")
    return Job(
        run=str(run.path),
        model=setup.facts.folder if adapter else str(folder / "initial"),
        adapter=str(folder / "initial") if adapter else "",
        trainable=[] if adapter else [name for name, p in model.named_parameters() if p.requires_grad],
        train=encoded(setup, setup.split.train),
        validation=encoded(setup, setup.split.validation),
        test=encoded(setup, setup.split.test),
        updates=[plan.rows_of(step) for step in range(count)],
        updates_per_epoch=plan.updates_per_epoch,
        rates=[learning_rate(step, plan.updates, recipe.train) for step in range(count)],
        clip=recipe.train.clip_norm,
        precision=recipe.model.precision or "fp32",
        dropout=recipe.train.dropout,
        seed=recipe.seed,
        threads=2,
        eval_batch=EVAL_BATCH[setup.facts.kind],
        pad=int(setup.tokenizer.pad_token_id),
    )


def reading(setup: Setup, job: Job, shots: int, *, losses: bool) -> Job:
    """Make a job of reading or writing: the test rows' prompts, after solved examples if there shall be any."""
    form, tokenizer, test = setup.form, setup.tokenizer, setup.split.test
    shown = form.shots(setup.split.train, shots, setup.recipe.seed) if shots else []
    prompts = tokenize([write_prompt(form.to_messages(example, shown), tokenizer) for example in test], tokenizer)
    rows = setup.encode(test)
    choices = {example.gold: row.targets[0] for example, row in zip(test, rows, strict=True)} if shots else {}
    new_tokens = 1 if choices else setup.recipe.evaluate.max_new_tokens or 1
    return replace(job, prompts=prompts, new_tokens=new_tokens, choices=choices, shots=shots, losses=losses)


def work_of_reading(job: Job) -> Work:
    """Count the tokens of the prompts."""
    lengths = [len(prompt) for prompt in job.prompts]
    batches = [lengths[at : at + AT_ONCE] for at in range(0, len(lengths), AT_ONCE)]
    return Work(sum(lengths), sum(max(batch) * len(batch) for batch in batches), 0.0)


def work_of(setup: Setup, job: Job, count_flops: bool) -> Work:
    """Count tokens and arithmetic.

    A product costs 2 operations a weight and token; training all weights costs it three times (forward, gradient of
    the input, gradient of the weight), training beside frozen ones twice. Attention costs 4 times the hidden size a
    pair of tokens and pass, and half the pairs where a token sees only those before it; there what the rows of an
    update begin with in common counts once. The output head counts where it is read.
    """
    lengths = [[len(job.train[i].tokens) for i in update] for update in job.updates]
    tokens, padded = sum(map(sum, lengths)), sum(max(update) * len(update) for update in lengths)
    causal = setup.facts.kind == "decoder"
    counts = [_unavoidable([job.train[i] for i in update], causal=causal) for update in job.updates]
    needed, pairs = (sum(count) for count in zip(*counts, strict=True))
    if not count_flops:
        return Work(tokens, padded, 0.0, needed)
    base = load_model(setup.facts.folder, setup.form.model_class, setup.form.config, 0).model
    head = base.get_output_embeddings()
    linear = [m for m in base.modules() if isinstance(m, nn.Linear) and m is not head]
    inner, outer = sum(m.weight.numel() for m in linear), 0 if head is None else head.weight.numel()
    reads = sum(len(job.train[i].output_positions) for update in job.updates for i in update)
    passes = 2 if job.adapter else 3
    attention = 3 * 4 * setup.facts.hidden * setup.facts.layers * pairs
    flops = 2 * passes * (inner * needed + outer * reads) + attention
    return Work(tokens, padded, flops, needed)


def _unavoidable(rows: Sequence[Row], *, causal: bool) -> tuple[int, float]:
    """Count the tokens of an update, and the pairs of them that attend."""
    lengths = [len(row.tokens) for row in rows]
    if not causal:
        return sum(lengths), sum(length**2 for length in lengths)
    tree = join([Encoded(tuple(row.tokens), tuple(row.output_positions), ()) for row in rows])
    if tree is None:
        return sum(lengths), sum(length**2 for length in lengths) / 2
    parts = zip(tree.row.lengths, tree.row.before, strict=True)
    return sum(tree.row.lengths), sum(length * (len(before) + length / 2) for length, before in parts)


def main() -> None:
    """Prepare one job."""
    name, seed, rows, updates, where = sys.argv[1:]
    workload, folder = WORKLOADS[name], Path(where)
    run = frozen_run(workload, int(seed), int(rows), folder / "run")
    setup = open_setup(run)
    job = draw_up(run, setup, folder, int(updates))
    if workload.rule == "same answers":
        job = reading(setup, job, workload.shots, losses=workload.losses)
        work = work_of_reading(job)
    else:
        work = work_of(setup, job, workload.flops)
    write_json(folder / "work.json", asdict(work))
    write(folder / "job.json", job)


if __name__ == "__main__":
    main()
