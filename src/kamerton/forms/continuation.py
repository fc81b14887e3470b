"""A text and how it goes on, as it stands: no template, no roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kamerton.core.contracts import ModelHead
from kamerton.core.records import Example
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.sandbox import SandboxLimits, pass_at_k, passes
from kamerton.forms.turns import Exchange, Pieces, frame_of, plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

FILLING = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
"""What models of code were pretrained to see around a gap: StarCoder's, Qwen's and Code Llama's words."""
BETWEEN = "\n\n\n"
"""What stands between solved examples."""


@dataclass(frozen=True)
class Trial:
    """How written programs are tried."""

    samples: int
    k: int
    limits: SandboxLimits


@dataclass(frozen=True)
class Continuation(Dialogue):
    """A beginning, perhaps an end, and what belongs there; `ask` gives the beginning, `answer` what follows."""

    after: Callable[[Example], str] = lambda example: ""
    """What stands behind the gap."""
    program: Callable[[Example, str], str] = lambda example, text: ""
    """The program that tries a written text; empty where there are no tests."""
    trial: Trial | None = None
    """How programs are run; none are, if not given."""

    def drawn(self, example: Example) -> int:
        """Write as many programs as are tried."""
        return samples_of(self) if self.program(example, "") else 1

    def tried(self, example: Example, texts: Sequence[str]) -> float | None:
        """Run what was written, where there are tests; estimate how often one of k passes."""
        if self.trial is None or not self.program(example, ""):
            return None
        passed = sum(bool(text) and passes(self.program(example, text), self.trial.limits) for text in texts)
        return pass_at_k(len(texts), passed, self.trial.k)

    def _write(self, example: Example, shots: Sequence[Example], tokenizer: Tokenizer) -> Exchange:
        shown = "".join(self.ask(shot) + self.answer(shot) + self.after(shot) + BETWEEN for shot in shots)
        begin: Pieces = (tokenizer.decode(list(frame_of(tokenizer).before)),)
        before = plain(shown + self.ask(example), tokenizer)
        if after := self.after(example):
            start, end, gap = _filling(tokenizer)
            before = (start, *before, end, *plain(after, tokenizer), gap)
        return Exchange((*filter(None, begin), *before), plain(self.answer(example), tokenizer))

    @staticmethod
    def around(tokenizer: Tokenizer) -> int:
        """Write no template."""
        return 0

    def kept(self, text: str) -> str:
        """Keep what was written with the space it begins with, which counts in programs."""
        return text.rstrip()


def samples_of(form: ModelHead) -> int:
    """Return how many answers a form writes to a test row; more than one must be drawn at random."""
    return form.trial.samples if isinstance(form, Continuation) and form.trial else 1


def _filling(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Find the words around a gap that the tokenizer knows; else any will do, as text."""
    known = tokenizer.get_vocab()
    return next((words for words in FILLING if set(words) <= known.keys()), FILLING[0])
