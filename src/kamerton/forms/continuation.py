"""A text and its continuation, without template and roles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from kamerton.core.contracts import ModelHead, Tokenizer
from kamerton.core.records import Example, ExampleSeq
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.sandbox import SandboxLimits, pass_at_k, passes
from kamerton.forms.turns import Exchange, frame_of, plain

FILLING = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
"""Fill-in-the-middle tokens of StarCoder, Qwen and Code Llama; a tokenizer without any gets the first, as text."""
BETWEEN = "\n\n\n"
"""Separates solved examples."""


@dataclass(frozen=True)
class Trial:
    """How generated programs are run."""

    samples: int
    k: int
    limits: SandboxLimits


@dataclass(frozen=True)
class Continuation(Dialogue):
    """A prefix, perhaps a suffix, and the middle: `ask` returns the prefix, `answer` the middle."""

    after: Callable[[Example], str] = lambda example: ""
    """Returns the suffix."""
    program: Callable[[Example, str], str] = lambda example, text: ""
    """Returns the program that tests a generated text; empty without tests."""
    trial: Trial | None = None
    """How programs are run; None runs none."""
    room_around: ClassVar = False

    def drawn(self, example: Example) -> int:
        """Return how many programs are generated."""
        return self.trial.samples if self.trial and self.program(example, "") else 1

    def tried(self, example: Example, texts: Sequence[str]) -> float | None:
        """Run the generated programs, if there are tests; estimate how often one of k passes."""
        if self.trial is None or not self.program(example, ""):
            return None
        passed = sum(bool(text) and passes(self.program(example, text), self.trial.limits) for text in texts)
        return pass_at_k(len(texts), passed, self.trial.k)

    def _write(self, example: Example, shots: ExampleSeq, tokenizer: Tokenizer) -> Exchange:
        shown = "".join(self.ask(shot) + self.answer(shot) + self.after(shot) + BETWEEN for shot in shots)
        begin = tokenizer.decode(list(frame_of(tokenizer).before))
        before = plain(shown + self.ask(example), tokenizer)
        if after := self.after(example):
            known = tokenizer.get_vocab()
            start, end, gap = next((words for words in FILLING if set(words) <= known.keys()), FILLING[0])
            before = (start, *before, end, *plain(after, tokenizer), gap)
        return Exchange((*([begin] if begin else []), *before), plain(self.answer(example), tokenizer))

    def kept(self, text: str) -> str:
        """Strip the end only: leading space counts in programs."""
        return text.rstrip()


def trial_of(form: ModelHead) -> Trial | None:
    """Return how a form's programs are run; None if it runs none."""
    return form.trial if isinstance(form, Continuation) else None
