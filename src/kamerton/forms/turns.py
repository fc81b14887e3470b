"""Conversations rendered by a model's chat template, in which no text becomes a control token.

Tokenizers turn `<|im_end|>` into the end token even where a user typed it. So a mark is put inside such words before
the template renders them, and the rendered text is split there before it is tokenized. Text without them is tokenized
as it is. transformers protects whole chats (`apply_chat_template(sanitize_control_tokens=True)`); here prompt and
answer must be tokenized separately.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import cycle, takewhile

from kamerton.core.contracts import Tokenizer
from kamerton.core.errors import Fault
from kamerton.core.messages import msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Turn
from kamerton.forms.templates import CLOSED, CLOSING_TAG, OPENED, RefusedError, adapt, render

PRIVATE = range(0xE000, 0xF8FF)
"""Code points without a meaning: one that no turn contains marks control words."""
LEAST = 4
"""An answer is kept whole as long as one part in so many is left for the prompt."""
OPENING_TAG = re.compile(r"(<think(?:ing)?>|<reasoning>|<thought>)\s*\Z")
"""Reasoning opened by a generation prompt, as in DeepSeek-R1 and Qwen3-Thinking."""
THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
"""Reasoning inside the answer's text."""
PIPED, BRACKETED = re.compile(r"<[|｜].+[|｜]>"), re.compile(r"<.+>|\[.+\]")
"""Control words: `<|fim_prefix|>`; where a template writes them also `<tool_call>` and `[INST]`."""
BETWEEN_CONTROL = ("user\n", "Hi, Ёж!", " \n a", "  b", "\n", "c ")
"""Text between control tokens, to try whether a tokenizer splits texts at them."""
PROMPT_DIFFERS = msg("the prompt is written differently in training and in serving")
TARGETS_DIFFER = msg("the supervised positions are not the answer's")
END_UNTRAINED = msg("the end token is not trained, so the model would not learn to stop")
Pieces = tuple[str, ...]
"""A text in parts that are tokenized separately: several where it holds a control token as text."""


@dataclass(frozen=True)
class Exchange:
    """A prompt and its answer, as text."""

    prompt: Pieces
    answer: Pieces


def write_exchanges(turns: Sequence[Turn], answers: Sequence[int], tokenizer: Tokenizer) -> list[Exchange]:
    """Render some turns of a conversation, adapted to the template, each after the prompt that serving sends for it.

    Raises:
        RefusedError: the template cannot render these turns, or the answer cannot be found in its output.
    """
    marked, mark = _marked(turns, tokenizer)
    exchanges = []
    for at in answers:
        prompt = render(marked[:at], tokenizer, open_end=True)
        answer = _answer_after(prompt, marked[: at + 1], tokenizer)
        exchanges.append(Exchange(tuple(prompt.split(mark)), tuple(answer.split(mark))))
    return exchanges


def write_exchange(turns: Sequence[Turn], answer: str | Turn, tokenizer: Tokenizer) -> Exchange:
    """Render a conversation so far and the assistant's answer.

    Raises:
        RefusedError: the template cannot render these turns, or the answer cannot be found in its output.
    """
    said = Turn("assistant", answer) if isinstance(answer, str) else answer
    whole = adapt([*turns, said], tokenizer).turns
    [exchange] = write_exchanges(whole, [len(whole) - 1], tokenizer)
    return exchange


def write_prompt(turns: Sequence[Turn], tokenizer: Tokenizer) -> Pieces:
    """Render turns with the generation prompt: what serving sends.

    Raises:
        RefusedError: the template cannot render these turns.
    """
    messages, mark = _marked(adapt(turns, tokenizer).turns, tokenizer)
    return tuple(render(messages, tokenizer, open_end=True).split(mark))


def plain(text: str, tokenizer: Tokenizer) -> Pieces:
    """Split a text without a template inside its control words."""
    [message], mark = _marked([Turn("user", text)], tokenizer)
    return tuple(message.content.split(mark))


def tokenize(texts: Sequence[Pieces], tokenizer: Tokenizer) -> list[list[int]]:
    """Tokenize without adding special tokens: a template has already written them."""
    flat = [piece for pieces in texts for piece in pieces]
    if not flat:
        return []
    ids = iter(tokenizer(flat, add_special_tokens=False, verbose=False)["input_ids"])
    return [[token for _ in pieces for token in next(ids)] for pieces in texts]


