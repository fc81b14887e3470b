"""Full fine-tuning: every weight trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from torch import nn

from kamerton.contracts import Advice, ModelFacts
from kamerton.methods._shared import body_parameters, epochs_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16


class Full(BaseModel):
    """Train all weights of the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit small encoders, where everything fits and everything helps."""
        if facts.kind == "encoder" and body_parameters(facts) < 400e6:
            return Advice(0.8, "a small encoder trains whole in little memory and reaches the most")
        return Advice(0.2, "all weights of a large model need four times its memory and forget the most")

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Give rates by size as published for encoders and language models."""
        epochs = epochs_for(rows, BATCH, updates=300, least=3, most=10)
        return {
            "learning_rate": _rate(facts),
            "epochs": epochs if facts.kind == "encoder" else Advice(3, "1 to 3 epochs for language models"),
            "batch_size": Advice(BATCH, "16 to 32 rows (Devlin et al. 2019, A.3)"),
        }

    def attach(self, model: PreTrainedModel, fresh: Sequence[str]) -> nn.Module:
        """Let every weight train."""
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Return the model: nothing was added."""
        return model


def _rate(facts: ModelFacts) -> Advice:
    size = body_parameters(facts)
    if facts.kind == "encoder" and size <= 30e6:
        return Advice(1e-4, "full, encoders up to 30M: grid 3e-4 to 3e-5 of Turc et al. 2019 (BERT miniatures)")
    if facts.kind == "encoder":
        return Advice(2e-5, "full, encoders of 100M to 400M: 2e-5, 3e-5 or 5e-5 in Devlin et al. 2019, A.3")
    if size <= 3e9:
        return Advice(2e-5, "full, language models of 0.1B to 3B: 1e-5 to 5e-5 (PEFT's method comparison: 1e-5 at 3B)")
    return Advice(5e-6, "full, language models from 7B: 5e-6 (Tülu 3)")
