"""Bottleneck adapters: a small network with a nonlinearity after a layer's blocks (Houlsby et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.models.structure import back_to_hidden
from kamerton.plugins.methods._bottleneck import BottleneckConfig
from kamerton.plugins.methods._peft import PeftMethod, adapt, task_type
from kamerton.plugins.methods._shared import adapter_epochs, body_parameters, patient_epochs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16
NO_PLACE = msg("no linear map of its layers leads back to the hidden size, where a bottleneck would stand")


class Adapter(PeftMethod):
    """Train a bottleneck beside or after the blocks of every layer, and the new head if there is one."""

    configuration: ClassVar = BottleneckConfig

    brings_type: ClassVar = True
    reduction: Annotated[int, Field(ge=1)] = Field(
        16, description="How many times narrower than the hidden size the bottleneck is (Houlsby et al. 2019: 8 to 64)."
    )
    placement: Literal["houlsby", "pfeiffer", "parallel"] = Field(
        "houlsby",
        description="houlsby: after attention and after the feed-forward; pfeiffer: after the feed-forward only "
        "(Pfeiffer et al. 2021); parallel: beside the last maps of both, from their inputs (after He et al. 2022).",
    )

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit encoders."""
        return Advice(0.4, msg("within 0.4% of full training on GLUE at 3.6% of the weights (Houlsby et al. 2019)"))

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return the published rate and many updates."""
        return {
            "learning_rate": _rate(facts),
            "epochs": (patient_epochs if facts.kind == "encoder" else adapter_epochs)(facts, rows, BATCH),
            "batch_size": Advice(BATCH, msg("16 to 32 rows (Houlsby et al. 2019)")),
        }

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model with no place for a bottleneck."""
        return "" if back_to_hidden(model, 1) else NO_PLACE

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert the bottlenecks; they begin as zeros, so nothing changes yet.

        Raises:
            ModelError: no linear map of the layers leads back to the hidden size.
        """
        count = 1 if self.placement == "pfeiffer" else 2
        targets = back_to_hidden(model, count)
        if not targets:
            raise ModelError(Fault(NO_PLACE, model.name_or_path, msg("choose another method")))
        config = BottleneckConfig(
            width=max(1, model.config.get_text_config().hidden_size // self.reduction),
            parallel=self.placement == "parallel",
            target_modules=targets,
            task_type=task_type(model),
            modules_to_save=list(fresh) or None,
        )
        return adapt(model, config, tokens)


def _rate(facts: ModelFacts) -> Advice:
    if facts.kind == "encoder" and body_parameters(facts) <= 30e6:
        return Advice(1e-3, msg("adapters: 1e-4 to 1e-3 (Pfeiffer et al. 2021); the upper end for encoders up to 30M"))
    return Advice(3e-4, msg("adapters: 3e-4 (Houlsby et al. 2019); 1e-4 (Pfeiffer et al. 2021)"))
