"""LoRA: low-rank updates beside frozen matrices (Hu et al. 2022), on the PEFT library."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from peft import LoraConfig
from pydantic import Field
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.weights import WeightCounts
from kamerton.models.structure import NO_LINEAR_LAYER, ending, linear_layers
from kamerton.plugins.methods._peft import PeftMethod, allowed
from kamerton.plugins.methods._shared import LOW_RANK

SIDES = 20
"""Inputs and outputs of all matrices of a layer, as a multiple of its hidden numbers: 18 in BERT and SmolLM2, 20 in
Llama 3.1 8B."""


class Lora(PeftMethod):
    """Train a low-rank pair beside every linear layer, and the new head if there is one."""

    configuration: ClassVar = LoraConfig
    rates: ClassVar = LOW_RANK
    batch: ClassVar = Advice(16, msg("LoRA loses more than full training at batches over 32 (Schulman 2025)"))

    rank: Annotated[int, Field(ge=1)] = Field(16, description="Width of the pairs; matters little (Schulman 2025).")
    alpha: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Scale is alpha/rank; twice the rank if open."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="On the input of the pairs.")
    targets: tuple[str, ...] = Field((), description="Names of the layers to adapt; all linear ones if empty.")
    layers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Adapt only the last so many layers; the ones below are run once over each row."
    )
    rslora: bool = Field(False, description="Scale by alpha/sqrt(rank), for high ranks (Kalajdzievski 2023).")
    dora: bool = Field(False, description="Train the length of each row of weights apart (Liu et al. 2024); slower.")
    init: Literal["default", "gaussian", "orthogonal", "olora", "pissa"] = Field(
        "default",
        description="First values of the pairs. pissa and olora begin with the matrix's main directions "
        "(Meng et al. 2024, Büyükakyüz 2024), which are computed anew whenever the adapter is loaded.",
    )

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit language models."""
        if facts.kind == "encoder":
            return Advice(0.5, msg("as good as training all weights, with a small file to keep"))
        return Advice(0.9, msg("reaches what full training reaches at a third of the memory, and forgets less"))

    def count_weights(self, facts: ModelFacts) -> WeightCounts:
        """Count the pairs as trained."""
        layers = min(self.layers or facts.layers, facts.layers)
        return WeightCounts(self.rank * SIDES * facts.hidden * layers, facts.parameters)

    @property
    def keeps_matrices(self) -> bool:
        """Return whether the pairs begin as no change: the other kinds take their first values out of the matrices."""
        return self.init in ("default", "gaussian")

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model without a linear layer, or without one of a name in `targets`."""
        if not linear_layers(model, self.layers):
            return NO_LINEAR_LAYER
        if self._named(model):
            return ""
        return msg("it has no linear layer named {names}", names=Joined(self.targets, " or "))

    def _named(self, model: PreTrainedModel) -> list[str]:
        inside = allowed(model, self.configuration, linear_layers(model, self.layers))
        return ending(inside, self.targets) if self.targets else inside

    def settings(self, model: PreTrainedModel) -> Mapping[str, Any]:
        """Return the pairs' size, scale and first values, and the linear maps of the layers that they stand beside."""
        return {
            "r": self.rank,
            "lora_alpha": self.alpha or 2 * self.rank,
            "lora_dropout": self.dropout,
            "target_modules": self._named(model) or list(self.targets),
            "fan_in_fan_out": any(isinstance(module, Conv1D) for module in model.modules()),
            "use_rslora": self.rslora,
            "use_dora": self.dora,
            "init_lora_weights": True if self.init == "default" else self.init,
        }
