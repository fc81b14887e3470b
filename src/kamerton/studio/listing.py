"""What the list of runs shows of each: read from its folder, and kept until the folder changes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter
from pydantic import ValidationError as Misfit

from kamerton.core.errors import KamertonError
from kamerton.core.files import write_json
from kamerton.core.messages import Wording, msg
from kamerton.core.outcomes import Measure
from kamerton.core.readers import read_object
from kamerton.report.outcome import read_outcome
from kamerton.runs.changes import MANIFEST
from kamerton.runs.run import LOG, RECIPE, RESULT, Run
from kamerton.studio.jobs import Jobs
from kamerton.studio.workspace import Workspace

NOTES = "notes.json"
STATES: Mapping[str, Wording] = {
    "waiting": msg("waiting"),
    "running": msg("running"),
    "stopped": msg("stopped"),
    "failed": msg("failed"),
    "done": msg("done"),
}
"""What may be going on with a run."""
LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 10_000, 40, 20


@dataclass(frozen=True)
class Notes:
    """What people wrote about a run: a file of its folder, outside of its checksums, for it may change at any time."""

    note: str = ""
    tags: tuple[str, ...] = ()

    @staticmethod
    def of(folder: Path) -> Notes:
        """Read the notes of a run; empty where there are none, or none that can be read."""
        try:
            return TypeAdapter(Notes).validate_python(read_object(folder / NOTES))
        except (FileNotFoundError, KamertonError, Misfit):
            return Notes()

    def write(self, folder: Path) -> None:
        """Write the notes; what is too long is cut."""
        tags = dict.fromkeys(" ".join(tag.split())[:LONGEST_TAG] for tag in self.tags)
        kept = [tag for tag in tags if tag][:MOST_TAGS]
        write_json(folder / NOTES, {"note": self.note[:LONGEST_NOTE], "tags": kept})


@dataclass(frozen=True)
class Summary:
    """One run of the list."""

    name: str
    task: str = ""
    model: str = ""
    method: str = ""
    decision: str = ""
    """The verdict; empty before there is one."""
    metric: str = ""
    score: Measure | None = None
    changed: float = 0.0
    """When its folder was changed last, in seconds since 1970."""
    size: int = 0
    """Bytes on the disk."""
    notes: Notes = field(default_factory=Notes)
    damage: Sequence[Wording] = ()
    """Why it cannot be read."""
    state: str = ""
    """What goes on with it, one of `STATES`; empty if that is not known."""


@dataclass
class Listing:
    """The runs of a workspace. A run is read again only when its manifest, its log or its notes have changed."""

    workspace: Workspace
    jobs: Jobs
    _known: dict[str, tuple[object, Summary]] = field(default_factory=dict)

    def signature(self) -> object:
        """Return what changes when a run, what goes on with it, or the list of them, changes."""
        states = self.jobs.states()
        return [(name, states.get(name), _stamps(self.workspace.runs / name)) for name in self.workspace.names()]

    def all(self) -> list[Summary]:
        """Return all runs, the last one that was changed first."""
        states = self.jobs.states()
        found = {name: replace(self._summary(name), state=states.get(name, "")) for name in self.workspace.names()}
        self._known = {name: one for name, one in self._known.items() if name in found}
        return sorted(found.values(), key=lambda one: -one.changed)

    def one(self, name: str) -> Summary:
        """Return one run.

        Raises:
            MissingError: there is none of this name.
        """
        self.workspace.place(name)
        return replace(self._summary(name), state=self.jobs.state(name))

    def _summary(self, name: str) -> Summary:
        folder = self.workspace.runs / name
        stamp = _stamps(folder)
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            known = self._known[name] = stamp, _read(folder)
        return known[1]


def _read(folder: Path) -> Summary:
    changed = max((when for when, _ in _stamps(folder)), default=0) / 1e9
    bare = Summary(folder.name, changed=changed, size=size_of(folder), notes=Notes.of(folder))
    try:
        run = Run(folder)
        if not run.finished:
            recipe = run.recipe
            task, model, method = recipe.data.task or "", recipe.model.name or "", recipe.method.name or ""
            return replace(bare, task=task, model=Path(model).name, method=method)
        outcome = read_outcome(run)
    except KamertonError as error:
        return replace(bare, damage=[fault.rule for fault in error.faults])
    except FileNotFoundError:  # it was moved away meanwhile
        return bare
    model = outcome.model.tuned or outcome.model.name
    return replace(
        bare,
        task=outcome.task,
        model=Path(model).name,
        method="" if outcome.model.tuned else outcome.method.name,
        decision=outcome.verdict.decision,
        metric=outcome.primary_metric,
        score=outcome.primary(outcome.tuned),
    )


def size_of(folder: Path) -> int:
    """Return how many bytes a folder holds; what is removed meanwhile does not count."""
    total, folders = 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
    return total


def _stamps(folder: Path) -> tuple[tuple[int, int], ...]:
    """Return times and sizes of the files that change with a run."""
    found = []
    for name in (MANIFEST, RECIPE, LOG, RESULT, NOTES):
        try:
            seen = (folder / name).stat()
        except FileNotFoundError:
            continue
        found.append((seen.st_mtime_ns, seen.st_size))
    return tuple(found)
