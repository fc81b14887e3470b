"""Find every pattern of the source, how it is used, and the texts on which it may be slow.

The texts come from each pattern's own parts: runs of every character that it names, its beginnings repeated, its
beginnings before a run, and matches that fail at their end. They need not be complete: a pattern of polynomial time
is slow on one of them, for it repeats a part that it can read in several ways or begin at several places.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from types import FunctionType, ModuleType
from typing import Any

import regex

import kamerton

METHODS = ("search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
ANCHORED = frozenset(("match", "fullmatch"))
CATEGORIES = {
    "CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a", "CATEGORY_NOT_DIGIT": "a",
    "CATEGORY_NOT_SPACE": "a", "CATEGORY_NOT_WORD": "-",
}  # fmt: skip
USUAL = 'a0 -_.,:"\nя!'
PROPERTIES = {"L": "é", "N": "0", "M": "\u0301", "P": "!", "S": "$", "Sm": "+", "Pd": "-", "Han": "\u4e00"}


@dataclass(frozen=True)
class Known:
    """A compiled pattern of the source, where it stands, and whether it is only matched from a text's beginning."""

    place: str
    pattern: re.Pattern[Any]
    anchored: bool


def modules() -> Iterator[ModuleType]:
    """Import every module of the program."""
    for found in pkgutil.walk_packages(kamerton.__path__, "kamerton."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text())


def _calls(module: ModuleType) -> Iterator[ast.Call]:
    """Yield the calls of `re` and `regex` that take a pattern."""
    for node in ast.walk(_tree(str(module.__file__))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in ("re", "regex")
            and node.func.attr in ("compile", *METHODS)
        ):
            yield node


def _held(value: object, known_by: object, depth: int = 4) -> Iterator[tuple[re.Pattern[Any], object]]:
    """Yield the patterns that a global holds, also in tuples, mappings and records, and what knows their use."""
    if isinstance(value, re.Pattern | regex.Pattern):
        yield value, known_by
    elif depth and isinstance(value, tuple | list):
        for one in value:
            yield from _held(one, known_by, depth - 1)
    elif depth and isinstance(value, Mapping):
        yield from _held(list(value.values()), known_by, depth)
    elif depth and isinstance(value, FunctionType):
        yield from _held([cell.cell_contents for cell in value.__closure__ or ()], "", depth - 1)
    elif depth and is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _held(getattr(value, field.name), field.name, depth - 1)


@cache
def _uses() -> dict[object, set[str]]:
    """Return how constants and fields are used anywhere: by which methods, or "" where one is handed on.

    A constant is known by the identity of its value, a field by its name.
    """
    used: dict[object, set[str]] = {}
    for module in modules():
        tree = _tree(str(module.__file__))
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            parent = parents.get(node)
            while isinstance(parent, ast.IfExp):
                parent = parents.get(parent)
            if isinstance(parent, ast.Attribute) and parent.attr in ("pattern", "flags"):
                continue
            method = parent.attr if isinstance(parent, ast.Attribute) and parent.attr in METHODS else ""
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in vars(module):
                used.setdefault(id(vars(module)[node.id]), set()).add(method)
            elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                used.setdefault(node.attr, set()).add(method)
    return used


def known_patterns(samples: Mapping[str, Iterable[str]]) -> list[Known]:
    """Return all patterns of the source.

    Args:
        samples: by the function that makes patterns of local names, such patterns; none where a constant holds them.

    Raises:
        AssertionError: a call makes a pattern of local names and has no samples.
    """
    found: dict[tuple[Any, int], Known] = {}
    uses = _uses()
    for module in modules():
        for name, value in vars(module).items():
            for pattern, known_by in _held(value, id(value)):
                ways = uses.get(known_by, {""})
                key = (pattern.pattern, pattern.flags)
                anchored = ways <= ANCHORED and (key not in found or found[key].anchored)
                found[key] = Known(f"{module.__name__}.{name}", pattern, anchored)
        for call in _calls(module):
            place, text = f"{module.__name__}:{call.lineno}", ast.unparse(call.args[0])
            flags = next((k.value for k in call.keywords if k.arg == "flags"), None)
            at = {"compile": 1, "sub": 4, "split": 3}.get(call.func.attr, 2)  # type: ignore[attr-defined]
            flags = flags or (call.args[at] if len(call.args) > at else None)
            space = vars(module) | {}
            engine = space[call.func.value.id]  # type: ignore[attr-defined]
            try:
                sources = [eval(text, space)]
                mask = eval(ast.unparse(flags), space) if flags else 0
            except NameError:
                if re.fullmatch(r"re\.escape\([\w.]+\)", text):
                    continue  # one literal
                if call.func.attr == "compile" and _at_top(module, call):  # type: ignore[attr-defined]
                    continue  # a comprehension of a constant, which was found as a global
                method = call.func.attr  # type: ignore[attr-defined]
                function = _function_of(module, call) + ("" if method == "compile" else f".{method}")
                assert function in samples, f"{place}: give samples of the pattern that {function} makes of local names"
                sources, mask = list(samples[function]), re.IGNORECASE
            for source in sources:
                pattern = engine.compile(source, mask)
                found.setdefault((pattern.pattern, pattern.flags), Known(place, pattern, call.func.attr in ANCHORED))  # type: ignore[attr-defined]
    return list(found.values())


def _function_of(module: ModuleType, call: ast.Call) -> str:
    functions = [node for node in ast.walk(_tree(str(module.__file__))) if isinstance(node, ast.FunctionDef)]
    return f"{module.__name__}.{next(node.name for node in functions if call in ast.walk(node))}"


