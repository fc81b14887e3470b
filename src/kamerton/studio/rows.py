"""The test rows of a finished run: scored one by one, filtered, and the scores of what a filter leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal
from urllib.parse import urlencode

import numpy as np

from kamerton.core import registry
from kamerton.core.contracts import Metric
from kamerton.core.messages import Wording, msg, term
from kamerton.core.outcomes import Answers, Comparison, Measure
from kamerton.core.records import Example
from kamerton.evaluate.verdict import signed
from kamerton.plugins.metrics.accuracy import Accuracy
from kamerton.report.outcome import Outcome
from kamerton.statistics.comparison import pair
from kamerton.statistics.intervals import Scored, measures
from kamerton.statistics.resampling import NOTHING
from kamerton.text.language_id import language_of

Show = Literal["all", "better", "worse", "wrong"]
SHOWS: tuple[Show, ...] = ("all", "better", "worse", "wrong")
"""All rows; those where the tuned model's answer is nearer to the right one, or further from it; both wrong."""
PAGE = 50
"""Rows of one page."""
LONGEST_SEARCH = 200
MOST_LABELS = 200
"""Classes that a form can list."""
BANDS = 4
"""Ranges of lengths, each of about equally many rows."""
MOST_SLICES = 256
"""Scores of filters that are kept."""
RESAMPLES = 1000
"""Enough for the interval of a slice, which is looked at and decides nothing."""


@dataclass(frozen=True)
class Asked:
    """What the page's form asks for; choices are positions in what is offered, so that no link holds a label."""

    show: Show = "all"
    against: int | None = None
    label: int | None = None
    length: int | None = None
    language: int | None = None
    search: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Read the query of a page; what is no choice asks for everything."""
        at = {name: _position(query.get(name, "")) for name in ("against", "label", "length", "language", "page")}
        show: Show = next((word for word in SHOWS if word == query.get("show")), "all")
        search = " ".join(query.get("search", "").split())[:LONGEST_SEARCH]
        return cls(show, at["against"], at["label"], at["length"], at["language"], search, at["page"] or 1)

    @property
    def filtered(self) -> bool:
        """Whether some rows are left out by what they are."""
        return any(one is not None for one in (self.label, self.length, self.language)) or bool(self.search)

    def link(self, show: Show | None = None, page: int = 1) -> str:
        """Return the query that asks for the same, but for another part of the rows and another page."""
        asked = vars(replace(self, show=show or self.show, page=page))
        usual = vars(Asked())
        return "?" + urlencode({name: value for name, value in asked.items() if value != usual[name]})


@dataclass(frozen=True)
class RowChoice:
    """One choice of a filter, with the number of rows that have it."""

    name: Wording
    rows: int


@dataclass(frozen=True)
class RowAnswers:
    """One test row with the answers of both."""

    example: Example
    tuned: str
    other: str
    right: tuple[bool, bool]
    """Whether the answers of both are the right one."""
    scores: tuple[float, float]
    """Of both, by the metric of rows."""
    change: float
    """How much better the tuned model's answer is; not a number where one has no score."""


@dataclass(frozen=True)
class Slice:
    """The rows that a filter leaves: how many, and the scores of both on them."""

    counts: Mapping[Show, int]
    tuned: Measure | None
    other: Measure | None
    difference: Comparison | None
    """None where a score is not known."""


@dataclass(frozen=True)
class RowsView:
    """A page of rows, and what stands around it."""

    asked: Asked
    against: Answers
    of: Slice
    rows: tuple[RowAnswers, ...]
    pages: int


