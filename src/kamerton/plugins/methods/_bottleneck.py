"""PEFT's type of bottleneck adapters, in PEFT's own conventions.

PEFT has none, so it is registered here: adapters are saved in PEFT's format, and `PeftModel.from_pretrained` loads
them in every process that has imported this module.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import PeftType, register_peft_method
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

TYPE = "BOTTLENECK"


@dataclass
class BottleneckConfig(PeftConfig):  # type: ignore[misc]  # PEFT has no types
    """PEFT's configuration of bottleneck adapters."""

    width: int = 16
    """Of the bottleneck."""
    parallel: bool = False
    """Whether a bottleneck reads the input of the map that it stands at, else its output."""
    target_modules: list[str] | set[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
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
        self.bottleneck_down[adapter_name] = nn.Linear(inner if config.parallel else outer, config.width)
        up = self.bottleneck_up[adapter_name] = nn.Linear(config.width, outer)
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        self.bottleneck_parallel[adapter_name] = config.parallel
        tuned: Any = self
        tuned._move_adapter_to_device_of_base_layer(adapter_name)
        tuned.set_adapter(tuned.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map's output with what the active bottlenecks add."""
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
        """Refuse: nothing is ever merged."""
        raise ValueError("a bottleneck is never merged")


class BottleneckModel(BaseTuner):  # type: ignore[misc]
    """PEFT's tuner of bottleneck adapters."""

    prefix: str = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _create_and_replace(
        self, config: BottleneckConfig, adapter: str, target: nn.Module, name: str, parent: nn.Module, **_: Any
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter, config)
            return
        layer = BottleneckLayer(target, adapter, config)
        if adapter not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, name, layer, target)


def _features(layer: nn.Module) -> torch.Size:
    """Return input and output size of a linear map."""
    if isinstance(layer, Conv1D):
        return torch.Size((layer.nx, layer.nf))
    if isinstance(layer, nn.Linear):
        return torch.Size((layer.in_features, layer.out_features))
    raise ValueError(f"a bottleneck stands at a linear map, not at {type(layer).__name__}")


if TYPE not in PeftType.__members__:  # PEFT keeps its types in an enumeration without a way to add one
    member = str.__new__(PeftType, TYPE)
    member._name_, member._value_ = TYPE, TYPE
    PeftType._member_map_[TYPE] = member
    PeftType._value2member_map_[TYPE] = member
    PeftType._member_names_.append(TYPE)
    type.__setattr__(PeftType, TYPE, member)
    register_peft_method(name=TYPE.lower(), config_cls=BottleneckConfig, model_cls=BottleneckModel)
