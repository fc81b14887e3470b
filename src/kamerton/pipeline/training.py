"""Train the model, or load the one that was trained; then fit what the task decides by."""

import hashlib
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kamerton.core import registry
from kamerton.core.messages import Joined, msg
from kamerton.core.pieces import HERE, Workers
from kamerton.core.records import Encoded, Event, Example, Prediction, RunEvent, SampleAnswer, Saved, Stopped
from kamerton.engine.dealing import alone
from kamerton.engine.engine import TorchEngine
from kamerton.evaluate.score import measure
from kamerton.forms.labels import fit_threshold
from kamerton.forms.usual import item_losses
from kamerton.kernels.device import peak_bytes
from kamerton.kernels.processes import has_others, launched, together
from kamerton.models.saved import save_model
from kamerton.models.structure import device_of
from kamerton.pipeline.cost import cost_message, estimate_cost, measured, measured_message
from kamerton.pipeline.dial import Dial
from kamerton.pipeline.rate import settle_rate
from kamerton.runs.finishing import REQUEST, is_asked_to_end
from kamerton.runs.recipe import Decision, Recipe
from kamerton.runs.run import MODEL, Run
from kamerton.session.engines import saved_engine
from kamerton.session.everywhere import engine_everywhere, setup_of, trainable_everywhere, trainable_here
from kamerton.session.setup import Clock, Setup, data_fingerprint, metric_names, open_setup
from kamerton.session.trainable import NOT_OURS, TrainableModel
from kamerton.train.dynamics import Dynamics
from kamerton.train.loop import Job, Validation, load_best, train
from kamerton.train.parallel import SHARDED, how_divided

CIRCUMSTANCES: Mapping[str, Any] = {"model": {"device"}, "train": {"parallel", "offload"}}
"""The settings of a recipe that a run may go on without: what the weights become does not depend on them."""
SAMPLES, LONGEST_SAMPLE = 3, 400
"""Validation rows whose answers are kept at each validation, and the most letters of each text."""


def tuned_engine(
    run: Run, setup: Setup, clock: Clock, workers: Workers = HERE
) -> Generator[RunEvent, None, TorchEngine]:
    """Load the tuned model, or make it."""
    if run.model.exists():
        return engine_everywhere(saved_engine, run, setup)
    return (yield from tune_model(run, setup, clock, workers))


def tune_model(run: Run, setup: Setup, clock: Clock, workers: Workers = HERE) -> Generator[RunEvent, None, TorchEngine]:
    """Attach the method, train, and save the best weights in transformers' or PEFT's own format.

    The workers do the range test of the learning rate.
    """
    trainable = trainable_everywhere(setup)
    if trainable.quantized:
        yield clock.stage("base", trainable.quantized)
    if trainable.note:
        yield clock.stage("nodes", trainable.note)
    if (count := launched()[0]) > 1:
        yield clock.stage("ranks", how_divided(setup.recipe.train, count))
    setup = yield from settle_rate(run, setup, trainable, clock, workers)
    estimate = estimate_cost(setup, trainable)
    run.write_state(replace(run.state, forecast=estimate))
    yield clock.stage("forecast", cost_message(estimate))
    job, device = job_of(run, setup, trainable), device_of(trainable.model)
    with together(_train_too, run.path, setup.origin, setup.recipe):
        for event in train(job):
            run.record(event)
            if isinstance(event, Saved):
                _keep_peak(run, device)
            yield event
            last: Event = event
    _keep_peak(run, device)
    trainable = _undivided(run, setup, trainable)
    if setup.recipe.remedy.strength < 1:
        Dial(setup, trainable.model).turn(setup.recipe.remedy.strength)
        trainable = replace(trainable, engine=alone(trainable.engine))
    with run.changing() as change:
        run.write_dynamics([row for row in job.dynamics.of_rows(trainable.ids) if row.id != NOT_OURS])
        save_model(change.path(MODEL), trainable.model, setup.tokenizer)
        change.remove(REQUEST)
        if isinstance(last, Stopped) and last.asked:  # so that the recipe leads to these weights again
            run.write_recipe(run.recipe.decide({"remedy.last_step": Decision(last.step, last.reason)}))
        saved = clock.stage("train", msg("best weights saved in {folder}", folder=str(run.path / MODEL)))
        took = measured(run)
        run.write_state(replace(run.state, forecast=estimate.until(took.updates), measured=took))
        taken = clock.stage("measured", measured_message(estimate, took))
    yield saved
    yield taken
    return trainable.engine


def _train_too(folder: Path, origin: Path, recipe: Recipe) -> None:
    """Train on another rank."""
    for _ in train(job_of(Run(folder), setup_of(origin, recipe), trainable_here())):
        pass


