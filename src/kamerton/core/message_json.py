"""Records with messages as JSON: each message stands as English text, and beside it, under `said`, as its template.

Programs read the text; a face that speaks another language reads the template and its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, Said

SAID = "said"
"""The key under which an object's messages stand whole."""


def to_json(value: Any) -> Any:
    """Return a record, or a list or mapping of records, as JSON.

    >>> to_json({"title": Message("{rows} rows", {"rows": 2})})
    {'title': '2 rows', 'said': {'title': {'template': '{rows} rows', 'values': {'rows': 2}}}}
    """
    if isinstance(value, Message | Joined):
        return str(value)
    if isinstance(value, Figure):
        return value.value
    if is_dataclass(value):
        return _object({one.name: getattr(value, one.name) for one in fields(value) if one.init})
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    return value


def without_templates(value: Any) -> Any:
    """Return a value as `to_json` does, with the English text of each message only: for programs."""
    written = to_json(value)
    return _bare(written)


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(one) for one in value]
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items() if not (name == SAID and isinstance(one, dict))}
    return value


def _object(values: Mapping[Any, Any]) -> dict[str, Any]:
    said = {str(name): _whole(value) for name, value in values.items() if _holds_messages(value)}
    return {str(name): to_json(value) for name, value in values.items()} | ({SAID: said} if said else {})


def _holds_messages(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(one, Message | Joined) for one in value)
    return isinstance(value, Message | Joined)


def _whole(value: Any) -> Any:
    """Return a value of a message with everything that rendering it again takes."""
    if isinstance(value, Message):
        return {"template": value.template, "values": {name: _whole(one) for name, one in value.values.items()}}
    if isinstance(value, Joined):
        return {"parts": [_whole(one) for one in value.parts], "mark": value.mark}
    if isinstance(value, Figure):
        return {"value": value.value, "style": value.style}
    return [_whole(one) for one in value] if isinstance(value, list | tuple) else value


def from_json(value: Any) -> Any:
    """Return what `to_json` wrote, its objects as mappings, each text that has its template as a message again."""
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    said = value.get(SAID)
    plain = {name: from_json(one) for name, one in value.items() if name != SAID or not isinstance(said, dict)}
    return plain | ({name: _restored(one) for name, one in said.items()} if isinstance(said, dict) else {})


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_restored(one) for one in value)
    if not isinstance(value, dict):
        return value
    if "template" in value:
        return Message(value["template"], {name: _restored(one) for name, one in value["values"].items()})
    if "parts" in value:
        return Joined(tuple(_restored(one) for one in value["parts"]), value["mark"])
    return Figure(value["value"], value["style"])


def said_json(said: Said | str) -> Any:
    """Return one message whole, for a column of its own."""
    return _whole(said)


def said_from(value: Any) -> Said | str:
    """Return the message that `said_json` wrote."""
    restored: Said | str = _restored(value)
    return restored
