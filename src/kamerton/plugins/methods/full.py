"""Full fine-tuning: every weight trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import msg
from kamerton.plugins.methods._shared import (
    FEW,
    LEAST_UPDATES,
    TRAINED,
    WEIGHT,
    Knobs,
    body_parameters,
    encoder_epochs,
    full_rate,
    writer_epochs,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16


class Full(Knobs):
    """Train all weights of the model."""

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

    @classmethod
    def least_memory(cls, facts: ModelFacts) -> int:
        """Hold every weight four times: itself, its gradient, and the two numbers that AdamW keeps."""
        return (WEIGHT + TRAINED) * facts.parameters

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return the published rates of encoders and language models, by size."""
        if facts.kind == "encoder":
            epochs = encoder_epochs(rows, BATCH, least=3, most=10)
        else:
            few = writer_epochs(rows, BATCH, updates=LEAST_UPDATES, least=3)
            epochs = few if few.value > 3 else Advice(3, msg("1 to 3 epochs for language models"))
        return {
            "learning_rate": full_rate(facts),
            "epochs": epochs,
            "batch_size": Advice(BATCH, msg("16 to 32 rows (Devlin et al. 2019, A.3)")),
        }

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Enable training of every weight."""
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model
