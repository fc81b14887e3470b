"""ROUGE by rouge_score, on words of any script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rouge_score.rouge_scorer import RougeScorer

from kamerton.core.records import Prediction
from kamerton.text.words import words


class AnyScript:
    """A tokenizer for rouge_score, whose own one drops every letter outside a-z."""

    def tokenize(self, text: str) -> list[str]:
        """Split a text into folded words of any script."""
        return words(text)


def rouge_scores(kind: str, golds: Sequence[str], predictions: Sequence[Prediction]) -> Iterator[float]:
    """Give each row's F1 of one kind of ROUGE (`rouge1`, `rouge2`, `rougeL`), without stemming."""
    scorer = RougeScorer([kind], tokenizer=AnyScript())
    for gold, prediction in zip(golds, predictions, strict=True):
        yield float(scorer.score(gold, prediction.text)[kind].fmeasure)
