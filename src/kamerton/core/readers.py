"""One way to read the small files of a run, of a model and of the user: with limits, and one form of error.

Each function raises the kind of error that its caller names; the fault says file, line and column.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from kamerton.core.errors import Fault, KamertonError, RecipeError, RunError, Unusable
from kamerton.core.figures import Figure
from kamerton.core.messages import Message, Wording, msg

LARGEST, LARGEST_YAML = 64 << 20, 256 << 10
"""Bytes. Gemma's tokenizer has 33 MB of JSON; a recipe has 20 KB, and PyYAML takes 2 s for 256 KB of brackets."""
MOST_VALUES, MOST_NODES = 4_000_000, 100_000
"""Values of JSON, each of some 100 bytes in memory; values of YAML, as often as an alias repeats them."""
DEEPEST = 100
LONGEST_NUMBER = 200
"""Digits: what a double holds, in base 16 as well."""
SHOWN = 40
RESTORE, CORRECT = msg("restore the file from a copy, or make it anew"), msg("correct the line")
TOO_DEEP, TOO_LONG = msg("nested too deeply"), msg("a number has more than {most} digits", most=LONGEST_NUMBER)
NUMBERS, TRUTH = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"), "tag:yaml.org,2002:bool"
Kind = type[KamertonError]


class MalformedError(json.JSONDecodeError):
    """Text that cannot be parsed, with the reason for the reader."""

    def __init__(self, message: Message, text: str, at: int) -> None:
        self.message = message
        super().__init__(str(message), text, at)


def parse_json(data: bytes, place: Path | str, kind: Kind = RunError, remedy: Wording = RESTORE, line: int = 1) -> Any:
    """Parse a file of JSON, or the line of that number."""
    with _told(place, kind, remedy, line):
        text = _text(data, LARGEST)
        if sum(map(text.count, ",[{")) > MOST_VALUES:
            raise Unusable(msg("it holds more than {most} values", most=MOST_VALUES))
        value = json.loads(text, parse_int=lambda digits: _whole(digits, text))
        _require_bounded(value, _inside, MOST_VALUES)
        return value


def parse_yaml(data: bytes, place: Path | str, kind: Kind = RecipeError) -> Any:
    """Parse YAML, with the truth values of YAML 1.2."""
    with _told(place, kind, CORRECT):
        loader = _Loader(_text(data, LARGEST_YAML))
        node = loader.get_single_node()
        _require_bounded(node, _below, MOST_NODES)
        return None if node is None else loader.construct_document(node)


def parse_object(data: bytes, place: Path | str, kind: Kind = RunError, remedy: Wording = RESTORE) -> dict[str, Any]:
    """Parse a file of JSON that holds an object."""
    value = parse_json(data, place, kind, remedy)
    if not isinstance(value, dict):
        raise kind(Fault(msg("the file holds no JSON object"), str(place), remedy))
    return value


def read_object(path: Path, kind: Kind = RunError, remedy: Wording = RESTORE) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    return parse_object(read_bytes(path, kind), path, kind, remedy)


def read_bytes(path: Path, kind: Kind = RunError, most: int = LARGEST) -> bytes:
    """Read a file; of one that is larger, one byte more than the most."""
    with opened(path, kind) as file:
        return file.read(most + 1)


@contextmanager
def opened(path: Path, kind: Kind = RunError) -> Iterator[BinaryIO]:
    """Open a file to read it."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        rule = msg("the file cannot be read: {reason}", reason=error.strerror or str(error))
        raise kind(Fault(rule, str(path), msg("check the path"))) from None


@contextmanager
def _told(place: Path | str, kind: Kind, remedy: Wording, line: int = 1) -> Iterator[None]:
    where = "" if line == 1 else f":{line}"
    try:
        yield
        return
    except json.JSONDecodeError as error:
        where = f":{line + error.lineno - 1}:{error.colno}"
        rule: Wording = error.message if isinstance(error, MalformedError) else msg("from here on this is not JSON")
    except yaml.reader.ReaderError as error:
        rule = msg("this is not valid YAML: {error}", error=error.reason)
    except yaml.MarkedYAMLError as error:
        rule, mark = msg("this is not valid YAML: {error}", error=error.problem or ""), error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    except (Unusable, RecursionError) as error:
        rule = error.message if isinstance(error, Unusable) else TOO_DEEP
    raise kind(Fault(rule, f"{place}{where}", remedy))


def _text(data: bytes, most: int) -> str:
    if len(data) > most:
        raise Unusable(msg("the file is larger than {most}", most=Figure(most, "memory")))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise MalformedError(msg("this is not UTF-8 text"), before, len(before)) from None


def _whole(digits: str, text: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise MalformedError(TOO_LONG, text, text.find(digits))
    return int(digits)


def _require_bounded(value: object, inside: Callable[[Any], Iterable[object]], most: int) -> None:
    """Raise `Unusable` where a value holds too much, all that aliases repeat included, or is nested too deeply."""
    level, count = [value], 1
    for _ in range(DEEPEST):
        level = list(islice(chain.from_iterable(map(inside, level)), most + 1 - count))
        count += len(level)
        if count > most:
            raise Unusable(msg("it holds more than {most} values", most=most))
        if not level:
            return
    raise Unusable(TOO_DEEP)


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _below(node: yaml.Node | None) -> Iterable[object]:
    if isinstance(node, yaml.MappingNode):
        return chain.from_iterable(node.value)
    return node.value if isinstance(node, yaml.SequenceNode) else ()


class _Loader(yaml.SafeLoader):
    """Reads `true` and `false` alone as truth values, and tells a value that is none of its type: 2024-13-45."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Build a value."""
        try:
            if node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
                raise ValueError(node.value)
            return super().construct_object(node, deep)
        except MalformedError:  # of a value inside
            raise
        except (LookupError, AttributeError, ValueError):
            start, text = node.start_mark.index, str(self.buffer)
            words = {"value": text[start : node.end_mark.index][:SHOWN], "kind": node.tag.rpartition(":")[2]}
            raise MalformedError(msg("{value} cannot be read as {kind}", **words), text, start) from None


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != TRUTH]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(TRUTH, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))
