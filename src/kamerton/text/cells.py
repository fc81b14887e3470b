"""Cells of a data file as text, and rows drawn from it."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest

import numpy as np

from kamerton.core.errors import Unusable
from kamerton.core.messages import msg
from kamerton.core.records import Example

ROOM = 1.25
"""How much longer than the 99th percentile of the training answers a generated one may get."""
LONGEST = 1024
"""Most tokens of a generated answer where the recipe does not say: each costs a pass through the whole model."""
TOLERATED, GOOD = 10, 5
"""One row in so many may be unusable in a column that is recognized all the same, if at least so many rows are good."""
COMMA = re.compile(r"(?<=\d),(?=\d+$)")
AMBIGUOUS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


def filled(value: object) -> bool:
    """Return whether a cell holds anything: not null, not NaN, not blank."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    return not (isinstance(value, str) and not value.strip())


def few(bad: int, rows: int) -> bool:
    """Return whether so few rows cannot be used that the others tell what they all are.

    >>> few(1, 8), few(5, 50), few(6, 50), few(1, 4)
    (True, True, False, False)
    """
    return bad <= max(1, rows // TOLERATED) and rows - bad >= GOOD


def plain(value: object) -> str:
    """Write a cell as text: an empty cell as an empty string, 3.0 as `3`, nested values as JSON.

    >>> plain(3.0), plain(True), plain(None)
    ('3', 'true', '')
    """
    if isinstance(value, str):
        return value
    if not filled(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def room_for(lengths: Sequence[int]) -> int:
    """Return how many tokens to allow an answer: as many as 99% of these have, and some more.

    >>> room_for([4, 8])
    11
    """
    ordered = sorted(lengths)
    return min(LONGEST, math.ceil(ROOM * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]) + 1)


def number_in(value: object) -> float:
    """Read a cell as a number; a text may have a decimal comma.

    >>> number_in(3), number_in(" 3.5 "), number_in("3,5")
    (3.0, 3.5, 3.5)

    Raises:
        Unusable: it is no finite number, or its comma could part thousands as well.
    """
    readable = isinstance(value, str | int | float) and not isinstance(value, bool)
    text = str(value).strip().replace("\u2212", "-") if readable else plain(value)
    if readable and AMBIGUOUS.fullmatch(text):
        raise Unusable(msg("{text} may mean two numbers: write it without a comma", text=repr(text)))
    number = math.nan
    with suppress(ValueError):
        number = float(COMMA.sub(".", text)) if readable else math.nan
    if not math.isfinite(number):
        raise Unusable(msg("{text} is not a number", text=repr(text)))
    return number


def written_number(number: float, *, exact: bool = False) -> str:
    """Write a number: with all its digits, or with the seven that a model's output has.

    >>> written_number(0.1 + 0.2), written_number(0.1 + 0.2, exact=True), written_number(5.0)
    ('0.3', '0.30000000000000004', '5')
    """
    return plain(number) if exact else f"{number:.7g}"


def draw_evenly(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Draw at random in turns among the gold answers, so that classes are as even as possible."""
    by_gold: dict[str, list[Example]] = defaultdict(list)
    for index in np.random.default_rng(seed).permutation(len(examples)):
        by_gold[examples[index].gold].append(examples[index])
    turns = chain.from_iterable(zip_longest(*(by_gold[gold] for gold in sorted(by_gold))))
    return [example for example in turns if example is not None][:count]
