"""Tags of words, and the spans that they mark.

A tag is `O` (outside), `B-KIND` (a span begins), `I-KIND` (it goes on), as in IOB2 (Ramshaw and Marcus 1995), or
bare: `KIND`. Words in a row with the same bare tag are one span.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kamerton.core.files import BAD_JSON

OUTSIDE = "O"
BEGIN, INSIDE = "B-", "I-"
PREFIXED = re.compile(r"([BIESLUMWbi])[-_:](?=.)")
ENDED = dict(zip("BISUWELMbi", (*("B-", "I-", "B-", "B-", "B-", "I-", "I-", "I-"), "B-", "I-"), strict=True))
"""What the prefixes of IOBES, BILOU and BMES, which mark ends as well, are in IOB2."""
UNNAMED = {OUTSIDE: OUTSIDE, "B": "B-entity", "I": "I-entity"}
"""What tags are where there is one kind of span, and it has no name."""
MOST = 1000
"""Tags that are numbered, at most."""
OUTSIDES = frozenset((
    "0", "o", "о", "out", "outside", "other", "others", "none", "null", "nan", "_", "-", "", "x", "-100", "нет",
    "другое",
))  # fmt: skip
"""Tags that stand for "outside" where there is no `O`, in small letters; the second one is Cyrillic."""


@dataclass(frozen=True, order=True)
class Span:
    """Words from `start` to before `end`, of one kind."""

    start: int
    end: int
    kind: str


def kind_of(tag: str) -> str:
    """Return the kind of a tag; an empty string outside.

    >>> kind_of("B-person"), kind_of("city"), kind_of("O")
    ('person', 'city', '')
    """
    if tag == OUTSIDE:
        return ""
    return tag[len(BEGIN) :] if tag.startswith((BEGIN, INSIDE)) else tag


def follows(before: str, tag: str) -> bool:
    """Return whether a tag continues the span of the tag before it."""
    if tag.startswith(INSIDE):
        return before.startswith((BEGIN, INSIDE)) and kind_of(before) == kind_of(tag)
    return tag == before and tag != OUTSIDE and not tag.startswith(BEGIN)


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the spans, strictly: an `I-` that continues no span begins none.

    >>> spans(["B-PER", "I-PER", "O", "I-LOC", "city", "city"])
    [Span(start=0, end=2, kind='PER'), Span(start=4, end=6, kind='city')]
    """
    found: list[Span] = []
    for at, tag in enumerate(tags):
        if found and found[-1].end == at and follows(tags[at - 1], tag):
            found[-1] = Span(found[-1].start, at + 1, found[-1].kind)
        elif tag != OUTSIDE and not tag.startswith(INSIDE):
            found.append(Span(at, at + 1, kind_of(tag)))
    return found


def in_iob2(tags: Sequence[str]) -> list[str]:
    """Write gold tags of other schemes (IOB1, IOBES, BILOU, BMES) in IOB2; bare tags stay as they are.

    >>> in_iob2(["S-PER", "O", "B-LOC", "E-LOC"]), in_iob2(["I-PER", "I-PER", "B-PER"]), in_iob2(["city", "O"])
    (['B-PER', 'O', 'B-LOC', 'I-LOC'], ['B-PER', 'I-PER', 'B-PER'], ['city', 'O'])
    """
    if OUTSIDE in tags and UNNAMED.keys() >= {*tags}:
        tags = [UNNAMED[tag] for tag in tags]
    if not all(tag == OUTSIDE or PREFIXED.match(tag) for tag in tags):
        return list(tags)
    plain = [tag if tag == OUTSIDE else ENDED[tag[0]] + tag[2:] for tag in tags]
    return [
        BEGIN + kind_of(tag) if tag.startswith(INSIDE) and not follows(before, tag) else tag
        for before, tag in pairwise([OUTSIDE, *plain])
    ]


