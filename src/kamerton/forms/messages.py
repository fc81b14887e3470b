"""Messages of a conversation out of a data file's cell, in whichever of the usual shapes it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from kamerton.forms.message_shapes import WHO, listed
from kamerton.forms.values import filled, plain
from kamerton.records import Message

Role = Literal["system", "user", "assistant", "tool"]
ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "пользователь": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "function_call": "assistant", "tool_call": "assistant", "ассистент": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool", "function_response": "tool",
    "tool_response": "tool",
    "chatbot": "assistant", "bing": "assistant", "bard": "assistant", "claude": "assistant", "llm": "assistant",
    "agent": "assistant", "operator": "assistant", "support": "assistant", "бот": "assistant", "помощник": "assistant",
    "оператор": "assistant", "customer": "user", "client": "user", "клиент": "user", "человек": "user",
}  # fmt: skip
"""Who speaks, by the words of OpenAI's, ShareGPT's and their kin's files."""
SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|User|Assistant|System): ?")
"""What stands before each turn where a conversation is one text, as in Anthropic's of helpfulness and harmlessness."""
WHAT = ("content", "value", "text", "message", "parts")
MESSAGE = {
    *WHO, *WHAT, "name", "type", "weight", "loss", "train", "trainable", "refusal", "audio", "annotations",
    "tool_calls", "tool_call_id", "function_call", "reasoning", "reasoning_content", "thinking", "prefix", "masked",
}  # fmt: skip
"""Keys of a message, by which a list of messages is told from a list of rows."""


def read_messages(value: object) -> tuple[Message, ...]:
    """Read a conversation: a list of messages, of texts said in turn, or of requests with their answers.

    What else may stand for such a list says `kamerton.forms.message_shapes`.

    Raises:
        ValueError: it is none of these; with the reason.
    """
    turns = listed(value, ROLES)
    if all(isinstance(turn, str) for turn in turns):
        return tuple(Message("assistant" if at % 2 else "user", str(turn)) for at, turn in enumerate(turns))
    return tuple(message for item in turns for message in _messages(item))


def are_messages(value: object) -> bool:
    """Say whether a value is a list of messages: each says who speaks and what, and nothing beside that."""
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(one, Mapping)
        and one.keys() <= MESSAGE
        and any(plain(one.get(key)).strip().casefold() in ROLES for key in WHO)
        for one in value
    )


def read_transcript(text: str) -> tuple[Message, ...]:
    r"""Read a conversation that is written as one text, each turn after who speaks; nothing if it is none.

    >>> [turn.role for turn in read_transcript("Human: Why?\n\nAssistant: Because.")]
    ['user', 'assistant']
    """
    _, *parts = SPEAKER.split(text)
    if not SPEAKER.match(text):
        return ()
    return tuple(Message(_role(who), said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True))


def text_of(value: object) -> str:
    """Give the text of a cell that a request or an answer stands in.

    Raises:
        ValueError: it holds messages.
    """
    if isinstance(value, list) and any(isinstance(one, Mapping) and any(key in one for key in WHO) for one in value):
        raise ValueError("there are messages instead of a text: that is a chat")
    return plain(value)


def written(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Write messages as they are kept in an example's fields."""
    return [{"role": message.role, "content": message.content} for message in messages]


def told_beforehand(cell: object) -> str:
    """Give a system prompt: a text, or a message that says it."""
    return _content(cell) if isinstance(cell, Mapping) else plain(cell)


def with_system(messages: Sequence[Message], system: str, tools: str) -> tuple[Message, ...]:
    """Put a system prompt and the descriptions of tools, as they are, at the beginning of a conversation."""
    own = messages[0].content if messages and messages[0].role == "system" else ""
    parts = [part for part in (own, system, tools) if part.strip()]
    rest = tuple(messages[1:] if own else messages)
    return (Message("system", "\n\n".join(parts)), *rest) if parts else rest


def _messages(item: object) -> tuple[Message, ...]:
    """Read one item of a conversation: a message, or a request with its answer."""
    if isinstance(item, Mapping):
        who = next((str(item[key]) for key in WHO if filled(item.get(key))), None)
        if who is not None:
            return (Message(_role(who), _content(item)),)
        if {"instruction", "output"} <= item.keys():
            request = "\n\n".join(part for part in (plain(item["instruction"]), plain(item.get("input"))) if part)
            return Message("user", request), Message("assistant", plain(item["output"]))
    elif isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2:
        return Message("user", plain(item[0])), Message("assistant", plain(item[1]))
    raise ValueError(f"a message of the conversation has no role: {plain(item)[:60]}")


def _role(who: str) -> Role:
    role = ROLES.get(who.strip().casefold())
    if role is None:
        raise ValueError(f"nobody knows the role '{who}': it is one of system, user, assistant, tool")
    return role


def _content(item: Mapping[str, object]) -> str:
    """Give what a message says; calls of tools follow as they are, as JSON."""
    content = next((item[key] for key in WHAT if filled(item.get(key))), "")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(_part(part) for part in content)
    calls = next((item[key] for key in ("tool_calls", "function_call") if filled(item.get(key))), None)
    return "\n".join(part for part in (plain(content), plain(calls)) if part)


def _part(part: object) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(part, str):
        return part
    raise ValueError("a message holds something that is not text")
