"""IA3: three vectors a layer stretch keys, values and the feed-forward's inner states (Liu et al. 2022), on PEFT."""

from collections.abc import Mapping
from typing import Any, ClassVar

from peft import IA3Config
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
from pydantic import Field
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import Wording, msg
from kamerton.models.structure import NO_LINEAR_LAYER, ending, linear_layers, narrows
from kamerton.plugins.methods._peft import PeftMethod
from kamerton.plugins.methods._shared import Rates, patient_epochs


class Ia3(PeftMethod):
    """Train one factor for each inner feature of attention and feed-forward, and the new head if there is one."""

    configuration: ClassVar = IA3Config
    suits: ClassVar = Advice(
        0.3, msg("the smallest file, some thousand weights; reaches less than LoRA (PEFT's method comparison)")
    )
    rates: ClassVar = Rates(
        Advice(3e-3, msg("ia3: 3e-3 (T-Few, Liu et al. 2022); 1e-4 learns nothing (PEFT's method comparison)"))
    )
    batch: ClassVar = Advice(8, msg("8 rows for 1,000 updates (T-Few, Liu et al. 2022)"))

    targets: tuple[str, ...] = Field(
        (), description="Names of the layers to stretch; PEFT's choice for the family, or all linear ones, if empty."
    )
    feedforward: tuple[str, ...] = Field(
        (), description="Which of them are stretched at their input; the ones that lead back to the hidden size."
    )

    def _epochs(self, facts: ModelFacts, rows: int, batch: int) -> Advice:
        return patient_epochs(facts, rows, batch)

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model whose layers have no linear map to scale."""
        return "" if linear_layers(model) else NO_LINEAR_LAYER

    def settings(self, model: PreTrainedModel) -> Mapping[str, Any]:
        """Choose what is stretched, and which of it at the input; the vectors begin as ones, so nothing changes yet."""
        family, inside = model.config.model_type, linear_layers(model)
        chosen = self.targets or tuple(TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(family, ()))
        targets = ending(inside, chosen) if chosen else inside
        back = ending(targets, self.feedforward) if self.feedforward else [n for n in targets if narrows(model, n)]
        return {
            "target_modules": targets or list(chosen),
            "feedforward_modules": back,
            "fan_in_fan_out": any(isinstance(module, Conv1D) for module in model.modules()),
        }
