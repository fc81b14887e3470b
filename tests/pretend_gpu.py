"""A pretend GPU: tensors on a device `gpu` of torch whose arithmetic runs on the CPU.

It finds without hardware what only a device shows: an operation that mixes devices raises as CUDA's do, random numbers
come from a generator of the device's own, each copy to the host is counted with the place in the code that made it,
memory has a size and a peak, and in the mode `mac` float64 is refused as MPS refuses it. What it cannot show: speed,
rounding in TF32 or 16 bits, and kernels that exist on real devices only.

torch can be given a device once in a process and never loses it again, so `pretend` is called in child processes.
"""

from __future__ import annotations

import importlib
import os
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, library
from torch.overrides import TorchFunctionMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "gpu"
DEVICE = torch.device("privateuseone", 0)  # whose name is `gpu` once there is the card
HOST = torch.device("cpu")
Mode = Literal["cuda", "mac"]
VARIABLE = "KAMERTON_PRETEND_GPU"
"""Tells child processes the mode."""
PACKAGES = ("kamerton", "transformers", "peft")
"""Whose code is named as the place of a host copy; the first that is found, from the innermost call."""

CROSSING = {"_to_copy", "copy_", "_copy_from", "_copy_from_and_resize", "set_"}
"""Operations that take tensors of two devices."""
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
"""Operations of a tensor with others as indices, which CUDA takes from the host, too."""
STRICT = {
    "addmm", "bmm", "cat", "embedding", "gather", "index_add", "index_add_", "index_copy", "index_select", "mm",
    "scatter", "stack", "_fused_adam_", "_fused_adamw_",
}  # fmt: skip
"""Operations that refuse even a host tensor of one element."""
RANDOM = {
    "bernoulli", "bernoulli_", "exponential_", "multinomial", "native_dropout", "normal_", "rand", "rand_like",
    "randint", "randn", "randn_like", "random_", "randperm", "uniform_",
}  # fmt: skip
TOTAL = 1 << 40  # bytes of the card
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "_unique2", "equal"}
"""Operations whose result the host must wait for."""


class Card(_DummyBackendModule):  # type: ignore[misc]  # torch has no types for it
    """What torch asks a kind of device by its module, as `torch.cuda`."""

    def __init__(self) -> None:
        self.random = torch.Generator().manual_seed(1234).get_state()
        self.capacity, self.held, self.peak = TOTAL, 0, 0
        self.capability = (0, 0)
        self.copies: Counter[str] = Counter()
        """Copies to the host, by the place in the code."""

    def manual_seed_all(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed % (1 << 63)).get_state()

    manual_seed = manual_seed_all

    def get_rng_state(self, *_: object) -> Tensor:
        return self.random.clone()

    def set_rng_state(self, state: Tensor, *_: object) -> None:
        self.random = state.clone()

    def synchronize(self, *_: object) -> None: ...

    set_device = empty_cache = synchronize

    def get_device_name(self, *_: object) -> str:
        return "Pretend GPU"

    def get_device_capability(self, *_: object) -> tuple[int, int]:
        return self.capability

    def mem_get_info(self, *_: object) -> tuple[int, int]:
        return self.capacity - self.held, TOTAL

    def memory_allocated(self, *_: object) -> int:
        return self.held

    memory_reserved = memory_allocated

    def set_per_process_memory_fraction(self, share: float) -> None:
        self.capacity = int(share * TOTAL)

    def max_memory_allocated(self, *_: object) -> int:
        return self.peak

    def allocate(self, inner: Tensor) -> None:
        """Count a tensor's storage as long as it lives. Raises `OutOfMemoryError` as CUDA does, in forward passes."""
        storage = inner.untyped_storage()
        if storage._cdata in _KNOWN:
            return
        size = storage.nbytes()
        backward = torch._C._current_graph_task_id() >= 0  # an exception from there would end the process
        if self.held + size > self.capacity and not backward:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes.")
        self.held += size
        self.peak = max(self.peak, self.held)
        _KNOWN[storage._cdata] = weakref.ref(storage, lambda _, at=storage._cdata: self._free(at, size))

    def _free(self, at: int, size: int) -> None:
        del _KNOWN[at]
        self.held -= size

    def copied(self, how: str) -> None:
        """Count a copy to the host."""
        self.copies[f"{how} at {place()}"] += 1


CARD = Card()
_KNOWN: dict[int, Any] = {}
_MODE: list[Mode] = []
_MAKE_SUBCLASS: Any = torch.Tensor._make_subclass
_KEPT: list[Any] = []  # what must live as long as the process


