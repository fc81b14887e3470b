"""Conversations written by a model's chat template, so that nothing anybody says becomes a control token.

Tokenizers turn `<|im_end|>` into the end token wherever it stands, also where a user typed it. So such words are
marked inside before the template writes them, and parted there before they are tokenized. Text without them is
tokenized as it always was, byte for byte. transformers has the same protection for whole chats
(`apply_chat_template(sanitize_control_tokens=True)`); here prompt and answer must be tokenized apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from kamerton.errors import Fault, ModelError
from kamerton.records import Encoded, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

PRIVATE = range(0xE000, 0xF8FF)
"""Code points that stand for nothing: one that no content holds marks control words."""

LEAST = 4
"""An answer is kept whole as long as one part in so many is left to the prompt."""
Pieces = tuple[str, ...]
"""A text in parts that are tokenized apart: one part, but where somebody wrote a control token as text."""


@dataclass(frozen=True)
class Exchange:
    """What a model is given, and what it should answer, as text."""

    prompt: Pieces
    answer: Pieces


@dataclass(frozen=True)
class Writing:
    """A conversation as text: its answers, each with what stands before it."""

    exchanges: tuple[Exchange, ...]
    joined: bool
    """Whether each prompt goes on after the answer before it; else each begins with the conversation anew."""


def write_conversation(turns: Sequence[Message], answers: Sequence[int], tokenizer: Tokenizer, place: str) -> Writing:
    """Write a conversation by the tokenizer's template.

    Args:
        turns: all of them.
        answers: which of them are answers, in order.
        tokenizer: with a chat template.
        place: for the message.

    Raises:
        ModelError: the template cannot write these turns, or writes a prompt differently once it is answered.
    """
    messages, mark = _marked(turns, tokenizer)
    prompts = [_template(messages[:at], tokenizer, open_end=True) for at in answers]
    wholes = [_template(messages[: at + 1], tokenizer, open_end=False) for at in answers]
    for prompt, whole in zip(prompts, wholes, strict=True):
        if not whole.startswith(prompt):
            rule = f"the chat template writes a prompt differently once it is answered ({place})"
            remedy = "give the model a template whose prompt is a prefix"
            raise ModelError(Fault(rule, tokenizer.name_or_path, remedy))
    before = ["", *wholes[:-1]]
    joined = all(prompt.startswith(past) for prompt, past in zip(prompts, before, strict=True))
    starts = [len(past) if joined else 0 for past in before]
    return Writing(
        tuple(
            Exchange(tuple(prompt[start:].split(mark)), tuple(whole[len(prompt) :].split(mark)))
            for prompt, whole, start in zip(prompts, wholes, starts, strict=True)
        ),
        joined,
    )


def write_exchange(turns: Sequence[Message], answer: str, tokenizer: Tokenizer, place: str = "") -> Exchange:
    """Write turns and the assistant's answer to them by the tokenizer's template.

    Args:
        turns: of the conversation so far; the last one is not the assistant's.
        answer: what the assistant says next.
        tokenizer: with a chat template.
        place: for the message.

    Raises:
        ModelError: the template cannot write these turns, or writes a prompt differently once it is answered.
    """
    [exchange] = write_conversation([*turns, Message("assistant", answer)], [len(turns)], tokenizer, place).exchanges
    return exchange


def write_prompt(turns: Sequence[Message], tokenizer: Tokenizer) -> Pieces:
    """Write turns up to where the assistant begins."""
    messages, mark = _marked(turns, tokenizer)
    return tuple(_template(messages, tokenizer, open_end=True).split(mark))


def plain(text: str, tokenizer: Tokenizer) -> Pieces:
    """Part a text that no template writes wherever it would become a control token."""
    [message], mark = _marked([Message("user", text)], tokenizer)
    return tuple(message.content.split(mark))


def tokenize(texts: Sequence[Pieces], tokenizer: Tokenizer) -> list[list[int]]:
    """Tokenize without adding anything: a template has already written the special tokens."""
    flat = [piece for pieces in texts for piece in pieces]
    if not flat:
        return []
    ids = iter(tokenizer(flat, add_special_tokens=False, verbose=False)["input_ids"])
    return [[token for _ in pieces for token in next(ids)] for pieces in texts]


@dataclass(frozen=True)
class Frame:
    """The special tokens that a tokenizer puts around a text of its own accord."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def frame_of(tokenizer: Tokenizer) -> Frame:
    """Find what a tokenizer puts around a text, by letting it tokenize one."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a", add_special_tokens=True)["input_ids"]
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return Frame(tuple(whole[:at]), tuple(whole[at + len(bare) :]))


def ended(answer: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """End an answer with exactly one end token, whatever the template writes after it."""
    end = tokenizer.eos_token_id
    kept = list(answer[: answer.index(end)]) if end in answer else list(answer)
    return [*kept, end]


def supervise(prompt: Sequence[int], answer: Sequence[int], max_tokens: int) -> Encoded:
    """Supervise every token of the answer, each read at the position before it.

    A prompt that is too long loses its start, as in serving; an answer that is still too long loses its end.
    """
    before = prompt[-room_before(len(answer), max_tokens) :]
    tokens = (*before, *answer)[:max_tokens]
    kept = max(0, len(tokens) - len(before))
    first = len(before) - 1
    return Encoded(
        tokens,
        tuple(range(first, first + kept)),
        tuple(answer[:kept]),
        len(prompt) + len(answer) - len(tokens),
    )


def room_before(answer: int, max_tokens: int) -> int:
    """Say how many tokens a prompt may keep before so many of an answer: all others, or at least some."""
    return max(1, max_tokens - answer, max_tokens // LEAST)


def same_prompt(item: Encoded, prompt: Encoded) -> bool:
    """Say whether a sequence is taught after serving's prompt; of what was cut, the ends of both must agree."""
    own = item.tokens[: item.reads[0] + 1]
    shared = min(len(own), len(prompt.tokens)) if item.cut else max(len(own), len(prompt.tokens))
    return own[-shared:] == prompt.tokens[-shared:]


def _marked(turns: Sequence[Message], tokenizer: Tokenizer) -> tuple[list[Message], str]:
    """Put a mark into each control word that somebody says, after its first letter."""
    contents = "".join(turn.content for turn in turns)
    mark = next(chr(point) for point in PRIVATE if chr(point) not in contents)
    words = _control_words(tokenizer)
    marked = []
    for turn in turns:
        control = words.special if turn.role == "assistant" else words.added
        content = control.sub(lambda match: match[0][0] + mark + match[0][1:], turn.content)
        marked.append(Message(turn.role, content))
    return marked, mark


@dataclass(frozen=True)
class _ControlWords:
    """What a tokenizer takes for more than text, the longest first; one letter alone is no control word."""

    special: re.Pattern[str]
    added: re.Pattern[str]
    """With those that are not special, which the assistant may say for itself: the call of a tool."""


@lru_cache(maxsize=4)
def _control_words(tokenizer: Tokenizer) -> _ControlWords:
    added = sorted(tokenizer.added_tokens_decoder.values(), key=lambda token: (-len(token.content), token.content))
    return _ControlWords(_any_of(token.content for token in added if token.special), _any_of(t.content for t in added))


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in words if len(word) > 1) or "(?!)")


def _template(turns: Sequence[Message], tokenizer: Tokenizer, *, open_end: bool) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_end)
    except TemplateError as error:
        roles = ", ".join(turn.role for turn in turns)
        rule = f"the chat template refuses a conversation of {roles}: {error.message}"
        raise ModelError(Fault(rule, tokenizer.name_or_path, "change these rows, or choose another model")) from error
    return text
