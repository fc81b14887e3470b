"""The contenders that the tuned model must beat: simple ones, the untuned model asked in several ways, a server."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from kamerton.contenders.baselines import baselines
from kamerton.contenders.contend import answer
from kamerton.contenders.endpoint import Endpoint
from kamerton.contenders.llama_server import serving
from kamerton.contenders.prompting import Prompting, PromptStrategy, selection_message
from kamerton.core import registry
from kamerton.core.contracts import Form
from kamerton.core.errors import Fault, RecipeError, RunError
from kamerton.core.messages import Joined, msg
from kamerton.core.outcomes import Answers, Forgetting
from kamerton.core.records import Example, Prediction, RunEvent
from kamerton.engine.engine import TorchEngine
from kamerton.evaluate.score import measure
from kamerton.models.served import served_facts
from kamerton.runs.changes import REPLIES, TUNED_REPLIES
from kamerton.runs.run import Run
from kamerton.runs.servers import is_file, key_for, title_of
from kamerton.runs.settings import PromptSettings
from kamerton.session.engines import untuned_engine
from kamerton.session.everywhere import engine_everywhere
from kamerton.session.setup import Clock, Setup, make_form, metric_names

TEMPLATE_ROOM, MOST_CONTEXT = 512, 1 << 15
"""Tokens that a template may write around a request, and the most that a server of a file takes memory for."""


def answer_baselines(run: Run, setup: Setup, clock: Clock) -> Iterator[RunEvent]:
    """Answer the test rows by the trivial and the classic contenders."""
    if run.read_answers():
        return
    split = setup.split
    known = (*split.train, *split.validation)  # the tuned model uses both: its weights are selected on the latter
    simple = baselines(known, split.test, answers=setup.task.answers, seed=setup.recipe.seed) if known else []
    titles = Joined([answers.title for answers in simple], ", ")
    with run.changing():
        run.write_answers(split.test, simple)
        run.write_state(replace(run.state, classic_rows=len(known)))
        none = msg("none for this task") if known else msg("none: there are no training rows to learn from")
        stage = clock.stage("baselines", titles if simple else none)
    yield stage


def ask_untuned(run: Run, setup: Setup, clock: Clock) -> Iterator[RunEvent]:
    """Answer the test rows by the untuned model, and by a server if the recipe names one.

    Raises:
        RecipeError: the task cannot be put to a server in words.
    """
    if run.state.contended:
        return
    done = {answers.name for answers in run.read_answers()}
    if setup.recipe.model.tuned_at:
        _server_form(setup, "model.tuned_at")  # what is wrong with a server is reported before anything slow
    settings, shots, score = setup.recipe.prompt, setup.recipe.evaluate.shots, partial(_score, setup)
    with ExitStack() as servers:
        strategies = _server_strategies(run, setup, servers)
        if setup.facts.folder:  # else only a server has the base model
            given = setup.split, settings, shots, score, setup.recipe.seed
            prompting = Prompting(setup.form, engine_everywhere(_untuned, run, setup), *given)
            strategies = [*(yield from prompting.strategies()), *strategies]
        selections = {one.name: one.selection for one in strategies if one.selection.ways}
        run.write_state(replace(run.state, selections=selections))
        for one in strategies:
            if one.name not in done:
                answers = yield from answer(one.title, one.kind, one.predict, setup.split.test, setup.at_once)
                record_answers(run, setup, answers)
                chosen = [selection_message(one.selection)] if one.selection.ways else []
                yield clock.stage("untuned", Joined([one.title, *chosen, *one.failures(len(answers.predictions))]))
    run.write_state(replace(run.state, contended=True))


def _untuned(_run: Run, setup: Setup) -> TorchEngine:
    return untuned_engine(setup)


def record_answers(run: Run, setup: Setup, answers: Answers) -> None:
    """Write a contender's answers beside those of the others."""
    others = [before for before in run.read_answers() if before.name != answers.name]
    run.write_answers(setup.split.test, [*others, answers])


