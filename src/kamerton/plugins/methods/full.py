"""Full fine-tuning: every weight trains."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import msg
from kamerton.core.weights import WeightCounts
from kamerton.plugins.methods._shared import DEVLIN, FEW, FULL, Knobs, body_parameters, encoder_epochs, writer_epochs


class Full(Knobs):
    """Train all weights of the model."""

    rates: ClassVar = FULL
    batch: ClassVar = DEVLIN

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit small encoders, where everything fits and everything helps."""
        if facts.kind == "encoder" and body_parameters(facts) < 400e6:
            if rows < FEW:
                reason = msg(
                    "training all weights works badly with fewer than {few} rows: 43.0 points with 8 per class "
                    "(Tunstall et al. 2022, table 2)",
                    few=FEW,
                )
                return Advice(0.45, reason)
            return Advice(0.8, msg("a small encoder trains whole in little memory and reaches the most"))
        return Advice(0.2, msg("all weights of a large model need four times its memory and forget the most"))

    def count_weights(self, facts: ModelFacts) -> WeightCounts:
        """Count all weights as trained."""
        return WeightCounts(facts.parameters, 0)

    def _epochs(self, facts: ModelFacts, rows: int, batch: int) -> Advice:
        if facts.kind == "encoder":
            return encoder_epochs(rows, batch, least=3, most=10)
        few = writer_epochs(rows, batch, least=3)
        return few if few.value > 3 else Advice(3, msg("1 to 3 epochs for language models"))

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Enable training of every weight."""
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model
