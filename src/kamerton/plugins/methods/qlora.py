"""QLoRA: low-rank updates beside a base model that is kept in four bits (Dettmers et al. 2023), on bitsandbytes."""

from typing import Literal

from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import msg
from kamerton.core.weights import Quantization, WeightCounts
from kamerton.models.adapters import merged
from kamerton.plugins.methods.lora import Lora

LARGE = 2e9
"""Weights from which four bits are worth their slower updates, where LoRA does not fit."""


class Qlora(Lora):
    """Train low-rank pairs, and the new head if there is one, beside matrices of four bits.

    Only matrices with a multiple of 64 inputs are quantized.
    """

    type: Literal["nf4", "fp4"] = Field("nf4", description="Of the four bits; nf4 fits weights that are normal.")
    double: bool = Field(True, description="Quantize the scales too: 4.1 bits a weight in place of 4.5.")
    init: Literal["default", "gaussian"] = Field(
        "default", description="First values of the pairs; those made of the matrix itself need it in full precision."
    )

    @property
    def quantization(self) -> Quantization:
        """Load the base model in four bits."""
        return Quantization(self.type, self.double)

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit language models that would not fit otherwise: below LoRA, which is taken wherever it fits."""
        reason = msg(
            "the base model in an eighth of its memory, each update slower; within LoRA's reach (Dettmers 2023)"
        )
        return Advice(0.85 if facts.parameters > LARGE else 0.3, reason)

    def count_weights(self, facts: ModelFacts) -> WeightCounts:
        """Count the matrices of the layers in four bits, embeddings and heads as they are."""
        tables = facts.tables * facts.vocabulary * facts.hidden
        return WeightCounts(super().count_weights(facts).trained, tables, facts.parameters - tables)

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Add the product of each pair to its matrix as the four bits give it, in full precision.

        So the logits stay; added to the matrix from before the rounding, they would not.
        """
        if not isinstance(model, PeftModel):
            return merged(model)  # refuses, with the reason
        config, weights = model.active_peft_config, get_peft_model_state_dict(model, save_embedding_layers=False)
        again = get_peft_model(model.unload().dequantize(), config)
        set_peft_model_state_dict(again, weights)
        plain = merged(again)
        plain.is_loaded_in_4bit = False  # transformers forgets to
        return plain
