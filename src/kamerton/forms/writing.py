"""The form of a request that is answered in free text, for each kind of model that can write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kamerton.core.contracts import Form, ModelKind
from kamerton.core.errors import Fault, ModelError
from kamerton.core.records import Example
from kamerton.forms.dialogue import Dialogue, silent
from kamerton.forms.rewriting import Rewriting

CYRILLIC = range(0x400, 0x530)


def writing_form(
    kind: ModelKind,
    ask: Callable[[Example], str],
    examples: Sequence[Example],
    system: Callable[[Example], str] = silent,
) -> Form:
    """Put a request to a model that writes: as a user's turn, or as the text that its encoder reads.

    What `system` tells the assistant beforehand stands before the request, in a turn of its own if there are turns.

    Raises:
        ModelError: an encoder cannot write text.
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
        fault = Fault("an encoder reads text but cannot write it", remedy="choose a decoder: --model smollm2")
        raise ModelError(fault)


def cyrillic_share(texts: Sequence[str]) -> float:
    """Say which share of the letters is Cyrillic; 0 if there is no letter.

    >>> cyrillic_share(["кот", "cat"])
    0.5
    """
    letters = [ord(letter) in CYRILLIC for text in texts[:1000] for letter in text if letter.isalpha()]
    return sum(letters) / max(1, len(letters))
