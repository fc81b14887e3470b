"""The weights of an earlier validation: training is repeated, to the same weights, and stops there."""

from kamerton.core.contracts import Changes, Situation


class EarlierCheckpoint:
    """Stop at the validation before the best one."""

    treats = ("forgetting", "overfitting")
    trainings = 0.5

    def changes(self, situation: Situation) -> Changes:
        """Stop at the validation that stands about halfway to the best one."""
        best = max((event.step for event in situation.validations if event.best), default=0)
        earlier = [event.step for event in situation.validations if event.step < best]
        return [{"remedy.last_step": min(earlier, key=lambda step: abs(step - best / 2))}] if earlier else []
