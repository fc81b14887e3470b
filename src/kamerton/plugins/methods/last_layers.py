"""Last layers: the upper layers and what stands above them train; the lower ones are computed once and kept."""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.core.weights import WeightCounts
from kamerton.models.structure import TOKENS_BELOW, layer_stack, train_above
from kamerton.plugins.methods._shared import (
    DEVLIN,
    FULL,
    Knobs,
    body_parameters,
    encoder_epochs,
    epochs_for,
    head_parameters,
)


class LastLayers(Knobs):
    """Train the last layers, the final norm, the pooler and the head; run the layers below once over each row."""

    suits: ClassVar = Advice(
        0.5,
        msg(
            "several times faster than training all layers; the last quarter of the layers reaches 90% of what all "
            "reach (Lee et al. 2019, What Would Elsa Do?)"
        ),
    )
    rates: ClassVar = FULL
    batch: ClassVar = DEVLIN

    layers: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="How many. If open, a quarter, which reaches 90% of what all reach (Lee et al. 2019, What Would "
        "Elsa Do?).",
    )

    def count_weights(self, facts: ModelFacts) -> WeightCounts:
        """Count the upper layers as trained, and an untied copy of a language model's table."""
        layers = self.layers or math.ceil(facts.layers / 4)
        upper = body_parameters(facts) * min(layers, facts.layers) // facts.layers
        return WeightCounts(upper + head_parameters(facts), facts.parameters - upper)

    def _epochs(self, facts: ModelFacts, rows: int, batch: int) -> Advice:
        if facts.kind == "encoder":
            return encoder_epochs(rows, batch, least=3, most=10)
        return epochs_for(rows, batch, updates=300, least=3, most=10)  # the cached states pay from the second on

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model of fewer layers."""
        layers, depth = self.layers or 0, len(layer_stack(model))
        rule = msg("the last {layers} layers cannot train, because the model has {depth}", layers=layers, depth=depth)
        return rule if layers > depth else ""

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse: the embeddings stand below what trains."""
        return TOKENS_BELOW

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Freeze the embeddings and the lower layers. Raises `ModelError` if the model has fewer layers."""
        depth = len(layer_stack(model))
        if reason := self.refuses(model):
            remedy = msg("set method.layers to at most {depth}", depth=depth)
            raise ModelError(Fault(reason, model.name_or_path, remedy))
        train_above(model, self.layers or math.ceil(depth / 4), fresh, tokens)
        return model
