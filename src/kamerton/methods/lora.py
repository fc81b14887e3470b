"""LoRA: low-rank updates beside frozen matrices (Hu et al. 2022), on the PEFT library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from kamerton.contracts import Advice, ModelFacts
from kamerton.methods._shared import body_parameters, epochs_for, task_type

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16


class Lora(BaseModel):
    """Train a low-rank pair beside every linear layer, and the new head if there is one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: Annotated[int, Field(ge=1)] = Field(16, description="Width of the pairs; matters little (Schulman 2025).")
    alpha: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Scale is alpha/rank; twice the rank if open."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="On the input of the pairs.")
    targets: tuple[str, ...] = Field((), description="Names of the layers to adapt; all linear ones if empty.")

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit language models."""
        if facts.kind == "encoder":
            return Advice(0.5, "as good as training all weights, with a small file to keep")
        return Advice(0.9, "reaches what full training reaches at a third of the memory, and forgets less")

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Give ten times the full rate, as the published sweeps found."""
        encoder = facts.kind == "encoder"
        return {
            "learning_rate": _rate(facts),
            "epochs": epochs_for(rows, BATCH, updates=300, least=5, most=20) if encoder else _epochs(rows),
            "batch_size": Advice(BATCH, "LoRA loses more than full training at batches over 32 (Schulman 2025)"),
        }

    def attach(self, model: PreTrainedModel, fresh: Sequence[str]) -> nn.Module:
        """Insert the pairs in every linear layer but the head."""
        word = task_type(model)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha or 2 * self.rank,
            lora_dropout=self.dropout,
            target_modules=list(self.targets) or "all-linear",
            task_type=TaskType(word) if word else None,
            modules_to_save=list(fresh) or None,
        )
        return get_peft_model(model, config)

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Add the product of each pair to its matrix."""
        if not isinstance(model, PeftModel):
            raise ValueError("cannot merge, because the model carries no adapter")
        return model.merge_and_unload()


def _rate(facts: ModelFacts) -> Advice:
    size = body_parameters(facts)
    if facts.kind == "encoder":
        return Advice(5e-4, "lora, encoders: 4e-4 to 5e-4 (Hu et al. 2022, table 9)")
    if size <= 3e9:
        return Advice(
            5e-4, "lora, language models of 0.1B to 3B: ten times the full rate (Schulman 2025, LoRA Without Regret)"
        )
    return Advice(2e-4, "lora, language models from 7B: 1e-4 to 3e-4 (Schulman 2025; Dettmers et al. 2023)")


def _epochs(rows: int) -> Advice:
    return epochs_for(rows, BATCH, updates=60, least=2, most=5)
