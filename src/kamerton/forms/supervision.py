"""Shared by forms: the loss of targets, and how trained tokens are shown."""

from __future__ import annotations

from collections.abc import Sequence

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


def supervised(item: Encoded) -> int:
    """Count the targets of an item that are known."""
    return sum(target >= 0 for target in item.targets)


def target_losses(logits: Tensor, items: Sequence[Encoded]) -> Tensor:
    """Compute each item's cross-entropy, summed over its targets: `[items]`, nats; 0 without known targets.

    `logits` are those of all items, one after the other: `[outputs, classes]`.
    """
    return sum_by_item(class_losses(logits, [target for item in items for target in item.targets]), items)


def class_losses(logits: Tensor, targets: Sequence[int]) -> Tensor:
    """Compute the cross-entropy of each output `[outputs, classes]`: `[outputs]`, nats; 0 if its target is unknown."""
    wanted = torch.tensor(targets, device=logits.device)
    return cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORED)


def sum_by_item(values: Tensor, items: Sequence[Encoded]) -> Tensor:
    """Sum values of outputs `[outputs]` within each item, in double precision: `[items]`."""
    counts = torch.tensor([len(item.output_positions) for item in items], device=values.device)
    owners = torch.repeat_interleave(torch.arange(len(items), device=values.device), counts)
    sums = torch.zeros(len(items), dtype=torch.float64, device=values.device)
    return sums.index_add(0, owners, values.double())


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
