"""Who the tuned model is held against: the untuned one asked in several ways, a server, and itself with a prompt."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from functools import partial

from kamerton.contenders.endpoint import Endpoint
from kamerton.contenders.prompting import Prompting, PromptStrategy
from kamerton.core import registry
from kamerton.core.contracts import Form
from kamerton.core.errors import Fault, RecipeError
from kamerton.core.records import Example, Prediction, Progress
from kamerton.engine.engine import TorchEngine
from kamerton.evaluate.score import measure
from kamerton.runs.run import Run
from kamerton.session.engines import untuned_engine
from kamerton.session.setup import Setup, make_form, metric_names


def untuned_strategies(run: Run, setup: Setup) -> Generator[Progress, None, list[PromptStrategy]]:
    """Make all ways to ask the untuned model, and those to ask a server if the recipe names one.

    Raises:
        RecipeError: a server shall answer a task that cannot be put in words.
    """
    recipe = setup.recipe
    server = _server_strategies(run, setup)  # what is wrong with it is told before anything slow
    prompting = Prompting(
        setup.form,
        untuned_engine(setup),
        setup.split,
        recipe.prompt,
        recipe.evaluate.shots,
        partial(_score, setup),
        recipe.seed,
    )
    return [*(yield from prompting.strategies()), *server]


def variants(setup: Setup, engine: TorchEngine) -> list[PromptStrategy]:
    """Ask the tuned model with the user's own prompt as well."""
    text = setup.recipe.prompt.text
    told = setup.form.with_instruction(text) if text else None
    return [PromptStrategy("tuned model with your prompt", "variant", partial(told.predict, engine))] if told else []


def _server_strategies(run: Run, setup: Setup) -> list[PromptStrategy]:
    """Ask a server without and with solved examples."""
    settings, split = setup.recipe.prompt, setup.split
    if not settings.against:
        return []
    form = _in_words(setup)
    endpoint = Endpoint(settings, run.path / "endpoint.jsonl", setup.recipe.evaluate.max_new_tokens or 32)
    shots = form.shots(split.train, setup.recipe.evaluate.shots, setup.recipe.seed)
    name = f"{settings.model} at {settings.against}"
    bare = PromptStrategy(name, "prompt", partial(endpoint.predict, form, ()))
    return [
        bare,
        PromptStrategy(f"{name} shown {len(shots)} examples", "prompt", partial(endpoint.predict, form, shots)),
    ]


def _in_words(setup: Setup) -> Form:
    """Give the form in which the task is put to models that write."""
    place, remedy = "prompt.against", "leave it out for this task"
    if "decoder" not in setup.task.kinds:
        raise RecipeError(Fault(f"{setup.recipe.data.task} cannot be put to a server in words", place, remedy))
    form = make_form(setup.task, setup.recipe, "decoder", setup.split.train)
    if not form.to_messages(setup.split.train[0], ()):
        raise RecipeError(Fault(f"{setup.recipe.data.task} cannot be put to a server in words", place, remedy))
    return form


def _score(setup: Setup, examples: Sequence[Example], predictions: Sequence[Prediction]) -> float:
    """Score predictions by the metric that decides: higher is better, and no value is the worst."""
    name = metric_names(setup)[0]
    sign = 1 if registry.choose("metrics", name).higher_is_better else -1
    return sign * measure(examples, predictions, [name]).get(name, -sign * math.inf)
