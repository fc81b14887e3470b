"""Micro label F1: all labels of all rows counted together."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.plugins.metrics._kinds import LabelF1


class MicroLabelF1(LabelF1):
    """F1 over all decisions for a label, as scikit-learn's `f1_score(average="micro")`."""

    meaning: ClassVar = msg("F1 of all labels of all rows counted together; common labels count most.")
