"""Preference accuracy: how often a model finds the better of two answers likelier."""

from kamerton.plugins.metrics.accuracy import Accuracy


class PreferenceAccuracy(Accuracy):
    """Share of rows in which the preferred answer is exactly the chosen one."""
