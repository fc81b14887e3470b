"""The setup that every step of a run uses: recipe, task, form, model facts, tokenizer, split."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import Form, Method, ModelFacts, ModelKind, Task
from kamerton.core.errors import Fault, RecipeError, RunError
from kamerton.core.files import nearby, sha256_of
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Encoded, Example, RunEvent, Split, Stage
from kamerton.data.encoded_cache import kept_rows
from kamerton.models.elsewhere import has_tokenizer
from kamerton.models.inspect import fingerprints, inspect_folder
from kamerton.models.load import load_tokenizer
from kamerton.models.locate import locate
from kamerton.models.served import byte_tokenizer, served_facts
from kamerton.models.vocabulary import add_words
from kamerton.runs.recipe import Recipe, checked
from kamerton.runs.run import PARTS, Run
from kamerton.runs.underway import UnderwayFile
from kamerton.session.elsewhere import TunedElsewhere

SAMPLED = (12, 18, 24)
"""Most tokens of each row for testing layouts: the model runs them a dozen times."""
ROWS_READ, ROWS_WRITTEN = 512, 32
"""Rows per call where answers are labels, and where they are generated."""


class Clock:
    """Times the stages of a run, over all its sessions, and keeps on the disk which one is under way."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.began = time.perf_counter()
        self._underway = UnderwayFile(run.path, run.files.mode)

    def begin(self, part: Wording) -> None:
        """Begin a part of the story."""
        self._underway.begin(part)

    def watched(self, events: Generator[RunEvent]) -> Iterator[RunEvent]:
        """Yield the events of a story, and note how far it is, until the run has its result."""
        with closing(events):
            for event in events:
                self._underway.note(event)
                yield event
        self._underway.remove()

    def stage(self, name: str, message: Wording) -> Stage:
        """End a stage and add its seconds to the run's state."""
        before, self.began = self.began, time.perf_counter()
        stage, state = Stage(name, message, self.began - before), self.run.state
        seconds = round(state.seconds.get(name, 0.0) + stage.seconds, 3)
        self.run.write_state(replace(state, seconds={**state.seconds, name: seconds}))
        return stage


@dataclass(frozen=True)
class Setup:
    """What every stage after the split uses."""

    recipe: Recipe
    task: Task
    form: Form
    facts: ModelFacts
    tokenizer: PreTrainedTokenizerBase
    split: Split
    max_tokens: int
    cache: Path | None = None
    """The folder of cached results; None caches nothing."""
    origin: Path | None = None
    """The folder of the run whose split it has; None if there is none yet."""

    @property
    def trained_on(self) -> Sequence[Example]:
        """The rows that the tuned model is known to be trained on: of one tuned elsewhere, those that were named."""
        model, split = self.recipe.model, self.recipe.split
        if not model.is_finished:
            return (*self.split.train, *self.split.added)
        return (*self.split.train, *self.split.validation) if split.train_path else ()

    @property
    def unseen(self) -> Sequence[Example]:
        """The validation rows that the tuned model was not trained on: what is fitted for it is fitted on these."""
        return () if self.recipe.split.train_path else self.split.validation

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Encode examples for the tuned model, or load them from the cache."""
        encode = partial(self.form.encode, examples, self.tokenizer, self.max_tokens)
        # what a form takes from the training rows is fixed by the run's split
        recipe = self.recipe.model_dump_json(include={"model", "data", "task"}, exclude={"model": {"device"}})
        added = sorted(self.tokenizer.get_added_vocab().items())
        template = (self.tokenizer.name_or_path, self.tokenizer.chat_template)
        circumstances = (version("kamerton"), recipe, self.facts.fingerprint, added, template, self.max_tokens)
        return kept_rows(self.cache, repr(circumstances), examples, encode)

    @property
    def device(self) -> str:
        """Where models compute: the setting."""
        return self.recipe.model.device

    @property
    def at_once(self) -> int:
        """Rows between two reports of progress: few where answers are generated."""
        some = self.split.test[:ROWS_READ]
        return ROWS_READ if len(self.form.validation_subset(some)) == len(some) else ROWS_WRITTEN

    @property
    def samples(self) -> list[Encoded]:
        """Parts of a few encoded training rows, of different lengths, for testing layouts."""
        some = sorted(self.encode(self.split.typical[:32]), key=lambda item: len(item.tokens))
        chosen = some[0], some[len(some) // 8], some[len(some) // 4]
        return [item.excerpt(longest) for item, longest in zip(chosen, SAMPLED, strict=True)]


def open_setup(run: Run, recipe: Recipe | None = None) -> Setup:
    """Load the setup of a run; `recipe` takes the place of its own.

    Raises:
        RunError: the base model has changed since.
    """
    recipe, split = recipe or run.recipe, run.read_split()
    facts = base_facts(recipe)
    base = run.state.base
    if facts.fingerprint != base.fingerprint:
        parts = differing_parts(base.parts, parts_of(facts))
        rule = msg("the base model '{model}' has changed since this run began: {parts}", model=facts.name, parts=parts)
        remedy = msg("restore the model, or start a new run with `kamerton tune`")
        raise RunError(Fault(rule, facts.folder, remedy))
    task = make_task(recipe, recipe.data.task or "")
    form = make_form(task, recipe, facts.kind, split.typical)
    own = run.model if recipe.model.tuned and has_tokenizer(run.model) else None
    tokenizer = add_words(base_tokenizer(facts, own), recipe.model.new_tokens)
    return Setup(recipe, task, form, facts, tokenizer, split, _max_tokens(recipe, facts), run.cache, run.path)


def base_facts(recipe: Recipe) -> ModelFacts:
    """Inspect the base model of a recipe; of one that only a server has, no more than its name is known.

    Raises:
        ModelError: it is not here, or unsafe.
    """
    name = recipe.model.name or ""
    if not name and recipe.model.tuned_at:
        return served_facts(recipe.prompt.model, recipe.prompt.against or "")
    return inspect_folder(locate(name, recipe.model.revision), str(nearby(name)))


def parts_of(facts: ModelFacts) -> Mapping[str, str]:
    """Hash a model's configuration, tokenizer and weights separately; a GGUF file holds all three."""
    return fingerprints(Path(facts.folder)) if facts.folder else dict.fromkeys(PART_NAMES, facts.fingerprint)


