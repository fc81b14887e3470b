"""Text augmentation that should keep the label: word deletion, word swaps, masked-language-model words, paraphrases.

For small classification data only: labels of single tokens do not survive a change of the text. Variants equal to
their original are discarded by the caller.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import numpy as np

from kamerton.core.contracts import Engine
from kamerton.core.records import Encoded, Example, Place
from kamerton.forms.dialogue import Dialogue

GUESSES = 5
"""Most probable tokens from which the replacement of a masked word is sampled."""
SHORTER, LONGER = 0.3, 3.0
"""A text shorter or longer than its original by more than these factors is not a paraphrase."""
REQUESTS = {
    "en": "Say the following in other words, and write nothing else:\n\n",
    "ru": "Скажи следующее другими словами и не пиши больше ничего:\n\n",
}


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
    written = engine.generate(form.prompts(examples, engine.tokenizer, engine.max_tokens - engine.max_new_tokens))
    return [
        new.strip() if SHORTER * len(text) <= len(new.strip()) <= LONGER * len(text) else text
        for text, new in zip(texts, written, strict=True)
    ]


def _language(text: str) -> str:
    letters = [letter for letter in text if letter.isalpha()]
    return "ru" if 2 * sum("а" <= letter.lower() <= "ё" for letter in letters) > len(letters) else "en"


def _random(text: str, seed: int) -> random.Random:
    """Return a generator seeded by a text and a seed, so that a row's variant depends on no other row."""
    digest = hashlib.blake2b(f"{seed} {text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return random.Random(int.from_bytes(digest))
