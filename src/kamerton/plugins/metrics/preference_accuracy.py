"""Preference accuracy: how often a model finds the better of two answers likelier."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.plugins.metrics.accuracy import Accuracy


class PreferenceAccuracy(Accuracy):
    """Share of rows in which the preferred answer is exactly the chosen one."""

    meaning: ClassVar = msg("How often the model finds the better of two answers likelier.")
