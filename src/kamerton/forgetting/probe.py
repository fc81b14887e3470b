"""The forgetting probe: off-topic texts, questions and requests, in English and in Russian.

All of it was written for Kamerton, so that no model has been trained on it. It is stored beside this file as JSONL;
rows of one kind or topic are adjacent, and a quick probe takes the first few of each, always the same ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from kamerton.core.messages import msg

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

FOLDER = Path(__file__).parent / "probe"
LANGUAGES = {"en": "English", "ru": "Russian"}
LANGUAGE_NAMES = {"en": msg("English"), "ru": msg("Russian")}
Size = Literal["quick", "whole"]
QUICK_DOCUMENTS, QUICK_QUESTIONS, QUICK_REQUESTS = 2, 5, 1
"""Rows of each kind, topic and check in a quick probe: 24, 40 and 12 per language."""
FLUENT = 3.0
"""A language is known if a word of it takes at most this many times the tokens of a word of the best one.

A tokenizer that was trained on a language takes one to two tokens per word; others split words into characters.
SmolLM2 takes five times as many tokens for Russian as for English, multilingual E5 one and a half times.
"""
UNREAD = 0.3
"""Share of unknown tokens from which on a language cannot be read: T5 has no Russian letters."""
Row = TypeVar("Row")


@dataclass(frozen=True)
class Document:
    """A short text of some kind: a letter, a recipe, a law."""

    language: str
    kind: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question of general knowledge with four answers, one of them right."""

    language: str
    topic: str
    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Request:
    """A request for an answer of a form that can be checked."""

    language: str
    check: str
    """A name in `speech.CHECKS`."""
    value: str
    """What the check compares with; empty if it needs nothing."""
    prompt: str


@dataclass(frozen=True)
class Probe:
    """Documents, questions and requests."""

    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
    requests: tuple[Request, ...]


def load_probe(languages: Sequence[str], size: Size) -> Probe:
    """Read the probe for some languages: all of it, or a fixed part with all kinds, topics and checks."""
    quick = size == "quick"
    return Probe(
        _load(Document, "documents", languages, "kind", QUICK_DOCUMENTS if quick else None),
        _load(Question, "questions", languages, "topic", QUICK_QUESTIONS if quick else None),
        _load(Request, "formats", languages, "check", QUICK_REQUESTS if quick else None),
    )


def tokens_per_word(tokenizer: Tokenizer, language: str) -> float:
    """Return the mean number of tokens per word of the probe's texts."""
    texts, ids = _tokenized(tokenizer, language)
    return len(ids) / sum(len(text.split()) for text in texts)


def _tokenized(tokenizer: Tokenizer, language: str) -> tuple[list[str], list[int]]:
    """Return the texts of the quick probe, and all their tokens."""
    texts = [document.text for document in load_probe([language], "quick").documents]
    rows = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return texts, [id for row in rows for id in row]


def known_languages(tokenizer: Tokenizer) -> list[str]:
    """List the probe's languages that a model was trained on, judging by its tokenizer."""
    spent = {language: tokens_per_word(tokenizer, language) for language in readable_languages(tokenizer)}
    return [language for language in spent if spent[language] <= FLUENT * min(spent.values())]


def readable_languages(tokenizer: Tokenizer) -> list[str]:
    """List the probe's languages whose letters a tokenizer has; all of them if it has none."""
    tokens = {language: _tokenized(tokenizer, language)[1] for language in LANGUAGES}
    readable = [name for name, ids in tokens.items() if ids.count(tokenizer.unk_token_id) / len(ids) < UNREAD]
    return readable or [*LANGUAGES]


def rows_in(rows: Sequence[Document] | Sequence[Question] | Sequence[Request], language: str) -> np.ndarray:
    """Return whether each row of the probe is in a language: `[rows]`, bool."""
    return np.array([row.language == language for row in rows], dtype=bool)


def _load(
    make: Callable[..., Row], name: str, languages: Iterable[str], group: str, count: int | None
) -> tuple[Row, ...]:
    """Read the first `count` rows of each language and group, in order; all of them if None."""
    taken, rows = Counter[tuple[str, str]](), list[Row]()
    for language in languages:
        for line in (FOLDER / f"{name}.{language}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            taken[language, row[group]] += 1
            if count is None or taken[language, row[group]] <= count:
                values = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
                rows.append(make(language, **values))
    return tuple(rows)
