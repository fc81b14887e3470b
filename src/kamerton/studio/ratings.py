"""What people say of answers: files of a run that `kamerton ab` reads as they are, and a training takes as data.

    RUN/ratings/AGAINST.jsonl    a judgment a line, in order, of the run's model against another one

A line has the winner: of models that write, with the request, the better answer and the worse one (the task of
preferences); of others, with the row and its right answer (the run's own task).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kamerton.core.files import sync
from kamerton.feedback.living import TIE
from kamerton.runs.logs import append_line, whole_lines
from kamerton.text.tags import read_list

FOLDER, ENDING = "ratings", ".jsonl"
ALONE = "alone"
"""The file of answers that stood beside no other one."""
LONGEST_NAME = 60
Text = Annotated[str, Field(max_length=1 << 18)]
LISTS = ("classes", "tags")
"""Kinds of answers that are JSON lists."""


class Said(BaseModel):
    """What a page posts."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SaidTurn(Said):
    """One message of a request."""

    role: Literal["system", "user", "assistant"]
    content: Text


class PreferredAnswer(Said):
    """Which of two written answers to a request is better."""

    prompt: Text | Annotated[list[SaidTurn], Field(min_length=1, max_length=1000)]
    answers: tuple[Text, Text] = Field(strict=False)
    """The run's own, and the other one."""
    choice: Literal["left", "right", "tie"]

    def record(self, first: str, second: str) -> Mapping[str, object]:
        """Return the line; of a tie nothing can be learned."""
        if self.choice == "tie":
            return {"winner": TIE}
        ahead = self.choice == "right"
        pair = {"chosen": self.answers[ahead], "rejected": self.answers[not ahead]}
        return {"winner": second if ahead else first, "prompt": self._plain(), **pair}

    def _plain(self) -> object:
        """Return the request: a text if it is one message of the user."""
        if isinstance(self.prompt, str):
            return self.prompt
        if [turn.role for turn in self.prompt] == ["user"]:
            return self.prompt[0].content
        return [turn.model_dump() for turn in self.prompt]


class RightAnswer(Said):
    """The right answer to a row, and what models answered."""

    row: Annotated[dict[str, object], Field(min_length=1, max_length=20)]
    """By role."""
    role: Annotated[str, Field(min_length=1, max_length=100)]
    """The role that the answer has in data."""
    kind: Annotated[str, Field(max_length=40)]
    """What answers of the task are."""
    answers: Annotated[list[Text], Field(min_length=1, max_length=2)]
    """The run's own, and another one."""
    right: Text

    def record(self, first: str, second: str) -> Mapping[str, object]:
        """Return the line: which of both is right, or how right one alone is."""
        rights = [answer.strip() == self.right.strip() for answer in self.answers]
        outcome: dict[str, object] = {"arm": first, "outcome": int(rights[0])}
        if len(rights) > 1:  # a mapping of scores would look like labels to a training
            outcome = {"winner": TIE if rights[0] == rights[1] else first if rights[0] else second}
        right = read_list(self.right) if self.kind in LISTS else self.right
        return {**outcome, **self.row, self.role: right}


@dataclass(frozen=True)
class RatingFile:
    """One file of feedback."""

    path: Path
    lines: int

    @property
    def name(self) -> str:
        """What it is called in addresses."""
        return self.path.name

    @property
    def alone(self) -> bool:
        """Whether its answers stood beside no others, so that nothing can be compared."""
        return self.path.stem == ALONE


def rating_files(run: Path) -> list[RatingFile]:
    """Return the files of a run, by name."""
    found = sorted((run / FOLDER).glob(f"*{ENDING}"))
    return [RatingFile(path, whole_lines(path).count(b"\n")) for path in found]


def record(run: Path, first: str, second: str, said: PreferredAnswer | RightAnswer) -> RatingFile:
    """Append a judgment; it is on the disk when this returns.

    Args:
        run: the folder.
        first: the name of the run's own model.
        second: that of the other one; empty if there was none.
        said: the judgment.
    """
    folder = run / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{file_name(second or ALONE)}{ENDING}"
    names = [f"{name} (model)" if name == TIE else name for name in (first, second)]
    with _alone_in(folder):
        line = said.record(names[0], names[1] if names[1] != names[0] else f"{names[1]} (2)")
        append_line(path, {**line, "time": round(time.time(), 3)}, 0o600)
        sync(path)
        return RatingFile(path, whole_lines(path).count(b"\n"))


def file_name(name: str) -> str:
    """Return a file's name for a model's: with a digest where letters were replaced, so that two never share one.

    >>> file_name("reviews-2")
    'reviews-2'
    """
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-")[:LONGEST_NAME]
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return plain if plain == name else f"{plain}-{digest}".lstrip("-")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that one process at a time appends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