def outside_of(counts: Mapping[str, int]) -> str | None:
    """Return the tag that stands for "outside" in place of `O`; None if there is none, or it is unclear.

    Beside tags with prefixes (`B-PER`) it is the one without, or, beside an `O`, the one of the usual names; beside
    others it has one of the usual names and is the commonest, as most words are outside.

    >>> outside_of({"0": 9, "1": 2}), outside_of({"OUT": 9, "B-PER": 2}), outside_of({"NOUN": 9, "X": 1})
    ('0', 'OUT', None)
    """
    bare = [tag for tag in counts if not PREFIXED.match(tag) and tag != OUTSIDE]
    usual = [tag for tag in bare if tag.casefold() in OUTSIDES]
    if any(PREFIXED.match(tag) for tag in counts):
        only = bare if OUTSIDE not in counts and len(bare) == 1 else usual
        return only[0] if len(only) == 1 else None
    commonest = max(counts, key=lambda tag: counts[tag], default=OUTSIDE)
    return commonest if OUTSIDE not in counts and len(counts) > 1 and commonest in usual else None


def names_of_numbers(rows: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """Return names of tags that are numbers by how they follow each other, as in IOB2; None if that is unclear.

    0 is outside if it is the commonest. A number that only ever follows one other number, or itself, goes on with its
    span; any other begins one. Where one that begins a span follows itself, the numbers are bare kinds.

    >>> names_of_numbers([["1", "2", "0", "3", "0", "0"], ["0", "1", "0"]])
    ('O', 'B-1', 'I-1', 'B-3')
    >>> names_of_numbers([["1", "1", "0", "0", "0"]]) is None, names_of_numbers([["O", "B-1"]]) is None
    (True, True)
    """
    counts = Counter(tag for row in rows for tag in row)
    if not counts or not all(tag.isdecimal() for tag in counts) or counts.most_common(1)[0][0] != "0":
        return None
    before = defaultdict[str, set[str]](set)
    for row in rows:
        for earlier, tag in pairwise(["0", *row]):
            before[tag].add(earlier)
    names = dict[str, str]()
    for tag in sorted(counts.keys() - {"0"}, key=int):
        others = before[tag] - {tag}
        begun = next(iter(others)) if len(others) == 1 else "0"
        goes_on = begun != "0" and not names.get(begun, BEGIN).startswith(INSIDE)
        if not goes_on and tag in before[tag]:
            return None
        names[tag] = f"{INSIDE}{begun}" if goes_on else f"{BEGIN}{tag}"
    largest = max(map(int, counts))
    return (OUTSIDE, *(names.get(str(n), f"{BEGIN}{n}") for n in range(1, largest + 1))) if largest < MOST else None


def tagged(words: int, found: Sequence[Span]) -> list[str]:
    """Write spans that do not overlap as IOB2 tags of so many words.

    >>> tagged(4, [Span(1, 3, "PER")])
    ['O', 'B-PER', 'I-PER', 'O']
    """
    tags = [OUTSIDE] * words
    for span in found:
        tags[span.start : span.end] = [BEGIN + span.kind, *[INSIDE + span.kind] * (span.end - span.start - 1)]
    return tags


def apart(found: Sequence[Span], *, shorter_first: bool = False) -> tuple[list[Span], list[Span]]:
    """Choose spans that do not overlap, the longer first, and of equally long ones the one that is named first.

    Returns:
        Those that are kept, and those that are left out; the same span twice is one.

    >>> apart([Span(0, 1, "FIRST"), Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(0, 2, "PER")])[1]
    [Span(start=0, end=1, kind='FIRST')]
    """
    kept, left_out, taken = list[Span](), list[Span](), set[int]()
    order = sorted(dict.fromkeys(found), key=lambda span: (span.end - span.start) * (1 if shorter_first else -1))
    for span in order:
        free = taken.isdisjoint(range(span.start, span.end))
        (kept if free else left_out).append(span)
        taken |= set(range(span.start, span.end)) if free else set()
    return kept, left_out


def write_tags(tags: Sequence[str]) -> str:
    """Write tags as text: a JSON list."""
    return json.dumps(list(tags), ensure_ascii=False)


def read_list(text: str) -> list[str]:
    """Read a JSON list of texts; any other text stands for itself alone.

    >>> read_list('["B-PER", "O"]'), read_list("city")
    (['B-PER', 'O'], ['city'])
    """
    try:
        values = json.loads(text)
    except BAD_JSON:
        return [text]
    texts = isinstance(values, list) and all(isinstance(value, str) for value in values)
    return values if texts else [text]
