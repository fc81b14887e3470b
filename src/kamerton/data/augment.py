"""Training rows beside the user's own: general data against forgetting, and augmented variants of few rows.

A variant should keep the label: words are deleted or swapped, replaced by a masked language model, or the text is
paraphrased. For small classification data only: labels of single tokens do not survive a change of the text.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import Engine, Form, ModelFacts, ModelHead, Task
from kamerton.core.errors import Fault, ModelError, RecipeError
from kamerton.core.figures import Figure
from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded, Example, LedgerEntry, Place, Prediction, Split
from kamerton.data.cells import stand_in
from kamerton.data.gate import pass_gate
from kamerton.data.mixed import unified
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize, sample_rows
from kamerton.engine.engine import Embedder, TorchEngine, make_engine
from kamerton.forms.continuation import trial_of
from kamerton.forms.dialogue import Dialogue, trains_on_requests
from kamerton.forms.sandbox import isolation
from kamerton.models.load import Loaded, load_model, load_tokenizer
from kamerton.runs.recipe import Recipe
from kamerton.runs.settings import SELF
from kamerton.text.cells import filled
from kamerton.text.near_duplicates import near_duplicate_groups

WRITTEN = 96
"""Most tokens of a paraphrase."""
TOKENS_PER_PASS = 8192
GUESSES = 5
"""Most probable tokens from which the replacement of a masked word is sampled."""
SHORTER, LONGER = 0.3, 3.0
"""A text shorter or longer than its original by more than these factors is not a paraphrase."""
REQUESTS = {
    "en": "Say the following in other words, and write nothing else:\n\n",
    "ru": "Скажи следующее другими словами и не пиши больше ничего:\n\n",
}


@dataclass(frozen=True)
class Augmentation:
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
    """Refuse settings that the task or the system cannot follow: balancing, replay, equal samples, running programs.

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
    trial = trial_of(form)
    if trial and trial.samples > 1 and not recipe.evaluate.temperature:
        rule = msg(
            "{samples} samples per row are all equal at temperature 0: pass@k adds nothing", samples=trial.samples
        )
        remedy = msg("sample with `--set evaluate.temperature=0.8`, or write one answer")
        faults.append(Fault(rule, "evaluate.temperature", remedy))
    if faults:
        raise RecipeError(faults)
    if trial:
        isolation(trial.limits.unsafe)


def add_rows(given: Augmentation) -> Added:
    """Add the rows that the recipe asks for.

    Raises:
        RecipeError: the model cannot make the variants.
        DataError: the file to mix in cannot be read, or fits no row of the task.
    """
    mixed = _mixed(given)
    varied = add_variants(replace(given, first_id=given.first_id + len(mixed.examples)))
    return Added(
        (*mixed.examples, *varied.examples), (*mixed.entries, *varied.entries), (*mixed.messages, *varied.messages)
    )


def _mixed(given: Augmentation) -> Added:
    """Sample rows of another file, without near-duplicates of the held-out rows."""
    source, data = given.recipe.mix.source, given.recipe.data
    if source is None or source == SELF:
        return Added()
    table = unified(read_table(Path(source)), data.task, data.columns or {})
    columns = {role: name for role, name in (data.columns or {}).items() if stand_in(name, table.columns)}
    made = make_examples(table, recognize(table, data.task, columns), given.task)
    usable = [example for example in made.examples if filled(example.text) and filled(example.gold)]
    held_out = given.held_out
    groups = near_duplicate_groups([example.text for example in (*held_out, *usable)]).tolist()
    seen = set(groups[: len(held_out)])
    apart = [example for example, group in zip(usable, groups[len(held_out) :], strict=True) if group not in seen]
    encoded = given.form.encode(apart, given.tokenizer, given.max_tokens)
    passed = pass_gate(apart, encoded, given.form, given.tokenizer, "cut").examples
    count = max(1, round(given.recipe.mix.share * len(given.split.train)))
    drawn = sample_rows(passed, count, given.recipe.seed)
    mixed = msg("{rows} {rows:row|rows} mixed in from {source}", rows=len(drawn), source=source)
    if len(drawn) < count:
        mixed = msg("{mixed} (all of them: {count} were wanted)", mixed=mixed, count=count)
    return _added(drawn, given.first_id, msg("mixed in from {source}", source=source), mixed)


def _added(examples: Sequence[Example], first_id: int, reason: Message, message: Message) -> Added:
    numbered = tuple(replace(example, id=first_id + i) for i, example in enumerate(examples))
    return Added(numbered, tuple(LedgerEntry(e.id, e.place, "added", reason) for e in numbered), (message,))