def _at_top(module: ModuleType, call: ast.Call) -> bool:
    top = [node for node in _tree(str(module.__file__)).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return any(call in ast.walk(node) for node in top)


def _parsed(pattern: re.Pattern[Any]) -> Any:
    source, flags = pattern.pattern, pattern.flags
    if isinstance(pattern, re.Pattern):
        return _parser.parse(source, flags)
    source = re.sub(r"\\p\{\^?(\w+)\}", lambda one: re.escape(PROPERTIES.get(one[1], "\u4e00")), source)
    source = re.sub(r"--\[[^\]]*\]|--[^\]]+|\(\?V1\)", "", source).replace(r"\X", ".")
    return _parser.parse(re.sub(r"\[(\[[^\]]*\])\]", r"\1", source), flags & re.IGNORECASE)


def _signs(members: Any) -> list[str]:
    """Return one character for each part of a class."""
    negated = members[0][0] is ops.NEGATE
    signs = []
    for kind, value in members:
        if kind is ops.LITERAL:
            signs.append(chr(value))
        elif kind is ops.RANGE:
            signs.append(chr(value[0]))
        elif kind is ops.CATEGORY:
            signs.append(CATEGORIES[str(value)])
    if negated:
        tester = re.compile("".join(("[^", *map(_again, members[1:]), "]")))
        return [sign for sign in USUAL if tester.match(sign)][:3] or ["\u4e00"]
    return signs


def _again(member: Any) -> str:
    kind, value = member
    if kind is ops.LITERAL:
        return re.escape(chr(value))
    if kind is ops.RANGE:
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    names = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w", "NOT_DIGIT": r"\D", "NOT_SPACE": r"\S", "NOT_WORD": r"\W"}
    return names[str(value).removeprefix("CATEGORY_")]


class Parts:
    """What a pattern is made of: its beginnings, the characters it names, the runs it can repeat."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self.beginnings: dict[str, None] = {}
        self.signs: dict[str, None] = {}
        self.runs: dict[tuple[str, str], None] = {}
        """What stands before a repeated part, and the part."""
        for whole in self._walk(_parsed(pattern), ""):
            self.beginnings[whole] = None

    def _walk(self, items: Any, before: str) -> list[str]:
        """Note the parts of a sequence that stands after a text; return the texts until its end."""
        ends = [before]
        for kind, value in items:
            self.beginnings |= dict.fromkeys(ends[:3])
            ends = list(dict.fromkeys(itertools.chain(*(self._one(kind, value, end) for end in ends[:3]))))[:6]
        return ends

    def _one(self, kind: Any, value: Any, before: str) -> list[str]:
        if kind in (ops.LITERAL, ops.NOT_LITERAL):
            sign = chr(value) if kind is ops.LITERAL else next(one for one in "a!" if ord(one) != value)
            self.signs[sign] = None
            return [before + sign]
        if kind is ops.IN:
            signs = _signs(value)
            self.signs |= dict.fromkeys(signs[:4])
            return [before + sign for sign in signs[:2]]
        if kind is ops.ANY:
            return [f"{before}a"]
        if kind is ops.SUBPATTERN:
            return self._walk(value[-1], before)
        if kind is ops.ATOMIC_GROUP:
            return self._walk(value, before)
        if kind is ops.BRANCH:
            for branch in value[1]:
                self.beginnings |= dict.fromkeys(self._walk(branch, before))
            return [end for branch in value[1] for end in self._walk(branch, before)[:2]]
        if kind in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
            least, most, body = value
            bodies = [one for one in self._walk(body, "") if one]
            if most is ops.MAXREPEAT or most > 20:
                self.runs |= {(before, one): None for one in bodies}
            self._walk(body, before)
            return [before + one * least for one in bodies[:2]] + [before + one * max(least, 1) for one in bodies[:2]]
        if kind in (ops.ASSERT, ops.ASSERT_NOT):
            direction, body = value
            ends = self._walk(body, before)
            return [before, *ends] if direction > 0 or kind is ops.ASSERT else [before]
        return [before]  # a position


def worst_texts(pattern: re.Pattern[Any], length: int) -> Iterator[str]:
    """Yield texts of a length on which a pattern may be slow."""
    parts = Parts(pattern)
    signs = list(dict.fromkeys((*parts.signs, *"a0 ")))[:16]
    beginnings = [one for one in parts.beginnings if len(one) < 60][:60]
    units = dict.fromkeys((*signs, *filter(None, beginnings), *(body for _, body in parts.runs)))
    texts: dict[tuple[str, str, str], None] = {}
    for unit in units:
        texts["", unit, ""] = texts["", unit, "!"] = texts["", unit, "\n\x00"] = None
    for before, body in parts.runs:
        texts[before, body, ""] = texts[before, body, "\x00"] = None
        for sign in signs:
            texts["", before + sign, ""] = texts["", body + sign, ""] = None
    for before in beginnings[:24]:
        for sign in signs[:8]:
            texts[before, sign, "\x00"] = texts["", before + sign, ""] = None
    for before, unit, after in texts:
        yield before + (unit * (length // len(unit)))[: length - len(before) - len(after)] + after
    for one, other in itertools.permutations(signs[:6], 2):
        yield one * (length // 2) + other * (length // 2)


def scan(known: Known, text: str) -> None:
    """Run a pattern over a text in the ways that the source does."""
    given: Any = text if isinstance(known.pattern.pattern, str) else text.encode()
    known.pattern.match(given)
    known.pattern.fullmatch(given)
    if not known.anchored:
        for _ in known.pattern.finditer(given):
            pass
