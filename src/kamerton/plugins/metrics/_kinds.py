"""F1 of things of several kinds in a row, such as labels or spans, as counts per kind."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.demands import Demanding
from kamerton.core.messages import msg
from kamerton.core.records import Example, Prediction
from kamerton.plugins.metrics._base import UsualMetric
from kamerton.plugins.metrics._classes import f1_of_sums, macro_f1
from kamerton.text.tags import OUTSIDE, read_list, spans


class KindF1(UsualMetric, Demanding, ABC):
    """Base of the metrics of things of several kinds: undefined where no row has any, and 1 for a resample of none."""

    macro: ClassVar[bool] = False
    """Whether each kind counts the same; else each thing does."""

    @abstractmethod
    def found(self, gold: str, answer: str) -> tuple[Mapping[Hashable, str], Mapping[Hashable, str]]:
        """Return the things of a right answer and of a given one, with the kind of each."""

    least: ClassVar = 1
    lack: ClassVar = msg("no row has anything to find")

    def offered(self, example: Example) -> object:
        """Return whether there is anything to find."""
        return bool(self.found(example.gold, example.gold)[0]) or None

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: right, gold, predicted; `[rows, 3]`, or `[rows, 3 * kinds]` for a macro average."""
        rows = [self.found(gold, p.text) for gold, p in zip(golds, predictions, strict=True)]
        kinds = sorted({kind for row in rows for side in row for kind in side.values()})
        index = {kind: i for i, kind in enumerate(kinds)}
        counts = np.zeros((len(rows), 3, len(kinds)))
        for row, (gold, given) in zip(counts, rows, strict=True):
            for block, side in enumerate((gold.items() & given.items(), gold.items(), given.items())):
                for _, kind in side:
                    row[block, index[kind]] += 1
        return counts.reshape(len(rows), -1) if self.macro else np.asarray(counts.sum(axis=2))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute scores `[...]` of summed counts."""
        return macro_f1(totals) if self.macro else f1_of_sums(totals)


class LabelF1(KindF1):
    """Base of the metrics of several labels per row."""

    def found(self, gold: str, answer: str) -> tuple[Mapping[Hashable, str], Mapping[Hashable, str]]:
        """Return the labels of both."""
        return {label: label for label in read_list(gold)}, {label: label for label in read_list(answer)}


class TagF1(KindF1):
    """Base of the metrics of spans of tagged words, whose ends and kind must be right."""

    def found(self, gold: str, answer: str) -> tuple[Mapping[Hashable, str], Mapping[Hashable, str]]:
        """Return the spans of the gold tags, and those of the answer's for the same words."""
        wanted = read_list(gold)
        given = as_long(read_list(answer), len(wanted))
        return {span: span.kind for span in spans(wanted)}, {span: span.kind for span in spans(given)}


def as_long(tags: Sequence[str], words: int) -> list[str]:
    """Cut or extend tags to a number of words; words without a tag are outside."""
    return [*tags[:words], *[OUTSIDE] * (words - len(tags))]
