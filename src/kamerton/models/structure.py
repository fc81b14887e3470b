"""Parts of a model, found by its structure and its gradients instead of a list of names."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kamerton.core import registry
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import msg
from kamerton.kernels.trial import attempt

LINEAR = (nn.Linear, Conv1D)
TRAINS_TOKENS = msg("choose full training, low-rank updates or bottleneck adapters, or leave the new tokens out")
TOKENS_BELOW = msg("embeddings of new tokens cannot be learned, because no gradient goes below the layers that train")
NO_LINEAR_LAYER = msg("its layers have no linear map")
"""The reason of methods that need linear maps (SqueezeBERT has convolutions)."""
TOKEN, LENGTH = 5, 8
"""Any token except padding, and how many of it, for a pass whose result does not matter."""


def layer_stack(model: PreTrainedModel) -> nn.ModuleList:
    """Return the list of layers below the head: the longest one, in the decoder of an encoder-decoder."""
    holder = model.get_decoder() if model.config.is_encoder_decoder else model.base_model
    lists = [module for module in holder.modules() if isinstance(module, nn.ModuleList)]
    nested = {id(inner) for outer in lists for inner in outer.modules() if inner is not outer}  # experts, T5's blocks
    return max((found for found in lists if id(found) not in nested), key=len)


def linear_layers(model: PreTrainedModel, last: int | None = None) -> list[str]:
    """Return the names of the linear maps inside the layers: all of them, or those of the `last` layers below the head.

    Embeddings, poolers and heads are outside the layers.
    """
    if last is None:
        layers: Sequence[nn.Module] = [one for one in model.base_model.modules() if isinstance(one, nn.ModuleList)]
    else:
        layers = list(layer_stack(model))[-last:]
    inside = {id(module) for layer in layers for module in layer.modules()}
    maps = [(name, module) for name, module in model.named_modules() if id(module) in inside]
    return [name for name, module in maps if isinstance(module, LINEAR) and _is_product(module)]


def _is_product(module: nn.Linear | Conv1D) -> bool:
    """Return whether a linear map returns just a product: a family's own kind may route or group (Llama 4, PhiMoE)."""
    if not type(module).__module__.startswith("transformers.models."):
        return True
    width = module.in_features if isinstance(module, nn.Linear) else module.nx
    with torch.no_grad():
        return isinstance(attempt(lambda: module(module.weight.new_zeros(1, width))), Tensor)


def ending(names: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Return the dotted names that end in one of `endings`, at a dot.

    >>> ending(["layers.0.mlp.fc1", "layers.0.mlp.xfc1"], ["fc1"])
    ['layers.0.mlp.fc1']
    """
    return [name for name in names if any(f".{name}".endswith(f".{end}") for end in endings)]


def narrows(model: PreTrainedModel, name: str) -> bool:
    """Return whether a linear map projects a wider state to the hidden size: the feed-forward's last one."""
    module, hidden = model.get_submodule(name), model.config.get_text_config().hidden_size
    if isinstance(module, Conv1D):
        return module.nf == hidden < module.nx
    return isinstance(module, nn.Linear) and module.out_features == hidden < module.in_features


def back_to_hidden(model: PreTrainedModel, count: int) -> list[str]:
    """Name each layer's last `count` linear maps to the hidden size: the feed-forward's last, attention's output."""
    hidden = model.config.get_text_config().hidden_size
    by_layer: dict[str, list[str]] = {}
    for name in linear_layers(model):
        module = model.get_submodule(name)
        if (module.nf if isinstance(module, Conv1D) else module.out_features) == hidden:
            layer = re.sub(r"((^|\.)\d+)\..*", r"\1", name)  # up to the first number: encoder.layer.3
            by_layer.setdefault(layer, []).append(name)
    return [name for names in by_layer.values() for name in names[-count:]]


def above(model: PreTrainedModel, layers: int) -> list[nn.Parameter]:
    """Return the weights of the last `layers` layers and of everything after them: final norm, pooler, heads.

    They are the weights that still get a gradient when the graph is cut before these layers.
    """
    stack = layer_stack(model)
    first = len(stack) - layers
    below = {id(parameter) for layer in stack[:first] for parameter in layer.parameters()}
    weights = [parameter for parameter in model.parameters() if id(parameter) not in below]
    training, wanted = model.training, [parameter.requires_grad for parameter in weights]
    model.eval().requires_grad_(True)
    with _cut_off(model, stack, first):
        output = model(**short_row(model))
    read = [values.sum() for name, values in output.items() if name.endswith("logits")]  # a span's head has two
    gradients = torch.autograd.grad(torch.stack(read).sum(), weights, allow_unused=True)
    for parameter, before in zip(weights, wanted, strict=True):
        parameter.requires_grad_(before)
    model.train(training)
    return [parameter for parameter, gradient in zip(weights, gradients, strict=True) if gradient is not None]


def train_above(model: PreTrainedModel, layers: int, fresh: Sequence[str], tokens: Sequence[int]) -> None:
    """Make only the last `layers` layers, all after them, and the modules without pretrained weights trainable.

    An output head that shares the embeddings' weights gets its own copy.

    Raises:
        ModelError: there are new tokens, whose embeddings are below the trained layers.
    """
    if tokens:
        raise ModelError(Fault(TOKENS_BELOW, "model.new_tokens", TRAINS_TOKENS))
    _untie(model)
    chosen = above(model, layers)
    chosen += [parameter for name in fresh for parameter in model.get_submodule(name).parameters()]
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)


