"""The stories of a run, from a data file to a report: the table of contents of the product."""

from collections.abc import Generator, Iterator

from kamerton.core.pieces import HERE, Workers
from kamerton.core.records import RunEvent
from kamerton.forgetting.benchmarks import find_tasks
from kamerton.pipeline.conclusion import conclude
from kamerton.pipeline.contenders import answer_baselines, ask_tuned, ask_untuned
from kamerton.pipeline.forgetting import check_benchmarks, probe_forgetting
from kamerton.pipeline.freeze import freeze
from kamerton.pipeline.imported import import_model
from kamerton.pipeline.proof import prove, repeat_with_seeds
from kamerton.pipeline.remedies import apply_remedies
from kamerton.pipeline.training import fit_task_settings, tuned_engine
from kamerton.runs.run import Run
from kamerton.runs.underway import CONTENDERS, DATA, EVIDENCE, JUDGEMENT, TRAINING
from kamerton.session.engines import saved_engine
from kamerton.session.setup import Clock, open_setup


def story(run: Run, workers: Workers = HERE) -> Iterator[RunEvent]:
    """Carry a run from wherever it stands to its report; a step that is done is not done again.

    Trainings that do not depend on each other (rates, remedies, seeds) are done by the workers.

    Yields:
        Events; the caller renders or ignores them.

    Raises:
        KamertonError: something that the user can mend.
        KeyboardInterrupt: a stop was asked for; `kamerton resume` continues.
    """
    with run.locked():
        run.check_files()
        clock = Clock(run)
        yield from clock.watched(proving(run, clock) if run.recipe.model.is_finished else tuning(run, clock, workers))


def tuning(run: Run, clock: Clock, workers: Workers = HERE) -> Generator[RunEvent]:
    """Train a model and prove whether that helped: `kamerton tune`."""
    # read, recognize the task, choose the model, audit, split, augment, choose the method
    clock.begin(DATA)
    if not run.has_split:
        find_tasks(run.recipe.benchmarks.tasks)
        yield from freeze(run, clock)
    setup = open_setup(run)
    yield from check_benchmarks(run, setup, clock)

    # trivial and classic ones, the untuned model asked in several ways, a server
    clock.begin(CONTENDERS)
    yield from answer_baselines(run, setup, clock)
    yield from ask_untuned(run, setup, clock)

    # load the base, attach the method, find a learning rate, estimate the cost, train, save
    clock.begin(TRAINING)
    engine = yield from tuned_engine(run, setup, clock, workers)
    setup, engine = yield from apply_remedies(run, setup, engine, clock, workers)
    setup = yield from fit_task_settings(run, setup, engine, clock)

    # the test rows, the saved model in a fresh process, forgetting, other seeds
    clock.begin(EVIDENCE)
    yield from prove(run, setup, engine, clock)
    yield from probe_forgetting(run, setup, engine, clock)
    yield from repeat_with_seeds(run, setup, clock, workers)

    # scores, verdict, diagnosis, calibration, result, model card, report
    clock.begin(JUDGEMENT)
    yield from conclude(run, setup, clock)


def proving(run: Run, clock: Clock) -> Generator[RunEvent]:
    """Prove whether a model helps that was tuned elsewhere, and train nothing: `kamerton prove`."""
    # read, inspect the model, match its labels, compare its tokenizer and template, audit, split, copy
    clock.begin(DATA)
    if not run.has_split:
        find_tasks(run.recipe.benchmarks.tasks)
        yield from freeze(run, clock)
    yield from import_model(run, clock)
    setup = open_setup(run)
    yield from check_benchmarks(run, setup, clock)

    # as of a model that was tuned here; of one at an address, by its answers
    clock.begin(CONTENDERS)
    yield from answer_baselines(run, setup, clock)
    yield from ask_untuned(run, setup, clock)
    if setup.recipe.model.tuned_at:
        yield from ask_tuned(run, setup, clock)
        clock.begin(JUDGEMENT)
        yield from conclude(run, setup, clock)
        return
    clock.begin(EVIDENCE)
    engine = saved_engine(run, setup)
    setup = yield from fit_task_settings(run, setup, engine, clock)
    yield from prove(run, setup, engine, clock)
    yield from probe_forgetting(run, setup, engine, clock)
    clock.begin(JUDGEMENT)
    yield from conclude(run, setup, clock)
