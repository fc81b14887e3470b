"""The story of a run, from a data file to a report: the table of contents of the product."""

from collections.abc import Iterator

from kamerton.core.records import RunEvent
from kamerton.forgetting.benchmarks import find_tasks
from kamerton.pipeline.conclusion import conclude
from kamerton.pipeline.contenders import answer_baselines, ask_untuned
from kamerton.pipeline.forgetting import check_benchmarks, probe_forgetting
from kamerton.pipeline.prepare import freeze
from kamerton.pipeline.proof import prove, repeat_with_seeds
from kamerton.pipeline.remedies import apply_remedies
from kamerton.pipeline.training import fit_task_settings, tuned_engine
from kamerton.runs.run import Run
from kamerton.session.setup import Clock, open_setup


def story(run: Run) -> Iterator[RunEvent]:
    """Carry a run from wherever it stands to its report; a step that is done is not done again.

    Yields:
        Events; the caller renders or ignores them.

    Raises:
        KamertonError: something that the user can mend.
        KeyboardInterrupt: a stop was asked for; `kamerton resume` continues.
    """
    with run.locked():
        run.check_files()
        clock = Clock(run)

        # data: read, recognize the task, choose the model, audit, split, augment, choose the method
        if not run.has_split:
            find_tasks(run.recipe.benchmarks.tasks)
            yield from freeze(run, clock)
        setup = open_setup(run)
        yield from check_benchmarks(run, setup, clock)

        # contenders: trivial and classic ones, the untuned model asked in several ways, a server
        yield from answer_baselines(run, setup, clock)
        yield from ask_untuned(run, setup, clock)

        # model: load the base, attach the method, find a learning rate, estimate the cost, train, save
        engine = yield from tuned_engine(run, setup, clock)
        setup, engine = yield from apply_remedies(run, setup, engine, clock)
        setup = yield from fit_task_settings(run, setup, engine, clock)

        # evidence: the test rows, the saved model in a fresh process, forgetting, other seeds
        yield from prove(run, setup, engine, clock)
        yield from probe_forgetting(run, setup, engine, clock)
        yield from repeat_with_seeds(run, setup, clock)

        # judgement: scores, verdict, diagnosis, calibration, result, model card, report
        yield from conclude(run, setup, clock)
