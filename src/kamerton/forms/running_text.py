"""Plain text: causal or masked language modeling."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from kamerton.core.contracts import Engine, PreTrainedModel, Tokenizer
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Taught
from kamerton.forms.supervision import one_row, written, written_tokens
from kamerton.forms.turns import Frame, frame_of, plain, tokenize
from kamerton.forms.usual import Windowed, item_losses

HIDDEN, EXCHANGED = 0.8, 0.1
"""Shares of the chosen tokens that become the mask token, and another token (Devlin et al. 2018)."""
BEGINS_DIFFERENTLY = msg("the text begins differently in training and in serving")


class _Running(Windowed):
    """A text in consecutive blocks, the sequences of one row."""

    def _row(self, blocks: Sequence[Encoded], beyond: int) -> Encoded:
        """Join blocks into a row, or cut what is beyond the first."""
        return one_row(blocks) if self.in_windows else replace(blocks[0], cut=max(0, beyond))

    def shots(self, examples: ExampleSeq, count: int, seed: int) -> list[Example]:
        """Return none: a text goes on from itself."""
        return []

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Compute the texts' likelihood."""
        return self.predict(engine, examples)

    @abstractmethod
    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Compute the texts' likelihood; the score is the geometric mean of the tokens' probabilities."""


@dataclass(frozen=True)
class RunningText(_Running):
    """Every token of a text, predicted at the one before it; the first at what begins or separates texts."""

    model_class: ClassVar = "AutoModelForCausalLM"
    untuned_class: ClassVar = "AutoModelForCausalLM"
    ends: ClassVar = False

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Cut texts into blocks of `max_tokens`; each token is a target once, and so is the end of the text."""
        return self._encode(examples, tokenizer, max_tokens, _end(tokenizer))

    def _encode(
        self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int, end: tuple[int, ...]
    ) -> list[Encoded]:
        start = _start(tokenizer)
        texts = tokenize([plain(example.text, tokenizer) for example in examples], tokenizer)
        return [self._blocks((*start, *ids, *end), len(start), max_tokens) for ids in texts]

    def _blocks(self, whole: Sequence[int], start: int, max_tokens: int) -> Encoded:
        """Predict `whole[i]` at `whole[i - 1]`; the last token is only a target."""
        given, wanted = whole[:-1], whole[1:]
        blocks = []
        for at in range(0, max(1, len(given)), max_tokens):
            first = max(0, start - 1 - at)
            tokens = tuple(given[at : at + max_tokens])
            targets = tuple(wanted[at + first : at + len(tokens)])
            blocks.append(Encoded(tokens, tuple(range(first, len(tokens))), targets))
        return self._row(blocks, len(given) - max_tokens)

    def prompts(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return the tokens before every text."""
        return [Encoded(_start(tokenizer), (), ()) for _ in examples]

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> Wording:
        """Find a text that begins differently, or an untrained end."""
        if item.tokens[: len(prompt.tokens)] != prompt.tokens:
            return BEGINS_DIFFERENTLY
        if not item.cut and _end(tokenizer) not in ((), item.sequences[-1].targets[-1:]):
            return msg("the end of the text is not trained")
        return ""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return all tokens but the first."""
        positions = tuple(read + 1 for read in item.output_positions if read + 1 < len(item.tokens))
        return Taught(positions, (written(item.targets, tokenizer),))

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Compute the likelihood of whole, uncut texts, without that of their ends."""
        items = replace(self, in_windows=True)._encode(examples, engine.tokenizer, engine.max_tokens, ())
        return [
            _measured(example, loss, self.supervised(item))
            for example, item, loss in zip(examples, items, item_losses(engine, items), strict=True)
        ]


@dataclass(frozen=True)
class MaskedText(_Running):
    """Some tokens of a text, masked and predicted."""

    share: float = 0.15
    """Share of the tokens that are masked; the same ones of the same text each time."""
    model_class: ClassVar = "AutoModelForMaskedLM"
    untuned_class: ClassVar = "AutoModelForMaskedLM"

    def start(self, model: PreTrainedModel, fresh: Sequence[str]) -> None:
        """Refuse a model whose head for hidden tokens has no pretrained weights.

        Raises:
            ModelError: it has none.
        """
        if fresh:
            rule = msg("the model has no weights for its masked-language head ({modules})", modules=", ".join(fresh))
            remedy = msg("choose an encoder that was saved with its head, as bert-base is; sentence encoders are not")
            raise ModelError(Fault(rule, model.name_or_path, remedy))

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Cut texts into blocks between the tokenizer's special tokens, and mask tokens of each."""
        frame = frame_of(tokenizer)
        room = max(1, max_tokens - len(frame.before) - len(frame.after))
        items = []
        for ids in tokenize([plain(example.text, tokenizer) for example in examples], tokenizer):
            starts = range(0, max(1, len(ids)), room)
            items.append(
                self._row([self._mask(ids[at : at + room], frame, tokenizer) for at in starts], len(ids) - room)
            )
        return items

    def _mask(self, ids: Sequence[int], frame: Frame, tokenizer: Tokenizer) -> Encoded:
        """Mask tokens drawn with the text itself as the seed: at least one."""
        digest = hashlib.blake2b(np.array(ids, dtype=np.int64).tobytes(), digest_size=8).digest()
        chance = np.random.default_rng(int.from_bytes(digest))
        chosen = sorted(chance.permutation(len(ids))[: max(1, round(self.share * len(ids)))].tolist())
        words = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
        tokens = list(ids)
        for at, fate, other in zip(chosen, chance.random(len(chosen)), chance.choice(words, len(chosen)), strict=True):
            if fate < HIDDEN:
                tokens[at] = tokenizer.mask_token_id
            elif fate < HIDDEN + EXCHANGED:
                tokens[at] = int(other)
        positions = tuple(len(frame.before) + at for at in chosen)
        return Encoded((*frame.before, *tokens, *frame.after), positions, tuple(ids[at] for at in chosen))

    def prompts(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return the tokens before every text."""
        return [Encoded(frame_of(tokenizer).before, (), ()) for _ in examples]

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> Wording:
        """Find a text that begins differently."""
        return "" if item.tokens[: len(prompt.tokens)] == prompt.tokens else BEGINS_DIFFERENTLY

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return the chosen tokens."""
        return Taught(item.output_positions, tuple(written_tokens(item.targets, tokenizer)))

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Compute the loss of masked tokens, and scale it to all: a sample of the pseudo-likelihood."""
        items = replace(self, in_windows=True).encode(examples, engine.tokenizer, engine.max_tokens)
        frame = frame_of(engine.tokenizer)
        special = len(frame.before) + len(frame.after)
        sizes = [sum(len(part.tokens) - special for part in item.sequences) for item in items]
        return [
            _measured(example, loss * size / max(1, self.supervised(item)), size)
            for example, item, size, loss in zip(examples, items, sizes, item_losses(engine, items), strict=True)
        ]


def _start(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return what texts begin with: the tokenizer's own beginning, or the end of a text before."""
    return frame_of(tokenizer).before or _end(tokenizer)


def _end(tokenizer: Tokenizer) -> tuple[int, ...]:
    return () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)


def _measured(example: Example, loss: float, tokens: int) -> Prediction:
    return Prediction(example.id, "", float(np.exp(-loss / max(1, tokens))), float(loss), tokens)
