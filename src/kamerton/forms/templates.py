"""Conversations adapted to what a chat template can render.

Templates differ: some refuse a system turn or leave it out, some want user and assistant to alternate, some know tools
and reasoning under one key or another. Each template is tried once with small conversations; then every conversation
is adapted by the same few rules, and the changes are reported.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, Literal

from jinja2 import TemplateError

from kamerton.core.contracts import Tokenizer
from kamerton.core.errors import Fault, ModelError, Unusable
from kamerton.core.files import BAD_JSON
from kamerton.core.messages import msg
from kamerton.core.records import Turn
from kamerton.core.system import BoundedWork, TimeIsUp
from kamerton.forms.message_parts import REASONING

REFUSALS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
"""Raised by templates at turns that they do not expect."""
SECONDS, MEMORY = 2.0, 512 << 20
"""For one conversation: of computing time, and bytes. Templates of publishers take milliseconds."""
GROWTH, FREE = 20, 100_000
"""A conversation is rendered to at most so many times its characters, and so many besides."""
OPENED, CLOSED = "<think>\n", "\n</think>\n\n"
"""Around reasoning before an answer, as in DeepSeek-R1 and Qwen3."""
CLOSING_TAG = "</think>"

Change = Literal["system", "neighbors", "opening", "tools", "calls", "results", "reasoning"]
"""What a rule changed in a conversation."""
INLINE = "content"
"""The key of reasoning that a template extracts from the answer's text."""


Dicts = Sequence[Mapping[str, object]]
"""Messages as a template reads them."""


class RefusedError(ModelError):
    """A chat template cannot render a conversation: the row is at fault, not the model."""


@dataclass(frozen=True)
class Calling:
    """How a template expects tool calls."""

    as_text: bool
    """Whether arguments are JSON in a string; else an object."""
    without_content: bool
    """Whether a call without text must have no content, instead of an empty one."""
    numbered: bool
    """Whether ids must have nine letters or digits, as Mistral's."""


@dataclass(frozen=True)
class Abilities:
    """What a template renders."""

    system: bool
    later_system: bool
    """A system turn that is not the first."""
    neighbors: bool
    """Two turns of one role."""
    opening: bool
    """A turn of the assistant before the first user's."""
    results: bool
    """A turn of a tool without a call before it."""
    tools: bool
    """Descriptions of tools."""
    calling: Calling | None
    """How it expects tool calls; None where it has none."""
    reasoning: str
    """The key under which it reads reasoning; empty if it reads none."""


@dataclass(frozen=True)
class Adapted:
    """A conversation that a template can render."""

    turns: tuple[Turn, ...]
    changes: tuple[Change, ...] = ()


# ── what a template can do ────────────────────────────────────────────────────────────────────

