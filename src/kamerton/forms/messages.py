"""Parsing of a conversation in a cell of a data file."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Literal

from kamerton.core.errors import Unusable
from kamerton.core.messages import msg
from kamerton.core.records import Example, Turn
from kamerton.forms.message_parts import (
    CALLS,
    IGNORED,
    LEARNED,
    PARTIAL,
    REASONING,
    WHAT,
    calls_in,
    calls_of,
    learned,
    reasoning_of,
    results_in,
    text_of_message,
)
from kamerton.forms.rendered import read_rendered
from kamerton.text.cells import filled, plain
from kamerton.text.printed import opened

Role = Literal["system", "user", "assistant", "tool", "tools"]
ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "пользователь": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "function_call": "assistant", "tool_call": "assistant", "ассистент": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool", "function_response": "tool",
    "tool_response": "tool", "tools": "tools",
    "chatbot": "assistant", "bing": "assistant", "bard": "assistant", "claude": "assistant", "llm": "assistant",
    "agent": "assistant", "operator": "assistant", "support": "assistant", "бот": "assistant", "помощник": "assistant",
    "оператор": "assistant", "customer": "user", "client": "user", "клиент": "user", "человек": "user",
}  # fmt: skip
"""Roles by their names in files of OpenAI, ShareGPT and others."""
SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|User|Assistant|System): ?")
"""The header of each turn of a conversation in one text, as in Anthropic's HH-RLHF."""
WHO = ("role", "from", "speaker", "author", "sender")
LISTS = ("messages", "conversations", "conversation", "contents", "turns", "dialog", "dialogue")
"""Keys under which an object holds its messages."""
PAIRS = (
    ("instruction", "output"), ("prompt", "response"), ("prompt", "completion"), ("query", "response"),
    ("question", "answer"), ("input", "output"),
)  # fmt: skip
"""Keys of a request and its answer in one object."""
MESSAGE = {
    *WHO, *WHAT, *REASONING, *CALLS, *LEARNED, *IGNORED, *PARTIAL, "name", "type", "refusal", "audio", "annotations",
    "tool_call_id", "tools", "prefix",
}  # fmt: skip
"""Keys of a message, which distinguish a list of messages from a list of rows."""
CALLING = ("function_call", "tool_call")
"""Roles of ShareGPT's kin under which the assistant calls a function: its text is the call."""
KEPT = {"reasoning": "reasoning_content", "calls": "tool_calls", "call": "tool_call_id", "name": "name"}
"""Under which keys messages are kept, beside role and content."""


def read_messages(value: object) -> tuple[Turn, ...]:
    """Parse a conversation: a list of messages, of alternating texts, or of requests with their answers.

    `_listed` says in which other shapes these may stand.

    Raises:
        Unusable: it is none of these.
    """
    turns = _listed(value)
    if all(isinstance(turn, str) for turn in turns):
        return tuple(Turn("assistant" if at % 2 else "user", str(turn)) for at, turn in enumerate(turns))
    return tuple(message for item in turns for message in _messages(item))


def are_messages(value: object) -> bool:
    """Return whether a value is a list of messages: each says who speaks and what, and nothing beside that."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(one, Mapping)
            and one.keys() <= MESSAGE
            and any(plain(one.get(key)).strip().casefold() in ROLES for key in WHO)
            for one in value
        )
    )


def read_transcript(text: str) -> tuple[Turn, ...]:
    r"""Parse a conversation in one text, each turn after its speaker; nothing if it is none.

    >>> [turn.role for turn in read_transcript("Human: Why?\n\nAssistant: Because.")]
    ['user', 'assistant']
    """
    _, *parts = SPEAKER.split(text)
    if not SPEAKER.match(text):
        return ()
    return tuple(Turn(_role(who), said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True))


def text_of(value: object) -> str:
    """Return the text of a cell that holds a request or an answer.

    Raises:
        Unusable: it holds messages.
    """
    if isinstance(value, list) and any(isinstance(one, Mapping) and any(key in one for key in WHO) for one in value):
        raise Unusable(msg("there are messages instead of a text: that is a chat"))
    return plain(value)


def written(messages: Sequence[Turn]) -> list[dict[str, object]]:
    """Return messages as they are kept in an example's fields and in data files."""
    return [
        {
            "role": message.role,
            "content": message.content,
            **{key: value for name, key in KEPT.items() if (value := vars(message)[name])},
            **({} if message.taught else {"train": False}),
        }
        for message in messages
    ]


def kept_messages(field: object) -> tuple[Turn, ...]:
    """Parse messages that `written` returned; none of anything else."""
    return read_messages(field) if isinstance(field, list) and field else ()


def said(turn: Turn) -> str:
    """Return a turn's text, followed by its tool calls as JSON."""
    return "\n".join(part for part in (turn.content, turn.calls) if part)


def kept(answer: Turn) -> object:
    """Return one answer as it is kept in an example's fields: a text, or a message where it holds more."""
    return written([answer]) if answer.calls or answer.reasoning else answer.content


def kept_answer(field: object) -> Turn:
    """Parse an answer that `kept` returned."""
    return (*kept_messages(field), Turn("assistant", str(field)))[0]


def conversation_of(example: Example) -> tuple[Turn, ...]:
    """Return an example's turns; for other requests the system prompt and the text; nothing without either."""
    fields = example.fields
    turns = kept_messages(fields.get("messages")) or kept_messages(fields.get("prompt"))
    if turns:
        return (*turns, *kept_messages(fields.get("chosen")))
    system = fields.get("system")
    return (Turn("system", system), Turn("user", example.text)) if isinstance(system, str) else ()


