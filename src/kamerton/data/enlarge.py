"""Training rows beside the user's own: general data against forgetting, and augmented variants of few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import Form, ModelFacts, ModelHead, Task
from kamerton.core.errors import Fault, ModelError, RecipeError
from kamerton.core.figures import Figure
from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded, Example, LedgerEntry, Prediction, Split
from kamerton.data.augment import in_other_words, with_guesses, with_swaps, without_words
from kamerton.data.cells import stand_in
from kamerton.data.gate import pass_gate
from kamerton.data.mixed import unified
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize, sample_rows
from kamerton.engine.embed import Embedder
from kamerton.engine.engine import TorchEngine, make_engine
from kamerton.forms.continuation import samples_of
from kamerton.forms.dialogue import trains_on_requests
from kamerton.models.load import load_model, load_tokenizer
from kamerton.runs.recipe import Recipe
from kamerton.runs.settings import SELF
from kamerton.text.cells import filled
from kamerton.text.near_duplicates import near_duplicate_groups

WRITTEN = 96
"""Most tokens of a paraphrase."""
TOKENS_PER_PASS = 8192


@dataclass(frozen=True)
class Enlarging:
    """What the added rows are made from."""

    recipe: Recipe
    task: Task
    form: Form
    facts: ModelFacts
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int
    split: Split
    first_id: int
    """The id of the first added row, above those of the source."""

    @property
    def held_out(self) -> tuple[Example, ...]:
        """The rows that must not be trained on in any form."""
        return (*self.split.validation, *self.split.test)


@dataclass(frozen=True)
class Added:
    """The added rows, their entries in the ledger, and messages on what was done."""

    examples: tuple[Example, ...] = ()
    entries: tuple[LedgerEntry, ...] = ()
    messages: tuple[Message, ...] = ()


def refuse_unfit(recipe: Recipe, task: Task, form: ModelHead) -> None:
    """Refuse settings that the task cannot follow: balancing, augmentation, replay, several equal samples.

    Raises:
        RecipeError: with all settings that do not fit.
    """
    faults = []
    name = recipe.data.task or ""
    if recipe.data.balance != "none" and task.answers != "class":
        rule, remedy = msg("{task} has no classes to balance", task=name), msg("leave it at none")
        faults.append(Fault(rule, "data.balance", remedy))
    if recipe.augment.by != "none" and task.answers != "class":
        rule = msg("a changed text would no longer fit its answer in {task}", task=name)
        faults.append(Fault(rule, "augment.by", msg("leave it at none; more rows of your own help")))
    if recipe.mix.source == SELF and not trains_on_requests(form):
        rule = msg("an encoder writes no answers that could be replayed")
        faults.append(Fault(rule, "mix.source", msg("name a data file with the same columns")))
    samples = samples_of(form)
    if samples > 1 and not recipe.evaluate.temperature:
        rule = msg("{samples} samples per row are all equal at temperature 0: pass@k adds nothing", samples=samples)
        remedy = msg("sample with `--set evaluate.temperature=0.8`, or write one answer")
        faults.append(Fault(rule, "evaluate.temperature", remedy))
    if faults:
        raise RecipeError(faults)


def enlarge(given: Enlarging) -> Added:
    """Add the rows that the recipe asks for.

    Raises:
        RecipeError: the model cannot make the variants.
        DataError: the file to mix in cannot be read, or fits no row of the task.
    """
    mixed = _mixed(given)
    varied = vary(replace(given, first_id=given.first_id + len(mixed.examples)))
    return Added(
        (*mixed.examples, *varied.examples),
        (*mixed.entries, *varied.entries),
        (*mixed.messages, *varied.messages),
    )


def _added(examples: Sequence[Example], reason: Message, message: Message) -> Added:
    entries = tuple(LedgerEntry(example.id, example.place, "added", reason) for example in examples)
    return Added(tuple(examples), entries, (message,))


def _mixed(given: Enlarging) -> Added:
    """Sample rows of another file, without near-duplicates of the held-out rows."""
    source = given.recipe.mix.source
    if source is None or source == SELF:
        return Added()
    table = unified(read_table(Path(source)), given.recipe.data.task, given.recipe.data.columns or {})
    columns = {role: name for role, name in (given.recipe.data.columns or {}).items() if stand_in(name, table.columns)}
    made = make_examples(table, recognize(table, given.recipe.data.task, columns), given.task)
    usable = [example for example in made.examples if filled(example.text) and filled(example.gold)]
    held_out = given.held_out
    groups = near_duplicate_groups([example.text for example in (*held_out, *usable)]).tolist()
    seen = set(groups[: len(held_out)])
    apart = [example for example, group in zip(usable, groups[len(held_out) :], strict=True) if group not in seen]
    encoded = given.form.encode(apart, given.tokenizer, given.max_tokens)
    passed = pass_gate(apart, encoded, given.form, given.tokenizer, "cut").examples
    count = max(1, round(given.recipe.mix.share * len(given.split.train)))
    drawn = sample_rows(passed, count, given.recipe.seed)
    numbered = [replace(example, id=given.first_id + i) for i, example in enumerate(drawn)]
    mixed = msg("{rows} {rows:row|rows} mixed in from {source}", rows=len(drawn), source=source)
    if len(drawn) < count:
        mixed = msg("{mixed} (all of them: {count} were wanted)", mixed=mixed, count=count)
    return _added(numbered, msg("mixed in from {source}", source=source), mixed)


def vary(given: Enlarging) -> Added:
    """Return a variant of each training row, if a head on frozen features validates better with them."""
    by = given.recipe.augment.by
    if by == "none":
        return Added()
    train, role = given.split.train, given.task.roles[0].name
    texts = _variants(given, [str(example.fields[role]) for example in train])
    held_out = {example.key for example in given.held_out}
    made = [
        given.task.example(given.first_id + i, source.place, {**source.fields, role: text})
        for i, (source, text) in enumerate(zip(train, texts, strict=True))
    ]
    fresh = [new for new, old in zip(made, train, strict=True) if new.key != old.key and new.key not in held_out]
    fresh = [replace(example, id=given.first_id + i) for i, example in enumerate(fresh)]
    if not fresh:
        return Added(messages=(msg("{by} changes no row", by=by),))
    plain, enlarged = _scores(given, fresh)
    compared = msg(
        "{by}: a head on frozen features scores {plain} without and {enlarged} with {count} {count:variant|variants}",
        by=by,
        plain=Figure(plain),
        enlarged=Figure(enlarged),
        count=len(fresh),
    )
    if enlarged <= plain:
        return Added(messages=(msg("{compared}; left out", compared=compared),))
    return _added(fresh, msg("a variant of the row by {by}", by=by), msg("{compared}; trained on", compared=compared))


def _variants(given: Enlarging, texts: Sequence[str]) -> list[str]:
    settings, seed = given.recipe.augment, given.recipe.seed
    match settings.by:
        case "deletion":
            return [without_words(text, settings.share, seed) for text in texts]
        case "swap":
            return [with_swaps(text, settings.share, seed) for text in texts]
        case "masked":
            return with_guesses(texts, _guessing_engine(given), settings.share, seed)
        case _:
            return in_other_words(texts, _writing_engine(given))


def _scores(given: Enlarging, variants: Sequence[Example]) -> tuple[float, float]:
    train, validation = given.split.train, given.split.validation
    everything = (*train, *variants, *validation)
    features = Embedder(given.facts, given.recipe.model.precision)(everything)
    golds = np.array([example.gold for example in everything])
    name = given.recipe.evaluate.metric or given.task.metrics(train)[0]
    metric = registry.choose("metrics", name)()
    sign = 1 if metric.higher_is_better else -1
    last = np.arange(len(train) + len(variants), len(everything))
    scores = []
    for known in (np.arange(len(train)), np.arange(len(train) + len(variants))):
        head_answers = registry.load(
            "kamerton.statistics.linear_probe:head_answers"
        )  # scikit-learn takes a second to import
        answers = head_answers(features, golds, known, last).tolist()
        predictions = [Prediction(e.id, text) for e, text in zip(validation, answers, strict=True)]
        counted = metric.statistics([example.gold for example in validation], predictions)
        scores.append(sign * float(metric.value(counted.sum(axis=0))))
    return scores[0], scores[1]


def _guessing_engine(given: Enlarging) -> TorchEngine:
    remedy = msg("choose deletion or swap")
    fault = Fault(msg("{model} cannot predict masked words", model=given.facts.name), "augment.by", remedy)
    if given.facts.kind != "encoder" or given.tokenizer.mask_token_id is None:
        raise RecipeError(fault)
    try:
        loaded = load_model(given.facts.folder, "AutoModelForMaskedLM", {}, given.recipe.seed)
    except ModelError:
        raise RecipeError(fault) from None
    if loaded.fresh:
        rule = msg("{model} comes without a head that predicts masked words", model=given.facts.name)
        raise RecipeError(replace(fault, rule=rule))
    return _engine(given, loaded.model)


def _writing_engine(given: Enlarging) -> TorchEngine:
    if given.facts.kind != "decoder":
        rule, remedy = msg("{model} cannot write", model=given.facts.name), msg("choose deletion, swap or masked")
        raise RecipeError(Fault(rule, "augment.by", remedy))
    return _engine(given, load_model(given.facts.folder, "AutoModelForCausalLM", {}, given.recipe.seed).model)


def _engine(given: Enlarging, model: nn.Module) -> TorchEngine:
    texts = [example.text for example in given.split.train[:3]]
    tokenizer = load_tokenizer(given.facts)
    rows = tokenizer(texts, truncation=True, max_length=64)["input_ids"]
    samples = [Encoded(tuple(ids), (0,), (ids[0],)) for ids in rows]
    return make_engine(
        model,
        tokenizer,
        given.facts,
        samples,
        max_tokens=given.max_tokens,
        max_new_tokens=min(WRITTEN, given.max_tokens // 2),
        tokens_per_pass=TOKENS_PER_PASS,
    )
