"""A number for a text, read by a head of one output at one token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from kamerton.core.contracts import Engine, PreTrainedModel
from kamerton.core.messages import Wording
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction
from kamerton.forms.reading import SequenceHead, window_means
from kamerton.forms.supervision import IGNORED, on_host
from kamerton.text.cells import filled, written_number

PARTS = 5
"""Shown examples are drawn evenly from so many parts of the range."""
NEIGHBORS = 3
"""Shown examples whose numbers an untuned model averages."""


@dataclass(frozen=True)
class Number(SequenceHead):
    """A head that puts out the number in its own unit.

    It is trained as if numbers had mean 0 and spread 1: the last layer's weights are in that unit and multiplied out
    in the forward pass, so that one learning rate suits stars and salaries alike. The multiplied weights are saved:
    any program that loads the model gets the unit of the data.
    """

    mean: float
    spread: float
    """Standard deviation of the training numbers, above 0."""
    config: ClassVar[dict[str, object]] = {"num_labels": 1, "problem_type": "regression"}

    def start(self, model: PreTrainedModel, fresh: Sequence[str]) -> None:
        """Rescale the last layer to units of the spread; a new one begins at the mean."""
        name, layer = _last_layer(model)
        if any(name == new or name.startswith(f"{new}.") for new in fresh):
            with torch.no_grad():
                layer.weight.mul_(self.spread)
                layer.bias.fill_(self.mean)
        model.set_submodule(name, _InUnits(layer, self.spread, self.mean))

    def target(self, example: Example) -> int:
        """Return 0 if the number is known, else `IGNORED`."""
        return 0 if filled(example.gold) else IGNORED

    def number(self, example: Example) -> float:
        """Return the gold number."""
        return float(example.gold) if filled(example.gold) else 0.0

    def answer_of(self, item: Encoded) -> Wording:
        """Return the number."""
        return written_number(item.number)

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute each item's squared error in units of the spread: `[items]`; 0 if its number is unknown."""
        wanted = torch.tensor([item.number for item in items], dtype=torch.float64)
        known = torch.tensor([float(self.supervised(item)) for item in items])
        error = (on_host(window_means(logits, items)[:, 0]) - wanted) / self.spread
        return known * error.square()

    def shots(self, examples: ExampleSeq, count: int, seed: int) -> list[Example]:
        """Draw `count` examples from each fifth of the range."""
        order = sorted(np.random.default_rng(seed).permutation(len(examples)), key=lambda i: float(examples[i].gold))
        parts = [part for part in np.array_split(np.array(order), PARTS) if len(part)]
        draw = np.random.default_rng([seed, 1])
        return [examples[i] for part in parts for i in draw.permutation(part)[:count]]

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Return the head's numbers."""
        encoded = self.encode(examples, engine.tokenizer, engine.max_tokens)
        predictions = []
        for example, item, logits in zip(examples, encoded, self.read(engine, encoded), strict=True):
            number = float(logits[0])
            loss, tokens = (((number - item.number) / self.spread) ** 2, 1) if self.supervised(item) else (None, None)
            predictions.append(Prediction(example.id, written_number(number), None, loss, tokens, cut=item.cut))
        return predictions

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Average the numbers of the nearest shown examples; without any, return the mean."""
        if not shots:
            return [Prediction(example.id, written_number(self.mean)) for example in examples]
        likeness = self.embed(engine, examples) @ self.embed(engine, shots).T
        nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBORS]
        numbers = np.array([float(shot.gold) for shot in shots])[nearest].mean(axis=1)
        return [Prediction(e.id, written_number(float(number))) for e, number in zip(examples, numbers, strict=True)]


class _InUnits(nn.Linear):
    """A layer whose weights are trained in another unit than they are used and saved in."""

    def __init__(self, layer: nn.Linear, scale: float, shift: float) -> None:
        super().__init__(layer.in_features, layer.out_features, device=layer.weight.device)
        self.scale, self.shift = scale, shift
        with torch.no_grad():
            self.weight.copy_(layer.weight / scale)
            self.bias.copy_((layer.bias - shift) / scale)
        self.register_state_dict_post_hook(_multiply_out)

    def forward(self, states: Tensor) -> Tensor:
        """Compute the numbers in the unit of the data."""
        return linear(states, self.weight, self.bias) * self.scale + self.shift


def _multiply_out(layer: _InUnits, state: dict[str, Tensor], prefix: str, _metadata: Any) -> None:
    """Put plain weights, in the unit of the data, into the state dict."""
    state[f"{prefix}weight"] = state[f"{prefix}weight"] * layer.scale
    state[f"{prefix}bias"] = state[f"{prefix}bias"] * layer.scale + layer.shift


def _last_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    inside = {id(module) for module in model.base_model.modules()}
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == 1 and id(module) not in inside
    ][-1]