class Held(torch.Tensor):
    """A tensor on the card."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Held:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, device=DEVICE, **layout)  # type: ignore[attr-defined]

    def __init__(self, inner: Tensor) -> None:
        refuse_float64(inner.dtype)
        CARD.allocate(inner)
        self.inner = inner

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy: Tensor = Held(self.inner.clone())
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, self.requires_grad)
        memo[id(self)] = copy
        return copy

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatched(func, args, kwargs or {})


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """Change all values in nested lists, tuples and mappings; torch's own way takes half of the time of a test."""
    if isinstance(value, tuple | list):
        return type(value)([mapped(change, one) for one in value])
    if isinstance(value, dict):
        return {key: mapped(change, one) for key, one in value.items()}
    return change(value)


def leaves(value: Any) -> list[Any]:
    """Return all values in nested lists, tuples and mappings."""
    found: list[Any] = []
    mapped(found.append, value)
    return found


def place() -> str:
    """Return where in the libraries' code this was called from."""
    for frame in reversed(traceback.extract_stack(limit=70)):
        for package in PACKAGES:
            if f"/{package}/" in frame.filename:
                return f"{package}/{frame.filename.rpartition(f'/{package}/')[2]}:{frame.lineno}"
    return "?"


def host(tensor: Any) -> Any:
    """Return a tensor's numbers on the host, uncounted."""
    return tensor.inner if isinstance(tensor, Held) else tensor


def refuse_float64(dtype: object) -> None:
    """Raise what MPS raises."""
    if _MODE == ["mac"] and dtype == torch.float64:
        text = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
        raise TypeError(f"{text} At {place()}")


