"""ROUGE by rouge_score, on words of any script."""

from functools import cached_property
from typing import ClassVar

from rouge_score.rouge_scorer import RougeScorer

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean
from kamerton.text.words import words


class AnyScript:
    """A tokenizer for rouge_score, whose own drops every letter outside a-z."""

    def tokenize(self, text: str) -> list[str]:
        """Split a text into folded words of any script."""
        return words(text)


class Rouge(Mean):
    """Mean over rows of the F1 of one kind of ROUGE, without stemming."""

    kind: ClassVar[str]
    """In rouge_score: `rouge1`, `rouge2`, `rougeL`."""

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the F1 of a row."""
        return float(self._scorer.score(gold, prediction.text)[self.kind].fmeasure)

    @cached_property
    def _scorer(self) -> RougeScorer:
        return RougeScorer([self.kind], tokenizer=AnyScript())