def base_tokenizer(facts: ModelFacts, folder: Path | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer as `load_tokenizer` does; that of a model on a server counts bytes."""
    return load_tokenizer(facts, folder) if facts.folder else byte_tokenizer()


def bare(setup: Setup) -> Setup:
    """Return the setup of the untuned base model: without new tokens, with its own tokenizer and template."""
    other = setup.recipe.model.new_tokens or setup.recipe.model.tuned
    return replace(setup, tokenizer=load_tokenizer(setup.facts)) if other else setup


PART_NAMES = {
    "configuration": msg("another configuration"),
    "tokenizer": msg("another tokenizer"),
    "weights": msg("other weights"),
}


def differing_parts(one: Mapping[str, str], other: Mapping[str, str]) -> Joined:
    """Return which parts of two base models differ: `another tokenizer, other weights`."""
    return Joined([name for part, name in PART_NAMES.items() if one[part] != other[part]], ", ")


def metric_names(setup: Setup) -> tuple[str, ...]:
    """Return the task's metrics, the deciding one first."""
    first = setup.recipe.evaluate.metric or ""
    return (first, *(name for name in setup.task.metrics(setup.split.typical) if name != first))


def data_fingerprint(run: Run) -> str:
    """Hash the frozen split."""
    return " ".join(sha256_of(run.files.place(f"data/{part}.parquet")) for part in (*PARTS, "added"))


def _max_tokens(recipe: Recipe, facts: ModelFacts) -> int:
    """Return the longest sequence that leaves room for the tokens that the method adds."""
    known = recipe.method.name or recipe.model.is_finished
    room = facts.context - (make_method(recipe).added_tokens if known else 0)
    return min(room, recipe.model.max_tokens or room)


def make_task(recipe: Recipe, word: str) -> Task:
    """Build the task that `word` names. Raises `RecipeError` with every setting that is unknown or wrong."""
    task: Task = checked(registry.choose("tasks", word), recipe.task.knobs, place=f"task {word}:")
    return task


def make_form(task: Task, recipe: Recipe, kind: ModelKind, examples: Sequence[Example]) -> Form:
    """Build the task's form for a kind of model, with the recipe's or the form's default way to handle long rows.

    Raises:
        RecipeError: the form does not support this way.
    """
    form = task.form(kind, examples)
    if recipe.model.labels:
        form = form.with_outputs(recipe.model.labels)
    wanted = recipe.data.too_long or form.too_long[0]
    if wanted not in form.too_long:
        names = {"task": recipe.data.task or "", "kind": kind, "way": wanted}
        rule = msg("{task} on {kind} models cannot handle rows that are too long by '{way}'", **names)
        remedy = msg("choose one of: {ways}", ways=", ".join(form.too_long))
        raise RecipeError(Fault(rule, "data.too_long", remedy))
    return form.with_too_long(wanted)


def make_method(recipe: Recipe) -> Method:
    """Build the recipe's method. Raises `RecipeError` with every setting that is unknown or wrong."""
    if recipe.model.is_finished:
        return checked(TunedElsewhere, recipe.method.knobs, place="method:")
    word = recipe.method.name or ""
    method: Method = checked(registry.choose("methods", word), recipe.method.knobs, place=f"method {word}:")
    return method
