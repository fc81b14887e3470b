"""The form of a request that is answered in free text, for each kind of model that can generate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kamerton.core.contracts import Form, ModelKind
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import msg
from kamerton.core.records import Example, ExampleSeq
from kamerton.forms.dialogue import Dialogue, silent
from kamerton.forms.rewriting import Rewriting

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
    """Refuse a kind of model that cannot continue a text.

    Raises:
        ModelError: it cannot.
    """
    if kind == "encoder":
        raise ModelError(Fault(msg("an encoder cannot generate text"), remedy=msg("choose a decoder: --model smollm2")))


def cyrillic_share(texts: Sequence[str]) -> float:
    """Return the share of Cyrillic letters; 0 without any letter.

    >>> cyrillic_share(["кот", "cat"])
    0.5
    """
    letters = [ord(letter) in CYRILLIC for text in texts[:1000] for letter in text if letter.isalpha()]
    return sum(letters) / max(1, len(letters))
