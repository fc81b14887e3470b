"""Several LoRA adapters in one forward pass: each token of a packed row goes through its own sequence's adapter.

PEFT can do so for padded batches, by rows. Here the base's product is computed once for all tokens, and each adapter's
update is added at its tokens; tokens of no adapter are the base's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn


class MixedAdapters:
    """The LoRA adapters of a model, applied by token."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = [module for module in model.modules() if isinstance(module, Linear)]
        self._parts: Sequence[tuple[str, Tensor | None]] = ()

    @contextmanager
    def using(self, names: Sequence[str]) -> Iterator[None]:
        """While active, each token of the row goes through the adapter that is named for it; '' names the base."""
        distinct = list(dict.fromkeys(names))
        self._parts = [
            (name, None if len(distinct) == 1 else torch.tensor([at for at, one in enumerate(names) if one == name]))
            for name in distinct
            if name
        ]
        for layer in self._layers:
            vars(layer)["forward"] = partial(self._forward, layer)
        try:
            yield
        finally:
            for layer in self._layers:
                del vars(layer)["forward"]

    def _forward(self, layer: Any, x: Tensor) -> Tensor:
        """Map `[1, tokens, inputs]` to `[1, tokens, outputs]`."""
        result: Tensor = layer.base_layer(x)
        for name, at in self._parts:
            if name not in layer.lora_A:
                continue
            first, second = layer.lora_A[name], layer.lora_B[name]
            part = x if at is None else x.index_select(1, at.to(x.device))
            update = (second(first(part.to(first.weight.dtype))) * layer.scaling[name]).to(result.dtype)
            result = result + update if at is None else result.index_add(1, at.to(x.device), update)
        return result


def mixable(model: nn.Module, adapter: str) -> bool:
    """Return whether an adapter is a plain LoRA: updates of linear layers' outputs, and nothing else."""
    if not isinstance(model, PeftModel):
        return False
    config = model.peft_config[adapter]
    plain = isinstance(config, LoraConfig) and not (
        config.use_dora or config.lora_bias or config.modules_to_save or config.trainable_token_indices
        or config.bias != "none" or config.alora_invocation_tokens
    )  # fmt: skip
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    return plain and all(type(layer) is Linear for layer in layers)
