"""What forms share of supervision: the loss of reads against targets, and how a row that is taught is written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kamerton.core.records import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

IGNORED = -100
"""The target of a position that is read but not supervised (torch's own convention)."""
BROKEN = "\ufffd"
"""What decoders write for bytes that are no whole letter."""
LONGEST_LETTER = 4
"""Bytes of a letter in UTF-8."""


def supervised(item: Encoded) -> int:
    """Count the targets of an item that are known."""
    return sum(target >= 0 for target in item.targets)


def target_losses(logits: Tensor, items: Sequence[Encoded]) -> Tensor:
    """Give each item's cross-entropy of its targets, summed over its reads.

    Args:
        logits: `[outputs, classes]`, of all items one after the other.
        items: as many as there are losses wanted.

    Returns:
        `[items]`, nats; an item without known targets has 0.
    """
    return sum_by_item(class_losses(logits, [target for item in items for target in item.targets]), items)


def class_losses(logits: Tensor, targets: Sequence[int]) -> Tensor:
    """Give the cross-entropy of each read `[outputs, classes]` against its target: `[outputs]`, nats; 0 if unknown."""
    wanted = torch.tensor(targets, device=logits.device)
    return cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORED)


def sum_by_item(values: Tensor, items: Sequence[Encoded]) -> Tensor:
    """Sum values of reads `[outputs]` within each item, in double precision: `[items]`."""
    counts = torch.tensor([len(item.output_positions) for item in items], device=values.device)
    owners = torch.repeat_interleave(torch.arange(len(items), device=values.device), counts)
    sums = torch.zeros(len(items), dtype=torch.float64, device=values.device)
    return sums.index_add(0, owners, values.double())


def written(tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    """Write tokens that follow each other as a reader knows them, one text."""
    return "".join(written_tokens(tokens, tokenizer))


def written_tokens(tokens: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """Write each token as a reader knows it, its leading space included.

    Byte-level tokenizers part a letter, Cyrillic ones often: then its last token shows it, the others show nothing.
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
