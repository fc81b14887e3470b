"""The forgetting dial: interpolate the weights of a tuned model between the start and the end of training."""

from collections.abc import Set
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import msg
from kamerton.models.structure import adapted_model, has_prompt_tokens
from kamerton.session.engines import attach_method, load_base
from kamerton.session.setup import Setup, make_method


@dataclass(frozen=True)
class Turned:
    """A weight with the values that it is set between."""

    weight: nn.Parameter
    start: Tensor
    end: Tensor


class Dial:
    """Sets a tuned model to a strength: 0 is where training began, 1 where it ended (WiSE-FT, Wortsman et al. 2022).

    The start is rebuilt from the recipe's seed, so that it costs no memory in training. For full training it is the
    base model; for methods that add weights, it is their initialization, which leaves the base model's function
    unchanged. New heads stay as they were trained: they had nothing to forget.

    Raises:
        ModelError: the model's weights are not those that the recipe's method trains.
    """

    def __init__(self, setup: Setup, model: nn.Module) -> None:
        loaded = load_base(setup, make_method(setup.recipe))
        began = attach_method(setup, loaded)
        trained = {name: p.detach() for name, p in began.named_parameters() if p.requires_grad}
        now = dict(model.named_parameters())
        if has_prompt_tokens(model) and trained.keys() - now.keys():
            trained = _saved_of(began, trained.keys() & now.keys())
        if missing := sorted(trained.keys() - now.keys()):
            rule = msg("the tuned model has no weight '{name}' that its method trains", name=missing[0])
            raise ModelError(Fault(rule, setup.facts.folder, msg("tune it again with this version")))
        self.turned = [
            Turned(now[name], start.clone(), now[name].detach().clone())
            for name, start in trained.items()
            if not any(f".{head}." in f".{name}" for head in loaded.fresh)
        ]

    def turn(self, strength: float) -> None:
        """Set the weights: 1 restores exactly the trained ones, 0 exactly the first ones."""
        with torch.no_grad():
            for one in self.turned:
                one.weight.copy_(torch.lerp(one.start, one.end, strength))


def _saved_of(began: nn.Module, names: Set[str]) -> dict[str, Tensor]:
    """Return the weights of `names`, with the vectors that are saved in place of the network that makes them.

    A network that makes prompt tokens (p-tuning) is left behind when they are trained: PEFT loads them into its table.
    """
    weights, adapted = dict(began.named_parameters()), adapted_model(began)
    [table] = [name for name in names if name.startswith("prompt_encoder.")]
    with torch.no_grad():
        vectors = adapted.get_prompt_embedding_to_save(adapted.active_adapter)
    return {name: weights[name].detach() for name in names} | {table: vectors.to(weights[table].device)}