def _undivided(run: Run, setup: Setup, trainable: TrainableModel) -> TrainableModel:
    """Return the trained model whole: one whose weights are divided is made anew, with the best weights."""
    if not (has_others() and setup.recipe.train.parallel == SHARDED):
        return trainable
    whole = trainable_everywhere(setup)
    with together(_load_best, run.path):
        load_best(whole.model, run.checkpoints)
    return whole


def _load_best(folder: Path) -> None:
    load_best(trainable_here().model, Run(folder).checkpoints)


def _keep_peak(run: Run, device: torch.device) -> None:
    """Keep the most memory that training has held so far, over all its sittings; what comes after does not count."""
    run.write_state(replace(run.state, peak_bytes=max(peak_bytes(device), run.state.peak_bytes)))


def job_of(run: Run, setup: Setup, trainable: TrainableModel) -> Job:
    """Build the training job of a recipe."""
    recipe = setup.recipe
    parts = {"model", "method", "train", "evaluate", "seed"}
    trained = recipe.model_dump_json(include=parts, exclude=CIRCUMSTANCES, exclude_none=True)
    return Job(
        model=trainable.model,
        layout=trainable.engine.layout,
        form=setup.form,
        rows=trainable.rows,
        validate=partial(validate, setup, trainable.engine, setup.encode(setup.split.validation)),
        settings=recipe.train,
        validations_per_epoch=recipe.evaluate.validations_per_epoch,
        seed=recipe.seed,
        checkpoints=run.checkpoints,
        identity={
            "data": data_fingerprint(run),
            "base model": setup.facts.fingerprint,
            "recipe": hashlib.sha256(trained.encode()).hexdigest(),
        },
        dynamics=Dynamics.of(len(trainable.rows)),
        last_step=recipe.remedy.last_step,
        scaled=recipe.model.precision == "fp16",
        asked_to_end=partial(is_asked_to_end, run.path),
    )


def validate(setup: Setup, engine: TorchEngine, encoded: Sequence[Encoded]) -> Validation:
    """Score the validation rows: all by their loss, and the form's validation subset by the task's metrics.

    The deciding metric selects where it has a value on all rows, the loss elsewhere.
    """
    examples, names = setup.split.validation, metric_names(setup)
    subset = setup.form.validation_subset(examples)
    predictions = setup.form.predict(engine, subset)
    metrics = measure(subset, predictions, names)
    samples = sampled(subset, predictions) if setup.task.answers != "likelihood" else ()
    if len(subset) < len(examples):
        loss = float(item_losses(engine, encoded).sum() / sum(setup.form.supervised(item) for item in encoded))
        return Validation(loss, metrics, -loss, samples)
    known = [(one.loss, one.tokens or 1) for one in predictions if one.loss is not None]
    loss = sum(loss for loss, _ in known) / max(1, sum(tokens for _, tokens in known))
    sign = 1 if registry.choose("metrics", names[0]).higher_is_better else -1
    return Validation(loss, metrics, sign * metrics[names[0]] if names[0] in metrics else -loss, samples)


def sampled(examples: Sequence[Example], predictions: Sequence[Prediction]) -> tuple[SampleAnswer, ...]:
    """Return the answers to a few rows, the same ones each time: if there are, to rows of different right answers."""
    first: dict[str, int] = {}
    for at, example in enumerate(examples):
        first.setdefault(example.gold, at)
    others = (at for at in range(len(examples)) if first[examples[at].gold] != at)
    return tuple(_sample(examples[at], predictions[at]) for at in sorted([*first.values(), *others][:SAMPLES]))


def _sample(example: Example, prediction: Prediction) -> SampleAnswer:
    text, gold, answer = (one[:LONGEST_SAMPLE] for one in (example.text, example.gold, prediction.text))
    probability = math.nan if prediction.score is None else round(prediction.score, 4)
    return SampleAnswer(example.id, text, gold, answer, probability)


def score_validation(setup: Setup, engine: TorchEngine) -> float:
    """Score the validation rows as the selection of checkpoints does: higher is better."""
    return validate(setup, engine, setup.encode(setup.split.validation)).score


def fit_task_settings(run: Run, setup: Setup, engine: TorchEngine, clock: Clock) -> Generator[RunEvent, None, Setup]:
    """Fit settings of the task on validation rows, and keep them in the recipe: predictions use them from now on."""
    fitted = fit_threshold(setup.form, engine, setup.unseen)
    if not fitted:
        return setup
    decisions = {f"task.{name}": Decision(one.value, one.reason) for name, one in fitted.items()}
    rule = "{setting} {value}: {reason}"
    parts = [msg(rule, setting=name, value=f"{one.value:g}", reason=one.reason) for name, one in fitted.items()]
    with run.changing():
        run.write_recipe(run.recipe.decide(decisions))
        stage = clock.stage("fitted", Joined(parts))
    yield stage
    return open_setup(run)
