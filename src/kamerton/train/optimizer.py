"""The optimizer, its state as tensors, and the learning-rate schedule."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from kamerton.core import registry
from kamerton.core.contracts import Optimizer, Trainable
from kamerton.runs.recipe import TrainSettings

SHAPES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}

WIDE = {int: torch.int64, float: torch.float64}
"""Types in which plain numbers of an optimizer's state are saved."""


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Return the rate of an update, from 0: it rises linearly during the warm-up, then follows the schedule."""
    warm = math.ceil(settings.warmup * steps)
    if step < warm:
        return settings.peak * (step + 1) / warm
    return settings.peak * SHAPES[settings.schedule]((step - warm) / max(1, steps - warm))


def preferred_optimizer() -> str:
    """Return the name of the optimizer with the highest suitability."""
    return max(registry.names("optimizers"), key=lambda word: registry.choose("optimizers", word).suitability.value)


def optimizer_class(settings: TrainSettings) -> type[Optimizer]:
    """Return the settings' optimizer class.

    Raises:
        RecipeError: there is no such optimizer.
    """
    return registry.choose("optimizers", settings.optimizer or preferred_optimizer())


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Build the settings' optimizer; only matrices decay, not norms, biases or embeddings.

    Raises:
        RecipeError: there is no such optimizer, or its library is not installed.
    """
    tables = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = Trainable(
        decaying=[p for p in trainable if p.dim() >= 2 and id(p) not in tables],
        others=[p for p in trainable if p.dim() < 2 or id(p) in tables],
        weight_decay=settings.weight_decay,
    )
    return optimizer_class(settings)().make(weights, settings.peak)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state by its weight: `encoder.weight/exp_avg`.

    A plain number becomes a scalar of 64 bits, which no optimizer uses itself; tensors shared by weights are copied.
    """
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=WIDE[type(value)])
            tensors[f"{name}/{key}"] = tensor.clone() if tensor.data_ptr() in seen else tensor
            seen.add(tensor.data_ptr())
    return tensors


def restore_optimizer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    part: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Restore the result of `optimizer_tensors`; `part` returns what this process holds of a weight's tensor."""
    parameters = dict(model.named_parameters())
    fused = {one for group in optimizer.param_groups if group.get("fused") for one in group["params"]}
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        parameter = parameters[name]
        if value.dtype in WIDE.values() and not value.dim():  # a plain number
            optimizer.state[parameter][key] = value.item()
        else:  # a fused kernel takes its count of steps on the weight's device, any other optimizer on the host
            on_host = not value.dim() and parameter not in fused
            optimizer.state[parameter][key] = value if on_host else part(value.to(parameter.device), parameter)
