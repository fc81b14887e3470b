"""Macro label F1: the mean of the labels' F1, each label counting the same."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.plugins.metrics._kinds import LabelF1


class MacroLabelF1(LabelF1):
    """Mean F1 over the labels that are gold or predicted, as scikit-learn's macro average."""

    meaning: ClassVar = msg(
        "The mean over labels of F1, which needs both precision and recall; rare labels count as much as common ones."
    )
    macro: ClassVar = True
