"""Frozen work is done once: where no layer trains, each row's features are computed once and kept.

What trains is then only what stands above the layers (final norm, pooler, head), and epochs cost
almost nothing. Exact, because frozen layers run without dropout; proven, like every layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kamerton.models.layout import Layout, outer_model, prove_equal, read_above
from kamerton.records import Encoded


@dataclass(frozen=True)
class FrozenLayers:
    """A layout over another: the layers run once per row, later passes start above them."""

    inner: Layout
    last_layer: nn.Module
    features: dict[tuple[tuple[int, ...], tuple[int, ...]], Tensor] = field(default_factory=dict, compare=False)
    """By tokens and reads: the last layer's output at the reads, `[reads, hidden]`."""

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return "features computed once: no layer trains"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[reads, classes]`."""
        features = self._features(model, items)
        with _Injection(self.last_layer, features):
            return read_above(model, len(features)).reshape(len(features), -1)

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read, from the layout below."""
        return self.inner.hidden(model, items)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads as the layout below does."""
        return self.inner.pick(states, items)

    def _features(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        new = list({(i.tokens, i.reads): i for i in items if (i.tokens, i.reads) not in self.features}.values())
        if new:
            captured = self._run_layers(model, new)
            for item, part in zip(new, captured.split([len(item.reads) for item in new]), strict=True):
                self.features[item.tokens, item.reads] = part.clone()
        return torch.cat([self.features[item.tokens, item.reads] for item in items])

    def _run_layers(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        training = model.training
        model.eval()
        outputs: list[Tensor] = []

        def capture(_module: nn.Module, _args: Any, output: Any) -> None:
            outputs.append(output[0] if isinstance(output, tuple) else output)

        hook = self.last_layer.register_forward_hook(capture)
        try:
            with torch.no_grad():
                self.inner.logits(model, items)
        finally:
            hook.remove()
            model.train(training)
        return self.inner.pick(outputs[0], items).detach()


class _Injection:
    """While active, a layer's output is exchanged for given features: `[reads, 1, hidden]`."""

    def __init__(self, layer: nn.Module, features: Tensor) -> None:
        self.layer, self.features = layer, features.unsqueeze(1)

    def __enter__(self) -> None:
        self.hook = self.layer.register_forward_hook(self._exchange)

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _exchange(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        return (self.features, *output[1:]) if isinstance(output, tuple) else self.features


def keep_frozen_work(layout: Layout, model: nn.Module, items: Sequence[Encoded]) -> Layout:
    """Wrap a layout so that frozen layers run once, if no layer trains and the result is proven equal.

    Args:
        layout: the layout proven for the model.
        model: with `requires_grad` as the method left it.
        items: a few real rows for the proof.
    """
    stack = layer_stack(model)
    below = [*stack.parameters(), *outer_model(model).get_input_embeddings().parameters()]
    if any(parameter.requires_grad for parameter in below):
        return layout
    frozen = FrozenLayers(layout, stack[-1])
    return frozen if prove_equal(model, frozen, layout, lambda way: way.logits(model, items)) else layout


def layer_stack(model: nn.Module) -> nn.ModuleList:
    """Find the list of a model's layers: the longest one in its backbone."""
    lists = [module for module in outer_model(model).base_model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len)
