"""Parts of a message beside its text: reasoning, tool calls, and marks of whether it is trained on."""

import json
from collections.abc import Mapping, Sequence

from kamerton.core.errors import Unusable
from kamerton.core.files import BAD_JSON
from kamerton.core.messages import msg
from kamerton.text.cells import filled, plain

WHAT = ("content", "value", "text", "message", "parts")
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys of a message: DeepSeek's and Qwen's, OpenRouter's and vLLM's, gpt-oss's."""
THOUGHTS = ("thinking", "reasoning", "reasoning_content")
"""Types of content parts that hold reasoning, and the keys that it stands under: Anthropic's, Mistral's."""
CALLS = ("tool_calls", "function_call")
LEARNED = ("weight", "loss", "train", "training", "trainable", "train_on_turn", "loss_mask")
"""Keys that mark a turn to be trained on: OpenAI's (0 or 1), ms-swift's, axolotl's and their kin's."""
IGNORED = ("masked", "mask")
"""Keys that mark a turn not to be trained on."""
PARTIAL = ("train_detail", "training_detail")
"""Axolotl's keys for parts of a turn."""
TRUTHS = {"true": True, "1": True, "yes": True, "да": True, "false": False, "0": False, "no": False, "нет": False}

NOT_TEXT = msg("a message holds something that is not text")
MEDIA = {
    "image": msg("a message holds an image; models are tuned on text only"),
    "video": msg("a message holds a video; models are tuned on text only"),
    "audio": msg("a message holds a sound; models are tuned on text only"),
    "file": msg("a message holds a file; models are tuned on text only"),
}
"""Why a content part is refused, by a word of its keys or of its type."""


class MarkError(Unusable):
    """A mark of a turn cannot be followed; the conversation itself can be read."""


def learned(item: Mapping[str, object]) -> bool:
    """Return whether a turn is trained on, which it is unless a mark says otherwise.

    >>> learned({"weight": 1}), learned({"train": "false"}), learned({"masked": True}), learned({})
    (True, False, False, True)

    Raises:
        MarkError: a mark is neither true nor false, or marks parts of a turn.
    """
    if key := next(filter(item.get, PARTIAL), None):
        raise MarkError(msg("'{key}' marks parts of a turn; only whole turns can be marked, with 'train'", key=key))
    marks = [_mark(key, item[key]) != (key in IGNORED) for key in (*LEARNED, *IGNORED) if filled(item.get(key))]
    return all(marks)


def _mark(key: str, value: object) -> bool:
    truth = TRUTHS.get(plain(value).strip().casefold())
    if truth is None:
        rule = msg("the mark '{key}' of a turn is neither true nor false: {value}", key=key, value=plain(value)[:60])
        raise MarkError(rule)
    return truth


def reasoning_of(item: Mapping[str, object]) -> str:
    """Return the assistant's reasoning: a key of the message, or content parts of their own type."""
    for key in REASONING:
        if filled(value := item.get(key)) and not isinstance(value, bool):
            return _thought(value)
    content = next((item[key] for key in WHAT if isinstance(item.get(key), list)), ())
    return "\n".join(_thought(part) for part in _parts(content, *THOUGHTS))


def _thought(value: object) -> str:
    if isinstance(value, Mapping):
        return _thought(next((value[key] for key in (*THOUGHTS, "text", "content") if filled(value.get(key))), ""))
    if isinstance(value, list):
        return "".join(map(_thought, value))
    return plain(value)


def calls_of(item: Mapping[str, object]) -> str:
    """Return a message's tool calls, under OpenAI's keys or in Anthropic's content parts, as a JSON list, or nothing.

    Raises:
        Unusable: a call has no name.
    """
    cell = next((item[key] for key in CALLS if filled(item.get(key))), None)
    return calls_in(cell) or calls_in(_parts(item.get("content"), "tool_use"))


def calls_in(cell: object) -> str:
    """Parse one or several function calls, perhaps written as JSON.

    >>> calls_in({"name": "clock", "arguments": "{}"})
    '[{"type": "function", "function": {"name": "clock", "arguments": "{}"}}]'

    Raises:
        Unusable: a call has no name.
    """
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except BAD_JSON:
            return ""
    if isinstance(cell, Mapping):
        cell = [cell]
    if not isinstance(cell, Sequence) or isinstance(cell, str) or not cell:
        return ""
    return json.dumps([_call(one) for one in cell], ensure_ascii=False)


def _call(one: object) -> Mapping[str, object]:
    inner = one.get("function", one) if isinstance(one, Mapping) else None
    if not isinstance(inner, Mapping) or not filled(inner.get("name")):
        raise Unusable(msg("a tool call has no name: {call}", call=plain(one)[:60]))
    keys = ("arguments", "parameters", "input", "args")
    arguments: object = next((inner[key] for key in keys if inner.get(key) is not None), {})
    known = {"id": one["id"]} if isinstance(one, Mapping) and filled(one.get("id")) else {}
    return {**known, "type": "function", "function": {"name": plain(inner["name"]), "arguments": arguments}}


def results_in(item: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return tool results in Anthropic's parts of a user's message: the call's id and the text."""
    results = _parts(item.get("content"), "tool_result")
    return [(plain(part.get("tool_use_id")), text_of_parts(part.get("content"), strict=False)) for part in results]


def text_of_message(item: Mapping[str, object], *, strict: bool) -> str:
    """Return a message's text, without reasoning and calls.

    Raises:
        Unusable: `strict`, and it holds something that is not text; else that is written as JSON.
    """
    return text_of_parts(next((item[key] for key in WHAT if filled(item.get(key))), ""), strict=strict)


def text_of_parts(content: object, *, strict: bool) -> str:
    """Join the text of content parts."""
    if not isinstance(content, list):
        return plain(content)
    skipped = ("tool_use", "tool_result", *THOUGHTS)
    parts = [part for part in content if not (isinstance(part, Mapping) and part.get("type") in skipped)]
    try:
        return "".join(map(_text, parts))
    except Unusable:
        if strict:
            raise
        return plain(content)


def _text(part: object) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(part, str):
        return part
    words = " ".join((*part, plain(part.get("type")))) if isinstance(part, Mapping) else ""
    raise Unusable(next((why for word, why in MEDIA.items() if word in words), NOT_TEXT))


def _parts(content: object, *kinds: str) -> list[Mapping[str, object]]:
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, Mapping) and part.get("type") in kinds]
