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
from kamerton.core.records import Place
from kamerton.evaluate.verdict import signed
from kamerton.plugins.metrics.accuracy import Accuracy
from kamerton.report.outcome import Outcome
from kamerton.runs.columns import RunTables
from kamerton.statistics.comparison import pair_blocks
from kamerton.statistics.intervals import Scored, measures
from kamerton.statistics.resampling import NOTHING, Block, clustered, grouped
from kamerton.text.language_id import language_of

Show = Literal["all", "better", "worse", "wrong"]
SHOWS: tuple[Show, ...] = ("all", "better", "worse", "wrong")
"""All rows; those where the tuned model's answer is nearer to the right one, or further from it; both wrong."""
PAGE = 50
"""Rows of one page."""
LONGEST_SEARCH = 200
MOST_LABELS = 200
"""Classes that a form can list."""
HEAD = 160
"""Characters of a text that tell its language well enough for a filter."""
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

    place: Place
    text: str
    gold: str
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
    at: int
    """The position of the other contender."""
    against: Answers
    of: Slice
    rows: tuple[RowAnswers, ...]
    pages: int


class RowTable:
    """The test rows of one run with all answers.

    Args:
        tables: of the run; it has answers of the tuned model and of another contender.
        outcome: of the run.
        confidence: of intervals.
        seed: of resampling.
    """

    def __init__(self, tables: RunTables, outcome: Outcome, confidence: float, seed: int) -> None:
        self.confidence, self.seed = confidence, seed
        self._tables, rows = tables, tables.part("test")
        self.texts, self.golds, self._files, self._lines = map(rows.values, ("text", "gold", "file", "line"))
        self.groups = [group or "" for group in rows.values("group")]  # older runs have none
        kinds = tables.contenders
        self.tuned = self._answers(next(name for name, kind in kinds.items() if kind == "tuned"))
        self.others = [name for name in kinds if name != self.tuned.name]
        against = outcome.verdict.against
        self.usual = self.others.index(against) if against in self.others else 0
        self.metric_name, self.metric = row_metric(outcome)
        self._counted: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._slices: dict[tuple[Asked, int], Slice] = {}

    @staticmethod
    def possible(tables: RunTables) -> bool:
        """Return whether a run has what it takes."""
        return "tuned" in tables.contenders.values() and len(tables.contenders) > 1 and len(tables.part("test")) > 0

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
        return np.array([len(text) for text in self.texts])

    @cached_property
    def edges(self) -> Sequence[int]:
        """Where the ranges of lengths begin, and behind the longest."""
        cuts = np.quantile(self.sizes, np.linspace(0, 1, BANDS + 1)[:-1]).round().astype(int).tolist()
        return [*sorted(set(cuts)), int(self.sizes.max()) + 1]

    @cached_property
    def _language(self) -> np.ndarray:
        return np.array([language_of(text[:HEAD]) for text in self.texts])

    @cached_property
    def _languages(self) -> Sequence[tuple[str, int]]:
        return Counter(self._language.tolist()).most_common()

    # ── scores ────────────────────────────────────────────────────────────────────────────────

    def view(self, asked: Asked) -> RowsView:
        """Return the page of rows that is asked for."""
        at = asked.against if asked.against is not None and asked.against < len(self.others) else self.usual
        other = self._answers(self.others[at])
        scores = [self.metric.value(counts) for counts in self._statistics(at)]
        change = scores[0] - scores[1] if self.metric.higher_is_better else scores[1] - scores[0]
        right = [self._right(answers) for answers in (self.tuned, other)]
        matching = self._matching(asked)
        masks: dict[Show, np.ndarray] = {
            "all": matching,
            "better": matching & (change > NOTHING),
            "worse": matching & (change < -NOTHING),
            "wrong": matching & ~right[0] & ~right[1],
        }
        order = np.flatnonzero(masks[asked.show])
        if asked.show in ("better", "worse"):
            order = order[np.argsort(-np.abs(change[order]), kind="stable")]
        pages = max(1, -(-len(order) // PAGE))
        number = min(max(1, asked.page), pages)
        rows = tuple(
            RowAnswers(
                Place(self._files[i], self._lines[i]),
                self.texts[i],
                self.golds[i],
                self.tuned.predictions[i].text,
                other.predictions[i].text,
                (bool(right[0][i]), bool(right[1][i])),
                (float(scores[0][i]), float(scores[1][i])),
                float(change[i]),
            )
            for i in order[(number - 1) * PAGE : number * PAGE].tolist()
        )
        return RowsView(replace(asked, page=number), at, other, self._slice(asked, at, masks), rows, pages)

    def _answers(self, name: str) -> Answers:
        answers = self._tables.answers(name)
        assert answers  # the name is one of those that the table has
        return answers

    def _statistics(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Count both contenders' answers together: `[rows, k]` each, in the same columns."""
        if at not in self._counted:
            pairs = zip(self.tuned.predictions, self._answers(self.others[at]).predictions, strict=True)
            golds = [gold for gold in self.golds for _ in range(2)]
            counts = self.metric.statistics(golds, [answer for pair in pairs for answer in pair])
            self._counted[at] = counts[0::2], counts[1::2]
        return self._counted[at]

    def _right(self, answers: Answers) -> np.ndarray:
        pairs = zip(answers.predictions, self.golds, strict=True)
        return np.array([answer.text.strip() == gold.strip() for answer, gold in pairs], dtype=bool)

    def _matching(self, asked: Asked) -> np.ndarray:
        mask = np.ones(len(self.texts), dtype=bool)
        if asked.label is not None and asked.label < len(self.labels):
            mask &= np.array(self.golds) == self.labels[asked.label].name
        if asked.length is not None and asked.length < len(self.lengths):
            low, high = self.edges[asked.length : asked.length + 2]
            mask &= (self.sizes >= low) & (self.sizes < high)
        if asked.language is not None and asked.language < len(self._languages):
            mask &= self._language == self._languages[asked.language][0]
        if asked.search:
            words = asked.search.casefold()
            mask &= np.array([words in " ".join(text.split()).casefold() for text in self.texts], dtype=bool)
        return mask

    def _slice(self, asked: Asked, at: int, masks: Mapping[Show, np.ndarray]) -> Slice:
        """Score the rows by what they are; chosen by how they were answered, their scores would say nothing."""
        key = replace(asked, show="all", page=1), at
        if key not in self._slices:
            if len(self._slices) >= MOST_SLICES:
                self._slices.clear()
            counts = {show: int(mask.sum()) for show, mask in masks.items()}
            self._slices[key] = Slice(counts, *self._compared(np.flatnonzero(masks["all"]), at))
        return self._slices[key]

    def _compared(self, rows: np.ndarray, at: int) -> tuple[Measure | None, Measure | None, Comparison | None]:
        both = [counts[rows] for counts in self._statistics(at)]
        if not len(rows) or not all(np.isfinite(self.metric.value(counts.sum(axis=0))) for counts in both):
            return None, None, None
        groups, given = [self.groups[i] for i in rows], {"resamples": RESAMPLES, "seed": self.seed}
        scored = [Scored(self.metric, counts) for counts in both]
        tuned, other = measures(scored, groups=groups, confidence=self.confidence, **given)
        one, *rest = [Block(grouped(counts, groups), self.metric.value) for counts in both]
        [pairing] = pair_blocks(self.metric, one, rest, in_groups=clustered(groups), **given)
        return tuned, other, signed(pairing.at(self.confidence), self.metric)


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