def system_prompt(cell: object) -> str:
    """Return a system prompt, which is a text or a message."""
    return text_of_message(cell, strict=True) if isinstance(cell, Mapping) else plain(cell)


def with_system(messages: Sequence[Turn], system: str, tools: str) -> tuple[Turn, ...]:
    """Return a conversation after its system prompt and a turn that describes tools."""
    offered = [turn.content for turn in messages if turn.role == "tools"] + [tools]
    turns = [turn for turn in messages if turn.role != "tools"]
    own = turns[0].content if turns and turns[0].role == "system" else ""
    parts = [part for part in (own, system) if part.strip()]
    prompt = (Turn("system", "\n\n".join(parts)),) if parts else ()
    offers = (Turn("tools", text) for text in offered if text.strip() not in ("", "[]", "{}"))
    return (*islice(offers, 1), *prompt, *(turns[1:] if own else turns))


def _messages(item: object) -> tuple[Turn, ...]:
    if isinstance(item, Mapping):
        who = next((str(item[key]) for key in WHO if filled(item.get(key))), None)
        if who is not None:
            return _said(who, item)
        if {"instruction", "output"} <= item.keys():
            request = "\n\n".join(part for part in (plain(item["instruction"]), plain(item.get("input"))) if part)
            return Turn("user", request), Turn("assistant", plain(item["output"]))
    elif isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2:
        return Turn("user", plain(item[0])), Turn("assistant", plain(item[1]))
    raise Unusable(msg("a message of the conversation has no role: {message}", message=plain(item)[:60]))


def _said(who: str, item: Mapping[str, object]) -> tuple[Turn, ...]:
    """Parse a message; tool results inside it become turns of their own."""
    role = _role(who)
    if role == "tool":
        name, call = plain(item.get("name")), plain(item.get("tool_call_id"))
        return (Turn(role, text_of_message(item, strict=False), call=call, name=name),)
    text = text_of_message(item, strict=role != "tools")
    if role == "tools":
        return (Turn(role, text),)
    if role == "system":
        offered = (Turn("tools", plain(item["tools"])),) if filled(item.get("tools")) else ()
        return (*offered, Turn(role, text)) if text.strip() or not offered else offered
    if role != "assistant":
        results = tuple(Turn("tool", result, call=call) for call, result in results_in(item))
        return (*results, Turn(role, text)) if text.strip() or not results else results
    calls = calls_of(item)
    if not calls and who.strip().casefold() in CALLING:
        with suppress(Unusable):
            calls = calls_in(text)
        text = "" if calls else text
    return (Turn(role, text, reasoning_of(item), calls, taught=learned(item)),)


def _role(who: str) -> Role:
    role = ROLES.get(who.strip().casefold())
    if role is None:
        raise Unusable(msg("unknown role '{role}'; known are system, user, assistant and tool", role=who))
    return role


def _listed(value: object) -> Sequence[object]:
    """Return the items of a conversation: messages, texts said in turn, or pairs.

    A conversation may be a list of these; an object that holds such a list, beside tools and a system prompt, or whose
    keys are roles; lists of roles and of contents side by side, as the library `datasets` keeps them; any of these
    printed in a text, as JSON or by Python; or one text that a chat template wrote.
    """
    if isinstance(value, str):
        value = opened(value, sure=True)
    if isinstance(value, str) and (rendered := read_rendered(value)):
        return [{"role": role, "content": said} for role, said in rendered.turns]
    if isinstance(value, Mapping):
        value = _of_object(value)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise Unusable(msg("the conversation is not a list of messages"))
    return [item for one in value for item in _items(one)]


def _of_object(value: Mapping[str, object]) -> object:
    held = next((one for key in LISTS if isinstance(one := value.get(key), list)), None)
    if held is not None:
        given = {key: value[key] for key in ("system", "tools") if filled(value.get(key)) and value[key] != []}
        return [*([{"role": "system", "content": given.pop("system", ""), **given}] if given else []), *held]
    spoken, said = next((value.get(key) for key in WHO if key in value), None), value.get("content", value.get("value"))
    if isinstance(spoken, list) and isinstance(said, list) and len(spoken) == len(said):
        return [{"role": who, "content": what} for who, what in zip(spoken, said, strict=True)]
    return [value] if isinstance(spoken, str) else _items(value)


def _items(item: object) -> Sequence[object]:
    """Split an object whose keys are roles, or that holds a request and its answer, into messages."""
    if not isinstance(item, Mapping) or any(filled(item.get(key)) for key in WHO):
        return (item,)
    spoken = [(key, said) for key, said in item.items() if key.strip().casefold() in ROLES and isinstance(said, str)]
    if len(spoken) > 1:
        spoken.sort(key=lambda one: ROLES[one[0].strip().casefold()] != "system")
        return [{"role": who, "content": said} for who, said in spoken]
    for asked, answered in PAIRS:
        if isinstance(item.get(asked), str) and isinstance(item.get(answered), str):
            request = "\n\n".join(part for part in (item[asked], plain(item.get("input"))) if part.strip())
            request = item[asked] if asked == "input" else request
            return ({"role": "user", "content": request}, {"role": "assistant", "content": item[answered]})
    return (item,)
