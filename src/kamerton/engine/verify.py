"""Proofs: a faster way to run a model is taken only where it gives the results of the model's own forward pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from kamerton.core.figures import Figure
from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded
from kamerton.engine.device_attention import half_of_attention
from kamerton.engine.last_layer import selections
from kamerton.engine.layout import (
    EncoderDecoder,
    Layout,
    Packed,
    Plain,
    SharedRows,
    Unpadded,
    candidate_layouts,
    in_mode,
)
from kamerton.kernels.dropout import drops
from kamerton.kernels.product import Fused
from kamerton.kernels.trial import attempt
from kamerton.models.structure import is_encoder_decoder, outer_model

TOLERANCE = 1e-4
"""Largest difference from the reference, relative to the largest number, in fp32."""
WINDOWS = ("sliding_window", "local_attention", "attention_chunk_size", "window_size", "attention_window_size")
"""What configurations call the number of tokens that a token attends to."""
LOOSE = 0.05
"""Largest distance from the reference, relative to its norm, in 16 bits; tiny random models differed by 0.001
in fp16 and by 0.007 in bf16."""
SPREAD = 0.02
"""Standard deviation of the values that replace weights of zeros in a proof: those would hide all that differs."""


def prove_layout(model: nn.Module, output: Callable[[Layout], Tensor]) -> Layout:
    """Choose the best layout that gives what the model's own forward pass gives for each row without padding.

    `output` computes logits (or hidden states) of a few real rows of different lengths under a layout.
    """
    reference = Unpadded(EncoderDecoder(all_positions=True) if is_encoder_decoder(model) else Plain())
    wanted = partial(output, reference)
    proven = (way for way in candidate_layouts(model) if prove_equal(model, partial(output, way), wanted))
    packed = next(proven, reference)
    if isinstance(packed, SharedRows):
        return replace(packed, together=False)
    if not isinstance(packed, Packed) or packed.whole:
        return packed
    with in_mode(model, training=False):
        found = list(selections(outer_model(model), lambda witness: output(replace(packed, witness=witness))))
    candidates = (replace(packed, last_layer=one) for one in found)
    wanted = partial(output, packed)
    chosen = next((way for way in candidates if prove_equal(model, partial(output, way), wanted)), packed)
    half = None if drops(model) else half_of_attention(model)
    way = replace(chosen, half=half)
    return way if half and _is_near(model, partial(output, way), partial(output, chosen)) else chosen


def _is_near(model: nn.Module, way: Callable[[], Tensor], reference: Callable[[], Tensor]) -> bool:
    """Return whether a way to run a model in 16 bits in training gives about the output of another."""
    with in_mode(model, training=True), torch.no_grad():
        wanted, got = reference(), attempt(way)
    return got is not None and _distance(got, wanted) <= LOOSE


def windows_below(model: nn.Module, most: int) -> list[int]:
    """Return the windows within which a model's tokens attend, those shorter than the longest row."""
    config = outer_model(model).config.get_text_config().to_dict()
    return [size for name in WINDOWS if isinstance(size := config.get(name), int) and 0 < size < most]


def with_long_row(model: nn.Module, samples: Sequence[Encoded], most: int) -> list[Encoded]:
    """Add a row longer than a model's windows to samples: shorter ones would prove nothing about them."""
    if not (windows := windows_below(model, most)):
        return list(samples)
    length, one = min(most, 3 * max(windows) // 2 + 1), samples[0]
    tokens = (one.tokens * (length // len(one.tokens) + 1))[:length]
    at = (0,) if one.output_positions == (0,) else (length - 1,)
    return [*samples, replace(one, tokens=tokens, segments=(), output_positions=at, targets=one.targets[:1])]


def reads_ahead(model: nn.Module, row: Encoded) -> bool:
    """Return whether a row's last token changes the logits before it: a model that writes would see the answers."""
    *tokens, last = row.tokens
    some = replace(row, segments=(), output_positions=tuple(range(len(tokens))), targets=tuple(tokens))
    other = replace(some, tokens=(*tokens, tokens[0] if tokens[0] != last else last - 1))
    with in_mode(model, training=False), torch.no_grad():
        one, two = Plain().logits(model, [some, other]).chunk(2)
    return (one - two).abs().max().item() > TOLERANCE * one.abs().max().item()


def prove_equal(model: nn.Module, way: Callable[[], Tensor], reference: Callable[[], Tensor]) -> bool:
    """Return whether one way to run a model gives the output of another, within `TOLERANCE`.

    A model that cannot be run this way fails the proof; any other failure is reported (`kamerton.kernels.trial`).
    """
    with in_mode(model, training=False), torch.no_grad():
        wanted = reference()
        got = attempt(way)
    if got is None or got.shape != wanted.shape:
        return False
    return (got - wanted).abs().max().item() <= TOLERANCE * wanted.abs().max().item()


def some_tokens(samples: Sequence[Encoded], count: int) -> tuple[int, ...]:
    """Return so many tokens of the longest sample, repeated if it is shorter.

    A tuned model may magnify rounding beyond any tolerance where it reads tokens that no text has in that order.
    """
    longest = max((item.tokens for item in samples), key=len)
    return tuple(islice(cycle(longest), count))


def prove_fused(model: nn.Module, layout: Layout, items: Sequence[Encoded]) -> Message | None:
    """Check that fused modules give the logits and gradients of single operations; switch them all off if not.

    Returns:
        How far they differ; None if they do not.
    """
    parts = [module for module in model.modules() if isinstance(module, Fused)]
    if not parts:
        return None
    with _without_zeros(model):
        fused = _gradients(model, layout, items)
        for part in parts:
            part.plain = True
        plain = _gradients(model, layout, items)
    difference = max(_distance(one, other) for one, other in zip(fused, plain, strict=True))
    if difference <= TOLERANCE:
        for part in parts:
            part.plain = False
        return None
    by = Figure(difference, "number")
    return msg("fused modules are off: their results would differ by {difference}", difference=by)


def _gradients(model: nn.Module, layout: Layout, items: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    """Compute logits and the gradient of all that trains, in one vector: single weights may have a gradient of zero."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with in_mode(model, training=False):
        logits = layout.logits(model, items).float()
        gradients = torch.autograd.grad(logits.square().mean(), weights, allow_unused=True)
    known = [gradient.flatten().float() for gradient in gradients if gradient is not None]
    return logits.detach(), torch.cat(known) if known else logits.new_zeros(1)


def _distance(one: Tensor, other: Tensor) -> float:
    """Return the distance of two results relative to the second's norm; infinite if they cannot be compared."""
    if one.shape != other.shape or not torch.isfinite(one).all():
        return float("inf")
    return float((one - other).norm() / (other.norm() + 1e-30))


@contextmanager
def _without_zeros(model: nn.Module) -> Iterator[None]:
    """While active, trainable weights that are all zeros have other values."""
    zeros = [p for p in model.parameters() if p.requires_grad and not p.detach().any()]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in zeros:
            parameter.copy_(SPREAD * torch.randn(parameter.shape, generator=generator))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter in zeros:
                parameter.zero_()
