"""Attention of a packed row on a device, by fused kernels only: none of them needs memory for all pairs of tokens.

In 16 bits, cards from compute capability 8.0 run torch's kernel for sequences of different lengths
(`torch.nn.attention.varlen`), which takes their boundaries and a window, and needs no padding. Elsewhere the sequences
are padded for attention alone, and share one call of `scaled_dot_product_attention`.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from kamerton.core import registry
from kamerton.kernels.device import BF16_FROM, CPU, NUMBERLESS, capability_of, name_of
from kamerton.kernels.linear import HalfLinear
from kamerton.models.structure import device_of

FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
NO_KERNEL = "No available kernel"
"""What torch says where none of the kernels that are allowed takes the inputs."""
WIDEST, STEP = 256, 8
"""The widest head of FlashAttention 2, and what a head's width must be a multiple of."""


class SlowAttention(UserWarning):
    """No fused kernel takes a model's attention, which then needs memory for all pairs of tokens."""


_slow: WeakSet[nn.Module] = WeakSet()
"""Models whose attention no fused kernel takes."""


def run_fused(model: nn.Module, inputs: Mapping[str, Any]) -> Any:
    """Run a model; on a device its attention takes fused kernels, and where none does, that is told once."""
    if model not in _slow:
        try:
            with fused_kernels(model):
                return model(**inputs)
        except RuntimeError as error:
            if NO_KERNEL not in str(error):
                raise
        _slow.add(model)
        warn_of_slow_attention(device_of(model))
    return model(**inputs)


def warn_of_slow_attention(device: torch.device) -> None:
    """Warn that no fused kernel of a device takes a model's attention."""
    text = "no fused kernel takes this model's attention: its time and memory grow with the square of a row's length"
    warnings.warn(f"{name_of(device)}: {text}", SlowAttention, stacklevel=2)


@lru_cache
def warn_of_scores(device: torch.device) -> None:
    """Warn, once for each device but the CPU, of a soft cap or sinks: each layer of each pass computes scores there."""
    if device != CPU:
        warn_of_slow_attention(device)


@contextmanager
def fused_kernels(model: nn.Module) -> Iterator[None]:
    """While active, attention on a card takes fused kernels only; elsewhere torch has no choice of them."""
    if device_of(model).type in NUMBERLESS or model in _slow:
        yield
    else:
        with sdpa_kernel(FUSED):
            yield


def half_of_attention(model: nn.Module) -> torch.dtype | None:
    """Return the type of 16 bits in which a model attends while it trains on a device; None for that of its states."""
    if device_of(model) == CPU:
        return None
    return next((part.product_type for part in model.modules() if isinstance(part, HalfLinear)), None)


def attend_on_device(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Sequence[int],
    boundaries: Tensor | None,
    scale: float,
    *,
    causal: bool,
    window: int | None,
    dropout: float,
    half: torch.dtype | None,
) -> Tensor:
    """Attend within each sequence of a packed row: `[1, heads, tokens, width]` to `[tokens, heads, width]`.

    Args:
        query: keys and values may have fewer heads, neighboring ones of the query share one.
        key: like `query`.
        value: like `key`.
        lengths: of the sequences, on the host.
        boundaries: where they begin and end, on the device, `[sequences + 1]` int32.
        scale: factor on the scores.
        causal: whether a token attends only to those before it.
        window: a token attends to those less than so many positions away; None for all.
        dropout: probability of an attention weight to be dropped.
        half: the type to compute in; that of the states if None.
    """
    kind = query.dtype
    query, key, value = (states[0].transpose(0, 1).to(half or kind) for states in (query, key, value))
    if boundaries is not None and not dropout and takes_lengths(query, value):
        attended = attend_by_lengths(query, key, value, boundaries, max(lengths), scale, causal=causal, window=window)
    else:
        known = tuple(lengths)
        query, key, value = (_padded(states, known) for states in (query, key, value))
        attended = _attend_padded(query, key, value, known, scale, causal=causal, window=window, dropout=dropout)
    return attended.to(kind)


def takes_lengths(query: Tensor, value: Tensor) -> bool:
    """Return whether the kernel takes states `[tokens, heads, width]`: of 16 bits, on a new card."""
    fits = query.shape[2] == value.shape[2] <= WIDEST and query.shape[2] % STEP == 0
    return fits and query.dtype.itemsize == 2 and _capability(query.device) >= BF16_FROM


@lru_cache
def _capability(device: torch.device) -> tuple[int, int]:
    return capability_of(device)


def attend_by_lengths(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Tensor,
    longest: int,
    scale: float,
    *,
    causal: bool,
    window: int | None,
) -> Tensor:
    """Attend by torch's kernel for sequences of different lengths: `[tokens, heads, width]` to the same."""
    reach = -1 if window is None else window - 1  # the kernel counts the neighbors, without the token itself
    attended: Tensor = registry.load("torch.nn.attention.varlen:varlen_attn")(
        query.contiguous(),
        key.contiguous(),
        value.contiguous(),
        boundaries,
        boundaries,
        longest,
        longest,
        scale=scale,
        window_size=(reach, 0 if causal else reach),
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return attended


def _padded(states: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Copy `[tokens, heads, width]` into padded rows: `[sequences, heads, longest, width]`."""
    slots, _ = _slots(lengths, states.device)
    return states.index_select(0, slots).unflatten(0, (len(lengths), -1)).transpose(1, 2)


def _attend_padded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: tuple[int, ...],
    scale: float,
    *,
    causal: bool,
    window: int | None,
    dropout: float,
) -> Tensor:
    """Attend within padded rows; return the real tokens: `[tokens, heads, width]`."""
    # of the fused kernels, only FlashAttention takes fewer heads of keys
    key, value = (states.repeat_interleave(query.shape[1] // states.shape[1], dim=1) for states in (key, value))
    # padding comes last: no causal query sees it
    seen = None if causal and window is None else _mask(lengths, query.device, causal, window)
    attended = scaled_dot_product_attention(
        query, key, value, seen, dropout_p=dropout, is_causal=seen is None and causal, scale=scale
    )
    return attended.transpose(1, 2).flatten(0, 1).index_select(0, _slots(lengths, query.device)[1])


@lru_cache(maxsize=2)  # shared by the layers of a pass
def _slots(lengths: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the token of each slot of padded rows, the first one where there is padding; and each token's slot."""
    longest, starts = max(lengths), list(accumulate(lengths, initial=0))
    tokens = [start + at if at < length else 0 for start, length in zip(starts, lengths, strict=False)
              for at in range(longest)]  # fmt: skip
    slots = [row * longest + at for row, length in enumerate(lengths) for at in range(length)]
    return torch.tensor(tokens).to(device), torch.tensor(slots).to(device)


@lru_cache(maxsize=4)
def _mask(lengths: tuple[int, ...], device: torch.device, causal: bool, window: int | None) -> Tensor | None:
    """Return which keys each query sees, `[sequences or 1, 1, longest, longest]`; None if it is all of them.

    Queries of padding see what their neighbors do, since no row of scores may be empty.
    """
    longest = max(lengths)
    places = torch.arange(longest)
    away = places[:, None] - places
    seen = (away >= 0 if causal else away == away) & (away.abs() < (window or longest))
    rows = seen[None]
    if not causal and min(lengths) < longest:
        rows = (seen & (places < torch.tensor(lengths)[:, None, None])) | torch.eye(longest, dtype=torch.bool)
    return None if rows.all() else rows.unsqueeze(1).to(device)
