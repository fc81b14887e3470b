"""Weight decay: it pulls unimportant weights back to zero (Loshchilov and Hutter 2019)."""

from kamerton.core.contracts import Changes, Situation

LEAST = 0.05


class MoreWeightDecay:
    """Train again with more weight decay."""

    treats = ("overfitting",)
    trainings = 1.0

    def changes(self, situation: Situation) -> Changes:
        """Take five times as much, 0.05 at least."""
        return [{"train.weight_decay": max(LEAST, 5 * situation.weight_decay)}]
