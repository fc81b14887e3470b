"""Bases of the metrics: the usual properties, and means over rows."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction


class UsualMetric:
    """Properties that most metrics have."""

    higher_is_better: ClassVar[bool] = True
    unit_interval: ClassVar[bool] = True
    per_row_binary: ClassVar[bool] = False
    signature: ClassVar[str] = ""


class RowCounts(UsualMetric, ABC):
    """Base of the metrics that count each row for itself."""

    width: ClassVar[int]

    @abstractmethod
    def counts(self, gold: str, prediction: Prediction) -> Sequence[float]:
        """Return what a row adds to each of the `width` sums; zeros if it does not count."""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, width]`."""
        rows = [self.counts(gold, prediction) for gold, prediction in zip(golds, predictions, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(-1, self.width)


class Ratio(RowCounts):
    """A sum over the rows divided by another."""

    width: ClassVar = 2

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Divide the sums: `[..., 2]` to `[...]`; NaN for no rows."""
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]


class Loss(UsualMetric):
    """Properties of what is lost or missed: less is better, without an upper end."""

    higher_is_better: ClassVar = False
    unit_interval: ClassVar = False


class Mean(Ratio):
    """The mean of a score per row."""

    @abstractmethod
    def score(self, gold: str, prediction: Prediction) -> float | None:
        """Return the score of a row; None if it does not count."""

    def counts(self, gold: str, prediction: Prediction) -> tuple[float, float]:
        """Return the score and 1."""
        score = self.score(gold, prediction)
        return (0.0, 0.0) if score is None else (score, 1.0)


def signature(*parts: str, package: str = "kamerton") -> str:
    """Describe how a score is computed, as sacrebleu does; scores of different signatures are not compared.

    At the end is the version of the package that counts.
    """
    of = "" if package == "kamerton" else f"{package}:{version(package)}|"
    return "|".join(parts) + f"|{of}kamerton:{version('kamerton')}"