ASKED, SAID, TOLD, DONE = "qzasked", "qzsaid", "qztold", "qzdone"
USER, ASSISTANT = {"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}
SYSTEM = {"role": "system", "content": TOLD}
TOOL = {
    "type": "function",
    "function": {
        "name": "qztool",
        "description": "qzdescribed",
        "parameters": {"type": "object", "properties": {"qzkey": {"type": "string"}}, "required": ["qzkey"]},
    },
}
CALL_ID = "qz0000001"
LONG_ID = "call_qz-000001"


def abilities_of(tokenizer: Tokenizer) -> Abilities:
    """Try what a tokenizer's template renders."""
    return _abilities(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=8)
def _abilities(tokenizer: Tokenizer, template: str) -> Abilities:
    asked_twice = [USER, {"role": "user", "content": TOLD}]
    said_twice = [USER, ASSISTANT, {"role": "assistant", "content": TOLD}, USER]
    ways = (Calling(text, bare, numbered) for numbered, bare, text in product((False, True), repeat=3))
    result = {"role": "tool", "content": TOLD, "name": "qztool", "tool_call_id": CALL_ID}
    return Abilities(
        system=_writes(tokenizer, [SYSTEM, USER], [TOLD, ASKED]),
        later_system=_writes(tokenizer, [USER, ASSISTANT, SYSTEM, USER], [ASKED, SAID, TOLD]),
        neighbors=_writes(tokenizer, asked_twice, [ASKED, TOLD]) and _writes(tokenizer, said_twice, [SAID, TOLD]),
        opening=_writes(tokenizer, [ASSISTANT, USER], [SAID, ASKED]),
        results=_writes(tokenizer, [USER, ASSISTANT, result, ASSISTANT], [SAID, TOLD]),
        tools=_writes(tokenizer, [USER], ["qztool", "qzdescribed", "qzkey"], tools=[TOOL]),
        calling=next((way for way in ways if _calls(tokenizer, way)), None),
        reasoning=_reasoning(tokenizer, template),
    )


def _calls(tokenizer: Tokenizer, way: Calling) -> bool:
    made = {"type": "function", "function": {"name": "qztool", "arguments": {"qzkey": SAID}}}
    id = CALL_ID if way.numbered else LONG_ID
    turns: Dicts = [
        USER,
        _called([{**made, "id": id}], "", way),
        {"role": "tool", "content": TOLD, "tool_call_id": id, "name": "qztool"},
        {"role": "assistant", "content": DONE},
    ]
    return _writes(tokenizer, turns, ["qztool", '"qzkey"', SAID, TOLD, DONE], tools=[TOOL], open_end=False)


def _reasoning(tokenizer: Tokenizer, template: str) -> str:
    """Return the key that reasoning is read from; `INLINE` where the template looks for its tag in the answer."""
    for key in REASONING:
        if _writes(tokenizer, [USER, {**ASSISTANT, key: TOLD}], [TOLD, SAID], open_end=False):
            return key
    return INLINE if CLOSING_TAG in template or "<think>" in template else ""


def _writes(
    tokenizer: Tokenizer, messages: Dicts, wanted: Sequence[str], *, tools: Sequence[object] = (), open_end: bool = True
) -> bool:
    try:
        text = _apply(tokenizer, messages, tools, open_end=open_end)
    except REFUSALS:
        return False
    return all(word in text for word in wanted) and "None" not in text


def _apply(tokenizer: Tokenizer, messages: Dicts, tools: Sequence[object], *, open_end: bool) -> str:
    offered, listed = list(tools) or None, list(messages)
    try:
        with BoundedWork(SECONDS, MEMORY):
            text = tokenizer.apply_chat_template(listed, tools=offered, tokenize=False, add_generation_prompt=open_end)
    except (TimeIsUp, MemoryError) as error:
        rule = msg("the chat template takes too long, or too much memory, for a conversation")
        remedy = msg("use the template of the model's publisher")
        raise ModelError(Fault(rule, tokenizer.name_or_path, remedy)) from error
    if len(text) > FREE and len(text) > FREE + GROWTH * len(json.dumps([listed, offered], ensure_ascii=False)):
        raise Unusable(
            msg("it writes {count} {count:character|characters}, far more than the conversation has", count=len(text))
        )
    return str(text)


# ── conversations as it can write them ────────────────────────────────────────────────────────


def adapt(turns: Sequence[Turn], tokenizer: Tokenizer) -> Adapted:
    """Adapt a conversation to the tokenizer's template.

    What the template does not take moves: descriptions of tools into the system prompt, calls into the assistant's
    text as JSON, a tool's result into a turn of the user, a system turn into the next turn of the user; adjacent turns
    of one role become one. Turns of the assistant before the first user's, and reasoning, are left out.
    """
    can, changes = abilities_of(tokenizer), list[Change]()
    for change, rule in _RULES.items():
        changed = list(rule(turns, can))
        if changed != list(turns):
            changes.append(change)
            turns = changed
    return Adapted(tuple(turns), tuple(changes))


def _tools(turns: Sequence[Turn], can: Abilities) -> Sequence[Turn]:
    offered = [turn.content for turn in turns if turn.role == "tools"]
    if not offered or (can.tools and all(map(tools_in, offered))):
        return turns
    rest = [turn for turn in turns if turn.role != "tools"]
    own = rest[:1] if rest and rest[0].role == "system" else []
    prompt = "\n\n".join([turn.content for turn in own] + offered)
    return [Turn("system", prompt), *rest[len(own) :]]


def _calls_as_text(turns: Sequence[Turn], can: Abilities) -> Sequence[Turn]:
    if can.calling:
        return turns
    return [
        replace(turn, content="\n".join(filter(None, (turn.content, turn.calls))), calls="") if turn.calls else turn
        for turn in turns
    ]


def _results(turns: Sequence[Turn], can: Abilities) -> Sequence[Turn]:
    """Move results of tools into turns of the user, where the template has no turn for them."""
    if can.results:
        return turns
    put, called = list[Turn](), False
    for turn in turns:
        called = bool(turn.calls and can.calling) or (called and turn.role == "tool")
        put.append(turn if called or turn.role != "tool" else Turn("user", turn.content))
    return put


def _reasoning_left_out(turns: Sequence[Turn], can: Abilities) -> Sequence[Turn]:
    return turns if can.reasoning else [replace(turn, reasoning="") if turn.reasoning else turn for turn in turns]


def _system(turns: Sequence[Turn], can: Abilities) -> Sequence[Turn]:
    start = next((at for at, turn in enumerate(turns) if turn.role != "tools"), 0)
    folded, waiting = list[Turn](), list[str]()
    for at, turn in enumerate(turns):
        if turn.role == "system" and not (can.system if at == start else can.later_system):
            waiting.append(turn.content)
            continue
        if waiting and turn.role == "user":
            turn, waiting = replace(turn, content="\n\n".join([*waiting, turn.content])), []
        elif waiting and folded and folded[-1].role == "user":
            folded[-1], waiting = replace(folded[-1], content="\n\n".join([folded[-1].content, *waiting])), []
        folded.append(turn)
    return [*folded, *([Turn("user", "\n\n".join(waiting))] if waiting else [])]


def _opening(turns: Sequence[Turn], can: Abilities) -> Sequence[Turn]:
    if can.opening:
        return turns
    first = next((at for at, turn in enumerate(turns) if turn.role == "user"), len(turns))
    return [*(turn for turn in turns[:first] if turn.role != "assistant"), *turns[first:]]


def _neighbors(turns: Sequence[Turn], can: Abilities) -> Sequence[Turn]:
    if can.neighbors:
        return turns
    merged = list[Turn]()
    for turn in turns:
        if merged and merged[-1].role == turn.role != "tool":
            merged[-1] = _one(merged[-1], turn)
        else:
            merged.append(turn)
    return merged


def _one(first: Turn, second: Turn) -> Turn:
    """Join two turns of one role; the result is trained on if both may be."""
    content, reasoning = (
        "\n\n".join(part for part in parts if part.strip())
        for parts in ((first.content, second.content), (first.reasoning, second.reasoning))
    )
    calls = [call for turn in (first, second) for call in calls_as_objects(turn.calls)]
    listed = json.dumps(calls, ensure_ascii=False) if calls else ""
    return replace(first, content=content, reasoning=reasoning, calls=listed, taught=first.taught and second.taught)


_RULES: Mapping[Change, Callable[[Sequence[Turn], Abilities], Sequence[Turn]]] = {
    "tools": _tools,
    "calls": _calls_as_text,
    "results": _results,
    "reasoning": _reasoning_left_out,
    "system": _system,
    "opening": _opening,
    "neighbors": _neighbors,
}
"""Applied in this order."""


# ── writing ───────────────────────────────────────────────────────────────────────────────────


def render(turns: Sequence[Turn], tokenizer: Tokenizer, *, open_end: bool) -> str:
    """Render an adapted conversation by the tokenizer's template.

    Raises:
        RefusedError: the template does not take these turns.
    """
    can = abilities_of(tokenizer)
    offered = [tool for turn in turns if turn.role == "tools" for tool in tools_in(turn.content)]
    said = [turn for turn in turns if turn.role != "tools"]
    try:
        return _apply(tokenizer, _as_dicts(said, can), offered, open_end=open_end)
    except REFUSALS as error:
        roles = ", ".join(turn.role for turn in said)
        why = error.message if isinstance(error, Unusable) else str(error)[:500]
        rule = msg("the chat template refuses a conversation of {roles}: {why}", roles=roles, why=why)
        remedy = msg("change these rows, or choose another model")
        raise RefusedError(Fault(rule, tokenizer.name_or_path, remedy)) from error


def tools_in(text: str) -> list[object]:
    """Parse descriptions of tools from JSON, in the shape that templates expect; none if it is no such list."""
    try:
        value = json.loads(text)
    except BAD_JSON:
        return []
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) and (one.get("function") or one.get("name")) for one in listed):
        return []
    return [one if "function" in one else {"type": "function", "function": one} for one in listed]


