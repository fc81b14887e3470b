"""Frozen layers are run once for each row, and their output is cached.

The lowest layers that training cannot change are not run again. Where no layer trains, only their output at the output
positions is cached, and epochs cost almost nothing; else it is cached for every token, and later passes start at the
first layer that trains. In a run's folder the cache survives a stop, and serves the run's other seeds. Exact, because
frozen layers run without dropout; proven, like every layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded
from kamerton.engine.activation_cache import ActivationCache, Key, fingerprint_of
from kamerton.engine.layout import Layout, head_logits, in_mode
from kamerton.engine.verify import prove_equal
from kamerton.models.structure import device_of, is_encoder_decoder, layer_stack, outer_model


@dataclass(frozen=True)
class FrozenLayers(Layout):
    """A layout over another: the lowest layers run once per row, later passes start above them."""

    inner: Layout
    layers: tuple[nn.Module, ...]
    """The frozen ones, from the lowest."""
    above: int
    """How many layers train on top of them."""
    cache: ActivationCache = field(default_factory=ActivationCache, compare=False)
    beside: tuple[None, ...] | None = None
    """What layers return after their states, where they return a tuple; it must all be None to be cached."""

    @property
    def name(self) -> Message:
        """The layout below, and how many layers are cached."""
        if not self.above:
            return msg("features computed once: no layer trains")
        return msg(
            "{layout}; {count} frozen {count:layer|layers} computed once",
            layout=self.inner.name,
            count=len(self.layers),
        )

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run all layers, as the layout below does."""
        return self.inner.run(model, items)

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the head's output at every output position: `[outputs, classes]`."""
        if self.above:
            with self._exchanged(self.inner.lay(self.states(model, items), items)):
                return self.inner.logits(model, items)
        features = torch.cat(self.states(model, items))
        with self._exchanged(features.unsqueeze(1)):
            return head_logits(model, len(features)).reshape(len(features), -1)

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the last hidden state at every output position, from the layout below."""
        return self.inner.hidden(model, items)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Select the output positions as the layout below does."""
        return self.inner.pick(states, items)

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Arrange states as the layout below does."""
        return self.inner.lay(states, items)

    def common(self, items: Sequence[Encoded]) -> int:
        """Return what the layout below returns."""
        return self.inner.common(items)

    def key(self, item: Encoded) -> Key:
        """Return the cache key of a row."""
        return (item.tokens, item.segments, () if self.above else item.output_positions)

    def states(self, model: nn.Module, items: Sequence[Encoded]) -> list[Tensor]:
        """Return each item's states above the frozen layers: at all its tokens, or at its output positions only."""
        new = {self.key(item): item for item in items if self.key(item) not in self.cache.states}
        fresh = dict(zip(new, self._run_layers(model, list(new.values())), strict=True)) if new else {}
        for key, states in fresh.items():
            self.cache.add(key, states)
        device = device_of(model)  # a cache file is mapped into the processor's memory
        return [fresh[key] if key in fresh else self.cache.states[key].to(device) for key in map(self.key, items)]

    def _run_layers(self, model: nn.Module, items: Sequence[Encoded]) -> tuple[Tensor, ...]:
        """Run the frozen layers without dropout and in full precision."""
        if self.above:
            items = [replace(item, output_positions=tuple(range(len(item.tokens)))) for item in items]
        with in_mode(model, training=False), torch.no_grad(), torch.autocast(device_of(model).type, enabled=False):
            [output] = _outputs(self.layers[-1:], lambda: self.inner.logits(model, items), stop=True)
        picked = self.inner.pick(_first(output), items).detach()
        return picked.split([len(item.output_positions) for item in items])

    @contextmanager
    def _exchanged(self, states: Tensor) -> Iterator[None]:
        """While active, the frozen layers compute nothing and return `states`.

        Only their `forward` is replaced, so that a model still finds their other attributes.
        """
        output = states if self.beside is None else (states, *self.beside)

        def forward(*_args: object, **_: object) -> Any:
            return output

        before = [vars(layer).get("forward") for layer in self.layers]
        for layer in self.layers:
            vars(layer)["forward"] = forward
        try:
            yield
        finally:
            for layer, own in zip(self.layers, before, strict=True):
                del vars(layer)["forward"]
                vars(layer).update({"forward": own} if own else {})


def run_frozen_once(
    layout: Layout,
    model: nn.Module,
    items: Sequence[Encoded],
    passes: Sequence[Sequence[Encoded]] = (),
    folder: Path | None = None,
) -> Layout:
    """Wrap a layout so that frozen layers run once, if there are any and the result is proven equal.

    Args:
        layout: the layout proven for the model.
        model: with `requires_grad` as the method left it.
        items: a few real rows for the proof.
        passes: the rows to train on, in the passes in which to run them. Running them beforehand, always in the same
            passes, makes the states equal bit for bit however often a run is stopped.
        folder: of cache files.
    """
    stack = layer_stack(outer_model(model))
    # an encoder-decoder's decoder depends on the encoder's row as well
    outputs = [] if is_encoder_decoder(model) else _untrained_outputs(layout, model, stack, items)
    if not outputs:
        return layout
    depth, beside = len(outputs), tuple(outputs[0][1:]) if isinstance(outputs[0], tuple | list) else None
    if beside and any(one is not None for one in beside):
        return layout
    frozen = FrozenLayers(layout, tuple(stack[:depth]), len(stack) - depth, beside=beside)
    for some in (items, items[:1]):  # one alone: Longformer pads rows to a multiple of its window
        if not prove_equal(model, partial(frozen.logits, model, some), partial(layout.logits, model, some)):
            return layout
    if passes:
        _fill(frozen, model, passes, folder)
    return frozen


def _fill(frozen: FrozenLayers, model: nn.Module, passes: Sequence[Sequence[Encoded]], folder: Path | None) -> None:
    parts = [[frozen.key(row) for row in rows] for rows in passes]
    keys, place = list(dict.fromkeys(chain.from_iterable(parts))), None
    if folder:
        circumstances = (str(frozen.name), len(frozen.layers), device_of(model).type)
        place = folder / f"{fingerprint_of(model, parts, circumstances)}.states"
        if frozen.cache.restore(place, keys):
            return
    for rows in passes:
        if not frozen.cache.full:
            frozen.states(model, rows)
    if place:
        frozen.cache.store(place, keys)


def _untrained_outputs(layout: Layout, model: nn.Module, stack: nn.ModuleList, items: Sequence[Encoded]) -> list[Any]:
    """Return the outputs of the lowest layers that no gradient reaches; none if nothing trains at all."""
    logits: list[Tensor] = []
    with in_mode(model, training=False), torch.enable_grad():
        outputs = _outputs(stack, lambda: logits.append(layout.logits(model, items[:1])))
    if not logits[0].requires_grad or len(outputs) != len(stack):
        return []
    return list(takewhile(lambda output: not _first(output).requires_grad, outputs))


class _Stop(Exception):  # noqa: N818  # no error
    """Stop the forward pass early."""


def _outputs(layers: Iterable[nn.Module], run: Callable[[], object], *, stop: bool = False) -> list[Any]:
    """Return the outputs of layers while something runs, in the order of their calls; `stop` at the first one."""
    outputs: list[Any] = []

    def capture(_module: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(output)
        if stop:
            raise _Stop

    with ExitStack() as hooks, suppress(_Stop):
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(capture))
        run()
    return outputs


def _first(output: Any) -> Tensor:
    """Return the hidden states, which a layer returns alone or first in a tuple or list."""
    states: Tensor = output[0] if isinstance(output, tuple | list) else output
    return states
