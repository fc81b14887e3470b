"""Kamerton's side: the stages of `kamerton tune` from the frozen split to the saved, scored model.

Left out is what no peer does: the audit, the contenders, the forgetting probe, the report. Left in is what it
always does: it reads the run folder, tokenizes, proves the layout, writes checkpoints, and keeps the best.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from protocol import Result, mean_of_batches, open_job, peak_memory, write

from kamerton.core.contracts import Engine
from kamerton.core.records import Example, Saved, Stepped, Validated
from kamerton.models.saved import save_model
from kamerton.pipeline.training import job_of
from kamerton.runs.run import Run
from kamerton.session.engines import load_base
from kamerton.session.setup import Setup, make_method, open_setup
from kamerton.session.trainable import attach
from kamerton.train.loop import Validation, train


def mean_loss(setup: Setup, engine: Engine, examples: tuple[Example, ...], batch: int) -> float:
    """Give the mean loss, averaged as the peers do."""
    items = setup.encode(examples)
    return mean_of_batches(engine.losses(items).tolist(), [setup.form.supervised(item) for item in items], batch)


def main() -> None:
    """Train, score, write the result."""
    job, watch, path = open_job()
    torch.set_num_threads(job.threads)
    run = Run(job.run)
    setup = open_setup(run)
    loaded = load_base(setup, make_method(setup.recipe))
    watch.begin()
    trainable = attach(setup, loaded)

    def validate() -> Validation:
        loss = mean_loss(setup, trainable.engine, setup.split.validation, job.eval_batch)
        return Validation(loss, {}, -loss)

    training = replace(job_of(run, setup, trainable), validate=validate, last_step=len(job.updates))
    losses, validations = [], []
    for event in train(training):
        if isinstance(event, Stepped):
            watch.stepped()
            losses.append(event.loss)
        if isinstance(event, Validated | Saved):  # what was done before the first update belongs to training
            watch.begin()
        if isinstance(event, Validated):
            validations.append(event.loss)
    save_model(run.model, trainable.model, setup.tokenizer)
    test, accuracy = setup.split.test, None
    if setup.task.answers == "class":  # text would have to be written
        predictions = setup.form.predict(trainable.engine, test)
        accuracy = sum(p.text == e.gold for p, e in zip(predictions, test, strict=True)) / len(test)
        loss = mean_of_batches([p.loss or 0.0 for p in predictions], [1] * len(test), job.eval_batch)
    else:
        loss = mean_loss(setup, trainable.engine, test, job.eval_batch)
    result = Result(losses, validations, loss, accuracy, peak_bytes=peak_memory(), **watch.seconds())
    write(path, result)


if __name__ == "__main__":
    main()
