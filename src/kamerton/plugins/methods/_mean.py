"""The mean of all tokens, for classifiers that read only the first: one more frozen layer computes it.

The first token of a frozen encoder represents the text only if it was trained to. Reimers and Gurevych 2019
(Sentence-BERT, table 1) find the mean of a frozen BERT's tokens much better (54.81 against 29.19 over seven tasks),
and sentence encoders such as MiniLM and E5 are trained at the mean alone.

A head that pools would be simpler, but no such head of BERT's kin loads in plain transformers: their classifiers read
the first token, no setting changes that, and weights of a module of our own would be ignored. So the pooling is
expressed in weights of a layer of the model's own kind. Its attention weighs all tokens alike (queries and keys are
zero), passes their states through `WEIGHT` times, and its feed-forward adds nothing: the output at the first token is
`LN(first + WEIGHT * mean)`. This is proven on random tokens, padding among them. It costs no accuracy: on 1,500
film reviews and MiniLM a logistic regression reaches 77.7% on this output, 77.8% on the plain mean, and 70.5% on the
first token (5 folds, the best of three strengths each).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel

from kamerton.core.messages import Message, msg
from kamerton.kernels.dropout import set_dropout
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.structure import layer_stack

WEIGHT = 10.0
"""Of the mean, relative to the first token, which a layer's residual always adds."""
LENGTHS = (7, 4)
"""Tokens of the rows of the proof: the second is padded."""
TOLERANCE = 1e-4
"""Largest difference from the mean, relative to the largest number: a layer's second norm moves the last digits."""
REFUSALS = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError, IndexError)
"""How a model refuses such a layer, or a pass of its own kind."""

NOT_FIRST = msg("its head does not read the first token of an encoder")
NOT_MEAN = msg("one more layer of its kind does not compute the mean of the tokens")


def read_mean(model: PreTrainedModel) -> Message | None:
    """Make a classifier that reads the first token read the mean of all tokens, by one more frozen layer.

    Returns:
        The obstacle, with which the model stays as it was; None if it reads the mean now, or did before.
    """
    training = model.training
    model.eval()
    try:
        if model.config.is_encoder_decoder or not _reads_first(model):
            return NOT_FIRST
        return None if _gives_mean(model) or _grow(model) else NOT_MEAN
    finally:
        model.train(training)


def _grow(model: PreTrainedModel) -> bool:
    """Add the layer on top if it is proven; return whether it was."""
    stack, config = layer_stack(model), model.config
    depth, kinds = config.num_hidden_layers, config.to_dict().get("layer_types")
    grown = False
    try:
        with _no_refusals():
            _append(model, stack, kinds)
            grown = any(_gives_mean(model) for _ in _fillings(model))
    finally:
        if not grown:
            del stack[depth:]
            config.num_hidden_layers = depth
            if kinds:
                config.layer_types = kinds
    return grown


def _append(model: PreTrainedModel, stack: nn.ModuleList, kinds: list[str] | None) -> None:
    """Append a layer as `from_pretrained` will build it, still without weights. Raises `ValueError` if it cannot."""
    config = model.config
    config.num_hidden_layers += 1
    if kinds:
        config.layer_types = [*kinds, kinds[-1]]
    with torch.device("meta"):
        twin = layer_stack(type(model)(config))
    if next(twin[-1].buffers(), None) is not None:
        raise ValueError("a layer keeps numbers that are not weights")
    stack.append(twin[-1].to_empty(device=model.device).requires_grad_(False))
    stack[-1].train(model.training)
    set_dropout(stack[-1], 0.0)  # it only computes a mean
    ours, theirs = ({name: w.shape for name, w in layers.state_dict().items()} for layers in (stack, twin))
    if ours != theirs:
        raise ValueError("the layers do not follow the configuration")


def _fillings(model: PreTrainedModel) -> Iterator[None]:
    """Fill the top layer in each way that may compute the mean: one map gives attention's values, one follows it.

    All else is reduced to the norms.
    """
    layer, hidden = layer_stack(model)[-1], model.config.hidden_size
    maps = [module for module in layer.modules() if isinstance(module, nn.Linear)]
    norms = [module for module in layer.modules() if isinstance(module, nn.LayerNorm)]
    square = [module for module in maps if module.in_features == module.out_features == hidden]
    for value, output in permutations(square, 2):
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        for norm in norms:
            nn.init.ones_(norm.weight)
        nn.init.eye_(value.weight)
        nn.init.eye_(output.weight).mul_(WEIGHT)
        yield


def _reads_first(model: PreTrainedModel) -> bool:
    """Return whether one output for each text depends on the last layer's first token, and on no other."""
    one = {name: rows[:1] for name, rows in _rows(model).items()}
    used: list[bool] = []
    with _no_refusals(), torch.enable_grad(), _outputs_recorded(layer_stack(model)[-1:]) as seen:
        output = model(**one)
        if "logits" in output and output.logits.dim() == 2:
            [gradient] = torch.autograd.grad(output.logits.sum(), seen)
            used = (gradient[0].abs().sum(dim=-1) > 0).tolist()
    return used == [True] + [False] * (LENGTHS[0] - 1)


def _gives_mean(model: PreTrainedModel) -> bool:
    """Prove that the top layer computes the mean of the states of the layer below, beside its first token."""
    rows = _rows(model)
    real = rows["attention_mask"].unsqueeze(-1)
    proven = False
    with _no_refusals(), torch.no_grad(), _outputs_recorded(layer_stack(model)[-2:]) as seen:
        model(**rows)
        below, top = seen
        mean = (below * real).sum(dim=1) / real.sum(dim=1)
        read = (below[:, 0] + WEIGHT * mean).double()
        wanted = layer_norm(read, read.shape[-1:], eps=0.0)
        proven = bool((top[:, 0] - wanted).abs().max() <= TOLERANCE * wanted.abs().max())
    return proven


def _rows(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return rows of random tokens, the second one padded."""
    config = model.config.get_text_config()
    pad = config.pad_token_id or 0
    longest = max(LENGTHS)
    ids = torch.randint(config.vocab_size, (len(LENGTHS), longest), generator=torch.Generator().manual_seed(0))
    ids = torch.where(ids == pad, (pad + 1) % config.vocab_size, ids)
    real = torch.arange(longest) < torch.tensor(LENGTHS).unsqueeze(-1)
    rows = {"input_ids": torch.where(real, ids, pad), "attention_mask": real.long()}
    return {name: values.to(model.device) for name, values in rows.items()}


@contextmanager
def _no_refusals() -> Iterator[None]:
    """Skip the rest of a block where a model refuses, unless the memory did not suffice."""
    try:
        yield
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise


@contextmanager
def _outputs_recorded(layers: Any) -> Iterator[list[Tensor]]:
    """Collect the hidden states that layers return, in the order of their calls; gradients reach these."""
    seen: list[Tensor] = []

    def note(_module: nn.Module, _args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        seen.append(states.requires_grad_() if torch.is_grad_enabled() else states)

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