def add_variants(given: Augmentation) -> Added:
    """Return a variant of each training row, if a head on frozen features validates better with them."""
    by, train, role = given.recipe.augment.by, given.split.train, given.task.roles[0].name
    if by == "none":
        return Added()
    texts = _variants(given, [str(example.fields[role]) for example in train])
    held_out = {example.key for example in given.held_out}
    pairs = [
        (old, given.task.example(given.first_id, old.place, {**old.fields, role: text}))
        for old, text in zip(train, texts, strict=True)
    ]
    fresh = [new for old, new in pairs if new.key != old.key and new.key not in held_out]
    if not fresh:
        return Added(messages=(msg("{by} changes no row", by=by),))
    plain, augmented = _scores(given, fresh)
    compared = msg(
        "{by}: a head on frozen features scores {plain} without and {enlarged} with {count} {count:variant|variants}",
        by=by,
        plain=Figure(plain),
        enlarged=Figure(augmented),
        count=len(fresh),
    )
    if augmented <= plain:
        return Added(messages=(msg("{compared}; left out", compared=compared),))
    reason, message = msg("a variant of the row by {by}", by=by), msg("{compared}; trained on", compared=compared)
    return _added(fresh, given.first_id, reason, message)


def _variants(given: Augmentation, texts: Sequence[str]) -> list[str]:
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


def _scores(given: Augmentation, variants: Sequence[Example]) -> tuple[float, float]:
    """Return the validation scores of a head on frozen features, trained without and with the variants."""
    head_answers = registry.load("kamerton.statistics.linear_probe:head_answers")  # its import takes a second
    train, validation = given.split.train, given.split.validation
    everything = (*train, *variants, *validation)
    features = Embedder(given.facts, given.recipe.model.precision, given.recipe.model.device)(everything)
    golds = np.array([example.gold for example in everything])
    metric = registry.choose("metrics", given.recipe.evaluate.metric or given.task.metrics(train)[0])()
    last = np.arange(len(train) + len(variants), len(everything))

    def score(known: int) -> float:
        answers = head_answers(features, golds, np.arange(known), last).tolist()
        predictions = [Prediction(e.id, text) for e, text in zip(validation, answers, strict=True)]
        counted = metric.statistics([example.gold for example in validation], predictions)
        return (1 if metric.higher_is_better else -1) * float(metric.value(counted.sum(axis=0)))

    return score(len(train)), score(len(train) + len(variants))


def _guessing_engine(given: Augmentation) -> TorchEngine:
    remedy = msg("choose deletion or swap")
    fault = Fault(msg("{model} cannot predict masked words", model=given.facts.name), "augment.by", remedy)
    if given.facts.kind != "encoder" or given.tokenizer.mask_token_id is None:
        raise RecipeError(fault)
    try:
        loaded = _loaded(given, "AutoModelForMaskedLM")
    except ModelError:
        raise RecipeError(fault) from None
    if loaded.fresh:
        rule = msg("{model} comes without a head that predicts masked words", model=given.facts.name)
        raise RecipeError(replace(fault, rule=rule))
    return _engine(given, loaded.model)


def _writing_engine(given: Augmentation) -> TorchEngine:
    if given.facts.kind != "decoder":
        rule, remedy = msg("{model} cannot write", model=given.facts.name), msg("choose deletion, swap or masked")
        raise RecipeError(Fault(rule, "augment.by", remedy))
    return _engine(given, _loaded(given, "AutoModelForCausalLM").model)


def _loaded(given: Augmentation, model_class: str) -> Loaded:
    recipe = given.recipe
    return load_model(given.facts.folder, model_class, {}, recipe.seed, device=recipe.model.device)


