"""Frozen work is done once: what no gradient reaches is computed once for each row and kept.

The lowest layers that the training cannot change are not run again. Where no layer trains, only their output at the
reads is kept, and epochs cost almost nothing; else it is kept for every token, and later passes start at the first
layer that trains. In a run's folder it outlives a stop, and serves the run's other seeds. Exact, because what is kept
is computed without dropout; proven, like every layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.activation_cache import Kept, Key, fingerprint_of
from kamerton.engine.layout import Layout, prove_equal, read_above
from kamerton.models.structure import device_of, is_encoder_decoder, layer_stack, outer_model


@dataclass(frozen=True)
class FrozenLayers:
    """A layout over another: the lowest layers run once per row, later passes start above them."""

    inner: Layout
    layers: tuple[nn.Module, ...]
    """The frozen ones, from the lowest."""
    above: int
    """How many layers train on top of them."""
    kept: Kept = field(default_factory=Kept, compare=False)
    beside: tuple[None, ...] | None = None
    """What layers give beside their states, where they give a tuple; only such as give nothing else are kept."""

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        if not self.above:
            return "features computed once: no layer trains"
        return f"{self.inner.name}; {len(self.layers)} frozen layers computed once"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[outputs, classes]`."""
        states = self._states(model, items)
        if self.above:
            with self._exchanged(self.inner.lay(states, items)):
                return self.inner.logits(model, items)
        features = torch.cat(states)
        with self._exchanged(features.unsqueeze(1)):
            return read_above(model, len(features)).reshape(len(features), -1)

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read, from the layout below."""
        return self.inner.hidden(model, items)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads as the layout below does."""
        return self.inner.pick(states, items)

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Lay states as the layout below does."""
        return self.inner.lay(states, items)

    def common(self, items: Sequence[Encoded]) -> int:
        """Say what the layout below says."""
        return self.inner.common(items)

    def keep(self, model: nn.Module, items: Sequence[Encoded]) -> None:
        """Compute what is not kept yet, in one pass."""
        self._states(model, items)

    def _states(self, model: nn.Module, items: Sequence[Encoded]) -> list[Tensor]:
        """Give each item's states above the frozen layers: at all its tokens, or at its reads if no layer trains."""
        new = {self.key(item): item for item in items if self.key(item) not in self.kept.states}
        fresh = dict(zip(new, self._run_layers(model, list(new.values())), strict=True)) if new else {}
        for key, states in fresh.items():
            self.kept.add(key, states)
        device = device_of(model)  # what was kept in a file is mapped into the processor's memory
        return [fresh[key] if key in fresh else self.kept.states[key].to(device) for key in map(self.key, items)]

    def key(self, item: Encoded) -> Key:
        """Give what the states of a row are known by."""
        return (item.tokens, item.segments, () if self.above else item.output_positions)

    def _run_layers(self, model: nn.Module, items: Sequence[Encoded]) -> tuple[Tensor, ...]:
        """Run the frozen layers without dropout and in full precision."""
        if self.above:
            items = [replace(item, output_positions=tuple(range(len(item.tokens)))) for item in items]
        training = model.training
        model.eval()
        try:
            with torch.no_grad(), torch.autocast(device_of(model).type, enabled=False):
                output = _output_of(self.layers[-1], lambda: self.inner.logits(model, items))
        finally:
            model.train(training)
        picked = self.inner.pick(_first(output), items).detach()
        return picked.split([len(item.output_positions) for item in items])

    @contextmanager
    def _exchanged(self, states: Tensor) -> Iterator[None]:
        """While active, the frozen layers compute nothing: each gives `states`.

        Only their `forward` is covered, so that a model still finds their other attributes.
        """
        given = states if self.beside is None else (states, *self.beside)

        def give(*_args: object, **_: object) -> Any:
            return given

        before = [vars(layer).get("forward") for layer in self.layers]
        for layer in self.layers:
            vars(layer)["forward"] = give
        try:
            yield
        finally:
            for layer, own in zip(self.layers, before, strict=True):
                del vars(layer)["forward"]
                vars(layer).update({"forward": own} if own else {})


def keep_frozen_work(
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
        passes: the rows to train on, in the passes in which to compute them. Computing them beforehand, always
            in the same passes, makes them the same bit for bit however often a run is stopped.
        folder: where the states may be found, and are left.
    """
    if is_encoder_decoder(model):  # the decoder's states depend on the encoder's row as well
        return layout
    stack = layer_stack(outer_model(model))
    outputs = _untouched(layout, model, stack, items)
    if not outputs:
        return layout
    depth, beside = len(outputs), tuple(outputs[0][1:]) if isinstance(outputs[0], tuple | list) else None
    if beside and any(one is not None for one in beside):
        return layout
    frozen = FrozenLayers(layout, tuple(stack[:depth]), len(stack) - depth, beside=beside)
    for some in (items, items[:1]):  # one alone: Longformer fills rows up to a multiple of its window
        if not prove_equal(model, partial(frozen.logits, model, some), partial(layout.logits, model, some)):
            return layout
    if passes:
        _fill(frozen, model, passes, folder)
    return frozen


def _fill(frozen: FrozenLayers, model: nn.Module, passes: Sequence[Sequence[Encoded]], folder: Path | None) -> None:
    """Find the states of the rows in the folder, or compute them and leave them there."""
    parts = [[frozen.key(row) for row in rows] for rows in passes]
    keys, place = list(dict.fromkeys(chain.from_iterable(parts))), None
    if folder:
        circumstances = (frozen.name, len(frozen.layers), device_of(model).type)
        place = folder / f"{fingerprint_of(model, parts, circumstances)}.states"
        if frozen.kept.restore(place, keys):
            return
    for rows in passes:
        if not frozen.kept.full:
            frozen.keep(model, rows)
    if place:
        frozen.kept.store(place, keys)


def _untouched(layout: Layout, model: nn.Module, stack: nn.ModuleList, items: Sequence[Encoded]) -> list[Any]:
    """Give the outputs of the lowest layers that no gradient reaches; none if nothing trains at all."""
    training = model.training
    model.eval()
    logits: list[Tensor] = []
    try:
        with torch.enable_grad():
            outputs = _outputs(stack, lambda: logits.append(layout.logits(model, items[:1])))
    finally:
        model.train(training)
    if not logits[0].requires_grad or len(outputs) != len(stack):
        return []
    return list(takewhile(lambda output: not _first(output).requires_grad, outputs))


def _outputs(layers: Iterable[nn.Module], run: Callable[[], object]) -> list[Any]:
    """Run something and give what the layers put out meanwhile, in the order of their calls."""
    outputs: list[Any] = []

    def capture(_module: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(output)

    hooks = [layer.register_forward_hook(capture) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


class _Enough(Exception):  # noqa: N818  # no error: it ends a pass early
    """What was wanted of a pass is there."""


def _output_of(layer: nn.Module, run: Callable[[], object]) -> Any:
    """Run something up to the output of a layer, and give that: what stands above is not computed."""
    outputs: list[Any] = []

    def capture(_module: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(output)
        raise _Enough

    hook = layer.register_forward_hook(capture)
    try:
        run()
    except _Enough:
        return outputs[0]
    finally:
        hook.remove()
    raise RuntimeError("the layer was not run")


def _first(output: Any) -> Tensor:
    """Return the hidden states, which come alone or, in a tuple or a list, before other things."""
    states: Tensor = output[0] if isinstance(output, tuple | list) else output
    return states
