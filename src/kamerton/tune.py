"""The story of a run: read, audit, split, contenders, train, prove, judge, report.

It is told as values while it happens: whoever runs it may draw them, or just exhaust it. A run that
was stopped is told again: what is done is not done twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial

from kamerton.contenders.baselines import baselines
from kamerton.contenders.contend import answer
from kamerton.contenders.prompting import selection_sentence
from kamerton.core import registry
from kamerton.core.outcomes import Answers, Diagnosis
from kamerton.core.records import Encoded, RunEvent, Saved, Split
from kamerton.core.system import peak_memory
from kamerton.engine.engine import TorchEngine
from kamerton.evaluate.artefact import proof_sentence, prove_artefact
from kamerton.evaluate.calibration import calibrate, calibration_rows
from kamerton.evaluate.compare import tuned_answers
from kamerton.evaluate.diagnosis import HEALTHY, diagnose, diagnose_answers, diagnose_classes, diagnose_rate
from kamerton.evaluate.label_noise import diagnose_rows
from kamerton.evaluate.outcome import result_of
from kamerton.evaluate.per_class import class_results
from kamerton.evaluate.score import measure, score
from kamerton.evaluate.verdict import judge
from kamerton.forgetting.benchmarks import find_tasks
from kamerton.forms.label_sets import fit_threshold
from kamerton.forms.usual import item_losses
from kamerton.models.quantize import cost
from kamerton.models.saved import save_model
from kamerton.pipeline.contenders import untuned_strategies, variants
from kamerton.pipeline.cost import estimate_cost, estimate_sentence, measured, measured_sentence
from kamerton.pipeline.dial import Dial
from kamerton.pipeline.forgetting import check_benchmarks, remember
from kamerton.pipeline.prepare import freeze
from kamerton.pipeline.rate import readings, settle_rate
from kamerton.pipeline.remedies import Workshop, carry_out
from kamerton.report.card import write_card
from kamerton.report.html import write_report
from kamerton.report.verdict_text import Found, reason
from kamerton.runs.recipe import Decision
from kamerton.runs.run import Run
from kamerton.session.engines import load_base, saved_engine
from kamerton.session.setup import Clock, Setup, data_fingerprint, make_method, metric_names, open_setup
from kamerton.session.trainable import NOT_OURS, TrainableModel, attach
from kamerton.train.dynamics import Dynamics
from kamerton.train.loop import Job, Validation, train


def story(run: Run) -> Iterator[RunEvent]:
    """Tell a run from wherever it stands to its report.

    Raises:
        KamertonError: something that the user can mend.
        KeyboardInterrupt: a stop was asked for; `kamerton resume` goes on.
    """
    with run.locked():
        clock = Clock(run)
        if not run.has_split:
            find_tasks(run.recipe.benchmarks.tasks)
            yield from freeze(run, clock)
        setup = open_setup(run)
        yield from check_benchmarks(run, setup, clock)
        yield from contend(run, setup, clock)
        engine = yield from tuned_engine(run, setup, clock)
        setup = replace(setup, recipe=run.recipe)  # a rate may have been found
        if setup.recipe.remedy.names and not run.read_attempts():
            yield from carry_out(run, setup, engine, clock, Workshop(tuned_engine, score_validation))
            setup = open_setup(run)
            engine = saved_engine(run, setup)
        setup = yield from fit_settings(run, setup, engine, clock)
        yield from prove(run, setup, engine, clock)
        yield from remember(run, setup, engine, clock)
        yield from repeat(run, setup, clock)
        yield from conclude(run, setup, clock)


def contend(run: Run, setup: Setup, clock: Clock) -> Iterator[RunEvent]:
    """Let the trivial, the classic and the untuned contenders answer the test rows."""
    split, seed = setup.split, setup.recipe.seed
    done = {answers.name for answers in run.read_answers()}
    if not done:
        known = (*split.train, *split.validation)  # the tuned model uses both: its weights are selected on the latter
        simple = baselines(known, split.test, answers=setup.task.answers, seed=seed)
        run.write_answers(split.test, simple)
        run.write_state(replace(run.state, classic_rows=len(known)))
        yield clock.stage("baselines", ", ".join(answers.name for answers in simple) or "none for this task")
    if run.state.contended:
        return
    strategies = yield from untuned_strategies(run, setup)
    selections = {strategy.name: strategy.selection for strategy in strategies if strategy.selection.ways}
    run.write_state(replace(run.state, selections=selections))
    for strategy in strategies:
        if strategy.name not in done:
            _record(
                run,
                split,
                (yield from answer(strategy.name, strategy.kind, strategy.predict, split.test, setup.at_once)),
            )
            chosen = f"; {selection_sentence(strategy.selection)}" if strategy.selection.ways else ""
            yield clock.stage("untuned", f"{strategy.name}{chosen}")
    run.write_state(replace(run.state, contended=True))


def tuned_engine(run: Run, setup: Setup, clock: Clock) -> Generator[RunEvent, None, TorchEngine]:
    """Load the tuned model, or make it."""
    return saved_engine(run, setup) if run.model.exists() else (yield from tune_model(run, setup, clock))


def tune_model(run: Run, setup: Setup, clock: Clock) -> Generator[RunEvent, None, TorchEngine]:
    """Attach the method, train, and save the best weights in transformers' or PEFT's own format."""
    method = make_method(setup.recipe)
    loaded = load_base(setup, method.quantization)
    if method.quantization:
        yield clock.stage("base", cost(loaded.model, setup.facts))
    trainable = attach(setup, loaded)
    if trainable.note:
        yield clock.stage("nodes", trainable.note)
    setup = yield from settle_rate(run, setup, trainable, clock)
    foretold = estimate_cost(setup, trainable)
    run.write_state(replace(run.state, forecast=foretold))
    yield clock.stage("forecast", estimate_sentence(foretold))
    job = job_of(run, setup, trainable)
    for event in train(job):
        run.record(event)
        if isinstance(event, Saved):
            keep_peak(run)
        yield event
    keep_peak(run)
    run.write_dynamics([row for row in job.dynamics.of_rows(trainable.ids) if row.id != NOT_OURS])
    if setup.recipe.remedy.strength < 1:
        Dial(setup, trainable.model).turn(setup.recipe.remedy.strength)
    save_model(run.model, trainable.model, setup.tokenizer)
    yield clock.stage("train", f"best weights saved in {run.model}")
    took = measured(run)
    run.write_state(replace(run.state, forecast=foretold.until(took.updates), measured=took))
    yield clock.stage("measured", measured_sentence(foretold, took))
    return trainable.engine


def keep_peak(run: Run) -> None:
    """Keep the most memory that training has held so far, over all its sittings; what comes after does not count."""
    run.write_state(replace(run.state, peak_bytes=max(peak_memory(), run.state.peak_bytes)))


def job_of(run: Run, setup: Setup, trainable: TrainableModel) -> Job:
    """Draw up the training that the recipe asks for."""
    recipe = setup.recipe
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
        identity=identity(run, setup),
        dynamics=Dynamics.of(len(trainable.rows)),
        last_step=recipe.remedy.last_step,
    )


def fit_settings(run: Run, setup: Setup, engine: TorchEngine, clock: Clock) -> Generator[RunEvent, None, Setup]:
    """Fit on validation rows what the task decides by, and keep it in the recipe: predictions use it from now on."""
    fitted = fit_threshold(setup.form, engine, setup.split.validation)
    if not fitted:
        return setup
    recipe = run.recipe.decide({f"task.{name}": Decision(one.value, one.reason) for name, one in fitted.items()})
    run.write_recipe(recipe)
    said = "; ".join(f"{name} {one.value:g}: {one.reason}" for name, one in fitted.items())
    yield clock.stage("fitted", said)
    return open_setup(run)


def prove(run: Run, setup: Setup, engine: TorchEngine, clock: Clock) -> Iterator[RunEvent]:
    """Let the tuned model answer the test rows, and the saved one again in a fresh process: they must agree."""
    if any(answers.kind == "tuned" for answers in run.read_answers()):
        return
    test = setup.split.test
    tuned = yield from answer("tuned model", "tuned", partial(setup.form.predict, engine), test, setup.at_once)
    yield clock.stage("test", f"{len(test)} test rows answered by the tuned model")
    proof = prove_artefact(run, setup.form.validation_subset(test), tuned.predictions)
    run.write_state(replace(run.state, artefact=proof))
    doubted = calibration_rows(tuned.predictions, setup.split.validation)
    own = Answers(tuned.name, "tuned", tuple(setup.form.predict(engine, doubted)), 0.0)
    run.write_validation_answers(doubted, [own])
    for strategy in variants(setup, engine):
        _record(
            run, setup.split, (yield from answer(strategy.name, strategy.kind, strategy.predict, test, setup.at_once))
        )
    _record(run, setup.split, tuned)
    yield clock.stage("artefact", proof_sentence(proof))


def repeat(run: Run, setup: Setup, clock: Clock) -> Iterator[RunEvent]:
    """Train again with each other seed of the recipe, on the same split, and let each model answer the test rows."""
    for again in run.repeats:
        if again.read_answers():
            continue
        other, test = replace(setup, recipe=again.recipe), setup.split.test
        engine = yield from tuned_engine(again, other, Clock(again))
        predict = partial(other.form.predict, engine)
        tuned = yield from answer(f"seed {other.recipe.seed}", "tuned", predict, test, setup.at_once)
        again.write_answers(test, [replace(tuned, name="tuned model")])
        yield clock.stage("seeds", f"trained again with seed {other.recipe.seed}: {again.path}")


def conclude(run: Run, setup: Setup, clock: Clock) -> Iterator[RunEvent]:
    """Score all contenders, judge, diagnose, and write result and report."""
    answers, test, names = run.read_answers(), setup.split.test, metric_names(setup)
    confidence, resamples = setup.recipe.evaluate.confidence, setup.recipe.evaluate.resamples
    seed = setup.recipe.seed
    contenders = score(test, answers, names, confidence=confidence, resamples=resamples, seed=seed)
    verdict = judge(
        test,
        answers,
        contenders,
        names[0],
        repeats=[tuned_answers(again) for again in run.repeats],
        margin=setup.recipe.evaluate.margin,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    verdict = replace(verdict, reason=reason(Found(verdict, contenders, names[0], len(test), confidence)))
    diagnoses = diagnose_run(run, setup)
    yield clock.stage("verdict", f"{verdict.decision}; the best other is {verdict.against}")
    calibrated = calibrate(
        [prediction for own in run.read_validation_answers() for prediction in own.predictions],
        test,
        tuned_answers(run).predictions,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    if calibrated:
        run.write_temperature(calibrated.temperature)
        if calibrated.message:
            yield clock.stage("calibration", calibrated.message)
    per_class = class_results(test, tuned_answers(run).predictions, setup.task.answers)
    run.write_result(result_of(run, names, contenders, verdict, diagnoses, calibrated, per_class))
    write_card(run)
    yield clock.stage("report", str(write_report(run)))


def diagnose_run(run: Run, setup: Setup) -> list[Diagnosis]:
    """Say all that training, the probe of its rate, its rows and its answers showed; that all is well only alone."""
    if setup.task.answers == "class" and (one_class := diagnose_classes(setup.split.train)):
        return one_class
    found = diagnose(run.events(), run.recipe.train.clip_norm)
    found += diagnose_rate(readings(run), run.recipe.train.peak)
    if setup.task.answers == "class":
        found += diagnose_rows(run.read_dynamics(), setup.split.train)
        found += diagnose_answers(setup.split.test, tuned_answers(run))
    return [one for one in found if one.name != HEALTHY] or found


def validate(setup: Setup, engine: TorchEngine, encoded: Sequence[Encoded]) -> Validation:
    """Score the validation rows: all by their loss, and those that the form watches by the task's metrics.

    The deciding metric selects where it has a value on all rows, the loss elsewhere.
    """
    examples = setup.split.validation
    subset = setup.form.validation_subset(examples)
    predictions = setup.form.predict(engine, subset)
    metrics = measure(subset, predictions, metric_names(setup))
    primary = metric_names(setup)[0]
    if len(subset) < len(examples):
        loss = float(item_losses(engine, encoded).sum() / sum(setup.form.supervised(item) for item in encoded))
        return Validation(loss, metrics, score=-loss)
    known = [(one.loss, one.tokens or 1) for one in predictions if one.loss is not None]
    loss = sum(loss for loss, _ in known) / max(1, sum(tokens for _, tokens in known))
    sign = 1 if registry.choose("metrics", primary).higher_is_better else -1
    return Validation(loss, metrics, score=sign * metrics[primary] if primary in metrics else -loss)


def score_validation(setup: Setup, engine: TorchEngine) -> float:
    """Score the validation rows as the selection of checkpoints does: higher is better."""
    return validate(setup, engine, setup.encode(setup.split.validation)).score


def identity(run: Run, setup: Setup) -> dict[str, str]:
    """Fingerprint what a checkpoint belongs to."""
    recipe = setup.recipe.model_dump_json(include={"model", "method", "train", "evaluate", "seed"})
    return {
        "data": data_fingerprint(run),
        "base model": setup.facts.fingerprint,
        "recipe": hashlib.sha256(recipe.encode()).hexdigest(),
    }


def _record(run: Run, split: Split, answers: Answers) -> None:
    others = [before for before in run.read_answers() if before.name != answers.name]
    run.write_answers(split.test, [*others, answers])
