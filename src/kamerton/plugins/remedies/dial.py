"""The forgetting dial: interpolate between the first and the trained weights (WiSE-FT, Wortsman et al. 2022).

theta = (1 - a) theta_0 + a theta_1. No training is needed: every strength is only measured. Mixtures of a base and a
tuned language model often beat both ends; for a low-rank adapter this scales what it adds.
"""

from kamerton.core.contracts import Changes, Situation


class Dial:
    """Keep a part of what training changed."""

    treats = ("forgetting", "overfitting", "divergence")
    trainings = 0.0

    def changes(self, situation: Situation) -> Changes:
        """Try several strengths."""
        return [{"remedy.strength": strength} for strength in situation.strengths]
