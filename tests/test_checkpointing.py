"""Gradient checkpointing changes memory and nothing else, with every method, in every layout."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kamerton.core import registry
from kamerton.core.errors import ModelError
from kamerton.core.records import Encoded
from kamerton.engine.checkpointing import recompute_layers
from kamerton.engine.engine import make_engine
from kamerton.kernels.dropout import set_dropout
from kamerton.models.load import load_model, load_tokenizer
from tiny_engines import HEAD, TEXT, facts_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

NEEDS_CACHE = {"prefix-tuning"}


@dataclass(frozen=True)
class Backward:
    """One forward and backward pass."""

    loss: float
    gradients: dict[str, Tensor]
    kept: int
    """Bytes kept for the backward pass."""


def rows(kind: str) -> list[Encoded]:
    generator = torch.Generator().manual_seed(0)
    texts = [tuple(torch.randint(10, 300, (length,), generator=generator).tolist()) for length in (12, 30, 20)]
    return [Encoded(text, (0 if kind == "encoder" else len(text) - 1,), (1,)) for text in texts]


def backward(folder, kind: str, word: str, *, recompute: bool) -> Backward:
    facts, items = facts_of(folder), rows(kind)
    config = {"num_labels": 2} if kind == "encoder" else {}
    loaded = load_model(folder, HEAD if kind == "encoder" else TEXT, config, seed=0)
    set_dropout(loaded.model, 0.1)
    model = registry.choose("methods", word)().attach(loaded.model, loaded.fresh)
    engine = make_engine(
        model, load_tokenizer(facts), facts, items, max_tokens=64, max_new_tokens=1, tokens_per_pass=512, rows=items
    )
    if recompute:
        recompute_layers(model, engine.layout, items)
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    model.train()
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = cross_entropy(engine.layout.logits(model, items), torch.ones(3, dtype=torch.long))
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return Backward(loss.item(), gradients, kept)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("word", [word for word in registry.names("methods") if word not in NEEDS_CACHE])
def test_the_loss_and_every_gradient_are_the_same_bit_for_bit_with_less_kept(word, kind, request):
    folder = request.getfixturevalue(f"{kind}_folder")
    plain = backward(folder, kind, word, recompute=False)
    again = backward(folder, kind, word, recompute=True)
    assert again.loss == plain.loss
    assert again.gradients.keys() == plain.gradients.keys()
    for name, gradient in again.gradients.items():
        assert torch.equal(gradient, plain.gradients[name]), name
    trains_layers = any("layer" in name for name in plain.gradients)
    assert again.kept < 0.5 * plain.kept or not trains_layers


@pytest.mark.parametrize("word", sorted(NEEDS_CACHE))
def test_a_method_that_needs_the_cache_is_refused(word, decoder_folder):
    with pytest.raises(ModelError, match=r"gradient checkpointing.*\n.*gradient_checkpointing=false"):
        backward(decoder_folder, "decoder", word, recompute=True)
