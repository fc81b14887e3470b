"""Shared by forms: the loss of targets, and how trained tokens are shown."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kamerton.core.contracts import Tokenizer
from kamerton.core.records import Encoded

IGNORED = -100
"""The target of an unsupervised output position (torch's convention)."""
BROKEN = "\ufffd"
"""How tokenizers decode bytes that are no whole letter."""
LONGEST_LETTER = 4
"""Bytes of a letter in UTF-8."""


def sequences_of(items: Sequence[Encoded]) -> list[Encoded]:
    """List the sequences of all rows, in order."""
    return [sequence for item in items for sequence in item.sequences]


def one_row(sequences: Iterable[Encoded]) -> Encoded:
    """Join sequences into one row."""
    first, *others = sequences
    return replace(first, extra=tuple(others))


def target_losses(logits: Tensor, items: Sequence[Encoded]) -> Tensor:
    """Compute each item's cross-entropy, summed over its targets: `[items]`, nats, on the host; 0 if none is known.

    `logits` are those of all items, one after the other: `[outputs, classes]`.
    """
    losses = class_losses(logits, [target for item in items for target in item.targets])
    return sums(on_host(losses), [len(item.output_positions) for item in items])


def on_host(values: Tensor) -> Tensor:
    """Return values as float64 on the host, where sums are exact enough: MPS has no such type. Gradients flow back."""
    return values.cpu().double()


def class_losses(logits: Tensor, targets: Sequence[int]) -> Tensor:
    """Compute the cross-entropy of each output `[outputs, classes]`: `[outputs]`, nats; 0 if its target is unknown."""
    wanted = torch.tensor(targets, device=logits.device)
    return cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORED)


def sums(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Sum so many consecutive values each: `[values, ...]` to `[counts, ...]`."""
    sizes = torch.tensor(counts, device=values.device)
    owners = torch.repeat_interleave(torch.arange(len(counts), device=values.device), sizes, output_size=len(values))
    return values.new_zeros(len(counts), *values.shape[1:]).index_add(0, owners, values)


def written(tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    """Decode consecutive tokens as one text."""
    return "".join(written_tokens(tokens, tokenizer))


def written_tokens(tokens: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """Decode each token, with its leading space.

    Byte-level tokenizers often split a Cyrillic letter: then its last token shows it, the others show nothing.
    """
    texts: list[str] = []
    parts: list[str] = []
    for piece in tokenizer.convert_ids_to_tokens(list(tokens)):
        parts.append(piece)
        text: str = tokenizer.convert_tokens_to_string(parts)
        if text.endswith(BROKEN) and len(parts) < LONGEST_LETTER:
            texts.append("")
            continue
        spaced = f" {text}" if parts[0][:1] in ("Ġ", "▁") and not text.startswith(" ") else text
        texts.append(spaced or piece)
        parts = []
    return [*texts[: len(texts) - len(parts)], *(BROKEN for _ in parts)]
