"""pass@k: how often one of k written programs passes its tests."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean


class PassAtK(Mean):
    """Mean over rows of the estimated chance that one of k samples passes (Chen et al. 2021, section 2.1).

    Rows whose tests were not run are not counted; NaN if none were.
    """

    meaning: ClassVar = msg("How often a program that the model writes passes its tests.")

    def score(self, gold: str, prediction: Prediction) -> float | None:
        """Return the chance of a row."""
        return prediction.passed