def refuse_mixed(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise what CUDA raises where an operation gets tensors of two devices."""
    tensors = [one for one in leaves((args, kwargs)) if isinstance(one, Tensor)]
    on_card, on_host = ([t for t in tensors if isinstance(t, Held) == card] for card in (True, False))
    if name in CROSSING or not on_card:
        return
    if name in INDEXED:
        if not isinstance(args[0], Held):
            raise RuntimeError(f"indices should be either on cpu or on the indexed tensor's device (cpu), at {place()}")
        on_host = [args[2]] if len(args) > 2 and args[2] is not None and not isinstance(args[2], Held) else []
        wrong = [one for one in on_host if one.dim()]
    else:
        wrong = [one for one in on_host if one.dim() or name in STRICT]
    if wrong:
        text = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
        raise RuntimeError(f"{text} ({name}, shapes {[tuple(one.shape) for one in wrong]}, at {place()})")


def dispatched(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run one operation of torch on the host's numbers."""
    name = func._schema.name.partition("::")[2]
    if name == "_fused_sdp_choice":
        return 0
    refuse_mixed(name, args, kwargs)
    target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if name in WAITING or (name in ("_to_copy", "copy_") and _leaves_card(name, args, target)):
        CARD.copied(name)
    inner_args, inner = mapped(host, tuple(args)), mapped(host, dict(kwargs))
    if target is not None:
        inner["device"] = HOST
    if name == "copy_":
        inner_args[0].copy_(inner_args[1])
        return args[0]
    made = _called(name, func, inner_args, inner)
    given = [one for one in leaves((args, kwargs)) if isinstance(one, Tensor)]
    if target == HOST or (target is None and not any(isinstance(one, Held) for one in given)):
        return made
    known = {id(host(one)): one for one in given}
    return mapped(lambda one: known.get(id(one), Held(one)) if isinstance(one, Tensor) else one, made)


def _leaves_card(name: str, args: Sequence[Any], target: torch.device | None) -> bool:
    source, to_host = (args[1], not isinstance(args[0], Held)) if name == "copy_" else (args[0], target == HOST)
    return isinstance(source, Held) and to_host


def _called(name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """Call an operation; one that draws random numbers gets the card's generator instead of the host's."""
    if name not in RANDOM or kwargs.get("generator") is not None:
        return func(*args, **kwargs)
    before = torch.get_rng_state()
    torch.default_generator.set_state(CARD.random)
    try:
        return func(*args, **kwargs)
    finally:
        CARD.random = torch.get_rng_state()
        torch.default_generator.set_state(before)


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.dtype = tensor.dtype
        return Held(tensor.detach().to(dtype).clone())

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return host(gradient).to(ctx.dtype), None


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Any, dtype: torch.dtype) -> Tensor:
        ctx.dtype = tensor.dtype
        CARD.copied("copy to the host")
        return tensor.inner.to(dtype).clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return Held(gradient.to(ctx.dtype)), None


class _Moves(TorchFunctionMode):
    """Makes and moves tensors, which a device in Python cannot do at the level of operations."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        first = args[0] if args else None
        if _is_card(kwargs.get("device")) and not isinstance(first, Tensor):
            return _made(func, args, kwargs)
        if isinstance(first, Tensor) and name in ("to", "cpu", NAME):
            return _moved(first, name, args[1:], kwargs, func)
        if name == "detach" and torch.nn.Parameter in type(first).__mro__[1:]:
            return first  # real devices move weights of a library's own kind in place; a new one must be of that kind
        if isinstance(first, Held):
            match name:
                case "numpy":
                    raise TypeError(f"can't convert cuda:0 device type tensor to numpy, at {place()}")
                case "tolist":
                    CARD.copied(name)
                    return first.inner.tolist()
                case "new_tensor":
                    return Held(torch.tensor(args[1], dtype=kwargs.get("dtype", first.dtype)))
                case "untyped_storage" | "storage" | "data_ptr":
                    return getattr(first.inner, name)()
                case "__set__" if func.__self__ is torch.Tensor.data:
                    func(*args)
                    first.inner = args[1].inner
                    return None
        return func(*args, **kwargs)


def _subclassed(kind: Any, data: Tensor, trains: bool = False) -> Tensor:
    """Make a tensor of a library's own kind on the card (bitsandbytes' four bits): it is one of both kinds."""
    if not isinstance(data, Held):
        made: Tensor = _MAKE_SUBCLASS(kind, data, trains)
        return made
    both = type(kind.__name__, (kind, Held), {"__init__": lambda *_, **__: None})
    held = Held.__new__(both, data.inner)
    held.inner = data.inner
    return held.requires_grad_(trains)


def _is_card(device: Any) -> bool:
    return device is not None and not isinstance(device, int) and torch.device(device).type == NAME


def _made(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    trains, kwargs["device"] = kwargs.pop("requires_grad", False), HOST
    made = _called(getattr(func, "__name__", ""), func, args, kwargs)
    return mapped(lambda one: Held(one.detach()).requires_grad_(trains) if isinstance(one, Tensor) else one, made)


def _moved(own: Tensor, name: str, given: Sequence[Any], kwargs: dict[str, Any], func: Any) -> Any:
    target, dtype = {"cpu": HOST, NAME: DEVICE}.get(name), kwargs.pop("dtype", None)
    if (device := kwargs.pop("device", None)) is not None:
        target = torch.device(device)
    for one in given:
        if isinstance(one, Tensor):
            target, dtype = one.device, one.dtype
        elif isinstance(one, str | torch.device):
            target = torch.device(one)
        elif isinstance(one, torch.dtype):
            dtype = one
    if target is not None and target.type == NAME and not isinstance(own, Held):
        return _Up.apply(own, dtype or own.dtype)
    if target == HOST and isinstance(own, Held):
        return _Down.apply(own, dtype or own.dtype)
    if target is not None and target.type == "meta":
        return func(own, target, **({"dtype": dtype} if dtype else {}))
    refuse_float64(dtype if isinstance(own, Held) else None)
    return own.type(dtype) if dtype not in (None, own.dtype) else own


def pretend(mode: Mode) -> None:
    """Give torch the card, for the rest of this process and for its children."""
    os.environ |= {VARIABLE: mode, "KAMERTON_DEVICE": "auto"}
    if _MODE:
        return
    _MODE.append(mode)
    _setup_privateuseone_for_python_backend(NAME, backend_module=CARD)
    torch.Tensor._make_subclass = staticmethod(_subclassed)  # type: ignore[assignment]
    operators = library.Library("_", "IMPL")
    operators.fallback(lambda op, *args, **kwargs: dispatched(op, args, kwargs), "PrivateUse1")
    _KEPT.extend((operators, _Moves()))
    _KEPT[1].__enter__()
    torch.autograd.set_multithreading_enabled(False)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the copies to the host within a block, by place."""
    before, found = CARD.copies.copy(), Counter[str]()
    yield found
    found.update(CARD.copies - before)


def kamerton(mode: Mode, arguments: Sequence[str]) -> None:
    """Be the command line on a machine with the card."""
    pretend(mode)
    importlib.import_module("children").kamerton(arguments)
