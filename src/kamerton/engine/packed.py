"""Padding-free attention: many sequences in one packed row, each attending to itself.

Models that use transformers' attention interface pass `kamerton_lengths` on to it untouched, so that a row of
concatenated sequences needs no mask. They also get the boundaries as the kernels of devices take them
(`kamerton.engine.device_attention`).

A `Context`, passed the same way, adds what else sequences attend to: a shared prefix, their parent in a tree, or
what has been decoded so far.

Long causal sequences without gradients, on a CPU, attend in matrix products large enough to be fast. torch's kernel
computes each head separately, in fp32 products without oneDNN. Here the heads that share a key are stacked, some of
their queries at a time, and multiplied with all keys that they attend to: two products of hundreds of rows, which took
about half the time (Zen 4 and 5).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from kamerton.engine.device_attention import attend_on_device, warn_of_scores
from kamerton.kernels.attention import attend
from kamerton.kernels.buckets import PackedRow
from kamerton.kernels.product import fast_products_pay, product
from kamerton.kernels.trial import UnsupportedError

NAME = "kamerton_packed"
SHORT, SHORT_GROUPED = 48, 600
"""Mean length up to which buckets are faster than torch's kernel (two cores, Zen 4); the second for causal attention
with grouped queries, whose products are larger."""
SCORES = 1 << 21
"""Most scores in memory at a time: 8 MB."""
ROWS = 256
"""Most queries of a head at a time: with more, more masked scores are computed."""
LONG, WIDE = 256, 32
"""Shortest sequence, and smallest head, for which this is faster."""


class Context(Protocol):
    """What the sequences of a packed row attend to beside themselves."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend as `packed_attention` does: `[1, heads, tokens, width]` to `[tokens, heads, width]`."""


Witness = Callable[[Tensor], None]
"""Called with the output of each attention layer."""


passed: ContextVar[Mapping[str, Any] | None] = ContextVar("passed", default=None)
"""The inputs of the current row, for models that do not pass them on to their attention (StableLM, OPT, Nemotron)."""


@contextmanager
def passing(inputs: Mapping[str, Any] | None) -> Iterator[None]:
    """While active, attention that is called without boundaries has those of some inputs."""
    token = passed.set(inputs)
    try:
        yield
    finally:
        passed.reset(token)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    cu_seq_lens_q: Tensor | None = None,
    kamerton_lengths: Sequence[int] | None = None,
    kamerton_context: Context | None = None,
    kamerton_reach: int = 0,
    kamerton_half: torch.dtype | None = None,
    kamerton_witness: Witness | None = None,
    **_: object,  # the interface passes every model's own extras; what would change the result is named above
) -> tuple[Tensor, None]:
    """Attend within each sequence of a packed row, by transformers' attention interface.

    Queries are `[1, heads, tokens, width]`; keys and values may have fewer heads. `kamerton_lengths` are those of the
    sequences, on the host: boundaries on a device would be copied back in every layer. A token attends to those nearer
    than a sliding window; scores have a soft cap, and each head a sink, `s_aux`, where the model has them. A context
    attends instead, in causal models; it knows no window, so its last position, `kamerton_reach`, must lie within; a
    witness gets the result. On a device, attention is computed in the type `kamerton_half` if it is given.

    Returns:
        `[1, tokens, heads, width]`, and no weights.

    Raises:
        UnsupportedError: the model needs a mask, or a context more than it knows; the layout's proof then fails.
    """
    if kamerton_lengths is None and (inputs := passed.get()):
        kamerton_lengths, kamerton_context = inputs["kamerton_lengths"], inputs.get("kamerton_context")
        kamerton_reach, kamerton_witness = inputs.get("kamerton_reach", 0), inputs.get("kamerton_witness")
        cu_seq_lens_q, kamerton_half = inputs["cu_seq_lens_q"], inputs.get("kamerton_half")
    if kamerton_lengths is None or attention_mask is not None:
        raise UnsupportedError("packed attention takes boundaries instead of a mask")
    causal = bool(module.is_causal) if is_causal is None else is_causal
    if kamerton_context is not None:
        if not causal:
            raise UnsupportedError("only in a causal model do tokens not depend on what follows them")
        if softcap is not None or s_aux is not None or kamerton_reach > (sliding_window or kamerton_reach):
            raise UnsupportedError("a shared prefix takes neither a soft cap nor sinks nor a window shorter than a row")
        return kamerton_context.attend(module, query, key, value, scaling).unsqueeze(0), None
    window = sliding_window if sliding_window is not None and sliding_window < max(kamerton_lengths) else None
    scores = AttentionScores(scaling or query.shape[3] ** -0.5, causal, window, softcap, s_aux, dropout)
    if scores.is_plain and window is None and query.device.type == "cpu":
        attended = attend_within(query, key, value, kamerton_lengths, scaling, dropout=dropout, causal=causal)
    else:
        attended = _attend_by(scores, query, key, value, kamerton_lengths, cu_seq_lens_q, kamerton_half)
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
    """Attend within each sequence of a packed row: `[1, heads, tokens, width]` to `[tokens, heads, width]`."""
    grouped = key.shape[1] != query.shape[1]
    short = sum(lengths) <= (SHORT_GROUPED if grouped and causal else SHORT) * len(lengths)
    long = causal and not dropout and sum(lengths) >= LONG * len(lengths) and is_fast(query)
    if query.device.type == "cpu" and (dropout or short) and not long:
        return attend(query, key, value, PackedRow(tuple(lengths)), scale, dropout=dropout, causal=causal)
    runs = [(length, len(list(run))) for length, run in groupby(lengths)]
    # one split: a slice for each sequence would need a gradient of the whole row's size each
    tokens = [length * count for length, count in runs]
    parts = []
    for (length, count), q, k, v in zip(runs, *(x[0].split(tokens, dim=1) for x in (query, key, value)), strict=True):
        q, k, v = (split_sequences(x, count) for x in (q, k, v))  # neighbors of equal length share a call
        if long and is_fast(q):
            attended = attend_causally(q, k, v, scale)
        else:
            attended = scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=causal and length > 1, scale=scale, enable_gqa=grouped
            )
        parts.append(attended.transpose(1, 2).reshape(length * count, *attended.shape[1::2]))
    return torch.cat(parts)


