"""What is known of a data file before a run: parts that are shown one after another, as soon as each is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from kamerton.core.errors import Fault
from kamerton.core.messages import Wording
from kamerton.core.records import ExampleView

REQUEST, PARTS, LOCK = "request.json", "parts.jsonl", "lock"
"""Files of a preparation: what is asked for, a line for each part so far, and who is at work."""
ChoiceName = Literal["quick", "balanced", "best"]


@dataclass(frozen=True)
class Begun:
    """Work on a part has begun."""

    step: Literal["clean", "read", "model", "audit", "plan"]
    notice: Wording = ""
    """What takes long in it, such as a download."""


@dataclass(frozen=True)
class CountedRows:
    """Rows that share a reason."""

    reason: Wording
    rows: int
    places: tuple[str, ...]
    """Of the first of them."""


@dataclass(frozen=True)
class Recognized:
    """What a file was recognized as."""

    task: str
    reason: Wording
    roles: Mapping[str, str]
    """The task's roles and their columns; an empty text where a role has none."""
    columns: tuple[str, ...]
    """All columns of the table."""
    format: str
    rows: int
    """That the file has."""
    examples: int
    """That can be used."""
    notes: tuple[Wording, ...]
    left_out: tuple[CountedRows, ...]
    head: tuple[tuple[str, ...], ...]
    """The first rows, a text for each column."""


@dataclass(frozen=True)
class ShownRows:
    """The model that was chosen, and the first rows as it gets them."""

    model: str
    reason: Wording
    kind: Wording
    max_tokens: int
    views: tuple[ExampleView, ...]


@dataclass(frozen=True)
class LookedAt:
    """A row that a finding names."""

    id: int
    place: str
    text: str
    gold: str
    dropped: bool
    """Whether it is left out anyway."""


@dataclass(frozen=True)
class Concern:
    """What one check of the audit found, with the first of its rows."""

    check: str
    severity: Literal["severe", "warning", "note"]
    title: Wording
    remedy: Wording
    count: int
    """Of all its rows."""
    rows: tuple[LookedAt, ...]
    samples: tuple[Wording, ...]


@dataclass(frozen=True)
class Audited:
    """What the audit found."""

    concerns: tuple[Concern, ...]
    used: Wording
    """How many rows are used, and why others are not; empty if all are."""
    mendable: bool
    """Whether a cleaned copy would differ from the file."""


@dataclass(frozen=True)
class Reasoned:
    """A setting that was decided, and why."""

    setting: str
    value: str
    reason: Wording


@dataclass(frozen=True)
class RunChoice:
    """A run that can be started, and what its training takes, as predicted."""

    name: ChoiceName
    settings: Mapping[str, Any]
    """Those that differ from what `kamerton tune FILE` would do."""
    rows: int
    """Of training."""
    updates: int
    seconds: float
    most: bool
    """Whether the time is the most that it takes."""
    peak_bytes: int


@dataclass(frozen=True)
class RunChoices:
    """The runs to choose from."""

    choices: tuple[RunChoice, ...]
    free_bytes: int
    fits: bool
    """Whether the memory suffices."""
    reasons: tuple[Reasoned, ...]
    """What `kamerton tune FILE` would decide."""
    method: str = ""
    """The method of the plan."""
    of_task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings that the task has for itself: their JSON schemas, by dotted path."""
    of_methods: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """The same of each method, by its name."""


@dataclass(frozen=True)
class Refused:
    """Why the file cannot be used."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Cleaned:
    """A cleaned copy was written: how many rows of it are as they were, and why others are not."""

    used: int
    repaired: int
    dropped: int
    repairs: tuple[CountedRows, ...] = ()
    reasons: tuple[CountedRows, ...] = ()


Part: TypeAlias = Begun | Cleaned | Recognized | ShownRows | Audited | RunChoices | Refused


@dataclass(frozen=True)
class PreparationRequest:
    """What is to be prepared."""

    folder: str
    """The folder whose only file, or folder, is the data; a cleaned copy is put there first if there is a source."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """By dotted path."""
    source: str = ""
    """The file that the copy is made of."""
    without: tuple[int, ...] = ()
    """Rows of the source, by id, that are left out of the copy."""
