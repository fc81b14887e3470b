"""What each language costs in the chosen model's tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.plugins.audits._languages import LANGUAGES
from kamerton.text.language_id import language_of
from kamerton.text.words import words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

SAMPLE = 400
"""Texts of each language that are counted."""
LONGEST = 2000
PRESENT = 0.02
"""Share of the rows from which on a language matters."""
COSTLY, LETTERS = 2.2, 3.5
"""Tokens a word. Vocabularies made for a language take 1.2 to 1.8 (Rust et al. 2021, 'How Good is Your Tokenizer?',
figure 2); from 3.5 on words are split into letters or pairs of them."""
UNKNOWN = 0.02
"""Share of unknown tokens from which on they matter."""


@dataclass(frozen=True)
class Cost:
    """Tokens that a language costs."""

    language: str
    rows: int
    per_word: float
    unknown: float


class TokensPerWord(Check):
    """Find languages that the tokenizer was not made for."""

    def find(self, data: Data) -> Finding | None:
        """Count tokens and words of some texts of each language, where a model is chosen."""
        model, tokenizer = data.context.model, data.context.tokenizer
        if tokenizer is None or model is None:
            return None
        texts: dict[str, list[Example]] = defaultdict(list)
        for example in data.examples:
            if language := language_of(example.text):
                texts[language].append(example)
        present = {name: mine for name, mine in texts.items() if len(mine) >= PRESENT * len(data.examples)}
        costs = [_cost(language, mine, tokenizer) for language, mine in present.items()]
        costly = [cost for cost in costs if cost.per_word > COSTLY or cost.unknown > UNKNOWN]
        if not costly:
            return None
        worst = max(costly, key=lambda cost: (cost.unknown > UNKNOWN, cost.per_word))
        bad = worst.per_word > LETTERS or worst.unknown > UNKNOWN
        each = [
            msg("{language} {tokens}", language=LANGUAGES[cost.language], tokens=Figure(cost.per_word, "tenths"))
            for cost in sorted(costs, key=lambda cost: -cost.rows)
        ]
        finding = _finding(model.name, worst)
        title = msg("{finding}; tokens per word: {each}", finding=finding, each=Joined(each, ", "))
        encoder, other = msg("use a multilingual encoder: `--model e5-small`"), msg("choose a model of the language")
        why = msg("every further token per word costs time, memory and context, and makes learning harder")
        encodes = model.kind == "encoder"
        remedy = Joined([encoder if encodes else other, why])
        changes = ({"model.name": "e5-small"},) if encodes else ()
        rows = tuple(e.id for cost in costly for e in texts[cost.language])
        return Finding("tokens-per-word", "warning" if bad else "note", title, remedy, rows, changes=changes)


def _cost(language: str, examples: Sequence[Example], tokenizer: Tokenizer) -> Cost:
    texts = [example.text[:LONGEST] for example in examples[:: max(1, len(examples) // SAMPLE)]]
    tokens = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    total = sum(map(len, tokens)) or 1
    unknown = sum(row.count(tokenizer.unk_token_id) for row in tokens) if tokenizer.unk_token_id is not None else 0
    return Cost(language, len(examples), total / (sum(len(words(text)) for text in texts) or 1), unknown / total)


def _finding(model: str, cost: Cost) -> Message:
    language = LANGUAGES[cost.language]
    if cost.unknown > UNKNOWN:
        share = Figure(cost.unknown, "share")
        return msg(
            "{model} does not know {share} of the {language} tokens", model=model, share=share, language=language
        )
    if cost.per_word > LETTERS:
        return msg("{model} splits {language} into letters", model=model, language=language)
    return msg("{model} splits {language} words into pieces", model=model, language=language)
