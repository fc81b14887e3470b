"""Replay: train on some of the base model's own answers to general requests beside the task's rows.

Five to ten per cent is what mild shifts need (Ibrahim et al. 2024; 2605.26097 on self-generated samples).
"""

from kamerton.core.contracts import Changes, Situation

SHARE = 0.1


class Replay:
    """Train again with a tenth of the rows from the base model itself."""

    treats = ("forgetting",)
    trainings = 1.2

    def changes(self, situation: Situation) -> Changes:
        """Add the rows, if the model writes."""
        return [{"remedy.replay": SHARE}] if situation.writes else []
