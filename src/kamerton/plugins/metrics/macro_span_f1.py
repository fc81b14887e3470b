"""Macro span F1: the mean of the kinds' span F1, each kind counting the same."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.plugins.metrics._kinds import TagF1


class MacroSpanF1(TagF1):
    """Mean F1 over the kinds of spans that are gold or predicted, as seqeval's macro average; 1 if there are none."""

    meaning: ClassVar = msg("The mean over kinds of spans of F1; rare kinds count as much as common ones.")
    macro: ClassVar = True
