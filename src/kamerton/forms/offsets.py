"""Spans of a text as annotation tools write them, and the unit of their offsets.

Python counts code points from 0, and an end is exclusive. Tools differ: JavaScript and Java count UTF-16 code units, Go
and Rust bytes of UTF-8, Azure grapheme clusters, Labelbox's and Dataturks' ends are inclusive, and a text is sometimes
stripped, or its line ends are changed, after annotation.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal, TypeGuard, get_args

from kamerton.core.errors import Unusable
from kamerton.core.messages import Message, msg
from kamerton.text.cells import filled, plain
from kamerton.text.words import SIGN, WORD

Unit = Literal["letters", "utf-16", "bytes", "lf", "crlf", "stripped", "graphemes"]
KINDS = ("label", "type", "tag", "entity_type", "entity", "entity_group", "class", "category", "labels",
         "hypertextlabels", "choices", "name", "тип", "метка")  # fmt: skip
STARTS = ("start", "start_offset", "start_char", "start_pos", "start_index", "begin", "begin_offset", "offset", "from",
          "character_start", "начало")  # fmt: skip
ENDS = ("end", "end_offset", "end_char", "end_pos", "end_index", "stop", "to", "character_end", "конец")
LENGTHS = ("length", "len", "длина")
TEXTS = ("text", "word", "surface", "surface_form", "mention", "quote", "covered_text", "value", "entity", "name",
         "текст")  # fmt: skip
"""Names that parts of a span go by, compared without case, `_` and `-`."""
PIECES = ("points", "offsets", "indices", "location", "span", "value", "position")
"""Keys under which a span's place is an object or a list of its own."""
CANONICAL = ("value", "name", "entity")
"""Keys whose text may be another name of the thing, as Rasa's `value`."""
PLACED = {name.replace("_", "") for name in (*STARTS, *ENDS, "answer_start")}
"""Names under which a number is an offset."""
MOST = 0.1
"""Share of the spans that a way of counting may leave unexplained."""
BOTH: tuple[Unit, ...] = ("utf-16", "bytes")
"""What may be counted and shifted as well."""
FEWEST = 3
"""Spans without a text of their own that must tear words before another way of counting is looked for."""

COUNTED: Mapping[Unit, Message] = {
    "utf-16": msg("offsets of spans count UTF-16 units: converted"),
    "bytes": msg("offsets of spans count bytes of UTF-8: converted"),
    "lf": msg("offsets of spans count one letter for each line end: converted"),
    "crlf": msg("offsets of spans count two letters for each line end: converted"),
    "stripped": msg("offsets of spans do not count leading spaces of the text: converted"),
    "graphemes": msg("offsets of spans count grapheme clusters: converted"),
}
"""What offsets may count instead of letters."""


@dataclass(frozen=True)
class Marked:
    """A span as the tool wrote it."""

    start: int
    end: int
    kinds: tuple[str, ...]
    text: str = ""
    """The span's own text; empty if the tool does not write it."""
    canonical: bool = False
    """Whether its own text may be another name of the same thing."""
    behind: bool | None = None
    """Whether the end is given by a length, so that it is exclusive."""


@dataclass(frozen=True)
class Counting:
    """How offsets are counted."""

    unit: Unit = "letters"
    first: int = 0
    """The offset of the first letter."""
    end_inside: bool = False
    """Whether an end is inclusive."""

    @property
    def notes(self) -> list[Message]:
        """What is unusual about it."""
        parts = [COUNTED[self.unit]] if self.unit in COUNTED else []
        parts += [msg("offsets of spans count from {first}: converted", first=str(self.first))] if self.first else []
        return [*parts, msg("spans end at their last letter: converted")] if self.end_inside else parts

    def letter(self, text: str, offset: int) -> int | None:
        """Return the index of the letter at an offset; None if there is none."""
        at = offset - self.first
        if self.unit == "letters" or (text.isascii() and self.unit in BOTH):
            return at if 0 <= at <= len(text) else None
        places = _places(text, self.unit)
        found = bisect_right(places, at) - 1
        return found if found >= 0 and places[found] == at else None

    def place(self, text: str, span: Marked) -> tuple[int, int]:
        """Return the start and the end of a span in Python's letters.

        Raises:
            Unusable: it is outside the text, or an offset is within a letter.
        """
        last = int(self.end_inside and not span.behind)
        start, end = (self.letter(text, at) for at in (span.start, span.end + last))
        if start is None or end is None or not start < end:
            rule = "the span from {start} to {end} is outside the text of {letters} {letters:letter|letters}"
            raise Unusable(msg(rule, start=str(span.start), end=str(span.end), letters=len(text)))
        return start, end