def _untie(model: PreTrainedModel) -> None:
    """Copy the output head's weights if they are shared; else training it would change frozen embeddings."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is embeddings.weight:
        head.weight = nn.Parameter(embeddings.weight.detach().clone())
        if head.bias is not None:  # in BERT, the module around the head has it, too
            head.bias = nn.Parameter(head.bias.detach().clone())
        model.config.tie_word_embeddings = False


def short_row(model: PreTrainedModel) -> dict[str, Any]:
    """Return a row that every model accepts: Funnel halves it between its blocks."""
    ids = torch.full((1, LENGTH), TOKEN, device=model.device)
    row = {"input_ids": ids, "decoder_input_ids": ids} if model.config.is_encoder_decoder else {"input_ids": ids}
    return row | uncached(model)


def uncached(model: nn.Module) -> dict[str, Any]:
    """Return the input by which a model caches nothing: what has only linear attention cannot count its cache."""
    return {"use_cache": False} if "use_cache" in outer_model(model).config.get_text_config().to_dict() else {}


@contextmanager
def _cut_off(model: PreTrainedModel, stack: nn.ModuleList, first: int) -> Iterator[None]:
    """Detach the inputs of layer `first`, or of the head if there is no such layer, and an encoder's output.

    All inputs are detached: T5's layers take the position bias that the first layer computes.
    """
    with ExitStack() as hooks:
        if first < len(stack):
            cut = stack[first].register_forward_pre_hook(lambda _, *given: _detached(given), with_kwargs=True)
        else:
            cut = stack[-1].register_forward_hook(lambda _, _args, output: _detached(output))
        hooks.enter_context(cut)
        if model.config.is_encoder_decoder:
            encoder = model.get_encoder()
            hooks.enter_context(encoder.register_forward_hook(lambda _, _args, output: _detached(output)))
        yield


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple):
        return tuple(_detached(part) for part in value)
    if isinstance(value, dict):  # keyword arguments, or a ModelOutput
        return type(value)({name: _detached(part) for name, part in value.items()})
    return value


def outer_model(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model inside a wrapper (PEFT, DDP)."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def adapted_model(model: nn.Module) -> Any:
    """Find PEFT's model inside whatever wraps it; None if there is none."""
    kind = registry.load("peft:PeftModel")  # where a model is not transformers' own, PEFT is imported already
    return next((module for module in model.modules() if isinstance(module, kind)), None)


def has_prompt_tokens(model: nn.Module) -> bool:
    """Return whether PEFT puts vectors of its own before each row of a model."""
    adapted = None if outer_model(model) is model else adapted_model(model)
    return adapted is not None and bool(adapted.active_peft_config.is_prompt_learning)


def backbone_of(model: nn.Module) -> PreTrainedModel:
    """Return the model below the head, itself if it has none.

    The family's prefix may miss it (Llama 4's text model), or name a wrapper that heads pass by (OPT).
    """
    outer = outer_model(model)
    base = outer.base_model
    if base is outer and outer.get_output_embeddings() is None:
        return outer
    return next((part for part in base.children() if isinstance(part, PreTrainedModel)), base)


def is_encoder_decoder(model: nn.Module) -> bool:
    """Return whether a model has an encoder and a decoder."""
    return bool(outer_model(model).config.is_encoder_decoder)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's weights."""
    return next(model.parameters()).device
