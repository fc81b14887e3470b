"""A request that is answered in free text, for each kind of model that can generate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from kamerton.core.contracts import Engine, Form, ModelKind, Tokenizer
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Taught
from kamerton.forms.dialogue import Dialogue, silent
from kamerton.forms.supervision import written
from kamerton.forms.turns import END_UNTRAINED, PROMPT_DIFFERS, frame_of, most_shots, plain, tokenize
from kamerton.forms.usual import Prompted
from kamerton.text.cells import room_for

CYRILLIC = range(0x400, 0x530)


def writing_form(
    kind: ModelKind,
    ask: Callable[[Example], str],
    examples: ExampleSeq,
    system: Callable[[Example], str] = silent,
) -> Form:
    """Return a form of requests: as a user's turn, or as the source text of an encoder-decoder.

    The system prompt comes before the request, in a turn of its own if there are turns.

    Raises:
        ModelError: the model is an encoder.
    """
    answers = tuple(example.gold for example in examples)
    if kind == "seq2seq":
        return Rewriting(lambda example: "\n\n".join(filter(None, (system(example), ask(example)))), answers)
    require_writer(kind)
    return Dialogue(ask, answers=answers, system=system)


def require_writer(kind: ModelKind) -> None:
    """Raise a ModelError for a kind of model that cannot continue a text."""
    if kind == "encoder":
        raise ModelError(Fault(msg("an encoder cannot generate text"), remedy=msg("choose a decoder: --model smollm2")))


def cyrillic_share(texts: Sequence[str]) -> float:
    """Return the share of Cyrillic letters; 0 without any letter.

    >>> cyrillic_share(["кот", "cat"])
    0.5
    """
    letters = [ord(letter) in CYRILLIC for text in texts[:1000] for letter in text if letter.isalpha()]
    return sum(letters) / max(1, len(letters))


@dataclass(frozen=True)
class Rewriting(Prompted):
    """A source that the encoder reads and an answer that the decoder writes."""

    ask: Callable[[Example], str]
    """What the encoder reads of an example."""
    answers: tuple[str, ...]
    model_class: ClassVar = "AutoModelForSeq2SeqLM"
    untuned_class: ClassVar = "AutoModelForSeq2SeqLM"
    generates: ClassVar = True

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Measure how long nearly all training answers are, with some room."""
        return room_for([len(ids) for ids in _answer_ids(self.answers, tokenizer)])

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize source and answer; each loses its end if it is longer than `max_tokens`, and both cuts count."""
        sources = self.prompts(examples, tokenizer, max_tokens)
        return _supervise(sources, examples, tokenizer, max_tokens)

    def prompts(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return what serving sends: the source."""
        return _sources([self.ask(example) for example in examples], tokenizer, max_tokens)

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> Wording:
        """Find a source that differs from serving's, or an untrained end."""
        if item.tokens != prompt.tokens:
            return PROMPT_DIFFERS
        return "" if item.cut or item.targets[-1] == tokenizer.eos_token_id else END_UNTRAINED

    def with_instruction(self, text: str) -> Self | None:
        """Return the form that puts an instruction before the source."""
        return replace(self, ask=lambda example: f"{text}\n\n{self.ask(example)}")

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return the answer; no token of the source is trained on."""
        return Taught((), (written(item.targets, tokenizer),))

    def predict_shown(self, engine: Engine, examples: ExampleSeq, shown: Sequence[ExampleSeq]) -> list[Prediction]:
        """Answer each example after solved ones of its own, all side by side."""
        sources = [self._shown(example, shots, engine) for example, shots in zip(examples, shown, strict=True)]
        items = _supervise(sources, examples, engine.tokenizer, engine.max_tokens)
        losses, texts = engine.answer(items, sources)
        return [
            Prediction(example.id, text.strip(), None, float(loss), len(item.targets), cut=source.cut)
            for example, text, loss, item, source in zip(examples, texts, losses, items, sources, strict=True)
        ]

    def _shown(self, example: Example, shots: ExampleSeq, engine: Engine) -> Encoded:
        def source(first: int) -> Encoded:
            before = "".join(f"{self.ask(shot)}\n{shot.gold}\n\n" for shot in shots[first:])
            [made] = _sources([before + self.ask(example)], engine.tokenizer, engine.max_tokens)
            return made

        return most_shots(len(shots), source)


def _sources(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
    """Tokenize texts between the tokenizer's own special tokens, and cut their ends."""
    frame = frame_of(tokenizer)
    room = max(0, max_tokens - len(frame.before) - len(frame.after))
    return [
        Encoded((*frame.before, *ids[:room], *frame.after), (), (), max(0, len(ids) - room))
        for ids in tokenize([plain(text, tokenizer) for text in texts], tokenizer)
    ]


def _answer_ids(answers: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    ids = tokenize([plain(answer, tokenizer) for answer in answers], tokenizer)
    return [[*answer, tokenizer.eos_token_id] for answer in ids]


def _supervise(
    sources: Sequence[Encoded], examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int
) -> list[Encoded]:
    items = []
    for source, answer in zip(sources, _answer_ids([one.gold for one in examples], tokenizer), strict=True):
        kept = tuple(answer[:max_tokens])
        cut = source.cut + len(answer) - len(kept)
        items.append(Encoded(source.tokens, tuple(range(len(kept))), kept, cut))
    return items
