"""Records with messages as JSON: each message stands as English text, and beside it, under `said`, as its template.

Programs read the text; a face that speaks another language reads the template and its values.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from kamerton.core.errors import Unusable
from kamerton.core.figures import Figure
from kamerton.core.messages import ENGLISH, Joined, Message, msg, write

TEMPLATES = "said"
"""The key under which an object's messages stand with their templates."""


def to_json(value: Any) -> Any:
    """Return a record, or a list or mapping of records, as JSON, with null for numbers that it does not have.

    >>> to_json({"title": Message("{rows} rows", {"rows": 2})})
    {'title': '2 rows', 'said': {'title': {'template': '{rows} rows', 'values': {'rows': 2}}}}
    """
    if isinstance(value, Message | Joined):
        return str(value)
    if isinstance(value, Figure):
        return to_json(value.value)
    if is_dataclass(value):
        return _object({one.name: getattr(value, one.name) for one in fields(value) if one.init})
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def without_templates(value: Any) -> Any:
    """Return a value as `to_json` does, with the English text of each message only: for programs."""
    return _bare(to_json(value))


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(one) for one in value]
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items() if not (name == TEMPLATES and isinstance(one, dict))}
    return value


def _object(values: Mapping[Any, Any]) -> dict[str, Any]:
    templates = {str(name): message_to_json(value) for name, value in values.items() if _holds_messages(value)}
    plain = {str(name): to_json(value) for name, value in values.items()}
    return plain | ({TEMPLATES: templates} if templates else {})


def _holds_messages(value: object) -> bool:
    return any(isinstance(one, Message | Joined) for one in (value if isinstance(value, list | tuple) else [value]))


def message_to_json(value: Any) -> Any:
    """Return a message, a list of messages or a value of one, with everything that rendering it again takes."""
    if isinstance(value, Message):
        values = {name: message_to_json(one) for name, one in value.values.items()}
        return {"template": value.template, "values": values}
    if isinstance(value, Joined):
        return {"parts": [message_to_json(one) for one in value.parts], "mark": value.mark}
    if isinstance(value, Figure):
        return {"value": to_json(value.value), "style": value.style}
    return [message_to_json(one) for one in value] if isinstance(value, list | tuple) else to_json(value)


def from_json(value: Any) -> Any:
    """Return what `to_json` wrote, its objects as mappings, each text that has its template as a message again."""
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    templates = value.get(TEMPLATES)
    if not isinstance(templates, dict):
        return {name: from_json(one) for name, one in value.items()}
    plain = {name: from_json(one) for name, one in value.items() if name != TEMPLATES}
    return plain | {name: message_from_json(one) for name, one in templates.items()}


def message_from_json(value: Any) -> Any:
    """Return what `message_to_json` wrote; raise `Unusable` for a message that cannot be rendered."""
    if isinstance(value, list):
        return tuple(message_from_json(one) for one in value)
    if not isinstance(value, dict):
        return math.nan if value is None else value
    try:
        message = _message_of(value)
        write(message, ENGLISH)
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise Unusable(msg("a message was changed by hand and cannot be read")) from error
    return message


def _message_of(value: dict[str, Any]) -> Any:
    if "template" in value:
        return Message(value["template"], {name: message_from_json(one) for name, one in value["values"].items()})
    if "parts" in value:
        return Joined(message_from_json(value["parts"]), value["mark"])
    return Figure(message_from_json(value["value"]), value["style"])


def numbers(value: Any) -> Any:
    """Read null as not-a-number, for which JSON has no value."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return math.nan if value is None else value
