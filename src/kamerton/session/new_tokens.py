"""New tokens for a language that a model's vocabulary was not made for: which ones, what they save, and what they cost.

Candidates are the beginnings of words that byte-pair encoding finds in the user's own text (Sennrich et al. 2016), each
with the space before it. They are found on one half of the texts and counted on the other.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase

from kamerton.core.contracts import ModelFacts
from kamerton.core.figures import parameters
from kamerton.core.records import Example, Finding
from kamerton.models.vocabulary import add_words
from kamerton.runs.recipe import Recipe
from kamerton.text.words import words

SIZES = (100, 300, 1000, 3000)
SAMPLE, LONGEST = 1000, 2000
"""Texts that are looked at, and letters of each."""
COSTLY = 2.2
"""Tokens a word from which on new ones are looked for (Rust et al. 2021, figure 2: 1.2 to 1.8 are usual)."""
MET = 10
"""How often a token must be met in the texts that it was found in: its embedding is learnt from nothing else."""
WORTH = 0.05
"""Share of the work that must be saved."""
SPACE = "\u2581"


@dataclass(frozen=True)
class Size:
    """So many new tokens."""

    tokens: int
    per_word: float
    """Tokens a word in texts that they were not found in."""
    saved: float
    """Share of the tokens there that are no longer needed."""
    parameters: int
    """Of their embeddings."""
    work: float
    """Share of the work of a pass that is no longer needed: fewer tokens, each against a larger vocabulary."""

    def __str__(self) -> str:
        return (
            f"{self.tokens} new tokens: {self.per_word:.1f} tokens a word, {self.saved:.0%} fewer; "
            f"{parameters(self.parameters)} parameters more; {self.work:.0%} less work a pass"
        )


@dataclass(frozen=True)
class NewTokens:
    """New tokens that would pay."""

    tokens: tuple[str, ...]
    """The ones of the best size, the commonest first."""
    per_word: float
    """Tokens a word without them."""
    sizes: tuple[Size, ...]
    best: Size


def new_tokens_of(
    recipe: Recipe, examples: Sequence[Example], facts: ModelFacts, tokenizer: PreTrainedTokenizerBase
) -> NewTokens | None:
    """Find new tokens for a model that writes, unless the recipe has some."""
    if facts.kind != "decoder" or recipe.model.new_tokens:
        return None
    return find_new_tokens([e.text if e.text == e.gold else f"{e.text}\n{e.gold}" for e in examples], facts, tokenizer)


def find_new_tokens(texts: Sequence[str], facts: ModelFacts, tokenizer: PreTrainedTokenizerBase) -> NewTokens | None:
    """Find the new tokens that save most work; None where there are none that would pay.

    Args:
        texts: the user's own.
        facts: of a model that reads or writes them token by token.
        tokenizer: its own.
    """
    some = [text[:LONGEST] for text in texts[:: max(1, len(texts) // SAMPLE)]]
    seen, unseen = some[::2], some[1::2]
    count = sum(len(words(text)) for text in unseen)
    before = _tokens(unseen, tokenizer)
    if not count or before < COSTLY * count:
        return None
    found = [token for token in _beginnings(seen) if _tokens([token], tokenizer) > 1]
    sizes = []
    for size in dict.fromkeys(min(size, len(found)) for size in SIZES if found):
        after = _tokens(unseen, add_words(copy.deepcopy(tokenizer), found[:size]))
        parameters = size * facts.hidden
        work = 1 - after / before * (1 + size * facts.hidden / facts.parameters)
        sizes.append(Size(size, after / count, 1 - after / before, parameters, work))
    best = max(sizes, key=lambda size: size.work, default=None)
    if best is None or best.work < WORTH:
        return None
    return NewTokens(tuple(found[: best.tokens]), before / count, tuple(sizes), best)


def new_tokens_finding(found: NewTokens, data: str, model: str) -> Finding:
    """Say what the new tokens save, and how to have them."""
    return Finding(
        check="new-tokens",
        severity="note",
        title=f"{found.best}; {found.per_word:.1f} tokens a word now",
        remedy=f"`kamerton plan {data} --model {model} --new-tokens tokens.txt` writes them, "
        "and `--set model.new_tokens=tokens.txt` trains with them",
        samples=(", ".join(token.strip() for token in found.tokens[:12]),),
    )


def _tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> int:
    return sum(map(len, tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"])) if texts else 0


def _beginnings(texts: Sequence[str]) -> list[str]:
    """Find beginnings of words, the commonest merges first, each with the space before it."""
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="never"), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.BpeTrainer(vocab_size=3 * SIZES[-1], min_frequency=MET, show_progress=False)
    pairs.train_from_iterator(texts, trainer)
    ranked = sorted(pairs.get_vocab().items(), key=lambda item: item[1])
    pieces = [piece for piece, _ in ranked if piece.startswith(SPACE) and len(piece) > 2]
    return [f" {piece[1:]}" for piece in pieces if piece[1:].isalpha()]
