"""IA3: three vectors a layer stretch keys, values and the feed-forward's inner states (Liu et al. 2022), on PEFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from peft import IA3Config
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
from pydantic import Field
from torch import nn
from transformers.pytorch_utils import Conv1D

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import Wording, msg
from kamerton.models.structure import NO_LINEAR_LAYER, ending, linear_layers, narrows
from kamerton.plugins.methods._peft import PeftMethod, adapt, task_type
from kamerton.plugins.methods._shared import patient_epochs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 8


class Ia3(PeftMethod):
    """Train one factor for each inner feature of attention and feed-forward, and the new head if there is one."""

    configuration: ClassVar = IA3Config

    targets: tuple[str, ...] = Field(
        (), description="Names of the layers to stretch; PEFT's choice for the family, or all linear ones, if empty."
    )
    feedforward: tuple[str, ...] = Field(
        (), description="Which of them are stretched at their input; the ones that lead back to the hidden size."
    )

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit very small adapters."""
        return Advice(
            0.3, msg("the smallest file, some thousand weights; reaches less than LoRA (PEFT's method comparison)")
        )

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return the rate and the thousand updates of the T-Few recipe."""
        reason = msg("ia3: 3e-3 (T-Few, Liu et al. 2022); 1e-4 learns nothing (PEFT's method comparison)")
        return {
            "learning_rate": Advice(3e-3, reason),
            "epochs": patient_epochs(facts, rows, BATCH),
            "batch_size": Advice(BATCH, msg("8 rows for 1,000 updates (T-Few, Liu et al. 2022)")),
        }

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model whose layers have no linear map to scale."""
        return "" if linear_layers(model) else NO_LINEAR_LAYER

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert the vectors; they begin as ones, so nothing changes yet.

        Raises:
            ModelError: the model has no layer of a name in `targets`.
        """
        targets, feedforward = self._targets(model)
        config = IA3Config(
            target_modules=targets,
            feedforward_modules=feedforward,
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
            task_type=task_type(model),
            modules_to_save=list(fresh) or None,
        )
        return adapt(model, config, tokens)

    def _targets(self, model: PreTrainedModel) -> tuple[list[str], list[str]]:
        """Choose what is stretched, and which of it at the input."""
        family, inside = model.config.model_type, linear_layers(model)
        chosen = self.targets or tuple(TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(family, ()))
        targets = ending(inside, chosen) if chosen else inside
        back = ending(targets, self.feedforward) if self.feedforward else [n for n in targets if narrows(model, n)]
        return targets or list(chosen), back
