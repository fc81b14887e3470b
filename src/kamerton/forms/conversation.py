"""Whole conversations through the model's own chat template; what the assistant says is supervised, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from kamerton.contracts import Engine
from kamerton.forms.messages import read_messages
from kamerton.forms.supervision import written
from kamerton.forms.turns import Writing, ended, room_before, supervise, tokenize, write_conversation, write_prompt
from kamerton.forms.usual import Usual, item_answers
from kamerton.forms.values import room_for
from kamerton.records import Encoded, Example, Message, Prediction, Taught

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

BETWEEN = "\n\n"
"""What stands between the answers of one conversation where they are written as one text."""
TrainOn = Literal["assistant", "last", "all"]


@dataclass(frozen=True)
class Conversation(Usual):
    """A conversation of any number of turns; its answers are the assistant's turns."""

    train_on: TrainOn
    """Every assistant's turn, only the last one, or every token of the conversation."""
    answers: tuple[str, ...]
    """The assistant's turns in the training rows, from which the room for generated ones is measured."""
    told: str = ""
    """An instruction that is put before what the user says first."""
    model_class: ClassVar = "AutoModelForCausalLM"
    untuned_class: ClassVar = "AutoModelForCausalLM"

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Measure how long nearly all training answers are, with some room."""
        return room_for([len(ids) for ids in tokenize([(answer,) for answer in self.answers], tokenizer)])

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize each conversation up to its last answer; one that does not fit loses its start, as in serving.

        Where the template writes earlier turns differently later on, each answer is a sequence of its own.
        """
        return [self._encode(self._turns(example), example.id, tokenizer, max_tokens) for example in examples]

    def _encode(
        self, turns: Sequence[Message], id: int, tokenizer: Tokenizer, max_tokens: int, own: int = 0
    ) -> Encoded:
        """Tokenize a conversation and supervise its answers from the turn `own` on."""
        answers = [at for at in answered(turns) if at >= own]
        if not answers:
            return Encoded(tuple(_prompt(turns, tokenizer)[:max_tokens]), (), ())
        parts = _parts(write_conversation(turns, answers, tokenizer, f"row {id}"), tokenizer)
        if any(part.begins for part in parts[1:]):
            items = [supervise(part.before, part.answer, max_tokens) for part in parts]
            first, *others = items[-1:] if self.train_on == "last" else items
            return replace(first, rivals=tuple(others), cut=sum(item.cut for item in (first, *others)))
        tokens, reads = list[int](), list[int]()
        for part in parts:
            tokens += part.before
            start = len(tokens) - 1
            tokens += part.answer
            reads = [*([] if self.train_on == "last" else reads), *range(start, len(tokens) - 1)]
        if self.train_on == "all":
            reads = list(range(len(tokens) - 1))
        begin = max(0, start + 1 - room_before(len(tokens) - start - 1, max_tokens))
        kept = tokens[begin : begin + max_tokens]
        reads = [read - begin for read in reads if begin <= read < begin + len(kept) - 1]
        return Encoded(tuple(kept), tuple(reads), tuple(kept[read + 1] for read in reads), len(tokens) - len(kept))

    def prompts(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Give what serving sends: the conversation up to where the assistant speaks last, or next."""
        prompts = [_prompt(_open(self._turns(example)), tokenizer) for example in examples]
        return [_last(ids, max_tokens) for ids in prompts]

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> str:
        """Find a prompt that differs from serving's, supervision beside the answers, or an untaught end."""
        last = item.sequences[-1]
        if not item.cut and last.tokens[: len(prompt.tokens)] != prompt.tokens:
            return "the prompt is written differently in training and in serving"
        if [last.tokens[read + 1] for read in last.reads] != list(last.targets):
            return "the supervised positions are not the answer's"
        if not item.cut and last.targets[-1] != tokenizer.eos_token_id:
            return "the end token is not trained, so the model would not learn to stop"
        return ""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Mark the answers' tokens; each is read at the one before it."""
        return Taught(tuple(read + 1 for read in item.reads), (written(item.targets, tokenizer),))

    def called(self, at: int, count: int) -> str:
        """Name an answer: where there are several sequences, each has one."""
        return f"answer {at + 1} of {count}"

    def predict(self, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Write the assistant's turns, each after the true ones before it, and measure the true ones' likelihood."""
        return self.predict_untuned(engine, examples, ())

    def instructed(self, text: str) -> Self | None:
        """Put an instruction before what the user says first."""
        return replace(self, told=text)

    def _turns(self, example: Example) -> tuple[Message, ...]:
        turns = turns_of(example)
        first = next((at for at, turn in enumerate(turns) if turn.role == "user"), None)
        if not self.told or first is None:
            return turns
        return (*turns[:first], Message("user", f"{self.told}\n\n{turns[first].content}"), *turns[first + 1 :])

    def predict_untuned(
        self, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
    ) -> list[Prediction]:
        """Answer after the first exchanges of `shots`, put as earlier turns of the conversation."""
        return self.predict_shown(engine, examples, [shots] * len(examples))

    def predict_shown(
        self, engine: Engine, examples: Sequence[Example], shown: Sequence[Sequence[Example]]
    ) -> list[Prediction]:
        """Answer each conversation after the first exchanges of its own solved ones, all side by side."""
        asked = [_after(shots, self._turns(example)) for example, shots in zip(examples, shown, strict=True)]
        room = max(1, engine.max_tokens - engine.max_new_tokens)
        wanted = [_prompts_of(turns, own, engine.tokenizer) for turns, own in asked]
        cuts = [max((len(ids) - room for ids in prompts), default=0) for prompts in wanted]
        items = self._judged(examples, asked, engine)
        losses, written = item_answers(engine, items, [_last(ids, room) for prompts in wanted for ids in prompts])
        texts = iter(written)
        return [
            Prediction(
                example.id,
                BETWEEN.join(next(texts).strip() for _ in prompts),
                None,
                float(loss) if self.supervised(item) else None,
                self.supervised(item) or None,
                cut=max(0, cut),
            )
            for example, prompts, loss, item, cut in zip(examples, wanted, losses, items, cuts, strict=True)
        ]

    def _judged(
        self, examples: Sequence[Example], asked: Sequence[tuple[Sequence[Message], int]], engine: Engine
    ) -> list[Encoded]:
        """Supervise the true answers after what is shown; alone where that does not fit, or where all is taught."""
        alone = self.encode(examples, engine.tokenizer, engine.max_tokens)
        if self.train_on == "all" or all(own <= 1 for _, own in asked):
            return alone
        after = [
            self._encode(turns, example.id, engine.tokenizer, engine.max_tokens, own)
            for example, (turns, own) in zip(examples, asked, strict=True)
        ]
        return [one if item.cut else item for one, item in zip(alone, after, strict=True)]


@dataclass(frozen=True)
class _Part:
    """An answer's tokens with its end, and those that stand before it."""

    before: tuple[int, ...]
    answer: tuple[int, ...]
    begins: bool
    """Whether `before` begins with the conversation, instead of going on after the answer before."""


def turns_of(example: Example) -> tuple[Message, ...]:
    """Give an example's messages."""
    return read_messages(example.fields["messages"])


def answered(turns: Sequence[Message]) -> list[int]:
    """Find the assistant's turns that answer something: a greeting before anybody spoke answers nothing."""
    first = next((at for at, turn in enumerate(turns) if turn.role == "user"), len(turns))
    return [at for at, turn in enumerate(turns) if turn.role == "assistant" and at > first]


def _last(ids: Sequence[int], room: int) -> Encoded:
    """Make a prompt of tokens; where they are too many, the first ones are cut away."""
    return Encoded(tuple(ids[-room:]), (), (), max(0, len(ids) - room))


def _open(turns: Sequence[Message]) -> Sequence[Message]:
    """Take the last answer away, if the conversation ends with one."""
    return turns[:-1] if turns[-1].role == "assistant" else turns


def _prompt(turns: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Tokenize a conversation up to where the assistant speaks next, as training does."""
    answers = answered(turns)
    if not answers:
        return tokenize([write_prompt(turns, tokenizer)], tokenizer)[0]
    opened = [*turns, Message("assistant", "")]
    writing = write_conversation(opened, [*answers, len(turns)], tokenizer, "a prompt")
    parts = _parts(writing, tokenizer)
    if not writing.joined:
        return list(parts[-1].before)
    before = [token for part in parts[:-1] for token in (*part.before, *part.answer)]
    return [*before, *parts[-1].before]


def _parts(writing: Writing, tokenizer: Tokenizer) -> list[_Part]:
    """Tokenize answers and what stands between them; what a template writes after an end belongs to what follows."""
    befores = tokenize([exchange.prompt for exchange in writing.exchanges], tokenizer)
    answers = tokenize([exchange.answer for exchange in writing.exchanges], tokenizer)
    parts, rest = [], list[int]()
    for at, (before, answer) in enumerate(zip(befores, answers, strict=True)):
        whole = ended(answer, tokenizer)
        begins = at == 0 or not writing.joined
        parts.append(_Part((*([] if begins else rest), *before), tuple(whole), begins))
        rest = answer[len(whole) :]
    return parts


def _after(shots: Sequence[Example], turns: Sequence[Message]) -> tuple[tuple[Message, ...], int]:
    """Put the first exchange of each shot behind the system prompt; say where the conversation itself begins."""
    shown = []
    for shot in shots:
        past = turns_of(shot)
        at = answered(past)[0]
        shown += [next(turn for turn in reversed(past[:at]) if turn.role == "user"), past[at]]
    system = 1 if turns[0].role == "system" else 0
    return (*turns[:system], *shown, *turns[system:]), system + len(shown)


def _prompts_of(turns: Sequence[Message], own: int, tokenizer: Tokenizer) -> list[list[int]]:
    """Tokenize what stands before each answer of the conversation itself, or before the next one."""
    if turns[-1].role != "assistant":
        return [_prompt(turns, tokenizer)]
    return [_prompt(turns[:at], tokenizer) for at in answered(turns) if at >= own]
