"""Last layers: the upper layers and what stands above them train; the lower ones are computed once and kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import nn

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Message, Wording, msg
from kamerton.models.structure import TOKENS_BELOW, layer_stack, train_above
from kamerton.plugins.methods._shared import TRAINED, Knobs, body_parameters, encoder_epochs, epochs_for, full_rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16


class LastLayers(Knobs):
    """Train the last layers, the final norm, the pooler and the head; run the layers below once over each row."""

    layers: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="How many. If open, a quarter, which reaches 90% of what all reach (Lee et al. 2019, What Would "
        "Elsa Do?).",
    )

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit users with little time: most layers run once over each row."""
        reason = msg(
            "several times faster than training all layers; the last quarter of the layers reaches 90% of what all "
            "reach (Lee et al. 2019, What Would Elsa Do?)"
        )
        return Advice(0.5, reason)

    @classmethod
    def least_memory(cls, facts: ModelFacts) -> int:
        """Hold all weights, and a quarter of the layers' three times more."""
        return super().least_memory(facts) + TRAINED * body_parameters(facts) // 4

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return the rates of full training, and at least three epochs: the cached states pay from the second on."""
        epochs = epochs_for(rows, BATCH, updates=300, least=3, most=10)
        return {
            "learning_rate": full_rate(facts),
            "epochs": encoder_epochs(rows, BATCH, least=3, most=10) if facts.kind == "encoder" else epochs,
            "batch_size": Advice(BATCH, msg("16 to 32 rows (Devlin et al. 2019, A.3)")),
        }

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model of fewer layers."""
        depth = len(layer_stack(model))
        return _too_few(self.layers, depth) if self.layers and self.layers > depth else ""

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse: the embeddings stand below what trains."""
        return TOKENS_BELOW

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Freeze the embeddings and the lower layers.

        Raises:
            ModelError: the model has fewer layers.
        """
        depth = len(layer_stack(model))
        layers = self.layers or math.ceil(depth / 4)
        if layers > depth:
            remedy = msg("set method.layers to at most {depth}", depth=depth)
            raise ModelError(Fault(_too_few(layers, depth), model.name_or_path, remedy))
        train_above(model, layers, fresh, tokens)
        return model


def _too_few(layers: int, depth: int) -> Message:
    return msg("the last {layers} layers cannot train, because the model has {depth}", layers=layers, depth=depth)
