"""Repair the cells of rows: wrong encodings, HTML entities, invisible signs, stray spaces.

Columns that play a role are repaired whole, labels and whatever stands within lists and objects included; in other
columns only wrong encodings are undone. Offsets of spans are moved with the letters that they count.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from kamerton.core.contracts import Task
from kamerton.core.files import BAD_JSON
from kamerton.core.messages import Message, msg
from kamerton.core.records import Example, Place, Row
from kamerton.data.cells import TOGETHER, value_at
from kamerton.forms.offsets import moved
from kamerton.text.label_values import main_spellings
from kamerton.text.repair import LOOKED_AT, damage_by, mend, neat, undo
from kamerton.text.tags import OUTSIDE, read_list

SPELLING = msg("spellings of labels")
BETWEEN = re.compile(r"[^;|,]+")
"""A label among several in a text."""
END = "|"
"""A sign behind the beginning of a text, so that spaces at its end are kept when it is repaired alone."""

Values = Mapping[str, object]


@dataclass(frozen=True)
class Repaired:
    """A row with the repairs that were made."""

    row: Row
    repairs: tuple[Message, ...] = ()
    changed: frozenset[str] = frozenset()
    """Names of the columns in which something was."""


class Repairs:
    """The repairs of one row's cells; all of its texts together show a wrong encoding where one is too short."""

    def __init__(self, texts: Sequence[str]) -> None:
        strange = [text for text in texts if not text.isascii()]
        found = mend("\n".join(strange)[:LOOKED_AT]) if len(strange) > 1 else None
        self.steps = found.steps if found else ()
        self.done: dict[Message, None] = {}

    def decoded(self, text: str) -> str:
        """Repair the encoding of a text only."""
        if text.isascii():
            return text
        right, steps = (undo(text, self.steps) if self.steps else None), self.steps
        if right is None and (found := mend(text)):
            right, steps = found.text, found.steps
        if right is not None:
            self.done[damage_by(steps)] = None
        return text if right is None else right

    def repaired(self, text: str) -> str:
        """Repair a text."""
        text, repairs = neat(self.decoded(text))
        self.done.update(dict.fromkeys(repairs))
        return text


def repair_rows(rows: Sequence[Row], task: Task, roles: Mapping[str, str]) -> list[Repaired]:
    """Repair each row as far as possible."""
    used = {part.partition(".")[0] for column in roles.values() for part in TOGETHER.split(column)}
    used |= {*roles.values()}
    return respell([_repair(row, used, task, roles) for row in rows], task, roles)


def _repair(row: Row, used: set[str], task: Task, roles: Mapping[str, str]) -> Repaired:
    repairs = Repairs(list(_texts(row.values)))
    values = {
        name: _each(value, repairs.repaired if name in used else repairs.decoded) for name, value in row.values.items()
    }
    done = tuple(repairs.done)
    if values != row.values:
        values = _with_offsets(row, values, task, roles, repairs)
    if values != row.values and _example(values, task, roles) is None and _example(row.values, task, roles):
        values |= {name: cell for name, cell in row.values.items() if name in used}
    changed = frozenset(name for name, value in values.items() if value != row.values[name])
    return Repaired(replace(row, values=values), done, changed) if changed else Repaired(row)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _each(value: object, repair: Callable[[str], str]) -> object:
    """Repair every text of a value, however deep; a list or object that is written as JSON stays JSON."""
    if isinstance(value, str):
        held = _written(value)
        right = _each(held, repair)
        return repair(value) if held is None else value if right == held else json.dumps(right, ensure_ascii=False)
    if isinstance(value, list):
        return [_each(item, repair) for item in value]
    return {key: _each(item, repair) for key, item in value.items()} if isinstance(value, dict) else value


def _written(text: str) -> list[object] | dict[str, object] | None:
    """Read a cell that holds a list or an object as JSON; None if it does not."""
    held = None
    if text.lstrip()[:1] in ("[", "{"):
        with suppress(*BAD_JSON):
            held = json.loads(text)
    return held if isinstance(held, list | dict) else None


def respell(repaired: Sequence[Repaired], task: Task, roles: Mapping[str, str]) -> list[Repaired]:
    """Write each label that is another spelling of a commoner one as that, where answers are labels."""
    answer = roles.get([role.name for role in task.roles if role.required][-1], "")
    if task.answers not in ("class", "classes") or not answer:
        return list(repaired)
    examples = (_example(item.row.values, task, roles) for item in repaired)
    golds = [example.gold for example in examples if example and example.gold.strip()]
    counts = Counter(label for gold in golds for label in (read_list(gold) if task.answers == "classes" else [gold]))
    main = main_spellings(counts)
    return [_respelled(item, answer, main) for item in repaired] if main else list(repaired)


def _respelled(item: Repaired, column: str, main: Mapping[str, str]) -> Repaired:
    values = item.row.values

    def right(text: str) -> str:
        whole = main.get(text.strip())
        return whole or BETWEEN.sub(lambda found: main.get(found[0].strip(), found[0]), text)

    if column not in values or (cell := _each(values[column], right)) == values[column]:
        return item
    row = replace(item.row, values={**values, column: cell})
    return Repaired(row, (*item.repairs, SPELLING), item.changed | {column})


def _with_offsets(
    row: Row, values: dict[str, object], task: Task, roles: Mapping[str, str], repairs: Repairs
) -> dict[str, object]:
    """Move offsets with the letters of a text that became shorter; where that fails, the text stays as it was."""
    for role in task.roles:
        column, text = roles.get(role.name), roles.get(role.letters_of) or ""
        before, after = row.values.get(text), values.get(text)
        if not column or not isinstance(before, str) or not isinstance(after, str) or len(before) == len(after):
            continue
        try:
            new = {**values, column: _moved(values.get(column), partial(_place, before, after, repairs))}
        except ValueError:
            new = dict(row.values)
        old, marked = (_marked(_example(some, task, roles), repairs) for some in (row.values, new))
        values = new if old and old == marked else {**values, text: before, column: row.values.get(column)}
    return values


def _moved(cell: object, place: Callable[[int], int]) -> object:
    """Move the offsets in a cell, also where it holds them as JSON, or as a number in a text."""
    if not isinstance(cell, str):
        return moved(cell, place)
    if cell.strip().isdecimal():
        return str(place(int(cell)))
    held = _written(cell)
    if held is None and cell.lstrip()[:1] in ("[", "{"):
        raise ValueError("offsets that are no JSON cannot be moved")
    return cell if held is None else json.dumps(moved(held, place), ensure_ascii=False)


def _place(before: str, after: str, repairs: Repairs, at: int) -> int:
    head = repairs.repaired(before[:at] + END).removesuffix(END)
    if not after.startswith(head):
        raise ValueError("the place cannot be followed")
    return len(head)


def _example(values: Values, task: Task, roles: Mapping[str, str]) -> Example | None:
    try:
        return task.example(0, Place("", 0), {role: value_at(values, column) for role, column in roles.items()})
    except ValueError:
        return None


def _marked(example: Example | None, repairs: Repairs) -> tuple[str, object] | None:
    """Return the annotated letters of a row, repaired, to compare before and after; None if it is unusable."""
    if example is None:
        return None
    tokens, tags = example.fields.get("tokens"), example.fields.get("tags")
    pairs = zip(tokens, tags, strict=True) if isinstance(tokens, list) and isinstance(tags, list) else ()
    words = repairs.repaired("".join(str(token) for token, tag in pairs if tag != OUTSIDE))
    return "".join(filter(str.isalnum, words)), example.fields.get("moved")
