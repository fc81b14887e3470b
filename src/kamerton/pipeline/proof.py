"""The tuned model's answers to the test rows, the proof of the saved model, and trainings with other seeds."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from kamerton.contenders.contend import answer
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers
from kamerton.core.pieces import HERE, Done, Workers, WorkItem, Workload
from kamerton.core.records import RunEvent
from kamerton.engine.engine import TorchEngine
from kamerton.evaluate.artefact import proof_message, prove_artefact
from kamerton.evaluate.calibration import calibration_rows
from kamerton.kernels.device import off_device
from kamerton.pipeline.contenders import record_answers
from kamerton.pipeline.training import tuned_engine
from kamerton.runs.run import VALIDATION, Run
from kamerton.session.setup import Clock, Setup, open_setup


def prove(run: Run, setup: Setup, engine: TorchEngine, clock: Clock) -> Iterator[RunEvent]:
    """Answer the test rows, and answer them again by the saved model in a fresh process: both must agree."""
    if any(answers.kind == "tuned" for answers in run.read_answers()):
        return
    form, test = setup.form, setup.split.test
    tuned = yield from answer(msg("tuned model"), "tuned", partial(form.predict, engine), test, setup.at_once)
    yield clock.stage("test", msg("{rows} test {rows:row|rows} answered by the tuned model", rows=len(test)))
    with off_device(engine.model):  # the fresh process needs room for the model
        proof = prove_artefact(run, form.validation_subset(test), tuned.predictions)
    rows = calibration_rows(tuned.predictions, setup.unseen)
    known = Answers(tuned.name, "tuned", tuple(form.predict(engine, rows)), 0.0)
    text = setup.recipe.prompt.text
    if text and (own := form.with_instruction(text)):
        title, predict = msg("tuned model with your prompt"), partial(own.predict, engine)
        record_answers(run, setup, (yield from answer(title, "variant", predict, test, setup.at_once)))
    with run.changing():
        run.write_state(replace(run.state, artefact=proof))
        run.write_answers(rows, [known], VALIDATION)
        record_answers(run, setup, tuned)
        stage = clock.stage("artefact", proof_message(proof))
    yield stage


def repeat_with_seeds(run: Run, setup: Setup, clock: Clock, workers: Workers = HERE) -> Iterator[RunEvent]:
    """Train again with each other seed of the recipe, on the same split, and answer the test rows by each model."""
    left = [again for again in run.repeats if not again.read_answers()]
    pieces = [WorkItem(msg("seed {seed}", seed=str(again.recipe.seed)), again.path) for again in left]
    for item in workers.carry_out(Workload(partial(setup_of, run.path, run.device), train_again, setup), pieces):
        if isinstance(item, Done):
            done = msg("trained again with seed {seed}: {folder}", seed=item.value, folder=str(item.given))
            yield clock.stage("seeds", done)
        else:
            yield item


def setup_of(run: Path, device: str | None) -> Setup:
    """Load the setup of a run from its folder."""
    return open_setup(Run(run, device=device))


def train_again(setup: Setup, folder: Path) -> Generator[RunEvent, None, str]:
    """Train the run in a folder, on the split of a setup, and answer its test rows; return the seed."""
    again, test = Run(folder), setup.split.test
    recipe = again.recipe
    with again.locked():
        engine = yield from tuned_engine(again, replace(setup, recipe=recipe), Clock(again))
        title, predict = msg("seed {seed}", seed=str(recipe.seed)), partial(setup.form.predict, engine)
        tuned = yield from answer(title, "tuned", predict, test, setup.at_once)
        again.write_answers(test, [replace(tuned, name="tuned model", title=msg("tuned model"))])
    return str(recipe.seed)