def ask_tuned(run: Run, setup: Setup, clock: Clock) -> Iterator[RunEvent]:
    """Answer the test rows by a tuned model that is reached only through a server: nothing but its answers is known.

    Raises:
        RecipeError: the task cannot be put to a server in words.
        RunError: the server cannot be reached, or refuses; or the file that it serves has changed since the run began.
    """
    if any(answers.kind == "tuned" for answers in run.read_answers()):
        return
    model, test = setup.recipe.model, setup.split.test
    form = _server_form(setup, "model.tuned_at")
    settings = PromptSettings(against=model.tuned_at, model=model.tuned_name, key=model.tuned_key)
    before, server = run.state.tuned, model.tuned_at or ""
    if before is not None and before.fingerprint != served_facts(model.tuned_name, server).fingerprint:
        rule = msg("the tuned model has changed since this run began")
        raise RunError(Fault(rule, server, msg("restore the file, or start a new run")))
    with _opened(run, setup, settings, TUNED_REPLIES, form) as endpoint:
        predict = partial(endpoint.predict, form, ())
        tuned = yield from answer(msg("tuned model"), "tuned", predict, test, setup.at_once)
    done = msg("{rows} test {rows:row|rows} answered by the tuned model", rows=len(test))
    unknown = msg("forgetting is not measured: of the tuned model only answers are known")
    with run.changing():
        record_answers(run, setup, tuned)
        run.write_forgetting(Forgetting(reason=unknown))
        stage = clock.stage("test", Joined([done, *endpoint.failures(len(test)), unknown]))
    yield stage


def _server_form(setup: Setup, place: str) -> Form:
    """Return how a server is asked. Raises `RecipeError` if the task, or a test row, cannot be put in words."""
    typical, test = setup.split.typical, setup.split.test
    form = make_form(setup.task, setup.recipe, "decoder", typical) if "decoder" in setup.task.kinds else None
    unasked = [example for example in test if form is None or not form.requests(example, ())]
    if form is None or len(unasked) == len(test):
        rule = msg("a server cannot be asked to do {task}", task=setup.recipe.data.task or "")
        raise RecipeError(Fault(rule, place, msg("leave it out for this task")))
    if unasked:
        rule = msg(
            "in {count} of {rows} test rows, such as {first}, tools are offered or called, which a server is not asked "
            "to do",
            count=len(unasked), rows=len(test), first=str(unasked[0].place),
        )  # fmt: skip
        raise RecipeError(Fault(rule, place, msg("leave out these rows, or the server")))
    return form


@contextmanager
def _opened(
    run: Run, setup: Setup, settings: PromptSettings, log: str, form: Form, shots: Sequence[Example] = ()
) -> Iterator[Endpoint]:
    """Open a server; of a file, start one whose context holds every request."""
    most, server = setup.recipe.evaluate.max_new_tokens or 32, settings.against or ""
    endpoint = partial(Endpoint, settings, run.path / log, most, mode=run.files.mode)
    if not is_file(server):
        yield endpoint(key=key_for(server, settings.key))
        return
    asked = (turns for example in setup.split.test for turns in form.requests(example, shots))
    longest = max(sum(len(turn.content.encode()) for turn in turns) for turns in asked)  # a token is a byte or more
    with serving(Path(server), min(longest + most + TEMPLATE_ROOM, MOST_CONTEXT)) as address:
        yield endpoint(at=address)


def _server_strategies(run: Run, setup: Setup, servers: ExitStack) -> list[PromptStrategy]:
    settings, split, server = setup.recipe.prompt, setup.split, setup.recipe.prompt.against
    if not server:
        return []
    form = _server_form(setup, "prompt.against")
    known = [example for example in split.train if form.requests(example, ())]
    shots = form.shots(known, setup.recipe.evaluate.shots, setup.recipe.seed)
    endpoint = servers.enter_context(_opened(run, setup, settings, REPLIES, form, shots))
    bare = title_of(settings.model, server)
    shown = msg("{name} shown {count} {count:example|examples}", name=bare, count=len(shots))
    ways = [(bare, ()), *([(shown, shots)] if shots else [])]
    return [
        PromptStrategy(title, "prompt", partial(endpoint.predict, form, some), failures=endpoint.failures)
        for title, some in ways
    ]


def _score(setup: Setup, examples: Sequence[Example], predictions: Sequence[Prediction]) -> float:
    """Score predictions by the deciding metric: higher is better, and no value is the worst."""
    name = metric_names(setup)[0]
    sign = 1 if registry.choose("metrics", name).higher_is_better else -1
    return sign * measure(examples, predictions, [name]).get(name, -sign * math.inf)
