"""AdamW and the learning rate's course."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from kamerton.recipe import TrainSettings

SHAPES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Give the rate of an update: it rises linearly during the warm-up, then follows the schedule.

    Args:
        step: the update, from 0.
        steps: updates of the whole run.
        settings: `learning_rate`, `schedule`, `warmup`.
    """
    peak = settings.learning_rate or 0.0
    warm = math.ceil(settings.warmup * steps)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * SHAPES[settings.schedule]((step - warm) / max(1, steps - warm))


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Make a fused AdamW over the trainable weights; only matrices decay, not norms, biases or embeddings."""
    tables = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decays = [p for p in trainable if p.dim() >= 2 and id(p) not in tables]
    rest = [p for p in trainable if p.dim() < 2 or id(p) in tables]
    groups = [{"params": decays, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate or 0, fused=True)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name every tensor of the optimizer's state after its weight: `encoder.weight/exp_avg`."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    parameters = dict(model.named_parameters())
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        optimizer.state[parameters[name]][key] = value.to(parameters[name].device) if value.dim() else value
