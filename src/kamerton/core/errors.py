"""Errors that users meet.

KamertonError
├── DataError      a data file cannot be read or does not fit the task
├── RecipeError    a setting has a value that cannot be used
├── ModelError     a model folder is missing, unsafe, or of the wrong kind
├── RunError       a run folder is missing, damaged, busy, or made from other inputs
└── TrainingError  training cannot continue (not finite, nothing to train, out of memory)

Each carries one or more `Fault`s: everything that is wrong, not only the first. The command line prints them and exits
with status 1; a user's mistake never shows a traceback.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from kamerton.core.messages import Message, Wording, msg


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
    """Base of all errors that a user can fix."""

    def __init__(self, faults: Fault | Sequence[Fault]) -> None:
        self.faults = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Fault, ...]]]:
        """Return how to rebuild the error in another process."""
        return type(self), (self.faults,)


class DataError(KamertonError):
    """A data file cannot be read or does not fit the task."""


class RecipeError(KamertonError):
    """A setting has a value that cannot be used."""


class ModelError(KamertonError):
    """A model folder is missing, unsafe, or of the wrong kind."""


class RunError(KamertonError):
    """A run folder is missing, damaged, busy, or made from other inputs."""


class TrainingError(KamertonError):
    """Training cannot continue."""


class Unusable(ValueError):  # noqa: N818
    """A row, a value or a model that cannot be used here, with the reason for the reader."""

    def __init__(self, message: Wording) -> None:
        self.message = message
        super().__init__(str(message))


def reason_of(error: ValueError) -> Wording:
    """Return why a value cannot be used, as a message where the error carries one."""
    return error.message if isinstance(error, Unusable) else str(error)


def nearest(word: str, known: Iterable[str]) -> Message:
    """Return a remedy that names the known word that was probably meant.

    >>> str(nearest("lorra", ["lora", "full"]))
    "did you mean 'lora'? Known: full, lora"
    >>> str(nearest("samples", []))
    'remove it: no name is accepted here'
    """
    names = sorted(known)
    if not names:
        return msg("remove it: no name is accepted here")
    known_names, close = ", ".join(names), difflib.get_close_matches(word, names, n=1)
    if close:
        return msg("did you mean '{word}'? Known: {names}", word=close[0], names=known_names)
    return msg("Known: {names}", names=known_names)
