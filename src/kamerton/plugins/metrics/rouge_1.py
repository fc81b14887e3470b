"""ROUGE-1: how many words of a summary are the gold one's."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.plugins.metrics._base import signature
from kamerton.plugins.metrics._rouge import Rouge


class Rouge1(Rouge):
    """Mean over rows of the F1 of single words (Lin 2004), rouge_score's, on `words.words` and without stemming."""

    meaning: ClassVar = msg("How many words of a summary are in the right one, and the other way round.")
    kind: ClassVar = "rouge1"
    signature: ClassVar = signature("rouge1", "f1", "stem:no", "tok:words", package="rouge_score")
