"""A higher rank, for methods that add something of a rank: it limits how much they can learn."""

from kamerton.core.contracts import Changes, Situation


class HigherRank:
    """Train again with four times the rank."""

    treats = ("underfitting",)
    trainings = 1.1

    def changes(self, situation: Situation) -> Changes:
        """Take four times the rank, if the method has one."""
        rank = situation.knobs.get("rank")
        return [{"method.rank": 4 * rank}] if isinstance(rank, int) else []
