"""Whole conversations through the model's chat template; the assistant's turns are supervised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from typing import ClassVar, Literal, Self

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.messages import Wording, msg
from kamerton.core.records import BETWEEN, Encoded, Example, ExampleSeq, Prediction, Taught, Turn
from kamerton.forms.messages import kept_messages, said
from kamerton.forms.supervision import one_row, sequences_of, written
from kamerton.forms.templates import adapt
from kamerton.forms.turns import (
    END_UNTRAINED,
    PROMPT_DIFFERS,
    TARGETS_DIFFER,
    cut_start,
    encode_each,
    ended,
    room_before,
    tokenize,
    tokenize_alike,
    without_reasoning,
    write_exchanges,
    write_prompt,
)
from kamerton.forms.usual import Prompted, sums_by_item

TrainOn = Literal["assistant", "last", "all"]


@dataclass(frozen=True)
class Conversation(Prompted):
    """A conversation of any number of turns; its answers are the assistant's turns."""

    train_on: TrainOn
    """Every assistant's turn, only the last one, or every token of the conversation."""
    answers: tuple[str, ...]
    """The assistant's turns in the training rows."""
    instruction: str = ""
    """An instruction before the first turn of the user."""
    generates: ClassVar = True

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize each answer after the prompt that serving sends for it.

        Answers share a sequence as long as the next prompt begins with all the tokens before it; where the template
        renders earlier turns differently later on, a new sequence begins. What does not fit loses its start, as in
        serving.
        """
        return encode_each(lambda one: self._encode(self._turns(one, tokenizer), tokenizer, max_tokens), examples)

    def _encode(self, turns: Sequence[Turn], tokenizer: Tokenizer, max_tokens: int, own: int = 0) -> Encoded:
        """Tokenize a conversation and supervise its answers from the turn `own` on."""
        wanted = [at for at in (answered(turns) if self.train_on == "all" else learned(turns)) if at >= own]
        wanted = wanted[-1:] if self.train_on == "last" else wanted
        if not wanted:
            return Encoded(tuple(_prompt(turns, tokenizer)[:max_tokens]), (), ())
        runs = list[_AnsweredTokens]()
        for at, (prompt, answer) in zip(wanted, _tokens(turns, wanted, tokenizer), strict=True):
            tokens, reads = [*prompt, *answer], list(range(len(prompt) - 1, len(prompt) + len(answer) - 1))
            ignored = [] if turns[at].taught else reads
            if runs and prompt[: len(runs[-1].tokens)] == runs[-1].tokens:
                before = runs.pop()
                reads, ignored = [*before.output_positions, *reads], [*before.ignored, *ignored]
            runs.append(_AnsweredTokens(tokens, reads, ignored, len(answer)))
        if self.train_on == "all":
            runs = [run.whole(before) for before, run in zip([None, *runs], runs, strict=False)]
        row = one_row(run.cut(max_tokens) for run in runs)
        return replace(row, cut=sum(item.cut for item in row.sequences))

    def prompts(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return what serving sends: the conversation up to where the assistant speaks last, or next.

        `extra` hold the prompts of the answers before.
        """

        def encode(example: Example) -> Encoded:
            """Encode a conversation, its earlier answers as extra sequences."""
            turns = self._turns(example, tokenizer)
            before = learned(turns)[-1:] if self.train_on == "last" else learned(turns)
            ends = dict.fromkeys([*before, len(_open(turns))])
            ids = tokenize_alike([write_prompt(turns[:at], tokenizer) for at in ends], tokenizer)
            *others, last = (cut_start(one, max_tokens) for one in ids)
            return replace(last, extra=tuple(others))

        return encode_each(encode, examples)

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> Wording:
        """Find a prompt that differs from serving's, supervision beside the answers, or an untrained end."""
        served, last = {one.tokens for one in prompt.sequences}, item.sequences[-1].tokens
        alone = not item.cut and self.train_on != "all"
        if not item.cut and self.train_on == "all" and last[: len(prompt.tokens)] != prompt.tokens[: len(last)]:
            return PROMPT_DIFFERS
        for sequence in item.sequences:
            if alone and not {sequence.tokens[: run[0] + 1] for run in _runs(sequence.output_positions)} <= served:
                return PROMPT_DIFFERS
            if [sequence.tokens[read + 1] for read in sequence.output_positions] != list(sequence.targets):
                return TARGETS_DIFFER
            if not item.cut and sequence.targets[-1:] != (tokenizer.eos_token_id,):
                return END_UNTRAINED
        return ""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return the answers' tokens; each is predicted at the one before it."""
        words = [written([item.tokens[read + 1] for read in run], tokenizer) for run in _runs(item.output_positions)]
        return Taught(tuple(read + 1 for read in item.output_positions), tuple(words))

    def sequence_name(self, at: int, count: int) -> Wording:
        """Name a sequence: a new one begins where the template renders earlier answers differently."""
        return msg("answer {number} of {count}", number=at + 1, count=count)

    def with_instruction(self, text: str) -> Self | None:
        """Return the form that puts an instruction before the first turn of the user."""
        return replace(self, instruction=text)

    def requests(self, example: Example, shots: ExampleSeq) -> Sequence[Sequence[Turn]]:
        """Return the turns before each answer, or before the next one; none where tools are offered or called.

        The earlier answers are the true ones, as where the model is here.
        """
        given = [turns_of(one) for one in (example, *shots)]
        if any(turn.role in ("tools", "tool") or turn.calls for turns in given for turn in turns):
            return ()
        turns, own = _after(given[1:], self._instructed(given[0]))
        answers = [at for at in learned(turns) if at >= own] if example.gold else []
        return [turns[:at] for at in answers] or [_open(turns)]

    def _turns(self, example: Example, tokenizer: Tokenizer) -> tuple[Turn, ...]:
        """Return an example's turns, adapted to the template, with the instruction if there is one."""
        return self._instructed(adapt(turns_of(example), tokenizer).turns)

    def _instructed(self, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        first = next((at for at, turn in enumerate(turns) if turn.role == "user"), None)
        if not self.instruction or first is None:
            return turns
        return (*turns[:first], Turn("user", f"{self.instruction}\n\n{turns[first].content}"), *turns[first + 1 :])

    def predict_shown(self, engine: Engine, examples: ExampleSeq, shown: Sequence[ExampleSeq]) -> list[Prediction]:
        """Answer each conversation after the first exchanges of its own solved ones, all side by side."""
        tokenizer, room = engine.tokenizer, max(1, engine.max_tokens - engine.max_new_tokens)
        asked = [
            _after([adapt(turns_of(shot), tokenizer).turns for shot in shots], self._turns(example, tokenizer))
            for example, shots in zip(examples, shown, strict=True)
        ]
        wanted = [
            _exchanges_of(turns, own, tokenizer, open_end=not example.gold)
            for example, (turns, own) in zip(examples, asked, strict=True)
        ]
        cuts = [max((len(one.prompt) - room for one in exchanges), default=0) for exchanges in wanted]
        items = self._judged(examples, asked, engine)
        prompts = [cut_start(one.prompt, room) for exchanges in wanted for one in exchanges]
        losses, heard = engine.answer(sequences_of(items), prompts)
        sums, texts, predictions = sums_by_item(losses, items), iter(heard), []
        for example, exchanges, loss, item, cut in zip(examples, wanted, sums, items, cuts, strict=True):
            text = BETWEEN.join(self._heard(next(texts), one) for one in exchanges)
            loss, tokens = (float(loss), known) if (known := self.supervised(item)) else (None, None)
            predictions.append(Prediction(example.id, text, None, loss, tokens, cut=max(0, cut)))
        return predictions

    def _heard(self, text: str, exchange: _PromptedAnswer) -> str:
        """Return an answer without what the template adds, and without reasoning if the data have none."""
        if text.strip() == exchange.answer:
            return exchange.gold
        return self.parse(text)

    def parse(self, text: str) -> str:
        """Return the reply, without reasoning if the data have none."""
        return text.strip() if self.reasons else without_reasoning(text)

    def _judged(
        self, examples: ExampleSeq, asked: Sequence[tuple[Sequence[Turn], int]], engine: Engine
    ) -> list[Encoded]:
        """Supervise the true answers after the shots; without these where they do not fit or all tokens train."""
        alone = self.encode(examples, engine.tokenizer, engine.max_tokens)
        if self.train_on == "all" or not any(own for _, own in asked):
            return alone
        after = [self._encode(turns, engine.tokenizer, engine.max_tokens, own) for turns, own in asked]
        return [one if item.cut else item for one, item in zip(alone, after, strict=True)]


@dataclass(frozen=True)
class _AnsweredTokens:
    """Tokens of a conversation and the answers in them."""

    tokens: list[int]
    output_positions: list[int]
    """Positions before the answers' tokens."""
    ignored: list[int]
    """Those of answers that the data mark not to be learned."""
    last: int
    """Tokens of the last answer."""

    def whole(self, before: _AnsweredTokens | None) -> _AnsweredTokens:
        """Supervise every token that is not in the sequence before, except ignored ones."""
        start = 1
        if before:
            pairs = zip(before.tokens, self.tokens, strict=False)
            start = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        ignored = set(self.ignored)
        return replace(
            self, output_positions=[read for read in range(start - 1, len(self.tokens) - 1) if read not in ignored]
        )

    def cut(self, max_tokens: int) -> Encoded:
        """Cut the start so that the last answer stays whole as long as it leaves room for some of its prompt."""
        size = len(self.tokens)
        begin = max(0, size - self.last - room_before(self.last, max_tokens))
        kept = self.tokens[begin : begin + max_tokens]
        reads = [read - begin for read in self.output_positions if begin <= read < begin + len(kept) - 1]
        return Encoded(tuple(kept), tuple(reads), tuple(kept[read + 1] for read in reads), size - len(kept))


@dataclass(frozen=True)
class _PromptedAnswer:
    """A prompt and its true answer: as the template renders it, and as the data have it."""

    prompt: list[int]
    answer: str = ""
    gold: str = ""


def turns_of(example: Example) -> tuple[Turn, ...]:
    """Return an example's turns."""
    return kept_messages(example.fields["messages"])


def answered_next(examples: ExampleSeq) -> list[Example]:
    """Return examples without the answers of conversations that end with another role: only the next is wanted."""
    last = [kept_messages(example.fields.get("messages"))[-1:] for example in examples]
    return [
        replace(example, gold="") if any(turn.role != "assistant" for turn in turns) else example
        for example, turns in zip(examples, last, strict=True)
    ]


def answered(turns: Sequence[Turn]) -> list[int]:
    """Return which turns are the assistant's after the first turn of the user: a greeting answers nothing."""
    first = next((at for at, turn in enumerate(turns) if turn.role == "user"), len(turns))
    return [at for at, turn in enumerate(turns) if turn.role == "assistant" and at > first]


def learned(turns: Sequence[Turn]) -> list[int]:
    """Return which answers are trained on: those that are not empty and not marked to be left out."""
    return [at for at in answered(turns) if turns[at].taught and not turns[at].empty]


def _after(shots: Sequence[Sequence[Turn]], turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], int]:
    """Insert the first exchange of each shot behind the system prompt; return also where the own turns begin."""
    shown = list[Turn]()
    for past in shots:
        for at in learned(past)[:1]:
            shown += [next(turn for turn in reversed(past[:at]) if turn.role == "user"), past[at]]
    head = next((at for at, turn in enumerate(turns) if turn.role not in ("system", "tools")), len(turns))
    return (*turns[:head], *shown, *turns[head:]), head + len(shown) if shown else 0


