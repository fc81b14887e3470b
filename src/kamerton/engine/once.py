"""What is read to measure answers and to write new ones, each token once.

The loss of the true answer needs the prompt, and so does writing one: the true answer is read behind its prompt, and
what is written goes on from the same keys and values. A prompt that is answered several times, and each turn of a
conversation, is a beginning of one sequence, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kamerton.core.records import Encoded


@dataclass(frozen=True)
class Start:
    """A prompt: the beginning of a sequence that is read."""

    prompt: int
    """Which one it is."""
    length: int


@dataclass(frozen=True)
class Reading:
    """A sequence that is read once."""

    tokens: tuple[int, ...]
    items: tuple[int, ...] = ()
    """The items that are measured on it, by index: each is a beginning of it."""
    starts: tuple[Start, ...] = ()
    """The prompts that it begins with."""

    def output_positions(self, items: Sequence[Encoded]) -> tuple[int, ...]:
        """Return the positions whose output is wanted, in order: those of the items, and each prompt's last one."""
        measured = (read for index in self.items for read in items[index].output_positions)
        return tuple(sorted({*measured, *(start.length - 1 for start in self.starts)}))

    def encoded(self, items: Sequence[Encoded]) -> Encoded:
        """Return it as a sequence that is read there."""
        return Encoded(self.tokens, self.output_positions(items), ())

    @property
    def longest(self) -> int:
        """Return the length of its longest prompt; 0 if it has none."""
        return max((start.length for start in self.starts), default=0)


def readings_of(items: Sequence[Encoded], prompts: Sequence[Encoded]) -> list[Reading]:
    """Find the fewest sequences that all items and prompts are beginnings of.

    In sorted order, whatever begins with a sequence follows it at once. So each sequence is compared with the next
    one that is read, and joins it or is read itself. What stands behind an item's last read is left out.

    >>> [reading.tokens for reading in readings_of([Encoded((1, 2, 3, 4), (1, 2), ())], [Encoded((1, 2), (), ())])]
    [(1, 2, 3)]
    """
    measured = [
        (item.tokens[: item.output_positions[-1] + 1], index, True)
        for index, item in enumerate(items)
        if item.output_positions
    ]
    asked = [(prompt.tokens, index, False) for index, prompt in enumerate(prompts)]
    readings: list[Reading] = []
    for tokens, index, is_item in sorted(measured + asked, reverse=True):
        if not readings or readings[-1].tokens[: len(tokens)] != tokens:
            readings.append(Reading(tokens))
        last = readings[-1]
        if is_item:
            readings[-1] = replace(last, items=(*last.items, index))
        else:
            readings[-1] = replace(last, starts=(*last.starts, Start(index, len(tokens))))
    return readings


def waves(readings: Sequence[Reading], new: int, tokens: int, prompts: int) -> Iterator[list[Reading]]:
    """Group readings whose prompts are answered side by side, those with the longest prompts first.

    Args:
        readings: one with more prompts than fit is read again for each group of them.
        new: most new tokens of each prompt.
        tokens: most tokens to keep at once, each prompt counted as long as the longest.
        prompts: most prompts at once.
    """
    parts = [part for reading in readings for part in _parts(reading, new, tokens, prompts)]
    wave: list[Reading] = []
    count = longest = 0
    for part in sorted(parts, key=lambda part: -part.longest):
        longest, count = max(longest, part.longest), count + len(part.starts)
        if wave and (count > prompts or count * (longest + new) > tokens):
            yield wave
            wave, count, longest = [], len(part.starts), part.longest
        wave.append(part)
    if wave:
        yield wave


def _parts(reading: Reading, new: int, tokens: int, prompts: int) -> Iterator[Reading]:
    """Cut a reading that has too many prompts; its items are measured once."""
    fit = max(1, min(prompts, tokens // max(1, reading.longest + new)))
    yield replace(reading, starts=reading.starts[:fit])
    for at in range(fit, len(reading.starts), fit):
        starts = reading.starts[at : at + fit]
        yield replace(reading, tokens=reading.tokens[: max(start.length for start in starts)], items=(), starts=starts)
