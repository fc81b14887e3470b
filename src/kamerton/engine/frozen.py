"""Frozen layers are run once for each row, and their output is cached.

The lowest layers that training cannot change are not run again. Where no layer trains, only their output at the output
positions is cached, and epochs cost almost nothing; else it is cached for every token, and later passes start at the
first layer that trains. In a run's folder the cache survives a stop, and serves the run's other seeds. Exact, because
frozen layers run without dropout; proven, like every layout.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kamerton.core.files import read_sealed, replacing, sha256_of, write_sealed
from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded
from kamerton.engine.halves import head_logits
from kamerton.engine.layout import Layout, in_mode
from kamerton.engine.verify import prove_equal
from kamerton.models.structure import device_of, is_encoder_decoder, layer_stack, outer_model

BUDGET = 2 * 1024**3
"""Most bytes of states to cache. SmolLM2 (hidden 576) fills it with 930,000 tokens."""
FORMAT = 1
"""Of the files; it is part of their fingerprint."""
SPARE = 2
"""How many times the states' bytes a disk must have free."""
KINDS = {str(kind): kind for kind in (torch.float32, torch.bfloat16, torch.float16, torch.float64)}
"""Types of states by their names in a file's description."""

Key = tuple[tuple[int, ...], ...]


@dataclass
class ActivationCache:
    """States by row. Once one does not fit, no other is added: the content must not depend on the order of use."""

    budget: int = BUDGET
    states: dict[Key, Tensor] = field(default_factory=dict)
    bytes: int = 0
    full: bool = False

    def add(self, key: Key, states: Tensor) -> None:
        """Add the states of a row if they fit."""
        self.full = self.full or self.bytes + states.nbytes > self.budget
        if not self.full:
            self.states[key] = states.clone()
            self.bytes += states.nbytes

    def store(self, place: Path, keys: Sequence[Key]) -> None:
        """Write the cached states of rows to a file, with a description beside it, and map them from there.

        Does nothing if the disk lacks room. `restore` needs the keys in the same order.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        rows = [row for row, key in enumerate(keys) if key in self.states]
        if not rows or shutil.disk_usage(place.parent).free < SPARE * self.bytes:
            return
        with replacing(place) as temporary, temporary.open("wb") as file:
            for row in rows:
                file.write(_bytes_of(self.states[keys[row]]))
        some = self.states[keys[rows[0]]]
        about = {
            "sha256": sha256_of(place),
            "type": str(some.dtype),
            "width": some.shape[-1],
            "rows": rows,
            "lengths": [len(self.states[keys[row]]) for row in rows],
            "exhausted": self.full,
        }
        write_sealed(place.with_suffix(".about"), json.dumps(about).encode())
        self.restore(place, keys)

    def restore(self, place: Path, keys: Sequence[Key]) -> bool:
        """Replace the states by those of an intact file that `store` wrote; return whether there was one."""
        about = json.loads(read_sealed(place.with_suffix(".about")) or "{}")
        if not about or not place.exists() or sha256_of(place) != about["sha256"]:
            return False
        width, lengths = about["width"], about["lengths"]
        size, kind = sum(lengths) * width, KINDS[about["type"]]
        mapped = torch.from_file(str(place), shared=False, size=size, dtype=kind).view(-1, width)
        self.states = {keys[row]: part for row, part in zip(about["rows"], mapped.split(lengths), strict=True)}
        self.bytes, self.full = mapped.nbytes, about["exhausted"]
        return True


@dataclass(frozen=True)
class FrozenLayers(Layout):
    """A layout over another: the lowest layers run once per row, later passes start above them."""

    inner: Layout
    """It arranges all states, so that `pick` and `lay` are not needed here."""
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
        count = len(self.layers)
        return msg("{layout}; {count} frozen {count:layer|layers} computed once", layout=self.inner.name, count=count)

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
        """While active, the frozen layers return `states`; only `forward` is replaced, so a model finds the rest."""
        output = states if self.beside is None else (states, *self.beside)
        before = [vars(layer).get("forward") for layer in self.layers]
        for layer in self.layers:
            vars(layer)["forward"] = lambda *_args, **_: output
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
    """Wrap a layout so that frozen layers run once, if there are any and that is proven equal on a few real `items`.

    The rows to train on are run beforehand, always in the same `passes`: so the states are equal bit for bit however
    often a run is stopped. They are cached in `folder`.
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


def fingerprint_of(model: nn.Module, passes: Iterable[Sequence[Key]], circumstances: Sequence[object]) -> str:
    """Hash all that the states of frozen layers depend on: frozen weights, the rows in their passes, and the rest."""
    digest = hashlib.sha256(repr([FORMAT, torch.__version__, torch.get_num_threads(), *circumstances]).encode())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, tensor in model.state_dict().items():  # with what quantized weights are decoded by
        if isinstance(tensor, Tensor) and name not in trained:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes_of(tensor))
    for rows in passes:
        digest.update(repr(list(rows)).encode())
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


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
    return output[0] if isinstance(output, tuple | list) else output
