"""Bottleneck adapters: a small network with a nonlinearity after a layer's blocks (Houlsby et al. 2019).

PEFT has none, so its type is registered here, in PEFT's own conventions: adapters are saved in its format,
and `PeftModel.from_pretrained` loads them in every process that has imported this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import PeftType, register_peft_method
from pydantic import Field
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording
from kamerton.models.adapters import merged
from kamerton.models.structure import back_to_hidden
from kamerton.plugins.methods._peft import adapt, task_type, token_refusal
from kamerton.plugins.methods._shared import Knobs, adapter_epochs, body_parameters, patient_epochs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16
TYPE = "BOTTLENECK"


class Adapter(Knobs):
    """Train a bottleneck beside or after the blocks of every layer, and the new head if there is one."""

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
        return Advice(0.4, "within 0.4% of full training on GLUE at 3.6% of the weights (Houlsby et al. 2019)")

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Give the published rate and many updates."""
        return {
            "learning_rate": _rate(facts),
            "epochs": patient_epochs(facts, rows, BATCH)
            if facts.kind == "encoder"
            else adapter_epochs(facts, rows, BATCH),
            "batch_size": Advice(BATCH, "16 to 32 rows (Houlsby et al. 2019)"),
        }

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model with no place for a bottleneck."""
        return "" if back_to_hidden(model, 1) else "no linear map of its layers leads back to the hidden size"

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse where PEFT trains no single rows of the tables."""
        return token_refusal(model, BottleneckConfig)

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert the bottlenecks; they begin as zeros, so nothing changes yet.

        Raises:
            ModelError: no linear map of the layers leads back to the hidden size.
        """
        count = 1 if self.placement == "pfeiffer" else 2
        targets = back_to_hidden(model, count)
        if not targets:
            rule = "no linear map of the layers leads back to the hidden size, where a bottleneck would stand"
            raise ModelError(Fault(rule, model.name_or_path, "choose another method"))
        config = BottleneckConfig(
            width=max(1, model.config.get_text_config().hidden_size // self.reduction),
            parallel=self.placement == "parallel",
            target_modules=targets,
            task_type=task_type(model),
            modules_to_save=list(fresh) or None,
        )
        return adapt(model, config, tokens)

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Refuse: a nonlinearity is no matrix."""
        return merged(model)


def _rate(facts: ModelFacts) -> Advice:
    if facts.kind == "encoder" and body_parameters(facts) <= 30e6:
        return Advice(1e-3, "adapters: 1e-4 to 1e-3 (Pfeiffer et al. 2021); the upper end for encoders up to 30M")
    return Advice(3e-4, "adapters: 3e-4 (Houlsby et al. 2019); 1e-4 (Pfeiffer et al. 2021)")


@dataclass
class BottleneckConfig(PeftConfig):  # type: ignore[misc]  # PEFT has no types
    """PEFT's configuration of bottleneck adapters."""

    width: int = 16
    """Of the bottleneck."""
    parallel: bool = False
    """Whether a bottleneck reads the input of the map that it stands at, else its output."""
    target_modules: list[str] | set[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = field(default=None)
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None
    """New tokens, whose embeddings PEFT trains and saves row by row."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType[TYPE]
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)


class BottleneckLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A linear map with bottlenecks: `y + up(gelu(down(y)))`, or `y + up(gelu(down(x)))` if parallel."""

    adapter_layer_names: ClassVar = ("bottleneck_down", "bottleneck_up")
    other_param_names: ClassVar = ("bottleneck_parallel",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_parallel: dict[str, bool] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: BottleneckConfig) -> None:
        """Add a bottleneck under a name; its second matrix is zero, so that it begins as no change."""
        inner, outer = _features(self.base_layer)
        down = nn.Linear(inner if config.parallel else outer, config.width)
        up = nn.Linear(config.width, outer)
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        self.bottleneck_down[adapter_name] = down
        self.bottleneck_up[adapter_name] = up
        self.bottleneck_parallel[adapter_name] = config.parallel
        tuned: Any = self
        tuned._move_adapter_to_device_of_base_layer(adapter_name)
        tuned.set_adapter(tuned.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor) -> Tensor:
        """Give the map's output with what the active bottlenecks add."""
        tuned: Any = self
        result: Tensor = tuned.base_layer(x)
        names = [] if tuned.disable_adapters else [n for n in tuned.active_adapters if n in tuned.bottleneck_up]
        for name in names:
            read = x if tuned.bottleneck_parallel[name] else result
            down, up = tuned.bottleneck_down[name], tuned.bottleneck_up[name]
            result = result + up(nn.functional.gelu(down(read.to(up.weight.dtype)))).to(result.dtype)
        return result

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refuse: a nonlinearity is no matrix."""
        raise ValueError("a bottleneck has a nonlinearity between its matrices, which no one matrix can replace")

    def unmerge(self) -> None:
        """Do nothing else than `merge` did."""
        raise ValueError("a bottleneck is never merged")


class BottleneckModel(BaseTuner):  # type: ignore[misc]
    """PEFT's tuner of bottleneck adapters."""

    prefix: str = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = BottleneckLayer(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)


def _features(layer: nn.Module) -> torch.Size:
    """Give input and output size of a linear map."""
    if isinstance(layer, Conv1D):
        return torch.Size((layer.nx, layer.nf))
    if isinstance(layer, nn.Linear):
        return torch.Size((layer.in_features, layer.out_features))
    raise ValueError(f"a bottleneck stands at a linear map, not at {type(layer).__name__}")


def _register() -> None:
    """Make the type known to PEFT, which keeps its types in an enumeration without a way to add one."""
    member = str.__new__(PeftType, TYPE)
    member._name_, member._value_ = TYPE, TYPE
    PeftType._member_map_[TYPE] = member
    PeftType._value2member_map_[TYPE] = member
    PeftType._member_names_.append(TYPE)
    type.__setattr__(PeftType, TYPE, member)
    register_peft_method(name=TYPE.lower(), config_cls=BottleneckConfig, model_cls=BottleneckModel)


if TYPE not in PeftType.__members__:
    _register()
