"""Lists and objects that a text file holds as Python, numpy, pandas, R or JSON print them.

`DataFrame.to_csv` writes a column of lists as `['a', 'b']`, one of numpy arrays as `['a' 'b']` without commas. The
grammar below reads such texts in linear time. No name is looked up and no code is run: a call is a known name around
values, and everything else is an error with its reason.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kamerton.core.errors import Unusable
from kamerton.core.files import BAD_JSON
from kamerton.core.messages import msg

LONGEST, DEEPEST = 20_000_000, 100
"""Letters of a cell, and lists within lists: more is no row of a data set."""
NAME = r"[A-Za-z_][\w.]*"
OPENING = re.compile(
    r"\s*+(?:\[\s*+(?:['\"\d\[({\]+.-]|[bur]{1,2}['\"]|(?:None|True|False|null|true|false|nan|NaN|inf|<NA>)\b"
    rf"|{NAME}\()|\{{\s*+(?:['\"\d(}}.-]|{NAME}\()|\(\s*+(?:\)|['\"\d\[({{.-][^,]*,)|c\(\s*+['\"\d.-]"
    r"|(?:(?:np|numpy|pd|torch|tf|collections)\.)?(?:array|list|tuple|set|frozenset|tensor|OrderedDict|Counter"
    r"|defaultdict|dict_keys|dict_values|deque)\()"
)
"""How a printed list or object begins; a text in brackets, such as `[deleted]` or `(1)`, begins otherwise."""
SURE = re.compile(
    r"\s*+(?:\[\s*+(?:\{\s*+)?['\"]|\{\s*+['\"]|\(\s*+(?:\{\s*+['\"]|'[^']*'\s*+,|\"[^\"]*\"\s*+,)|array\(\["
    r"|\[\s*+\]\s*+$|\{\s*+\}\s*+$)"
)
"""How one begins that is nothing else, even if its end is missing."""
TOKEN = re.compile(
    rf"""\s*(?:
    (?P<quoted>[bBuUrR]{{0,2}}(?:'[^'\\]*+(?:\\.[^'\\]*+)*+'|"[^"\\]*+(?:\\.[^"\\]*+)*+"))
    |(?P<missing>\.\.\.|…|\bEllipsis\b)
    |(?P<number>[-+]?(?:(?:\d[\d_]*+\.?\d*+|\.\d++)(?:[eE][-+]?\d++)?|inf\b|nan\b)(?![\w.]))
    |(?P<absent><NA>|<class\s'[\w.]*+'>)
    |(?P<name>{NAME})
    |(?P<sign>[\[\](){{}},:=])
    )""",
    re.VERBOSE | re.DOTALL,
)
CLOSING = {"[": "]", "(": ")", "{": "}"}
WORDS: dict[str, object] = {
    "None": None, "null": None, "NULL": None, "NA": None, "NaT": None, "pd.NA": None, "pd.NaT": None,
    "True": True, "true": True, "TRUE": True, "np.True_": True, "numpy.True_": True,
    "False": False, "false": False, "FALSE": False, "np.False_": False, "numpy.False_": False,
    "nan": float("nan"), "NaN": float("nan"), "np.nan": float("nan"), "numpy.nan": float("nan"),
    "inf": float("inf"), "Infinity": float("inf"), "np.inf": float("inf"),
}  # fmt: skip
HOLDERS = frozenset((
    "array", "list", "tuple", "set", "frozenset", "tensor", "deque", "c", "Series", "Index", "OrderedDict", "Counter",
    "dict", "defaultdict", "dict_keys", "dict_values", "dict_items", "ndarray", "mappingproxy", "DatetimeIndex",
))  # fmt: skip
"""Calls that stand for the list or object that is given to them."""
PAIRED = frozenset(("OrderedDict", "dict"))
SCALARS = frozenset((
    "str_", "str", "bytes_", "object_", "int", "float", "bool", "bool_", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64", "float16", "float32", "float64", "longdouble", "Decimal", "Timestamp", "Timedelta",
    "datetime64", "timedelta64", "UUID", "Path", "PosixPath", "WindowsPath", "Fraction",
))  # fmt: skip
"""Calls that stand for the one value that is given to them."""
TIMES = frozenset(("date", "datetime", "time", "datetime.date", "datetime.datetime", "datetime.time"))
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(\n)|(.))", re.DOTALL)
SIGNS = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
TRUNCATED = msg("numpy or pandas left out its middle (`...`) when it was printed: write the column again as JSON, "
                "{code}", code="`df[column] = df[column].map(lambda cell: json.dumps(list(cell)))`")  # fmt: skip


def opened(cell: object, *, sure: bool = False) -> object:
    """Return what a cell's text prints; any other cell as it is.

    >>> opened("['a', 'b']"), opened("['a' 'b']"), opened("[0 3]"), opened("{'x': None}"), opened("[deleted]")
    (['a', 'b'], ['a', 'b'], [0, 3], {'x': None}, '[deleted]')
    >>> opened("array(['a', 'b'], dtype=object)"), opened("[np.str_('a'), True]"), opened("(1., 2)"), opened("a, b")
    (['a', 'b'], ['a', True], [1.0, 2], 'a, b')

    If `sure`, the cell may be a text as well, and only brackets with quotes behind them begin a list.

    Raises:
        Unusable: it begins like a list or an object, and cannot be read to its end; with the reason.
    """
    if not isinstance(cell, str) or not (SURE if sure else OPENING).match(cell):
        return cell
    if cell.rstrip()[-1] in "])}":
        return read_printed(cell)
    if not SURE.match(cell):
        return cell
    end = cell.rstrip()[-20:]
    raise Unusable(msg("it begins like a list or an object, and its end is missing: …{end}", end=end))


def opened_text(cell: object) -> object:
    """Return what a cell prints where it is a text as often: what cannot be read is one.

    >>> opened_text("['a' 'b']"), opened_text("[1] he says (sic)"), opened_text('["Yes," he said.]')
    (['a', 'b'], '[1] he says (sic)', '["Yes," he said.]')
    """
    try:
        return opened(cell, sure=True)
    except ValueError:
        return cell


def is_damaged(cell: object) -> bool:
    """Return whether a cell begins like a list or an object and cannot be read."""
    try:
        opened(cell)
    except ValueError:
        return True
    return False


def read_printed(text: str) -> object:
    """Read a printed list or object; tuples, sets and arrays become lists."""
    if len(text) > LONGEST:
        raise Unusable(msg("it looks like a list, but has {letters} letters", letters=len(text)))
    try:
        value = _read(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unusable(msg("it holds half a character (a lone surrogate)")) from None
    except Unusable as error:
        reason = error.message
        raise Unusable(msg("it looks like a list or an object, but cannot be read: {reason}", reason=reason)) from None
    return value


def _read(text: str) -> object:
    if text.lstrip()[:1] in ("[", "{"):
        with suppress(*BAD_JSON):  # then it was printed by something else than JSON
            return json.loads(text)
    return _LiteralParser(_tokens(text)).whole()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = TOKEN.match(text, at)
        if not found:
            rest = text[at:].strip()
            if rest[:1] in ("'", '"'):
                raise Unusable(msg("a quote is not closed: {text}", text=rest[:30]))
            raise Unusable(msg("{text} is not a value", text=repr(rest[:20])))
        at, kind = found.end(), found.lastgroup or ""
        yield _Token(kind, found[kind])
    yield _Token("end", "")


class _LiteralParser:
    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self._next: _Token | None = None

    def _peek(self) -> _Token:
        if self._next is None:
            self._next = next(self._tokens)
        if self._next.kind == "missing":
            raise Unusable(TRUNCATED)
        return self._next

    def _take(self) -> _Token:
        token = self._peek()
        self._next = None
        return token

    def _takes(self, sign: str) -> bool:
        token = self._peek()
        taken = token.kind == "sign" and token.text == sign
        self._next = None if taken else token
        return taken

    def whole(self) -> object:
        """Read the only value."""
        value, after = self.value(0), self._peek()
        if after.kind != "end":
            raise Unusable(msg("{text} follows its end", text=repr(after.text[:20])))
        return value

    def value(self, depth: int) -> object:
        """Read a value."""
        if depth > DEEPEST:
            raise Unusable(msg("its lists are nested too deeply"))
        token = self._take()
        if token.text in CLOSING:
            values, pairs, named = self._items(CLOSING[token.text], depth + 1)
            if named or (pairs and values):
                raise Unusable(msg("some of its values have keys and others have none"))
            return pairs if pairs or (token.text == "{" and not values) else values
        if token.kind == "quoted":
            return _unquoted(token.text)
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "name":
            return self._call(token.text, depth) if self._takes("(") else self._word(token.text)
        if token.kind == "absent":
            return None
        misplaced = msg("{text} stands in a value's place", text=repr(token.text))
        raise Unusable(msg("it ends too early") if token.kind == "end" else misplaced)

    def _items(self, closing: str, depth: int) -> tuple[list[object], dict[str, object], dict[str, object]]:
        """Read values, `key: value` and `name=value` up to the closing sign, with commas, spaces or lines between."""
        values, pairs, named = list[object](), dict[str, object](), dict[str, object]()
        while not self._takes(closing):
            one = self.value(depth)
            if self._takes(":"):
                pairs[str(one)] = self.value(depth)
            elif self._takes("="):
                named[str(one)] = self.value(depth)
            else:
                values.append(one)
            self._takes(",")
        return values, pairs, named

    def _call(self, name: str, depth: int) -> object:
        (held, _, named), last = self._items(")", depth + 1), name.rpartition(".")[2]
        values = [one for one in held if last != "defaultdict" or isinstance(one, dict)]
        if name in TIMES:
            return _time(last, values)
        if last == "c":
            return values
        if last in PAIRED and values and isinstance(values[0], list):
            return {str(key): value for key, value in values[0]}
        if last in HOLDERS:
            return values[0] if values else []
        if last in SCALARS and len(values) == 1:
            return values[0]
        if named and not values:  # a dataclass or a row of Spark
            return named
        raise Unusable(msg("it holds a Python object, {call}: write the column as JSON", call=f"`{name}(...)`"))

    def _word(self, name: str) -> object:
        if name in WORDS:
            return WORDS[name]
        last = name.rpartition(".")[2]
        if self._peek().text == "=" or last in SCALARS or last == "object":
            return name
        raise Unusable(msg("{text} has no quotes", text=repr(name[:20])))


def _unquoted(text: str) -> str:
    prefix = text[: min(text.find(quote) for quote in "'\"" if quote in text)].lower()
    inner = text[len(prefix) + 1 : -1]
    if "r" in prefix or "\\" not in inner:
        return inner
    text = ESCAPE.sub(_escaped, inner)
    return text.encode("latin-1", "replace").decode("utf-8", "replace") if "b" in prefix else text


def _escaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else "\ufffd"
    return "" if found[4] else SIGNS.get(found[5], found[5] if found[5] in "\\'\"/" else f"\\{found[5]}")


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _time(kind: str, numbers: Sequence[object]) -> str:
    whole = [one for one in numbers if isinstance(one, int)]
    day = [] if kind == "time" else whole[:3]
    parts = "-".join(f"{one:02d}" for one in day), ":".join(f"{one:02d}" for one in whole[len(day) :][:3])
    return " ".join(filter(None, parts))