def tokenize_alike(texts: Sequence[Pieces], tokenizer: Tokenizer) -> list[list[int]]:
    """Tokenize texts that have much in common, such as the prompts of one conversation: each distinct part once.

    This needs a tokenizer that splits a text at its control tokens first; others get whole texts.
    """
    apart = _apart(tokenizer)
    if apart is None:
        return tokenize(texts, tokenizer)
    parted = [[part for piece in pieces for part in apart.split(piece) if part] for pieces in texts]
    distinct = list(dict.fromkeys(part for parts in parted for part in parts))
    ids = dict(zip(distinct, tokenize([(part,) for part in distinct], tokenizer), strict=True))
    return [[token for part in parts for token in ids[part]] for parts in parted]


@lru_cache(maxsize=4)
def _apart(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """Return the control words at which a tokenizer splits texts; None if it does not."""
    control = [
        token.content
        for token in sorted(tokenizer.added_tokens_decoder.values(), key=lambda token: -len(token.content))
        if token.special and not (token.lstrip or token.rstrip or token.single_word or token.normalized)
    ]
    pattern = re.compile(f"({'|'.join(map(re.escape, control))})")
    text = "".join(f"{word}{between}" for word, between in zip(control[:8], cycle(BETWEEN_CONTROL), strict=False))
    parts = [(part,) for part in pattern.split(text) if part] if control else []
    [whole] = tokenize([(text,)], tokenizer)
    equal = whole == [token for ids in tokenize(parts, tokenizer) for token in ids]
    return pattern if parts and equal else None


@dataclass(frozen=True)
class Frame:
    """The special tokens that a tokenizer puts around a text."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def frame_of(tokenizer: Tokenizer) -> Frame:
    """Return the special tokens that a tokenizer puts around a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a", add_special_tokens=True)["input_ids"]
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return Frame(tuple(whole[:at]), tuple(whole[at + len(bare) :]))


def ended(answer: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """End an answer with exactly one end token, whatever the template writes after it; with none if there is none."""
    end = tokenizer.eos_token_id
    if end is None:
        return list(answer)
    return [*takewhile(lambda token: token != end, answer), end]


def supervise(prompt: Sequence[int], answer: Sequence[int], max_tokens: int) -> Encoded:
    """Supervise every token of the answer, each predicted at the position before it.

    A prompt that is too long loses its start, as in serving; an answer that is still too long loses its end.
    """
    before = prompt[-room_before(len(answer), max_tokens) :]
    tokens = (*before, *answer)[:max_tokens]
    kept = max(0, len(tokens) - len(before))
    positions = tuple(range(len(before) - 1, len(before) - 1 + kept))
    return Encoded(tokens, positions, tuple(answer[:kept]), len(prompt) + len(answer) - len(tokens))


def exchanged(turns: Sequence[Turn], answer: str | Turn, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Render a conversation so far and the assistant's answer as `write_exchange`; return the tokens, with an end."""
    exchange = write_exchange(turns, answer, tokenizer)
    before, after = tokenize([exchange.prompt, exchange.answer], tokenizer)
    return before, ended(after, tokenizer)


def most_shots(count: int, prompt: Callable[[int], Encoded]) -> Encoded:
    """Return the prompt with as many of `count` shots as fit whole, or without any.

    `prompt` makes one without so many of the first shots, cut where it does not fit. Long prompts take time to
    tokenize, so the search is binary.
    """
    made = cache(prompt)
    if not made(0).cut or not count:
        return made(0)
    return made(bisect_left(range(count), True, lo=1, key=lambda left_out: not made(left_out).cut))


def room_before(answer: int, max_tokens: int) -> int:
    """Return how many tokens a prompt may keep before so many of an answer: all others, or at least some."""
    return max(1, max_tokens - answer, max_tokens // LEAST)


def encode_each(encode: Callable[[Example], Encoded], examples: ExampleSeq) -> list[Encoded]:
    """Encode rows one by one; one that the template refuses has no tokens, but a fault."""
    items = []
    for example in examples:
        try:
            items.append(encode(example))
        except RefusedError as error:
            items.append(Encoded((), (), (), fault=error.faults[0].rule))
    return items


def cut_start(ids: Sequence[int], room: int) -> Encoded:
    """Return a prompt of tokens without the first ones that do not fit."""
    return Encoded(tuple(ids[-room:]), (), (), max(0, len(ids) - room))


def written_around(tokenizer: Tokenizer) -> int:
    """Count the tokens that a template writes around an answer, without its end: an empty thought."""
    try:
        _, answer = exchanged([Turn("user", "a")], "a", tokenizer)
    except RefusedError:
        return 0
    return max(0, len(answer) - 1 - len(tokenize([("a",)], tokenizer)[0]))


def _answer_after(prompt: str, turns: Sequence[Turn], tokenizer: Tokenizer) -> str:
    """Return the last turn as it follows a prompt.

    Most templates render the prompt and then the answer. Some open the reasoning in the generation prompt and leave
    it out of the answer; some render a turn differently once it is no longer the last one.
    """
    whole, said = render(turns, tokenizer, open_end=False), turns[-1]
    thought, spoken = reasoning_and_answer(said)
    opened = OPENING_TAG.search(prompt)
    if whole.startswith(prompt):
        answer = whole[len(prompt) :]
    elif opened and whole.startswith(prompt[: opened.start()]):
        rest = whole[opened.start() :]
        if rest.startswith(opened[1]):
            return rest.removeprefix(opened[1]).lstrip("\n")
        return f"{thought}{opened[1].replace('<', f'{chr(10)}</', 1)}\n\n{rest.lstrip(chr(10))}"
    else:
        answer = _found(prompt, turns, whole, spoken, tokenizer)
    if thought and thought not in answer:  # the template leaves it out, but serving lets the model write it
        return f"{'' if opened else OPENED}{thought}{CLOSED}{answer.lstrip()}"
    return answer


def _found(prompt: str, turns: Sequence[Turn], whole: str, spoken: str, tokenizer: Tokenizer) -> str:
    """Find the last turn where the template renders earlier turns differently than in the prompt."""
    before = render(turns[:-1], tokenizer, open_end=False)
    header = prompt.removeprefix(before) if prompt.startswith(before) else ""
    answer = whole.rpartition(header)[2] if header.strip() and header in whole else ""
    if spoken and spoken in answer:
        return answer
    if spoken and spoken in whole:
        return whole[whole.rindex(spoken) :]
    rule = msg("the chat template writes a prompt differently once it is answered, and the answer is not found in it")
    remedy = msg("give the model a template whose prompts are prefixes of answered conversations")
    raise RefusedError(Fault(rule, tokenizer.name_or_path, remedy))


def reasoning_and_answer(turn: Turn) -> tuple[str, str]:
    r"""Return the assistant's reasoning and its answer, also of a text that holds both.

    >>> reasoning_and_answer(Turn("assistant", "<think>\nTwo and two.\n</think>\n\nFour."))
    ('Two and two.', 'Four.')
    """
    if turn.reasoning or not (found := THOUGHT.match(turn.content)):
        return turn.reasoning.strip(), turn.content.strip()
    return found[1].strip(), turn.content[found.end() :].strip()


def without_reasoning(text: str) -> str:
    """Return the text after the reasoning, if there is any."""
    return text.rpartition(CLOSING_TAG)[2].strip()


def _marked(turns: Sequence[Turn], tokenizer: Tokenizer) -> tuple[list[Turn], str]:
    """Put a mark into each control word of the turns, after its first letter."""
    contents = "".join(f"{turn.content}{turn.reasoning}{turn.calls}" for turn in turns)
    mark = next(chr(point) for point in PRIVATE if chr(point) not in contents)
    special, every = _control_words(tokenizer)
    marked = []
    for turn in turns:
        control = special if turn.role == "assistant" else every
        content, reasoning, calls = (
            control.sub(lambda match: match[0][0] + mark + match[0][1:], text) if text else text
            for text in (turn.content, turn.reasoning, turn.calls)
        )
        marked.append(replace(turn, content=content, reasoning=reasoning, calls=calls))
    return marked, mark


@lru_cache(maxsize=4)
def _control_words(tokenizer: Tokenizer) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return patterns of the added tokens that control a model; single letters and added words of a language are text.

    The first is of special tokens without the tags of reasoning, which the assistant writes itself; the second also of
    those that are not special, such as `<tool_call>`, which the assistant may write.
    """
    added = sorted(tokenizer.added_tokens_decoder.values(), key=lambda token: (-len(token.content), token.content))
    words, template = {token.content: token.special for token in added}, str(tokenizer.chat_template)
    special = [word for word, sure in words.items() if sure and word not in (OPENED.strip(), CLOSING_TAG)]
    every = [
        word
        for word, sure in words.items()
        if sure or PIPED.fullmatch(word) or (BRACKETED.fullmatch(word) and word in template)
    ]
    return _any_of(special), _any_of(every)


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(word) for word in words if len(word) > 1) or "(?!)")
