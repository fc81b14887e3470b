"""Attention over one flat row of many sequences: padding is never computed.

Models that go through transformers' attention interface pass `cu_seq_lens_q` on to it untouched, so a
row of concatenated sequences needs no mask: each sequence attends to itself. Variable-length kernels of
flash attention take the same inputs; they are not called here yet.

What else the sequences attend to is said by a `Context`, which takes the same way: tokens that all of
them begin with, branches within a sequence, or what a generation has written so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from kamerton.kernels.attention import attend
from kamerton.kernels.buckets import Row
from kamerton.models.causal import LONG, attend_causally, is_fast

NAME = "kamerton_flat"
SHORT, SHORT_GROUPED = 48, 600
"""Mean length up to which sequences attend faster in buckets than in torch's kernel (two cores, Zen 4); and where heads
of the queries share a causal one of the keys, which makes the products larger."""


class Context(Protocol):
    """What the sequences of a flat row attend to beside themselves."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend as `flat_attention` does: `[1, heads, tokens, width]` to `[tokens, heads, width]`."""


Witness = Callable[[Tensor], None]
"""Is shown what an attention layer gives."""


def flat_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    cu_seq_lens_q: Tensor | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    kamerton_context: Context | None = None,
    kamerton_witness: Witness | None = None,
    **_: object,  # the interface passes every model's own extras; what would change the result is named above
) -> tuple[Tensor, None]:
    """Attend within each sequence of a flat row.

    Args:
        module: the attention layer; says whether it is causal.
        query: `[1, heads, tokens, width]`; key and value may have fewer heads (grouped queries).
        key: `[1, key heads, tokens, width]`.
        value: like `key`.
        attention_mask: must be None: the boundaries say it all.
        scaling: factor on the scores.
        dropout: probability, already 0 in evaluation.
        is_causal: overrules the module's own.
        cu_seq_lens_q: boundaries of the sequences, `[sequences + 1]`.
        softcap: must be None.
        sliding_window: must be None: short rows would prove nothing about rows longer than the window.
        kamerton_context: takes over from here, for causal models that are only read.
        kamerton_witness: looks on.

    Returns:
        `[1, tokens, heads, width]`, and no weights.

    Raises:
        TypeError: the model needs what a flat row does not offer; the layout's proof then turns it down.
    """
    if cu_seq_lens_q is None or any(x is not None for x in (attention_mask, softcap, sliding_window)):
        raise TypeError("flat attention takes boundaries and neither a mask nor a soft cap nor a window")
    causal = bool(module.is_causal) if is_causal is None else is_causal
    if kamerton_context is not None:
        if not causal:
            raise TypeError("only a causal model's tokens stand for themselves whatever follows them")
        return kamerton_context.attend(module, query, key, value, scaling).unsqueeze(0), None
    lengths = [end - start for start, end in pairwise(cu_seq_lens_q.tolist())]
    attended = attend_within(query, key, value, lengths, scaling, dropout=dropout, causal=causal)
    if kamerton_witness is not None:
        kamerton_witness(attended)
    return attended.unsqueeze(0), None


def attend_within(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Sequence[int],
    scale: float | None,
    *,
    dropout: float = 0.0,
    causal: bool = True,
) -> Tensor:
    """Let each sequence of a flat row attend to itself: `[1, heads, tokens, width]` to `[tokens, heads, width]`."""
    grouped = key.shape[1] != query.shape[1]
    short = sum(lengths) <= (SHORT_GROUPED if grouped and causal else SHORT) * len(lengths)
    long = causal and not dropout and sum(lengths) >= LONG * len(lengths) and is_fast(query)
    if query.device.type == "cpu" and (dropout or short) and not long:
        return attend(query, key, value, Row(tuple(lengths)), scale, dropout=dropout, causal=causal)
    runs = [(length, len(list(run))) for length, run in groupby(lengths)]
    # split in one go: a slice for each sequence would take a gradient of the whole row's size each
    tokens = [length * count for length, count in runs]
    parts = []
    for (length, count), q, k, v in zip(runs, *(x[0].split(tokens, dim=1) for x in (query, key, value)), strict=True):
        q, k, v = (apart(x, count) for x in (q, k, v))  # neighbours of equal length go through the kernel together
        if long and is_fast(q):
            attended = attend_causally(q, k, v, scale)
        else:
            causally = causal and length > 1
            attended = scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=causally, scale=scale, enable_gqa=grouped
            )
        parts.append(attended.transpose(1, 2).reshape(length * count, *attended.shape[1::2]))
    return torch.cat(parts)


def apart(states: Tensor, count: int) -> Tensor:
    """Part `[heads, count * length, width]` into sequences: `[count, heads, length, width]`."""
    heads, tokens, width = states.shape
    return states.reshape(heads, count, tokens // count, width).transpose(0, 1)


AttentionInterface.register(NAME, flat_attention)
