"""The fewest sequences that serve both to score answers and to continue prompts.

The loss of the true answer needs the prompt, and so does decoding: the true answer is run behind its prompt, and
decoding continues from the same keys and values. Prompts that are answered several times, and the turns of a
conversation, are prefixes of one sequence as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kamerton.core.records import Encoded


@dataclass(frozen=True)
class PromptPrefix:
    """A prompt that a merged sequence begins with."""

    prompt: int
    """Its index."""
    length: int


@dataclass(frozen=True)
class MergedSequence:
    """A sequence that is run once for all items and prompts that are prefixes of it."""

    tokens: tuple[int, ...]
    items: tuple[int, ...] = ()
    """The items that are scored on it, by index."""
    prompts: tuple[PromptPrefix, ...] = ()
    """The prompts that it begins with."""

    def output_positions(self, items: Sequence[Encoded]) -> tuple[int, ...]:
        """Return the output positions, in order: those of the items, and each prompt's last one."""
        scored = (position for index in self.items for position in items[index].output_positions)
        return tuple(sorted({*scored, *(prompt.length - 1 for prompt in self.prompts)}))

    def encoded(self, items: Sequence[Encoded]) -> Encoded:
        """Return the sequence with its output positions."""
        return Encoded(self.tokens, self.output_positions(items), ())

    @property
    def longest(self) -> int:
        """Return the length of its longest prompt; 0 if it has none."""
        return max((prompt.length for prompt in self.prompts), default=0)


def merge(items: Sequence[Encoded], prompts: Sequence[Encoded]) -> list[MergedSequence]:
    """Return the fewest sequences that all items and prompts are prefixes of.

    In sorted order, sequences directly follow their prefixes. So in reverse order each sequence is compared with the
    last merged one, and joins it or becomes one. What follows an item's last output position is left out.

    >>> [one.tokens for one in merge([Encoded((1, 2, 3, 4), (1, 2), ())], [Encoded((1, 2), (), ())])]
    [(1, 2, 3)]
    """
    known = [(index, item.output_positions[-1] + 1) for index, item in enumerate(items) if item.output_positions]
    scored = [(items[index].tokens[:end], index, True) for index, end in known]
    asked = [(prompt.tokens, index, False) for index, prompt in enumerate(prompts)]
    merged: list[MergedSequence] = []
    for tokens, index, is_item in sorted(scored + asked, reverse=True):
        if not merged or merged[-1].tokens[: len(tokens)] != tokens:
            merged.append(MergedSequence(tokens))
        last = merged[-1]
        if is_item:
            merged[-1] = replace(last, items=(*last.items, index))
        else:
            merged[-1] = replace(last, prompts=(*last.prompts, PromptPrefix(index, len(tokens))))
    return merged


def decoding_batches(
    sequences: Sequence[MergedSequence], new: int, tokens: int, prompts: int
) -> Iterator[list[MergedSequence]]:
    """Group sequences whose prompts are answered together, those with the longest prompts first.

    At most so many `prompts` are together, and so many `tokens` cached, each prompt counted as long as the longest with
    its `new` tokens. A sequence with more prompts than fit is run again for each group of them.
    """
    parts = [part for sequence in sequences for part in _split(sequence, new, tokens, prompts)]
    batch: list[MergedSequence] = []
    count = longest = 0
    for part in sorted(parts, key=lambda part: -part.longest):
        longest, count = max(longest, part.longest), count + len(part.prompts)
        if batch and (count > prompts or count * (longest + new) > tokens):
            yield batch
            batch, count, longest = [], len(part.prompts), part.longest
        batch.append(part)
    if batch:
        yield batch


def _split(sequence: MergedSequence, new: int, tokens: int, prompts: int) -> Iterator[MergedSequence]:
    """Split a sequence that has too many prompts; its items are scored once."""
    fit = max(1, min(prompts, tokens // max(1, sequence.longest + new)))
    yield replace(sequence, prompts=sequence.prompts[:fit])
    for at in range(fit, len(sequence.prompts), fit):
        some = sequence.prompts[at : at + fit]
        yield MergedSequence(sequence.tokens[: max(prompt.length for prompt in some)], prompts=some)
