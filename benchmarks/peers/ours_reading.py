"""Kamerton's side of reading and writing: the untuned model answers the test rows, as it does for a contender."""

from __future__ import annotations

import torch
from protocol import Result, open_job, peak_memory, write

from kamerton.runs.run import Run
from kamerton.session.engines import untuned_engine
from kamerton.session.setup import open_setup


def main() -> None:
    """Answer, write the result."""
    job, watch, path = open_job()
    torch.set_num_threads(job.threads)
    setup = open_setup(Run(job.run))
    engine = untuned_engine(setup)
    watch.begin()
    form, test, loss = setup.form, setup.split.test, 0.0
    if job.losses:
        predictions = form.predict_untuned(engine, test, ())
        answers = [prediction.text for prediction in predictions]
        loss = sum(one.loss or 0.0 for one in predictions) / sum(one.tokens or 0 for one in predictions)
    elif job.choices:
        shots = form.shots(setup.split.train, job.shots, setup.recipe.seed)
        answers = [prediction.text for prediction in form.predict_untuned(engine, test, shots)]
    else:
        answers = engine.generate(form.prompts(test, setup.tokenizer, setup.max_tokens))
    watch.stepped()
    write(path, Result(answers=answers, test_loss=loss, peak_bytes=peak_memory(), **watch.seconds()))


if __name__ == "__main__":
    main()