def _open(turns: Sequence[Turn]) -> Sequence[Turn]:
    return turns[:-1] if turns[-1].role == "assistant" else turns


def _prompt(turns: Sequence[Turn], tokenizer: Tokenizer) -> list[int]:
    return tokenize([write_prompt(turns, tokenizer)], tokenizer)[0]


def _tokens(turns: Sequence[Turn], answers: Sequence[int], tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]]:
    exchanges = write_exchanges(turns, answers, tokenizer)
    ids = tokenize_alike([part for one in exchanges for part in (one.prompt, one.answer)], tokenizer)
    return [(prompt, ended(answer, tokenizer)) for prompt, answer in zip(ids[::2], ids[1::2], strict=True)]


def _runs(reads: Sequence[int]) -> list[list[int]]:
    """Split positions where they are not consecutive.

    >>> _runs([3, 4, 5, 9, 10])
    [[3, 4, 5], [9, 10]]
    """
    runs = groupby(enumerate(reads), key=lambda one: one[1] - one[0])
    return [[read for _, read in run] for _, run in runs]


def _exchanges_of(turns: Sequence[Turn], own: int, tokenizer: Tokenizer, *, open_end: bool) -> list[_PromptedAnswer]:
    """Tokenize the prompt of each answer of the conversation itself, or of the next one."""
    answers = [at for at in learned(turns) if at >= own]
    if open_end or not answers:
        return [_PromptedAnswer(_prompt(_open(turns), tokenizer))]
    return [
        _PromptedAnswer(prompt, tokenizer.decode(answer, skip_special_tokens=True).strip(), said(turns[at]).strip())
        for at, (prompt, answer) in zip(answers, _tokens(turns, answers, tokenizer), strict=True)
    ]
