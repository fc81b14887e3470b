"""ROUGE-L: the longest common subsequence of words, for summaries."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.plugins.metrics._base import signature
from kamerton.plugins.metrics._rouge import Rouge


class RougeL(Rouge):
    """Mean over rows of the F1 of ROUGE-L (Lin 2004), rouge_score's, on `words.words` and without stemming."""

    meaning: ClassVar = msg("How long the longest series of words is that a summary and the right one share.")
    kind: ClassVar = "rougeL"
    signature: ClassVar = signature("rougeL", "f1", "stem:no", "tok:words", package="rouge_score")
