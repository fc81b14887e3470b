"""The last layer is computed only where it is read: one token of a text to be classified, the answer's of a prompt.

A token's output in the last layer is nobody's input but the head's; only attention has to see every token.
So the layer is given the reads alone, but for the module that leads to attention, be it the attention itself
(BERT) or a norm before it (Llama); and the map behind attention goes on with the reads alone. Which modules
these are is found by watching one pass, and proven like every layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kamerton.engine.packed import Witness
from kamerton.models.structure import layer_stack

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Narrowing:
    """How the last layer of a model is run at the reads."""

    layer: nn.Module
    before: nn.Module
    """The module in it that takes the layer's input to attention."""
    behind: nn.Module
    """The map that takes attention's output."""

    @contextmanager
    def at(self, reads: Tensor) -> Iterator[None]:
        """Run a flat row this way for a while.

        Args:
            reads: places in the row, `[outputs]`.
        """
        whole: list[Tensor] = []

        def narrow(_module: nn.Module, args: Any) -> Any:
            whole.append(args[0])
            return (args[0].index_select(1, reads), *args[1:])

        def widen(_module: nn.Module, args: Any) -> Any:
            return (whole[-1], *args[1:])

        def pick(_module: nn.Module, args: Any) -> Any:
            return (args[0].index_select(1, reads), *args[1:])

        again = partial(_hooked, ((self.before, widen), (self.behind, pick)))
        token = _again.set(again)
        try:
            with _hooked(((self.layer, narrow),)), again():
                yield
        finally:
            _again.reset(token)


@contextmanager
def _hooked(hooks: Sequence[tuple[nn.Module, Callable[[nn.Module, Any], Any]]]) -> Iterator[None]:
    """Change what modules take for a while."""
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


_again: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("again", default=nullcontext)


def narrowed_again() -> Callable[[], AbstractContextManager[None]]:
    """Give what lets a layer that the backward pass computes a second time do as it does in this pass."""
    return _again.get()


def narrowings(model: PreTrainedModel, run: Callable[[Witness], Tensor]) -> Iterator[Narrowing]:
    """Find ways in which the last layer may be run at the reads; each is still to be proven.

    Args:
        model: transformers' own.
        run: runs some rows flat, and gives the output at their reads.
    """
    layer = layer_stack(model)[-1]
    taken: dict[nn.Module, Tensor] = {}
    attended: list[Tensor] = []

    def note(module: nn.Module, args: Any) -> None:
        if args and isinstance(args[0], Tensor):
            taken[module] = args[0]

    hooks = [module.register_forward_pre_hook(note) for module in layer.modules()]
    try:
        with torch.no_grad():
            reads = len(run(attended.append))
    finally:
        for hook in hooks:
            hook.remove()
    states = taken.get(layer)
    if states is None or not attended or reads >= states.shape[1]:
        return  # nothing to find, or nothing to win: every token is read
    inside = {module: took for module, took in taken.items() if module is not layer}
    behind = [module for module, took in inside.items() if _same(took, attended[-1])]
    for before in (module for module, took in inside.items() if _same(took, states)):
        if behind:
            yield Narrowing(layer, before, behind[0])


def _same(one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors are views of the same numbers; both are alive, so that no storage is used twice."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
