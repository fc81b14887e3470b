"""A higher learning rate, for training that hardly moved."""

from kamerton.core.contracts import Changes, Situation


class HigherRate:
    """Train again at three times the rate."""

    treats = ("underfitting", "the weights do not move", "one answer to everything")
    trainings = 1.0

    def changes(self, situation: Situation) -> Changes:
        """Take three times the rate: the step of the usual grids."""
        return [{"train.learning_rate": float(f"{min(1.0, 3 * situation.learning_rate):.2g}")}]
