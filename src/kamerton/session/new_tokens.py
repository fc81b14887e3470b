"""Find new tokens for a language that is rare in a model's vocabulary, with their savings and costs.

Candidates are the word beginnings that byte-pair encoding finds in the user's text (Sennrich et al. 2016), each with
the space before it. They are found on one half of the texts and counted on the other.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase

from kamerton.core.contracts import ModelFacts
from kamerton.core.figures import Figure
from kamerton.core.files import shell_word
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example, Finding
from kamerton.models.vocabulary import add_words
from kamerton.runs.recipe import Recipe
from kamerton.text.words import words

SIZES = (100, 300, 1000, 3000)
SAMPLE, LONGEST = 1000, 2000
"""Most texts that are used, and most characters of each."""
COSTLY = 2.2
"""Tokens per word from which new ones are searched (Rust et al. 2021, figure 2: 1.2 to 1.8 are usual)."""
MET = 10
"""Least occurrences of a token in its texts: its embedding is learned from nothing else."""
WORTH = 0.05
"""Least share of the work that must be saved."""
SPACE = "\u2581"


@dataclass(frozen=True)
class Size:
    """The savings and costs of a number of new tokens."""

    tokens: int
    per_word: float
    """Tokens per word in the other half of the texts."""
    saved: float
    """Share of the tokens there that is saved."""
    parameters: int
    """Of their embeddings."""
    work: float
    """Share of the work of a pass that is saved: fewer tokens, but a larger vocabulary."""

    @property
    def message(self) -> Message:
        """What they save and cost, in one line."""
        return msg(
            "{count} new {count:token|tokens}: {per_word} tokens per word, {saved} fewer; {parameters} more "
            "parameters; {work} less work per pass",
            count=self.tokens,
            per_word=Figure(self.per_word, "tenths"),
            saved=Figure(round(self.saved, 2), "percent"),
            parameters=Figure(self.parameters, "parameters"),
            work=Figure(round(self.work, 2), "percent"),
        )


@dataclass(frozen=True)
class NewTokens:
    """New tokens that save work."""

    tokens: tuple[str, ...]
    """Those of the best size, the most frequent first."""
    per_word: float
    """Tokens per word without them."""
    sizes: tuple[Size, ...]
    best: Size


def new_tokens_of(
    recipe: Recipe, examples: Sequence[Example], facts: ModelFacts, tokenizer: PreTrainedTokenizerBase
) -> NewTokens | None:
    """Find new tokens for a decoder, unless the recipe has some."""
    if facts.kind != "decoder" or recipe.model.new_tokens:
        return None
    return find_new_tokens([e.text if e.text == e.gold else f"{e.text}\n{e.gold}" for e in examples], facts, tokenizer)


def find_new_tokens(texts: Sequence[str], facts: ModelFacts, tokenizer: PreTrainedTokenizerBase) -> NewTokens | None:
    """Find the new tokens that save most work on these texts; None if they save too little."""
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
    if not best or best.work < WORTH:
        return None
    return NewTokens(tuple(found[: best.tokens]), before / count, tuple(sizes), best)


def new_tokens_finding(found: NewTokens, data: str, model: str) -> Finding:
    """Return a finding: what the new tokens save, and how to get them."""
    now = msg("{per_word} tokens per word now", per_word=Figure(found.per_word, "tenths"))
    remedy = msg(
        "`kamerton plan {data} --model {model} --new-tokens tokens.txt` writes them, and `--set "
        "model.new_tokens=tokens.txt` trains with them",
        data=shell_word(data),
        model=shell_word(model),
    )
    samples = (", ".join(token.strip() for token in found.tokens[:12]),)
    return Finding("new-tokens", "note", Joined((found.best.message, now)), remedy, samples=samples)


def _tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> int:
    return sum(map(len, tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"])) if texts else 0


def _beginnings(texts: Sequence[str]) -> list[str]:
    """Return beginnings of words, the most frequent merges first, each with the space before it."""
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="never"), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.BpeTrainer(vocab_size=3 * SIZES[-1], min_frequency=MET, show_progress=False)
    pairs.train_from_iterator(texts, trainer)
    ranked = sorted(pairs.get_vocab().items(), key=lambda item: item[1])
    pieces = [piece for piece, _ in ranked if piece.startswith(SPACE) and len(piece) > 2]
    return [f" {piece[1:]}" for piece in pieces if piece[1:].isalpha()]
