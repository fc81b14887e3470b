"""The shapes of conversations in data files, all converted into a list of messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kamerton.core.errors import Unusable
from kamerton.core.messages import msg
from kamerton.forms.rendered import read_rendered
from kamerton.text.cells import filled, plain
from kamerton.text.printed import opened

WHO = ("role", "from", "speaker", "author", "sender")
LISTS = ("messages", "conversations", "conversation", "contents", "turns", "dialog", "dialogue")
"""Keys under which an object holds its messages."""
PAIRS = (
    ("instruction", "output"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("query", "response"),
    ("question", "answer"),
    ("input", "output"),
)
"""Keys of a request and its answer in one object."""


def listed(value: object, roles: Mapping[str, str]) -> Sequence[object]:
    """Return the items of a conversation: messages, texts said in turn, or pairs.

    A conversation may be a list of these; an object that holds such a list, beside tools and a system prompt, or whose
    keys are roles; lists of roles and of contents side by side, as the library `datasets` keeps them; any of these
    printed in a text, as JSON or by Python; or one text that a chat template wrote.

    Args:
        value: the cell.
        roles: words for who speaks, in lower case.

    Raises:
        Unusable: it is none of these.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, Mapping):
        value = _of_object(value, roles)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise Unusable(msg("the conversation is not a list of messages"))
    return [item for one in value for item in _items(one, roles)]


def _parsed(text: str) -> object:
    value = opened(text, sure=True)
    if not isinstance(value, str):
        return value
    if rendered := read_rendered(text):
        return [{"role": role, "content": said} for role, said in rendered.turns]
    raise Unusable(msg("the conversation is not a list of messages"))


def _of_object(value: Mapping[str, object], roles: Mapping[str, str]) -> object:
    held = next((one for key in LISTS if isinstance(one := value.get(key), list)), None)
    if held is not None:
        given = {key: value[key] for key in ("system", "tools") if filled(value.get(key)) and value[key] != []}
        return [*([{"role": "system", "content": given.pop("system", ""), **given}] if given else []), *held]
    spoken, said = next((value.get(key) for key in WHO if key in value), None), value.get("content", value.get("value"))
    if isinstance(spoken, list) and isinstance(said, list) and len(spoken) == len(said):
        return [{"role": who, "content": what} for who, what in zip(spoken, said, strict=True)]
    return [value] if isinstance(spoken, str) else _items(value, roles)


def _items(item: object, roles: Mapping[str, str]) -> Sequence[object]:
    """Split an object whose keys are roles, or that holds a request and its answer, into messages."""
    if not isinstance(item, Mapping) or any(filled(item.get(key)) for key in WHO):
        return (item,)
    spoken = [(key, said) for key, said in item.items() if key.strip().casefold() in roles and isinstance(said, str)]
    if len(spoken) > 1:
        spoken.sort(key=lambda one: roles[one[0].strip().casefold()] != "system")
        return [{"role": who, "content": said} for who, said in spoken]
    for asked, answered in PAIRS:
        if isinstance(item.get(asked), str) and isinstance(item.get(answered), str):
            request = "\n\n".join(part for part in (item[asked], plain(item.get("input"))) if part.strip())
            request = item[asked] if asked == "input" else request
            return ({"role": "user", "content": request}, {"role": "assistant", "content": item[answered]})
    return (item,)
