"""Bottleneck adapters: a small network with a nonlinearity after a layer's blocks (Houlsby et al. 2019)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import Wording, msg
from kamerton.models.structure import back_to_hidden
from kamerton.plugins.methods._bottleneck import BottleneckConfig
from kamerton.plugins.methods._peft import PeftMethod
from kamerton.plugins.methods._shared import Rates, adapter_epochs, patient_epochs

NO_PLACE = msg("no linear map of its layers leads back to the hidden size, where a bottleneck would stand")


class Adapter(PeftMethod):
    """Train a bottleneck beside or after the blocks of every layer, and the new head if there is one."""

    configuration: ClassVar = BottleneckConfig
    brings_type: ClassVar = True
    suits: ClassVar = Advice(
        0.4, msg("within 0.4% of full training on GLUE at 3.6% of the weights (Houlsby et al. 2019)")
    )
    rates: ClassVar = Rates(
        Advice(3e-4, msg("adapters: 3e-4 (Houlsby et al. 2019); 1e-4 (Pfeiffer et al. 2021)")),
        small_encoder=Advice(
            1e-3, msg("adapters: 1e-4 to 1e-3 (Pfeiffer et al. 2021); the upper end for encoders up to 30M")
        ),
    )
    batch: ClassVar = Advice(16, msg("16 to 32 rows (Houlsby et al. 2019)"))

    reduction: Annotated[int, Field(ge=1)] = Field(
        16, description="How many times narrower than the hidden size the bottleneck is (Houlsby et al. 2019: 8 to 64)."
    )
    placement: Literal["houlsby", "pfeiffer", "parallel"] = Field(
        "houlsby",
        description="houlsby: after attention and after the feed-forward; pfeiffer: after the feed-forward only "
        "(Pfeiffer et al. 2021); parallel: beside the last maps of both, from their inputs (after He et al. 2022).",
    )

    def _epochs(self, facts: ModelFacts, rows: int, batch: int) -> Advice:
        return (patient_epochs if facts.kind == "encoder" else adapter_epochs)(facts, rows, batch)

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model with no place for a bottleneck."""
        return "" if back_to_hidden(model, 1) else NO_PLACE

    def settings(self, model: PreTrainedModel) -> Mapping[str, Any]:
        """Return the width and the places of the bottlenecks; they begin as zeros, so nothing changes yet."""
        return {
            "width": max(1, model.config.get_text_config().hidden_size // self.reduction),
            "parallel": self.placement == "parallel",
            "target_modules": back_to_hidden(model, 1 if self.placement == "pfeiffer" else 2),
        }
