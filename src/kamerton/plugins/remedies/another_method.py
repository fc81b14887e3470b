"""Another method, with its own rate and epochs: the next most suitable one."""

from kamerton.core.contracts import Changes, Situation


class AnotherMethod:
    """Train again by the next most suitable method."""

    treats = ("underfitting", "forgetting", "one answer to everything")
    trainings = 1.5

    def changes(self, situation: Situation) -> Changes:
        """Choose the next method; leave open what its advice decides."""
        if not situation.other_methods:
            return []
        open_again = dict.fromkeys(("train.learning_rate", "train.epochs", "train.batch_size"))
        return [{"method.name": situation.other_methods[0], **open_again}]
