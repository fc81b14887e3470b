"""Last-layer token selection: the last layer is computed only at the output positions.

Only the head reads a token's output of the last layer; attention alone needs every token. So the layer is given the
output positions, except for the module that leads to attention, be it the attention itself (BERT) or a norm before it
(Llama); and the map behind attention continues with the output positions. These modules are found by watching one
pass, and the result is proven equal.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kamerton.engine.packed import Witness
from kamerton.models.structure import layer_stack

reselecting: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("reselecting", default=nullcontext)
"""The context in which gradient checkpointing must recompute a layer of the current pass."""


@dataclass(frozen=True)
class LastLayerSelection:
    """How the last layer of a model is run at the output positions."""

    layer: nn.Module
    before: nn.Module
    """The module in it that leads to attention."""
    behind: nn.Module
    """The map that takes attention's output."""

    @contextmanager
    def at(self, outputs: Tensor) -> Iterator[None]:
        """While active, the layer computes only some positions of a packed row, `[positions]`."""
        whole: list[Tensor] = []

        def select(_module: nn.Module, args: Any) -> Any:
            return (args[0].index_select(1, outputs), *args[1:])

        def keep_and_select(module: nn.Module, args: Any) -> Any:
            whole.append(args[0])
            return select(module, args)

        def restore(_module: nn.Module, args: Any) -> Any:
            return (whole[-1], *args[1:])

        again = partial(_hooked, ((self.before, restore), (self.behind, select)))
        token = reselecting.set(again)
        try:
            with _hooked(((self.layer, keep_and_select),)), again():
                yield
        finally:
            reselecting.reset(token)


@contextmanager
def _hooked(hooks: Sequence[tuple[nn.Module, Callable[[nn.Module, Any], Any]]]) -> Iterator[None]:
    with ExitStack() as stack:
        for module, hook in hooks:
            stack.enter_context(module.register_forward_pre_hook(hook))
        yield


def selections(model: PreTrainedModel, run: Callable[[Witness], Tensor]) -> Iterator[LastLayerSelection]:
    """Yield unproven ways to run the last layer at the output positions only; `run` returns packed rows' outputs."""
    layer = layer_stack(model)[-1]
    taken: dict[nn.Module, Tensor] = {}
    attended: list[Tensor] = []

    def record(module: nn.Module, args: Any) -> None:
        if args and isinstance(args[0], Tensor):
            taken[module] = args[0]

    with _hooked([(module, record) for module in layer.modules()]), torch.no_grad():
        outputs = len(run(attended.append))
    states = taken.get(layer)
    if states is None or not attended or outputs >= states.shape[1]:
        return  # nothing found, or every token is an output position
    inside = {module: took for module, took in taken.items() if module is not layer}
    behind = [module for module, took in inside.items() if _same(took, attended[-1])]
    for before in (module for module, took in inside.items() if _same(took, states)):
        if behind:
            yield LastLayerSelection(layer, before, behind[0])


def _same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors share their storage; both are alive, so no storage is reused."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
