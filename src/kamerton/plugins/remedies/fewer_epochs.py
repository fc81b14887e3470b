"""Fewer epochs: the schedule falls to zero about where the validation loss was best."""

from kamerton.core.contracts import Changes, Situation


class FewerEpochs:
    """Train again up to where the validation loss was best."""

    treats = ("overfitting",)
    trainings = 0.7

    def changes(self, situation: Situation) -> Changes:
        """End with the epoch of the least validation loss, if that was not the last."""
        if not situation.validations:
            return []
        best = min(situation.validations, key=lambda event: event.loss).epoch
        return [{"train.epochs": round(best, 2)}] if 0 < round(best, 2) < situation.epochs else []