def _engine(given: Augmentation, model: nn.Module) -> TorchEngine:
    tokenizer = load_tokenizer(given.facts)
    rows = tokenizer([example.text for example in given.split.train[:3]], truncation=True, max_length=64)["input_ids"]
    return make_engine(
        model,
        tokenizer,
        given.facts,
        [Encoded(tuple(ids), (0,), (ids[0],)) for ids in rows],
        max_tokens=given.max_tokens,
        max_new_tokens=min(WRITTEN, given.max_tokens // 2),
        tokens_per_pass=TOKENS_PER_PASS,
    )


# ── variants of a text ────────────────────────────────────────────────────────────────────────


def without_words(text: str, share: float, seed: int) -> str:
    """Delete each word with a probability of `share`, but not all of them (Wei and Zou, EDA, EMNLP 2019).

    >>> without_words("a warm and funny film", 0.4, 0)
    'a warm funny film'
    """
    drawn, words = _random(text, seed), text.split()
    kept = [word for word in words if drawn.random() >= share]
    return " ".join(kept or words[:1])


def with_swaps(text: str, share: float, seed: int) -> str:
    """Swap pairs of words, as many as `share` of the words, at least one (Wei and Zou, EDA, EMNLP 2019).

    >>> with_swaps("a warm and funny film", 0.2, 0)
    'film warm and funny a'
    """
    drawn, words = _random(text, seed), text.split()
    for _ in range(max(1, round(share * len(words))) if len(words) > 1 else 0):
        one, other = drawn.sample(range(len(words)), 2)
        words[one], words[other] = words[other], words[one]
    return " ".join(words)


def with_guesses(texts: Sequence[str], engine: Engine, share: float, seed: int) -> list[str]:
    """Replace a share of the words by a masked language model (Kobayashi, NAACL 2018; Wu et al., ICCS 2019).

    Only words of one token are masked, so that every replacement is a whole word.
    """
    masks = [_masked(text, engine, share, seed) for text in texts]
    logits = engine.read([item for item, _ in masks])
    special = engine.tokenizer.all_special_ids
    return [
        _spliced(text, spans, _drawn_tokens(scores, item, special, _random(text, seed + 1)), engine)
        for text, (item, spans), scores in zip(texts, masks, logits, strict=True)
    ]


def _masked(text: str, engine: Engine, share: float, seed: int) -> tuple[Encoded, list[tuple[int, int]]]:
    found = engine.tokenizer(text, truncation=True, max_length=engine.max_tokens, return_offsets_mapping=True)
    words = found.word_ids()
    whole = [i for i, word in enumerate(words) if word is not None and words.count(word) == 1]
    count = min(len(whole), max(1, round(share * len(whole))))
    places = sorted(_random(text, seed).sample(whole, count)) or [0]
    ids, mask = found["input_ids"], engine.tokenizer.mask_token_id
    tokens = tuple(mask if i in places and whole else token for i, token in enumerate(ids))
    spans = [found["offset_mapping"][i] for i in places] if whole else []
    return Encoded(tokens, tuple(places), tuple(ids[i] for i in places)), spans


def _drawn_tokens(scores: np.ndarray, item: Encoded, special: Sequence[int], drawn: random.Random) -> list[int]:
    """Sample a likely token for each place, never the original one."""
    tokens = []
    for row, old in zip(scores, item.targets, strict=True):
        row = row.copy()
        row[[*special, old]] = -np.inf
        best = np.argsort(-row, kind="stable")[:GUESSES]
        chances = np.exp(row[best] - row[best[0]])
        tokens.append(drawn.choices(best.tolist(), chances.tolist())[0])
    return tokens


def _spliced(text: str, spans: Sequence[tuple[int, int]], tokens: Sequence[int], engine: Engine) -> str:
    """Replace words, the last first, so that the offsets of those before stay valid."""
    for (start, end), token in zip(reversed(spans), reversed(tokens[: len(spans)]), strict=True):
        old = text[start:end]
        space = old[: len(old) - len(old.lstrip())]
        text = text[:start] + space + engine.tokenizer.decode([token]).strip() + text[end:]
    return text


def in_other_words(texts: Sequence[str], engine: Engine) -> list[str]:
    """Paraphrase texts with a decoder, each in its own language; an answer of another length is discarded."""
    examples = [Example(i, Place("", i), text, "") for i, text in enumerate(texts)]
    form = Dialogue(ask=lambda example: REQUESTS[_language(example.text)] + example.text)
    prompts = form.prompts(examples, engine.tokenizer, engine.max_tokens - engine.max_new_tokens)
    pairs = zip(texts, map(str.strip, engine.generate(prompts)), strict=True)
    return [new if SHORTER * len(old) <= len(new) <= LONGER * len(old) else old for old, new in pairs]


def _language(text: str) -> str:
    letters = [letter for letter in text if letter.isalpha()]
    return "ru" if 2 * sum("а" <= letter.lower() <= "ё" for letter in letters) > len(letters) else "en"


def _random(text: str, seed: int) -> random.Random:
    """Return a generator seeded by a text and a seed, so that a row's variant depends on no other row."""
    digest = hashlib.blake2b(f"{seed} {text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return random.Random(int.from_bytes(digest))
