"""Devices: the only module that asks torch which there are, how much memory they have, and what state they keep.

The CPU is a device like the others; its memory is that of the process and of the machine.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kamerton.core.errors import Fault, ModelError, TrainingError
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.system import free_memory, give_back_freed_memory, peak_memory, resident_memory
from kamerton.kernels.trial import is_out_of_memory

LESS_MEMORY = msg(
    "take smaller passes (--set train.tokens_per_pass=512), recompute activations (--set "
    "train.gradient_checkpointing=true), or choose a method that needs less memory: --method lora, or --method qlora"
)
AUTO, CPU = "auto", torch.device("cpu")
VARIABLE = "KAMERTON_DEVICE"
"""The environment variable that says what `auto` is on this machine."""
BF16_FROM = (8, 0)
"""The compute capability whose tensor cores multiply bf16 (NVIDIA, Ampere tuning guide, section 1.4.3)."""
FP16_FROM = (7, 0)
"""The one whose tensor cores multiply fp16 (NVIDIA, Volta tuning guide, Tensor Core Operations)."""
NUMBERLESS = ("cpu", "mps", "xpu")
"""Devices that have no number of this kind."""


def devices_here() -> list[str]:
    """Return the names of all devices that torch finds, the CPU first."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return ["cpu", *(f"{found.type}:{index}" for index in range(torch.accelerator.device_count()) if found)]


def cards_here() -> list[str]:
    """Return the names by which `CUDA_VISIBLE_DEVICES` gives processes a card each; none where the CPU computes."""
    if choose_device().type != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


def choose_device(wish: str = AUTO) -> torch.device:
    """Return the device of a setting: `auto` is `KAMERTON_DEVICE`, or the accelerator that torch finds, else the CPU.

    Raises:
        ModelError: there is no such device, with those that are there.
    """
    wish = os.environ.get(VARIABLE, AUTO) if wish == AUTO else wish
    if wish == AUTO:
        return torch.accelerator.current_accelerator(check_available=True) or CPU
    here = devices_here()
    if wish not in (*here, *(name.partition(":")[0] for name in here)):
        rule = msg("torch {version} finds no device '{device}' here", version=torch.__version__, device=wish)
        remedy = msg("choose one of: {devices}", devices=Joined([AUTO, *here], ", "))
        raise ModelError(Fault(rule, "model.device", remedy))
    return torch.device(wish)


def name_of(device: torch.device) -> str:
    """Return the name of the card (`NVIDIA H200`), under which measurements are kept; `cpu` for the CPU."""
    if device.type == "cpu":
        return "cpu"
    return str(torch.backends.mps.get_name() if device.type == "mps" else _module(device).get_device_name(device))


def free_bytes(device: torch.device) -> int:
    """Return the bytes that new tensors may take; what torch keeps of freed ones counts as free."""
    if device.type == "cpu":
        return free_memory()
    if device.type == "mps":  # Metal's own limit for a process
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    module = _module(device)
    free, _ = module.mem_get_info(device)
    return int(free + module.memory_reserved(device) - module.memory_allocated(device))


def held_bytes(device: torch.device) -> int:
    """Return the bytes of all tensors on a device; on the CPU, of the whole process."""
    if device.type == "cpu":
        return resident_memory()
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    return int(_module(device).memory_allocated(device))


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes that tensors have taken so far; on the CPU, the process and its children.

    Metal counts no peak, but what its driver has allocated is given back only by `release`.
    """
    if device.type == "cpu":
        return peak_memory()
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return int(_module(device).max_memory_allocated(device))


def release(device: torch.device) -> None:
    """Return freed memory to the system or the card, for other processes and blocks of other sizes."""
    if device.type == "cpu":
        give_back_freed_memory()
    else:
        _module(device).empty_cache()


@contextmanager
def within_memory(rule: Message) -> Iterator[None]:
    """Raise an error with a rule and remedies if memory runs out in a block.

    Raises:
        TrainingError: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(Fault(rule, remedy=LESS_MEMORY)) from error


@contextmanager
def off_device(model: nn.Module) -> Iterator[None]:
    """Leave a model's device to other processes: while active, the model is in the host's memory."""
    device = next(model.parameters()).device
    if device.type != "cpu":
        model.to(CPU)
        release(device)
    try:
        yield
    finally:
        model.to(device)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given; without it, only the giving is timed."""
    if device.type != "cpu":
        _module(device).synchronize()


def capability_of(device: torch.device) -> tuple[int, int]:
    """Return the compute capability of a card, as CUDA and ROCm number them; zeros for other devices."""
    if device.type in NUMBERLESS:
        return 0, 0
    major, minor = _module(device).get_device_capability(device)
    return major, minor


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random generators that work on a device draws from, the host's as `torch`."""
    states = {"torch": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = _module(device).get_rng_state()
    return states


def set_random_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """Restore `random_states`; a generator whose state is not there, since it is of another device, is unchanged."""
    torch.set_rng_state(states["torch"])
    if device.type in states:
        _module(device).set_rng_state(states[device.type])


@contextmanager
def own_random_states(device: torch.device) -> Iterator[None]:
    """Leave the random generators as they were, whatever the block draws."""
    states = random_states(device)
    try:
        yield
    finally:
        set_random_states(device, states)


def _module(device: torch.device) -> Any:
    """Return torch's module for a kind of device: `torch.cuda`."""
    return torch.get_device_module(device)