def calls_as_objects(calls: str) -> list[dict[str, Any]]:
    """Parse the calls of a turn."""
    return list(json.loads(calls)) if calls else []


def _as_dicts(turns: Sequence[Turn], can: Abilities) -> list[dict[str, object]]:
    """Return turns as a template reads them; calls without an id are numbered."""
    messages, waiting, number = list[dict[str, object]](), list[tuple[str, str, str]](), 0
    for turn in turns:
        message: dict[str, object] = {"role": turn.role, "content": turn.content}
        if turn.role == "assistant" and turn.calls and can.calling:
            calls, waiting = calls_as_objects(turn.calls), []
            for call in calls:
                own = str(call.get("id", ""))
                call["id"] = own if own and not can.calling.numbered else f"{number:09d}"
                waiting.append((own, call["id"], call["function"]["name"]))
                number += 1
            message = _called(calls, turn.content, can.calling)
        elif turn.role == "tool":
            known = next((one for one in waiting if one[0] == turn.call), None) or (waiting[0] if waiting else None)
            if known:
                waiting.remove(known)
            _, id, name = known or ("", turn.call, turn.name)
            message |= {"name": turn.name or name, "tool_call_id": id}
        if turn.reasoning and can.reasoning == INLINE:
            message["content"] = f"{OPENED}{turn.reasoning}{CLOSED}{turn.content}"
        elif turn.reasoning:
            message[can.reasoning] = turn.reasoning
        messages.append(message)
    return messages


def _called(calls: Sequence[Mapping[str, Any]], content: str, way: Calling) -> dict[str, object]:
    put = [
        {**call, "function": {**call["function"], "arguments": _arguments(call["function"]["arguments"], way)}}
        for call in calls
    ]
    return {"role": "assistant", "content": content or (None if way.without_content else ""), "tool_calls": put}


def _arguments(given: object, way: Calling) -> object:
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except BAD_JSON:
            return given
    return json.dumps(given, ensure_ascii=False) if way.as_text else given
