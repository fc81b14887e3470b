"""A tag for each word of a text, read by a classification head at each word's first token."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Taught
from kamerton.forms.labels import named_classes, nearest_group
from kamerton.forms.reading import OVERLAP, embed_texts
from kamerton.forms.supervision import IGNORED, one_row, sequences_of
from kamerton.forms.usual import Windowed
from kamerton.text.tags import BEGIN, INSIDE, OUTSIDE, follows, kind_of, read_list, write_tags
from kamerton.text.words import bounds

TRAILING = tuple(",;:!?)")
ATTACHED = 0.01
"""From this share of training words that end in punctuation on, words are what stands between spaces."""
FORBIDDEN = -1e9


@dataclass(frozen=True)
class Tagging(Windowed):
    """A classification head on an encoder, read at the first token of every word; words cut away are outside spans."""

    tags: tuple[str, ...]
    by_spaces: bool
    """Whether words are what stands between spaces, where a text comes without its words."""
    model_class: ClassVar = "AutoModelForTokenClassification"
    untuned_class: ClassVar = "AutoModel"

    @property
    def config(self) -> dict[str, object]:
        """Number and names of the tags."""
        return named_classes(self.tags)

    def with_outputs(self, labels: Sequence[str]) -> Self:
        """Return the form of a head with these tags."""
        return replace(self, tags=tuple(labels))

    def words_of(self, example: Example) -> list[str]:
        """Return the words that tags belong to."""
        words = example.fields["tokens"]
        if isinstance(words, list):
            return [str(word) for word in words]
        text = str(words)
        return text.split() if self.by_spaces else [text[one.start : one.end] for one in bounds(text)]

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize word by word; each word's first token is an output position."""
        index = {tag: i for i, tag in enumerate(self.tags)}
        items = []
        for example in examples:
            golds = read_list(example.gold) if example.gold else []
            targets = dict(enumerate(index.get(tag, IGNORED) for tag in golds))
            windows = self._windows(example, tokenizer, max_tokens)
            tagged = (tuple(targets.get(word, IGNORED) for word in one.targets) for one in windows)
            items.append(one_row(replace(one, targets=tags) for one, tags in zip(windows, tagged, strict=True)))
        return items

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Mark the first token of every word, with its tag."""
        known = [
            (read, target) for read, target in zip(item.output_positions, item.targets, strict=True) if target >= 0
        ]
        return Taught(tuple(read for read, _ in known), tuple(self.tags[target] for _, target in known))

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Return the most probable valid sequence of tags: `I-x` only after `B-x` or `I-x`."""
        encoded = self.encode(examples, engine.tokenizer, engine.max_tokens)
        logits = iter(engine.read(sequences_of(encoded)))
        predictions = []
        for example, item in zip(examples, encoded, strict=True):
            windows = self._windows(example, engine.tokenizer, engine.max_tokens)
            read = np.concatenate([next(logits) for _ in item.sequences])
            chances = read - np.logaddexp.reduce(read, axis=1, keepdims=True)
            words = [word for window in windows for word in window.targets]
            targets = np.array([target for sequence in item.sequences for target in sequence.targets])
            known = np.flatnonzero(targets >= 0)
            loss, tokens = (-float(chances[known, targets[known]].sum()), len(known)) if len(known) else (None, None)
            text = write_tags(self._best_tags(example, chances, words))
            predictions.append(Prediction(example.id, text, None, loss, tokens, cut=item.cut))
        return predictions

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Tag each word with the kind whose name, or whose shown words' mean, has the nearest embedding."""
        shown: dict[str, list[str]] = {}
        for shot in shots:
            for word, tag in zip(self.words_of(shot), read_list(shot.gold), strict=True):
                shown.setdefault(kind_of(tag), []).append(word)
        kinds = sorted({kind_of(tag) for tag in self.tags})
        texts = [self.words_of(example) for example in examples]
        distinct = sorted({word for words in texts for word in words})
        known = [shown.get(kind, [_readable(kind or "other")]) for kind in kinds]
        vectors, *groups = (embed_texts(engine, [(word,) for word in words]) for words in (distinct, *known))
        nearest = dict(zip(distinct, nearest_group(vectors, groups), strict=True))
        return [
            Prediction(example.id, write_tags(self._in_scheme([kinds[nearest[word]] for word in words])))
            for example, words in zip(examples, texts, strict=True)
        ]

    def _best_tags(self, example: Example, chances: np.ndarray, words: Sequence[int]) -> list[str]:
        order = np.argsort(words)
        tags = [OUTSIDE] * len(self.words_of(example))
        for at, tag in zip(order, best_path(chances[order], self._follow), strict=True):
            tags[words[at]] = self.tags[tag]
        return tags

    @cached_property
    def _follow(self) -> np.ndarray:
        """Cost of a tag after another, `[before, after]`; the first row is that of the beginning."""
        before = [OUTSIDE, *self.tags]
        broken = [[tag.startswith(INSIDE) and not follows(one, tag) for tag in self.tags] for one in before]
        return np.where(np.array(broken), FORBIDDEN, 0.0)

    def _in_scheme(self, kinds: Sequence[str]) -> list[str]:
        """Return kinds of words as tags: with `B-` and `I-`, if the training tags have them."""
        if not any(tag.startswith((BEGIN, INSIDE)) for tag in self.tags):
            return [kind or OUTSIDE for kind in kinds]
        return [
            (INSIDE if kind == before else BEGIN) + kind if kind else OUTSIDE
            for before, kind in zip([None, *kinds], kinds, strict=False)
        ]

    def _windows(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize a text; the output positions are its words' first tokens, the targets are the words' numbers."""
        words = self.words_of(example)
        batch = tokenizer(
            [words],
            is_split_into_words=True,
            return_offsets_mapping=True,
            truncation=True,
            max_length=max_tokens,
            stride=max_tokens // OVERLAP if self.in_windows else 0,
            return_overflowing_tokens=self.in_windows,
            verbose=False,
        )
        windows = [list(_first_tokens(batch, at)) for at in range(len(batch["input_ids"]))]
        ids = [tuple(one) for one in batch["input_ids"]]
        if not self.in_windows:
            reads, found = zip(*windows[0], strict=True) if windows[0] else ((), ())
            [whole] = tokenizer([words], is_split_into_words=True, verbose=False)["input_ids"]
            return [Encoded(ids[0], reads, found, len(whole) - len(ids[0]))]
        owned = _owned(windows, [len(one) for one in ids])
        parts = [
            Encoded(tokens, tuple(read for read, _ in window), tuple(word for _, word in window))
            for tokens, window in zip(ids, owned, strict=True)
            if window
        ]
        return parts or [Encoded(ids[0], (), ())]


def tagging(examples: ExampleSeq) -> Tagging:
    """Return the form for training examples: their tags, and how their words were split."""
    golds = Counter(tag for example in examples for tag in read_list(example.gold))
    begun = {INSIDE + kind_of(tag) for tag in golds if tag.startswith(BEGIN)}
    words = [str(word) for example in examples for word in list(example.fields["tokens"])]  # type: ignore[call-overload]
    attached = sum(len(word) > 1 and word.endswith(TRAILING) for word in words)
    return Tagging(tuple(sorted({*golds, *begun, OUTSIDE})), by_spaces=attached >= ATTACHED * len(words))


def best_path(chances: np.ndarray, follow: np.ndarray) -> list[int]:
    """Find the most probable sequence of classes (Viterbi 1967).

    Args:
        chances: log-probabilities, `[words, classes]`.
        follow: what it costs that a class follows another, `[1 + classes, classes]`; first what it costs to begin.
    """
    if not len(chances):
        return []
    score, back = chances[0] + follow[0], []
    for row in chances[1:]:
        paths = score[:, None] + follow[1:]
        back.append(paths.argmax(axis=0))
        score = paths.max(axis=0) + row
    path = [int(score.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return path[::-1]


def _first_tokens(batch: Any, at: int) -> Iterator[tuple[int, int]]:
    """Yield the position of each word's first token in a window, and the word; a word that began before has none."""
    before = None
    for place, word in enumerate(batch.word_ids(at)):
        if word is not None and word != before and batch["offset_mapping"][at][place][0] == 0:
            yield place, word
        before = word


def _owned(windows: Sequence[Sequence[tuple[int, int]]], lengths: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Assign each word to the window in which it is furthest from an edge where the text goes on."""
    best: dict[int, tuple[int, int]] = {}
    for at, (window, length) in enumerate(zip(windows, lengths, strict=True)):
        for read, word in window:
            margin = min(read if at else length, length - read if at + 1 < len(windows) else length)
            best[word] = max(best.get(word, (-1, 0)), (margin, -at))
    return [[(read, word) for read, word in window if best[word][1] == -at] for at, window in enumerate(windows)]


def _readable(kind: str) -> str:
    """Return a kind's name in words.

    >>> _readable("StreetNamePostType"), _readable("ORG")
    ('street name post type', 'org')
    """
    spaced = "".join(f" {letter}" if letter.isupper() and not kind.isupper() else letter for letter in kind)
    return " ".join(spaced.replace("_", " ").lower().split())
