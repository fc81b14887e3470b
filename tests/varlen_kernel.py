"""A stand-in for torch's attention kernel for sequences of different lengths, which runs on cards only."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import varlen

SIGNATURE = inspect.signature(varlen.varlen_attn)


class Kernel:
    """Computes what the kernel's documentation says, from the arguments of its signature; keeps each call's."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, *args: object, **kwargs: object) -> Tensor:
        given = SIGNATURE.bind(*args, **kwargs)
        given.apply_defaults()
        call = given.arguments
        self.calls.append(call)
        assert torch.equal(call["cu_seq_q"], call["cu_seq_k"])
        assert call["enable_gqa"] or call["query"].shape[1] == call["key"].shape[1]
        bounds = call["cu_seq_q"].tolist()
        assert call["max_q"] == call["max_k"] == max(end - start for start, end in pairwise(bounds))
        return torch.cat([_one(call, start, end) for start, end in pairwise(bounds)])


def _one(call: dict[str, Any], start: int, end: int) -> Tensor:
    query, key, value = (call[name][start:end].transpose(0, 1).float() for name in ("query", "key", "value"))
    key, value = (states.repeat_interleave(len(query) // len(states), dim=0) for states in (key, value))
    places = torch.arange(end - start, device=query.device)
    ahead = places - places[:, None]
    left, right = (reach if reach >= 0 else end for reach in call["window_size"])
    scores = (query @ key.transpose(1, 2) * call["scale"]).masked_fill((ahead < -left) | (ahead > right), float("-inf"))
    return (scores.softmax(dim=-1) @ value).transpose(0, 1).to(call["query"].dtype)
