"""More epochs, for training that ended while it still learned."""

from kamerton.core.contracts import Changes, Situation


class MoreEpochs:
    """Train again for twice as long."""

    treats = ("underfitting", "stopped too early", "too few updates")
    trainings = 2.0

    def changes(self, situation: Situation) -> Changes:
        """Double the epochs."""
        return [{"train.epochs": 2 * situation.epochs}]