def listed(value: object) -> object:
    """Return spans that stand under their kinds as a list: `{"PER": [[0, 4]]}`; any other value as it is.

    >>> listed({"PER": [[0, 4], {"start": 9, "end": 12}]})
    [[0, 4, 'PER'], {'start': 9, 'end': 12, 'label': 'PER'}]
    """
    if not isinstance(value, Mapping) or not value or not all(map(_are_places, value.values())):
        return value
    return [
        {**place, "label": kind} if isinstance(place, Mapping) else [*place, kind]
        for kind, places in value.items()
        for place in places
    ]


def _are_places(value: object) -> bool:
    return isinstance(value, list) and all(
        _is_pair(one) or (isinstance(one, Mapping) and _of_object({**one, "label": "any"})) for one in value
    )


def are_spans(value: object) -> bool:
    """Return whether a cell holds spans: a list of objects or of lists; an empty list holds none."""
    return isinstance(value, list | tuple) and all(isinstance(one, Mapping | list | tuple) for one in value)


def read_span(value: object) -> Marked:
    """Parse a span: `{"start": 0, "end": 4, "label": "place"}`, `{"offset": 0, "length": 4, ...}`, `[0, 4, "place"]`.

    Raises:
        Unusable: it has no start, end and kind.
    """
    found = _of_object(value) if isinstance(value, Mapping) else _of_list(value)
    if found is None:
        raise Unusable(msg("{value} is not a span: it needs start, end and label", value=plain(value)))
    return found


def _of_object(value: Mapping[str, object]) -> Marked | None:
    parts = {_same(name): cell for name, cell in value.items()}
    for name in PIECES:
        piece = parts.get(name)
        piece = piece[0] if isinstance(piece, list) and len(piece) == 1 else piece
        if isinstance(piece, Mapping):
            del parts[name]
            parts = {**{_same(key): cell for key, cell in piece.items()}, **parts}
        elif _is_pair(piece):
            parts |= {"start": piece[0], "end": piece[1]}
    start, end, length = (_first(parts, names) for names in (STARTS, ENDS, LENGTHS))
    said, called = _first(parts, KINDS), next((name for name in KINDS if filled(parts.get(_same(name)))), "")
    kinds = tuple(plain(kind) for kind in (said if isinstance(said, list) else [said]) if filled(kind))
    behind = not _is_number(end)
    if behind and _is_number(start) and _is_number(length):
        end = start + length
    if not (_is_number(start) and _is_number(end) and kinds) or isinstance(said, Mapping):
        return None
    own = next((n for n in TEXTS if n != called and isinstance(parts.get(_same(n)), str) and parts[_same(n)]), "")
    return Marked(start, end, kinds, plain(parts.get(_same(own))), own in CANONICAL, behind)


def _of_list(value: object) -> Marked | None:
    """Parse `[0, 4, "place"]`, in any order, or brat's `["T1", "place", [[0, 4]]]`."""
    if not isinstance(value, list | tuple):
        return None
    if len(value) == 3 and isinstance(value[2], list) and len(value[2]) == 1 and _is_pair(value[2][0]):
        value = [*value[2][0], value[1]]
    numbers = [one for one in value if _is_number(one)]
    words = [one for one in value if not _is_number(one)]
    if len(value) == 3 and len(numbers) == 3:  # doccano's ids of labels
        numbers, words = numbers[:2], [plain(numbers[2])]
    if len(numbers) != 2 or len(words) != 1 or not filled(words[0]) or isinstance(words[0], Mapping):
        return None
    kinds = words[0] if isinstance(words[0], list) else [words[0]]
    return Marked(numbers[0], numbers[1], tuple(map(plain, kinds)))


