"""Rows beside the user's own that are trained on only: general data against forgetting, variants of few rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import Form, ModelFacts, ModelHead, Task
from kamerton.core.errors import Fault, ModelError, RecipeError
from kamerton.core.records import Encoded, Example, LedgerEntry, Prediction, Split
from kamerton.data.augment import each, in_other_words, with_guesses, with_swaps, without_words
from kamerton.data.cells import stand_in
from kamerton.data.gate import pass_gate
from kamerton.data.mixed import unified
from kamerton.data.read import read_table
from kamerton.data.recognise import make_examples, recognise, sample_rows
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
    """What the rows to add are made from."""

    recipe: Recipe
    task: Task
    form: Form
    facts: ModelFacts
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int
    split: Split
    first_id: int
    """The id of the first row that is added: those of the source come before."""

    @property
    def held(self) -> tuple[Example, ...]:
        """The rows that must not be trained on in any shape."""
        return (*self.split.validation, *self.split.test)


@dataclass(frozen=True)
class Added:
    """The rows that were added, their entries in the ledger, and what was done in words."""

    examples: tuple[Example, ...] = ()
    entries: tuple[LedgerEntry, ...] = ()
    messages: tuple[str, ...] = ()


def refuse_unfit(recipe: Recipe, task: Task, form: ModelHead) -> None:
    """Refuse to even out, vary or replay what has no classes or no written answers, and equal samples.

    Raises:
        RecipeError: all that does not fit, at once.
    """
    faults = []
    name = recipe.data.task
    if recipe.data.balance != "none" and task.answers != "class":
        faults.append(Fault(f"{name} has no classes to even out", "data.balance", "leave it at none"))
    if recipe.augment.by != "none" and task.answers != "class":
        rule = f"a changed text would not fit its answer any longer in {name}"
        faults.append(Fault(rule, "augment.by", "leave it at none; more rows of your own help"))
    if recipe.mix.source == SELF and not trains_on_requests(form):
        rule = "an encoder writes no answers that could be replayed"
        faults.append(Fault(rule, "mix.source", "name a data file with the same columns"))
    samples = samples_of(form)
    if samples > 1 and not recipe.evaluate.temperature:
        rule = f"{samples} samples a row would all be the same at temperature 0, so that pass@k says nothing new"
        faults.append(Fault(rule, "evaluate.temperature", "draw them, `--set evaluate.temperature=0.8`; or write one"))
    if faults:
        raise RecipeError(faults)


def enlarge(given: Enlarging) -> Added:
    """Add what the recipe asks for.

    Raises:
        RecipeError: the model cannot make the variants.
        DataError: the file to mix in cannot be read, or fits no row of the task.
    """
    mixed = _mixed(given)
    return _join(mixed, vary(replace(given, first_id=given.first_id + len(mixed.examples))))


def _join(one: Added, other: Added) -> Added:
    examples, entries = (*one.examples, *other.examples), (*one.entries, *other.entries)
    return Added(examples, entries, (*one.messages, *other.messages))


def _added(examples: Sequence[Example], reason: Callable[[Example], str], message: str) -> Added:
    entries = tuple(LedgerEntry(e.id, e.place, "added", reason(e)) for e in examples)
    return Added(tuple(examples), entries, (message,))


# ── general data ──────────────────────────────────────────────────────────────────────────────


def _mixed(given: Enlarging) -> Added:
    """Draw rows of another file; none that the held rows say nearly the same as."""
    source = given.recipe.mix.source
    if source is None or source == SELF:
        return Added()
    table = unified(read_table(Path(source)), given.recipe.data.task, given.recipe.data.columns or {})
    columns = {role: name for role, name in (given.recipe.data.columns or {}).items() if stand_in(name, table.columns)}
    made = make_examples(table, recognise(table, given.recipe.data.task, columns), given.task)
    usable = [example for example in made.examples if filled(example.text) and filled(example.gold)]
    groups = near_duplicate_groups([example.text for example in (*given.held, *usable)])
    seen = set(groups[: len(given.held)].tolist())
    apart = [e for e, group in zip(usable, groups[len(given.held) :].tolist(), strict=True) if group not in seen]
    encoded = given.form.encode(apart, given.tokenizer, given.max_tokens)
    passed = pass_gate(apart, encoded, given.form, given.tokenizer, "cut").examples
    count = max(1, round(given.recipe.mix.share * len(given.split.train)))
    drawn = sample_rows(passed, count, given.recipe.seed)
    numbered = [replace(example, id=given.first_id + i) for i, example in enumerate(drawn)]
    few = f" (all of them: {count} were wanted)" if len(drawn) < count else ""
    return _added(numbered, lambda _: f"mixed in from {source}", f"{len(drawn)} rows mixed in from {source}{few}")


# ── variants ──────────────────────────────────────────────────────────────────────────────────


def vary(given: Enlarging) -> Added:
    """Make a variant of each training row, and keep them if a head on frozen features validates better with them."""
    by = given.recipe.augment.by
    if by == "none":
        return Added()
    train, role = given.split.train, given.task.roles[0].name
    texts = _variants(given, [str(example.fields[role]) for example in train])
    held = {example.key for example in given.held}
    made = [
        given.task.example(given.first_id + i, source.place, {**source.fields, role: text})
        for i, (source, text) in enumerate(zip(train, texts, strict=True))
    ]
    fresh = [new for new, old in zip(made, train, strict=True) if new.key != old.key and new.key not in held]
    fresh = [replace(example, id=given.first_id + i) for i, example in enumerate(fresh)]
    if not fresh:
        return Added(messages=(f"{by} changes no row",))
    plain, enlarged = _scores(given, fresh)
    compared = (
        f"a head on frozen features validates at {plain:.3f} without, at {enlarged:.3f} with {len(fresh)} variants"
    )
    if enlarged <= plain:
        return Added(messages=(f"{by}: {compared}; left out",))
    return _added(fresh, lambda _: f"a variant of the row by {by}", f"{by}: {compared}; trained on")


def _variants(given: Enlarging, texts: Sequence[str]) -> list[str]:
    settings, seed = given.recipe.augment, given.recipe.seed
    match settings.by:
        case "deletion":
            return each(without_words, texts, settings.share, seed)
        case "swap":
            return each(with_swaps, texts, settings.share, seed)
        case "masked":
            return with_guesses(texts, _guessing_engine(given), settings.share, seed)
        case _:
            return in_other_words(texts, _writing_engine(given))


def _scores(given: Enlarging, variants: Sequence[Example]) -> tuple[float, float]:
    """Score the validation rows by a head on the training rows, without and with the variants."""
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
    """Load the base model with its masked-language-model head."""
    fault = Fault(f"{given.facts.name} cannot guess masked words", "augment.by", "choose deletion or swap")
    if given.facts.kind != "encoder" or given.tokenizer.mask_token_id is None:
        raise RecipeError(fault)
    try:
        loaded = load_model(given.facts.folder, "AutoModelForMaskedLM", {}, given.recipe.seed)
    except ModelError:
        raise RecipeError(fault) from None
    if loaded.fresh:
        raise RecipeError(replace(fault, rule=f"{given.facts.name} comes without a head that guesses masked words"))
    return _engine(given, loaded.model)


def _writing_engine(given: Enlarging) -> TorchEngine:
    """Load the base model to write."""
    if given.facts.kind != "decoder":
        raise RecipeError(Fault(f"{given.facts.name} cannot write", "augment.by", "choose deletion, swap or masked"))
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