@dataclass(frozen=True)
class AttentionScores:
    """How a model with a sliding window, a soft cap or sinks turns queries and keys into attention weights."""

    scale: float
    causal: bool
    window: int | None
    """A token attends to those less than so many positions away."""
    softcap: float | None
    """Scores are squeezed into plus and minus this (Gemma 2)."""
    sinks: Tensor | None
    """A score for each head that only takes weight away from the others (gpt-oss), `[heads]`."""
    dropout: float

    @property
    def is_plain(self) -> bool:
        """Whether they are scaled products alone, of which kernels know."""
        return self.softcap is None and self.sinks is None

    def mask(self, length: int, device: torch.device) -> Tensor | None:
        """Return which keys each query sees, `[length, length]`; None if it is all of them."""
        away = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
        seen = away >= 0 if self.causal else None
        if self.window is None or length <= self.window:
            return seen
        near = away.abs() < self.window
        return near if seen is None else near & seen

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend within sequences of one length: `[sequences, heads, length, width]`."""
        seen = self.mask(query.shape[2], query.device)
        if self.softcap is None and self.sinks is None:
            grouped = key.shape[1] != query.shape[1]
            return scaled_dot_product_attention(
                query, key, value, seen, dropout_p=self.dropout, scale=self.scale, enable_gqa=grouped
            )
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
        scores = query @ key.transpose(2, 3) * self.scale
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if seen is not None:
            scores = scores.masked_fill(~seen, float("-inf"))
        if self.sinks is not None:
            scores = torch.cat([scores, self.sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1).to(scores)], dim=-1)
        shares = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)[..., : key.shape[2]]
        return dropped(shares, self.dropout) @ value


def _attend_by(
    scores: AttentionScores,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Sequence[int],
    bounds: Tensor | None,
    half: torch.dtype | None,
) -> Tensor:
    """Attend on a device by its kernel of lengths, which knows windows; else by whole matrices of scores."""
    if scores.is_plain and query.device.type != "cpu":
        given, causal, dropout = (query, key, value, lengths, bounds, scores.scale), scores.causal, scores.dropout
        return attend_on_device(*given, causal=causal, window=scores.window, dropout=dropout, half=half)
    warn_of_scores(query.device)
    return attend_apart(query, key, value, lengths, scores)


def attend_apart(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scores: AttentionScores) -> Tensor:
    """Attend as `attend_within` does, by other scores."""
    runs = [(length, len(list(run))) for length, run in groupby(lengths)]
    tokens = [length * count for length, count in runs]
    parts = []
    for (length, count), q, k, v in zip(runs, *(x[0].split(tokens, dim=1) for x in (query, key, value)), strict=True):
        attended = scores.attend(*(split_sequences(x, count) for x in (q, k, v)))
        parts.append(attended.transpose(1, 2).reshape(length * count, *attended.shape[1::2]))
    return torch.cat(parts)


def split_sequences(states: Tensor, count: int) -> Tensor:
    """Split `[heads, count * length, width]` into sequences: `[count, heads, length, width]`."""
    heads, tokens, width = states.shape
    return states.reshape(heads, count, tokens // count, width).transpose(0, 1)


def is_fast(query: Tensor) -> bool:
    """Return whether sequences `[..., length, width]` gain: long, in fp32 on a CPU, and no gradient is wanted."""
    usual = query.device.type == "cpu" and query.dtype == torch.float32 and not torch.is_grad_enabled()
    return usual and query.shape[-2] >= LONG and query.shape[-1] >= WIDE and fast_products_pay()


def attend_causally(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Compute causal attention: each token attends to itself, to those before it, and to all ahead of the sequence.

    Queries and results are `[sequences, heads, length, width]`; keys and values `[sequences, key heads, ahead + length,
    width]`: neighboring heads share one. The scores' `scale` is one over the root of the width if not given.
    """
    key, value = key.contiguous(), value.contiguous()  # strided ones have no fast kernel in oneDNN
    return torch.stack([_attend_causally(*one, scale) for one in zip(query, key, value, strict=True)])


def _attend_causally(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    heads, length, width = query.shape
    groups, ahead = key.shape[0], key.shape[1] - length
    each = heads // groups
    asked = (query * (width**-0.5 if scale is None else scale)).view(groups, each, length, width)
    attended = value.new_empty(groups, each, length, value.shape[2])
    at_once = max(1, min(ROWS, SCORES // (each * key.shape[1])))
    for start in range(0, length, at_once):
        rows = slice(start, min(length, start + at_once))
        count, seen = rows.stop - start, ahead + rows.stop
        for group in range(groups):
            own = asked[group, :, rows].reshape(each * count, width)
            scores = product(own, key[group, :seen]).view(each, count, seen)
            scores[:, :, ahead + start :].add_(_later(count))
            shares = scores.softmax(dim=-1).view(each * count, seen)
            attended[group, :, rows] = product(shares, value[group, :seen].T).view(each, count, -1)
    return attended.view(heads, length, -1)


@lru_cache(maxsize=8)
def _later(count: int) -> Tensor:
    """Return the causal mask: `[count, count]`."""
    return torch.full((count, count), float("-inf")).triu(1)


AttentionInterface.register(NAME, packed_attention)