def _same(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")


def _first(parts: Mapping[str, object], names: Sequence[str]) -> object:
    return next((parts[_same(name)] for name in names if filled(parts.get(_same(name)))), None)


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pair(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def moved(value: object, place: Callable[[int], int]) -> object:
    """Return spans, or a single offset, with every offset moved; all else stays as it is.

    Args:
        value: as `read_span` reads it, in a list or alone; an offset or a list of offsets.
        place: says where an offset is now. Its `ValueError` is passed on.
    """
    if _is_number(value):
        return place(value)
    if isinstance(value, Mapping):
        parts = {_same(name): cell for name, cell in value.items()}
        start = _first(parts, STARTS)
        done = {name: moved(cell, place) for name, cell in value.items() if isinstance(cell, Mapping | list)}
        done |= {name: _each_moved(cell, place) for name, cell in value.items() if _same(name) in PLACED}
        lengths = {name: cell for name, cell in value.items() if _same(name) in LENGTHS}
        if _is_number(start):
            done |= {name: place(start + cell) - place(start) for name, cell in lengths.items() if _is_number(cell)}
        return {**value, **done}
    if isinstance(value, list):
        first = [at for at, one in enumerate(value) if _is_number(one)][:2]
        return [
            moved(one, place) if at in first or isinstance(one, Mapping | list) else one for at, one in enumerate(value)
        ]
    return value


def _each_moved(value: object, place: Callable[[int], int]) -> object:
    return [_each_moved(one, place) for one in value] if isinstance(value, list) else moved(value, place)


# ── counting ──────────────────────────────────────────────────────────────────────────────────


def _widths(text: str, unit: Unit) -> Iterator[int]:
    match unit:
        case "utf-16":
            return (1 + (letter > "\uffff") for letter in text)
        case "bytes":
            return (len(letter.encode("utf-8", "surrogatepass")) for letter in text)
        case "graphemes":
            return (int(not at) for sign in SIGN.findall(text) for at in range(len(sign)))
        case "crlf":
            return (1 + (letter == "\n" and text[at - 1 : at] != "\r") for at, letter in enumerate(text))
        case "lf":
            return (int(text[at : at + 2] != "\r\n") for at in range(len(text)))
        case "stripped":
            before = len(text) - len(text.lstrip())
            return (int(at >= before) for at in range(len(text)))
        case _:
            return (1 for _ in text)


@lru_cache(maxsize=8)
def _places(text: str, unit: Unit) -> tuple[int, ...]:
    return tuple(accumulate(_widths(text, unit), initial=0))


def is_torn(text: str, at: int) -> bool:
    """Return whether a position is within a word, in a script with spaces between words."""
    found = WORD.match(text, at - 1) if 0 < at < len(text) else None
    return found is not None and found.end() > at


def matches(text: str, start: int, end: int, span: Marked) -> bool:
    """Return whether a span's own text is what it cuts out; case and spaces do not count, nor a word's `##` of BERT.

    A text that stands nowhere else may be another name of the same thing, if the tool writes such names.
    """
    own, cut = _bare(span.text), _bare(text[start:end])
    if not own or own == cut:
        return True
    return span.canonical and own not in _bare(text) and not is_torn(text, start) and not is_torn(text, end)


def _bare(text: str) -> str:
    return "".join(text.replace("##", "").split()).casefold()


# ── how a whole file is counted ───────────────────────────────────────────────────────────────

Texts = Sequence[tuple[str, Sequence[Marked]]]


def counting_of(rows: Texts) -> Counting:
    """Find the way of counting that explains the spans of many texts; the usual one if it does, or if none does.

    A span is explained if it cuts out its own text or, where it has none, whole words. A shift that only the borders of
    words speak for must be the matter of most spans.
    """
    usual = Counting()
    spans = sum(len(found) for _, found in rows)
    wrong = [(text, found) for text, found in rows if _unexplained([(text, found)], usual)]
    bad = _unexplained(wrong, usual)
    with_text = any(span.text for _, found in rows for span in found)
    if not bad or (bad < FEWEST and not with_text):
        return usual
    shifted = with_text or 2 * bad > spans
    tried = [one for one in _candidates(wrong) if shifted or not (one.first or one.end_inside)]
    left = {one: _unexplained(wrong, one) for one in tried}
    good = [one for one in tried if left[one] <= MOST * bad and _unexplained(rows, one) <= MOST * spans]
    return min(good, key=lambda one: left[one], default=usual)


def _candidates(wrong: Texts) -> list[Counting]:
    """List the ways of counting to try, the likeliest first."""
    shifts = [Counting(end_inside=True), Counting(first=1), Counting(first=1, end_inside=True)]
    units = [Counting(unit) for unit in get_args(Unit)[1:]]
    both = [Counting(unit, one.first, one.end_inside) for unit in BOTH for one in shifts]
    once = [(text, span) for text, found in wrong for span in found if span.text and text.count(span.text) == 1]
    by = dict.fromkeys(span.start - text.index(span.text) for text, span in once[:FEWEST])
    constant = [Counting(first=shift) for shift in by if shift not in (0, 1)]
    return [*units, *shifts, *both, *constant]


def _unexplained(rows: Texts, counting: Counting) -> int:
    bad = 0
    for text, span in ((text, span) for text, found in rows for span in found):
        try:
            start, end = counting.place(text, span)
        except Unusable:
            bad += 1
        else:
            torn = text[start].isspace() or text[end - 1].isspace() or is_torn(text, start) or is_torn(text, end)
            bad += not matches(text, start, end, span) if span.text else torn
    return bad
