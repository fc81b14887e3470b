"""Sample F1: the mean over rows of each row's own F1."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean
from kamerton.text.tags import read_list


class SampleF1(Mean):
    """Mean F1 of the rows' labels, as scikit-learn's `f1_score(average="samples", zero_division=1)`.

    A row without labels that gets none scores 1.
    """

    meaning: ClassVar = msg("The mean over rows of F1 of the labels of each row.")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the F1 of a row."""
        wanted, given = set(read_list(gold)), set(read_list(prediction.text))
        both = len(wanted) + len(given)
        return 2 * len(wanted & given) / both if both else 1.0
