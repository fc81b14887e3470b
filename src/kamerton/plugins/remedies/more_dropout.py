"""Dropout: noise in training keeps a model from memorizing its rows (Srivastava et al. 2014)."""

from kamerton.core.contracts import Changes, Situation

MORE = 0.1


class MoreDropout:
    """Train again with a tenth more dropout."""

    treats = ("overfitting",)
    trainings = 1.0

    def changes(self, situation: Situation) -> Changes:
        """Raise it by a tenth, up to a half."""
        return [{"train.dropout": round(situation.dropout + MORE, 2)}] if situation.dropout + MORE <= 0.5 else []
