"""A lower learning rate: smaller steps stay nearer to the base model (Biderman et al. 2024)."""

from kamerton.core.contracts import Changes, Situation


class LowerRate:
    """Train again at a third of the rate."""

    treats = ("forgetting", "divergence", "not finite", "spikes", "exploding gradients", "dead gradients")
    trainings = 1.0

    def changes(self, situation: Situation) -> Changes:
        """Take a third of the rate: the step of the usual grids."""
        return [{"train.learning_rate": float(f"{situation.learning_rate / 3:.2g}")}]