class RowTable:
    """The test rows of one run with all answers.

    Args:
        examples: the test rows.
        answers: of every contender, in the rows' order.
        outcome: of the run.
        confidence: of intervals.
        seed: of resampling.
    """

    def __init__(
        self, examples: Sequence[Example], answers: Sequence[Answers], outcome: Outcome, confidence: float, seed: int
    ) -> None:
        self.examples, self.confidence, self.seed = examples, confidence, seed
        self.tuned = next(one for one in answers if one.kind == "tuned")
        self.others = [one for one in answers if one is not self.tuned]
        names = [one.name for one in self.others]
        self.usual = names.index(outcome.verdict.against) if outcome.verdict.against in names else 0
        self.metric_name, self.metric = row_metric(outcome)
        self.golds = [example.gold for example in examples]
        self.groups = [example.group for example in examples]
        self._scores: dict[str, np.ndarray] = {}
        self._slices: dict[tuple[Asked, int], Slice] = {}

    # ── what can be asked for ─────────────────────────────────────────────────────────────────

    @property
    def binary(self) -> bool:
        """Whether answers are simply right or wrong."""
        return isinstance(self.metric, Accuracy)

    @cached_property
    def labels(self) -> Sequence[RowChoice]:
        """The classes in alphabetical order; none where answers are not simply right or wrong."""
        counts = Counter(self.golds)
        short = self.binary and len(counts) <= min(MOST_LABELS, max(1, len(self.golds) // 2))
        return [RowChoice(label, counts[label]) for label in sorted(counts)] if short else ()

    @cached_property
    def languages(self) -> Sequence[RowChoice]:
        """The languages of the texts, the commonest first."""
        return [RowChoice(term(name) if name else msg("unclear"), rows) for name, rows in self._languages]

    @cached_property
    def lengths(self) -> Sequence[RowChoice]:
        """Ranges of the texts' lengths in characters."""
        ends = [(low, following - 1) for low, following in pairwise(self.edges)]
        inside = [int(((self.sizes >= low) & (self.sizes <= high)).sum()) for low, high in ends]
        pairs = zip(ends, inside, strict=True)
        return [RowChoice(msg("{low} to {high}", low=low, high=high), rows) for (low, high), rows in pairs]

    @cached_property
    def sizes(self) -> np.ndarray:
        """The length of each text in characters: `[rows]`."""
        return np.array([len(example.text) for example in self.examples])

    @cached_property
    def edges(self) -> Sequence[int]:
        """Where the ranges of lengths begin, and behind the longest."""
        cuts = np.quantile(self.sizes, np.linspace(0, 1, BANDS + 1)[:-1]).round().astype(int).tolist()
        return [*sorted(set(cuts)), int(self.sizes.max()) + 1]

    @cached_property
    def _language(self) -> np.ndarray:
        return np.array([language_of(example.text) for example in self.examples])

    @cached_property
    def _languages(self) -> Sequence[tuple[str, int]]:
        return Counter(self._language.tolist()).most_common()

    # ── scores ────────────────────────────────────────────────────────────────────────────────

    def scores(self, answers: Answers) -> np.ndarray:
        """Score each row for itself, more is better: `[rows]`; not a number where the metric has no value for it."""
        if answers.name not in self._scores:
            values = self.metric.value(self.metric.statistics(self.golds, answers.predictions))
            self._scores[answers.name] = values if self.metric.higher_is_better else -values
        return self._scores[answers.name]

    def view(self, asked: Asked) -> RowsView:
        """Return the page of rows that is asked for."""
        at = asked.against if asked.against is not None and asked.against < len(self.others) else self.usual
        other = self.others[at]
        change = self.scores(self.tuned) - self.scores(other)
        matching = self._matching(asked)
        shown = {show: np.flatnonzero(matching & mask) for show, mask in self._outcomes(other, change).items()}
        order = shown[asked.show]
        if asked.show in ("better", "worse"):
            order = order[np.argsort(-np.abs(change[order]), kind="stable")]
        pages = max(1, -(-len(order) // PAGE))
        number = min(max(1, asked.page), pages)
        rows = tuple(self._row(int(i), other, change) for i in order[(number - 1) * PAGE : number * PAGE])
        return RowsView(replace(asked, page=number), other, self._slice(asked, at, matching, shown), rows, pages)

    def _matching(self, asked: Asked) -> np.ndarray:
        mask = np.ones(len(self.examples), dtype=bool)
        if asked.label is not None and asked.label < len(self.labels):
            mask &= np.array(self.golds) == self.labels[asked.label].name
        if asked.length is not None and asked.length < len(self.lengths):
            low, high = self.edges[asked.length : asked.length + 2]
            mask &= (self.sizes >= low) & (self.sizes < high)
        if asked.language is not None and asked.language < len(self._languages):
            mask &= self._language == self._languages[asked.language][0]
        if asked.search:
            words = asked.search.casefold()
            mask &= np.array([words in " ".join(e.text.split()).casefold() for e in self.examples], dtype=bool)
        return mask

    def _outcomes(self, other: Answers, change: np.ndarray) -> Mapping[Show, np.ndarray]:
        wrong = ~self._right(self.tuned) & ~self._right(other)
        every = np.ones(len(self.examples), dtype=bool)
        return {"all": every, "better": change > NOTHING, "worse": change < -NOTHING, "wrong": wrong}

    def _right(self, answers: Answers) -> np.ndarray:
        pairs = zip(answers.predictions, self.golds, strict=True)
        return np.array([answer.text.strip() == gold.strip() for answer, gold in pairs], dtype=bool)

    def _row(self, at: int, other: Answers, change: np.ndarray) -> RowAnswers:
        gold, texts = self.golds[at].strip(), [one.predictions[at].text for one in (self.tuned, other)]
        sign = 1 if self.metric.higher_is_better else -1
        scores = [sign * float(self.scores(one)[at]) for one in (self.tuned, other)]
        right = [text.strip() == gold for text in texts]
        return RowAnswers(
            self.examples[at], texts[0], texts[1], (right[0], right[1]), (scores[0], scores[1]), float(change[at])
        )

    def _slice(self, asked: Asked, at: int, matching: np.ndarray, shown: Mapping[Show, np.ndarray]) -> Slice:
        """Score the rows by what they are; chosen by how they were answered, their scores would say nothing."""
        key = replace(asked, show="all", page=1), at
        if key not in self._slices:
            if len(self._slices) >= MOST_SLICES:
                self._slices.clear()
            counts = {show: len(rows) for show, rows in shown.items()}
            self._slices[key] = Slice(counts, *self._compared(np.flatnonzero(matching), self.others[at]))
        return self._slices[key]

    def _compared(self, rows: np.ndarray, other: Answers) -> tuple[Measure | None, Measure | None, Comparison | None]:
        golds, groups = [self.golds[i] for i in rows], [self.groups[i] for i in rows]
        both = [[one.predictions[i] for i in rows] for one in (self.tuned, other)]
        if not golds:
            return None, None, None
        scored = [Scored(self.metric, self.metric.statistics(golds, answers)) for answers in both]
        given = {"groups": groups, "resamples": RESAMPLES, "seed": self.seed}
        known = [bool(np.isfinite(self.metric.value(one.statistics.sum(axis=0)))) for one in scored]
        if not all(known):
            return None, None, None
        tuned, against = measures(scored, confidence=self.confidence, **given)  # type: ignore[arg-type]
        [pairing] = pair(self.metric, golds, both[0], both[1:], **given)  # type: ignore[arg-type]
        return tuned, against, signed(pairing.at(self.confidence), self.metric)


def row_metric(outcome: Outcome) -> tuple[str, Metric]:
    """Choose by what rows are scored: whether they are right where the run counts right answers, else what decides.

    An older result may name a metric that is gone; then answers are right or wrong.
    """
    known = {name: registry.choose("metrics", name)() for name in outcome.metrics if name in registry.names("metrics")}
    shares = [(name, metric) for name, metric in known.items() if isinstance(metric, Accuracy)]
    deciding = [(outcome.primary_metric, known[outcome.primary_metric])] if outcome.primary_metric in known else []
    return next(iter([*shares, *deciding]), ("", Accuracy()))


def _position(text: str) -> int | None:
    """Parse a position; None where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None
