"""The errors a user can meet.

KamertonError
├── DataError      a data file cannot be read or does not fit the task
├── RecipeError    a setting has a value that cannot be used
├── ModelError     a model folder is missing, unsafe, or of the wrong kind
├── RunError       a run folder is missing, damaged, busy, or made from other inputs
└── TrainingError  training cannot go on (not finite, nothing to train, out of memory)

Each one carries `Fault`s: all that is wrong, not only the first. The command line prints them
and ends with status 1; nothing in Kamerton shows a traceback for a user's mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kamerton.core.messages import Wording


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: the rule, the place, and the remedy."""

    rule: Wording
    """The rule that was broken and the value that broke it, as one sentence."""
    place: Wording = ""
    """Where: `reviews.csv:12`, `reviews.csv:12 column 'label'`, `recipe.yaml train.epochs`."""
    remedy: Wording = ""
    """What to do about it."""

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        remedy = f"\n    → {self.remedy}" if self.remedy else ""
        return f"{place}{self.rule}{remedy}"


class KamertonError(Exception):
    """Base of every error that is the user's to mend."""

    def __init__(self, faults: Fault | Sequence[Fault]) -> None:
        self.faults = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class DataError(KamertonError):
    """A data file cannot be read or does not fit the task."""


class RecipeError(KamertonError):
    """A setting has a value that cannot be used."""


class ModelError(KamertonError):
    """A model folder is missing, unsafe, or of the wrong kind."""


class RunError(KamertonError):
    """A run folder is missing, damaged, busy, or made from other inputs."""


class TrainingError(KamertonError):
    """Training cannot go on."""


class Unusable(ValueError):  # noqa: N818
    """A row, a value or a model that cannot be used here, with the reason for the reader."""

    def __init__(self, message: Wording) -> None:
        self.message = message
        super().__init__(str(message))


def reason_of(error: ValueError) -> Wording:
    """Return why a value cannot be used, as a message where the error carries one."""
    return error.message if isinstance(error, Unusable) else str(error)


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, as a remedy.

    >>> nearest("lorra", ["lora", "full"])
    "did you mean 'lora'? Known: full, lora"
    >>> nearest("samples", [])
    'leave it out: there is none here'
    """
    names = sorted(known)
    if not names:
        return "leave it out: there is none here"
    close = difflib.get_close_matches(word, names, n=1)
    question = f"did you mean '{close[0]}'? " if close else ""
    return f"{question}Known: {', '.join(names)}"
