"""What every step of a run holds: recipe, task, form, model facts, tokenizer, split."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import Form, Method, ModelFacts, ModelKind, Task
from kamerton.core.errors import Fault, RecipeError, RunError
from kamerton.core.files import nearby, sha256_of
from kamerton.core.messages import Wording
from kamerton.core.records import Encoded, Example, Split, Stage
from kamerton.data.encoded_cache import kept_rows
from kamerton.models.inspect import fingerprints, inspect_folder
from kamerton.models.load import load_tokenizer
from kamerton.models.locate import locate
from kamerton.models.vocabulary import add_words
from kamerton.runs.recipe import Recipe, checked
from kamerton.runs.run import PARTS, Run

SAMPLED = (12, 18, 24)
"""Most tokens of each row that layouts are proven on: more would prove no more, and a model runs them a dozen times."""


ROWS_READ, ROWS_WRITTEN = 512, 32
"""Rows answered at once where a label is read off, and where an answer is written."""


class Clock:
    """Time the stages of a run, over all its sittings."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.began = time.perf_counter()

    def stage(self, name: str, message: Wording) -> Stage:
        """End a stage: note its seconds in the run's environment."""
        now = time.perf_counter()
        stage = Stage(name, message, now - self.began)
        self.began = now
        state = self.run.state
        seconds = round(state.seconds.get(name, 0.0) + stage.seconds, 3)
        self.run.write_state(replace(state, seconds={**state.seconds, name: seconds}))
        return stage


@dataclass(frozen=True)
class Setup:
    """What every stage after the split works with."""

    recipe: Recipe
    task: Task
    form: Form
    facts: ModelFacts
    tokenizer: PreTrainedTokenizerBase
    split: Split
    max_tokens: int
    cache: Path | None = None
    """The folder for what is computed once and would take long to compute again; None keeps nothing."""

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Encode examples as the tuned model gets them, or read them back if that was done before."""
        encode = partial(self.form.encode, examples, self.tokenizer, self.max_tokens)
        # what a form takes of the training rows is as frozen as the run's split
        recipe = self.recipe.model_dump_json(include={"model", "data", "task"})
        added = sorted(self.tokenizer.get_added_vocab().items())
        circumstances = (version("kamerton"), recipe, self.facts.fingerprint, added, self.max_tokens)
        return kept_rows(self.cache, repr(circumstances), examples, encode)

    @property
    def at_once(self) -> int:
        """How many rows to answer between two reports of progress: few where answers are written."""
        some = self.split.test[:ROWS_READ]
        return ROWS_READ if len(self.form.validation_subset(some)) == len(some) else ROWS_WRITTEN

    @property
    def samples(self) -> list[Encoded]:
        """Parts of a few encoded training rows, of different lengths, on which layouts are proven."""
        some = sorted(self.encode(self.split.train[:32]), key=lambda item: len(item.tokens))
        chosen = some[0], some[len(some) // 8], some[len(some) // 4]
        return [item.excerpt(longest) for item, longest in zip(chosen, SAMPLED, strict=True)]


def open_setup(run: Run) -> Setup:
    """Open what a run froze.

    Raises:
        RunError: the base model or the data changed since.
    """
    recipe, split, name = run.recipe, run.read_split(), run.recipe.model.name or ""
    facts = inspect_folder(locate(name), str(nearby(name)))
    base = run.state.base
    if facts.fingerprint != base.fingerprint:
        differing = differing_parts(base.parts, fingerprints(Path(facts.folder)))
        rule = f"the base model '{facts.name}' is not the one this run began with: it has {differing}"
        remedy = "put the model back as it was, or start a new run with `kamerton tune`"
        raise RunError(Fault(rule, facts.folder, remedy))
    task = make_task(recipe, recipe.data.task or "")
    form = make_form(task, recipe, facts.kind, split.train)
    tokenizer = add_words(load_tokenizer(facts), recipe.model.new_tokens)
    return Setup(recipe, task, form, facts, tokenizer, split, _max_tokens(recipe, facts), run.cache)


def bare(setup: Setup) -> Setup:
    """Give what a setup is for the base model as it is: without new tokens."""
    return replace(setup, tokenizer=load_tokenizer(setup.facts)) if setup.recipe.model.new_tokens else setup


def differing_parts(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Say which parts of two base models differ: `another tokenizer, other weights`."""
    words = {"configuration": "another configuration", "tokenizer": "another tokenizer", "weights": "other weights"}
    return ", ".join(words[part] for part in words if one[part] != other[part])


def metric_names(setup: Setup) -> tuple[str, ...]:
    """Name the task's metrics, the one that decides first."""
    first = setup.recipe.evaluate.metric or ""
    return (first, *(name for name in setup.task.metrics(setup.split.train) if name != first))


def data_fingerprint(run: Run) -> str:
    """Hash the frozen split."""
    return " ".join(sha256_of(run.path / "data" / f"{part}.parquet") for part in (*PARTS, "added"))


def _max_tokens(recipe: Recipe, facts: ModelFacts) -> int:
    """Bound the longest sequence by what the model takes, beside what the method adds to it."""
    room = facts.context - (make_method(recipe).added_tokens if recipe.method.name else 0)
    return min(room, recipe.model.max_tokens or room)


def make_task(recipe: Recipe, word: str) -> Task:
    """Make the task that `word` names with the recipe's knobs for it.

    Raises:
        RecipeError: a knob is unknown or has a wrong value; all faults at once.
    """
    task_class: Any = registry.choose("tasks", word)
    task: Task = checked(task_class, recipe.task.knobs, place=f"task {word}:")
    return task


def make_form(task: Task, recipe: Recipe, kind: ModelKind, examples: Sequence[Example]) -> Form:
    """Make the task's form for a kind of model, treating long rows as the recipe says or as the form does by itself.

    Raises:
        RecipeError: the form cannot treat them so.
    """
    form = task.form(kind, examples)
    wanted = recipe.data.too_long or form.too_long[0]
    if wanted not in form.too_long:
        rule = f"{recipe.data.task} on {kind} models cannot treat rows that are too long by '{wanted}'"
        raise RecipeError(Fault(rule, "data.too_long", f"choose one of: {', '.join(form.too_long)}"))
    return form.with_too_long(wanted)


def make_method(recipe: Recipe) -> Method:
    """Make the recipe's method with its knobs.

    Raises:
        RecipeError: a knob is unknown or has a wrong value; all faults at once.
    """
    word = recipe.method.name or ""
    method_class: Any = registry.choose("methods", word)
    method: Method = checked(method_class, recipe.method.knobs, place=f"method {word}:")
    return method
