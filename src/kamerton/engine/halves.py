"""A model in two halves: its backbone runs on rows of one arrangement, its head on others.

Two of torch's own hooks exchange the backbone's inputs, and what it returns; everything else is the model's own code.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from kamerton.engine.device_attention import run_fused
from kamerton.models.structure import backbone_of, device_of, outer_model


def run_apart(
    model: nn.Module, inputs: Mapping[str, Any], pick: Callable[[Tensor], Tensor], rows: int | Mapping[str, Tensor]
) -> Any:
    """Run the backbone on `inputs`, and the outer model on what `pick` makes of its states.

    The outer model sees `rows`: padded ones, or so many of one token.
    """
    backbone = backbone_of(model)

    def exchange(_module: nn.Module, _args: Any, _kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
        return (), {**inputs, "use_cache": False, "return_dict": True}

    def select(module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> Any:
        output.last_hidden_state = pick(output.last_hidden_state)
        if output.get("pooler_output") is not None:
            output.pooler_output = _pooled(module, output.last_hidden_state)
        return output

    outside = _rows_of_one(model, rows) if isinstance(rows, int) else rows
    exchanged = backbone.register_forward_pre_hook(exchange, with_kwargs=True)
    with exchanged, backbone.register_forward_hook(select, with_kwargs=True):
        return run_fused(model, outside)


def _rows_of_one(model: nn.Module, count: int) -> dict[str, Tensor]:
    # any token but padding: a head that looks for the last real token then finds this one
    token = 1 if outer_model(model).config.get_text_config().pad_token_id == 0 else 0
    ids = torch.full((count, 1), token, device=device_of(model))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _pooled(backbone: Any, states: Tensor) -> Any:
    """Pool `[rows, length, hidden]` as a backbone does: beside ALBERT's pooler, a linear map, stands its activation."""
    if isinstance(backbone.pooler, nn.Linear):
        return backbone.pooler_activation(backbone.pooler(states[:, 0]))
    return backbone.pooler(states)


def head_logits(model: nn.Module, outputs: int) -> Tensor:
    """Run one token through a backbone whose last layer's output is exchanged; return the head's output."""
    ids = torch.zeros((1, 1), dtype=torch.long, device=device_of(model))
    return head_output(run_apart(model, {"input_ids": ids}, lambda states: states, outputs))


def head_output(output: Any) -> Tensor:
    """Return the output of a head's last layer: its logits, or a span head's start and end logits side by side."""
    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    return output.logits


@contextmanager
def attending(model: nn.Module, implementation: str) -> Iterator[None]:
    """While active, a model has another attention function."""
    config = outer_model(model).config
    before = config._attn_implementation
    config._attn_implementation = implementation
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def tokens_unmasked(model: nn.Module) -> Iterator[None]:
    """While active, embeddings that are multiplied by a mask of tokens get none: DeBERTa's take no mask of pairs."""
    with ExitStack() as hooks:
        for part in backbone_of(model).children():
            if "mask" in signature(type(part).forward).parameters:
                hooks.enter_context(part.register_forward_pre_hook(_without_mask, with_kwargs=True))
        yield


def _without_mask(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "mask": None}
