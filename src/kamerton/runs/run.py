"""The run folder: the interface between training and everything after it.

    MANIFEST.json  recipe.yaml  environment.json  data/  cache/  events.jsonl  checkpoints/  model/
    predictions.parquet  forgetting.json  remedies.json  result.json  report.html  seeds/

Files are changed in commits and read with their checksums checked (`runs/changes.py`), so the run is whole after any
stop. Logs only grow, and each of their lines has a checksum. Beside them are `.progress.json`, by which a run under way
says what it is at, and `.finish.json`, by which it is asked to end its training: neither is part of the record.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter

from kamerton.core.addresses import address_of
from kamerton.core.errors import Fault, RunError
from kamerton.core.files import json_text, mode_of, shell_word
from kamerton.core.message_json import message_from_json, message_to_json, numbers, to_json
from kamerton.core.messages import Joined, Message, Value, Wording, msg
from kamerton.core.outcomes import Answers, Attempt, Forgetting
from kamerton.core.readers import parse_json, parse_object
from kamerton.core.records import (
    Event,
    Example,
    Finding,
    LedgerEntry,
    Place,
    RowDynamics,
    Saved,
    Split,
    Started,
    Stopped,
)
from kamerton.runs.changes import LOCK, MANIFEST, RunChange, RunFiles, is_made_anew
from kamerton.runs.logs import append_line, read_lines, write_lines
from kamerton.runs.mirror import MARK, Mirror, local_folder
from kamerton.runs.recipe import Recipe, resolve, to_yaml
from kamerton.runs.servers import is_file
from kamerton.runs.settings import validated
from kamerton.runs.state import State, as_json
from kamerton.runs.tables import (
    ANSWERS,
    DYNAMICS,
    MEASURED,
    read_examples,
    read_prediction,
    read_table,
    write_examples,
    write_table,
)
from kamerton.runs.underway import UNDERWAY

Held = TypeVar("Held")
EVENTS: dict[object, TypeAdapter[Any]] = {cls.__name__.lower(): TypeAdapter(cls) for cls in get_args(Event)}
FINDINGS, ATTEMPTS, FORGETTING = TypeAdapter(list[Finding]), TypeAdapter(list[Attempt]), TypeAdapter(Forgetting)
PROGRESS, TEMPERATURE = TypeAdapter(State), TypeAdapter(dict[str, float])
PARTS = ("train", "validation", "test")
ALL_PARTS = (*PARTS, "added")
RECIPE, STATE, MODEL, RESULT = "recipe.yaml", "environment.json", "model", "result.json"
LOG, CALIBRATION = "events.jsonl", "calibration.json"
FORGOTTEN, REMEDIES = "forgetting.json", "remedies.json"
AUDIT, LEDGER, CARTOGRAPHY = "data/audit.json", "data/ledger.parquet", "data/cartography.parquet"
PREDICTIONS, VALIDATION = "predictions.parquet", "validation.parquet"
"""Files of answers to test rows, and of the tuned model's to validation rows."""
LEDGER_COLUMNS = ("id", "file", "line", "fate", "reason", "message")
"""Columns of the ledger; `message` is the reason as JSON with its template."""


class Run:
    """A run folder that exists, or the one here of a run at an address, which is written there with every commit.

    Raises:
        RunError: the folder is not a run, or there is none at the address.
    """

    def __init__(self, path: str | Path, files: RunFiles | None = None, device: str | None = None) -> None:
        address = address_of(path)
        self.path, self.device = local_folder(address) if address else Path(path), device
        self.files = files or RunFiles(self.path)
        self.mirror = Mirror.of(self.path)
        self.cache = self.path / "cache"
        """The folder of intermediate results; it is removed when the run has its result."""
        self.checkpoints = self.path / "checkpoints"
        if not self.files.exists(RECIPE):
            rule = msg("'{path}' is not a run: it has no recipe.yaml", path=str(path))
            raise RunError(Fault(rule, remedy=msg("name a folder that `kamerton tune` made")))

    @classmethod
    def create(cls, path: str | Path, recipe: Recipe) -> Run:
        """Make the folder and write the recipe.

        A run that failed before its data were split is replaced.

        Raises:
            RunError: there is a run already, or the folder cannot be made.
        """
        with cls.creating(path, recipe) as run:
            return run

    @classmethod
    @contextmanager
    def creating(cls, path: str | Path, recipe: Recipe) -> Iterator[Run]:
        """Make a run as `create` does; it appears with all that the block writes into it, or not at all."""
        address = address_of(path)
        folder = local_folder(address, new=True) if address else Path(path)
        try:
            if not (folder / LOCK).exists():
                require_free(folder)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files = RunFiles(folder, mode_of(recipe.data.path))
            with files.locked():
                require_free(folder)
                with files.changing() as change:
                    for name in REMAINS:
                        change.remove(name)
                    change.write(RECIPE, to_yaml(recipe).encode())
                    yield cls(folder, files)
        except OSError as error:
            rule = msg("the run's folder cannot be made: {reason}", reason=error.strerror or str(error))
            raise RunError(Fault(rule, str(folder), msg("choose another folder with --out"))) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, and end what a stop left half done, in the runs inside as well.

        The lock ends with the process.

        Raises:
            RunError: another process holds it.
        """
        with self.files.locked():
            for run in self.inner:
                with run.files.locked():
                    pass  # its last change is ended
            if self.mirror:
                self.mirror.push()  # what a stop kept from the address
            yield

    @contextmanager
    def changing(self) -> Iterator[RunChange]:
        """Commit all that the block writes at once; a stop before its end leaves the run as it was."""
        with self.files.changing() as change:
            yield change
        if self.mirror and not self.files.open:
            self.mirror.push()

    @property
    def model(self) -> Path:
        """The folder of the tuned model, in transformers' or PEFT's format."""
        return self.files.place(MODEL)

    def require_model(self) -> None:
        """Check that the tuned model is in the run.

        Raises:
            RunError: there is none yet, or it answers at an address; with what can be done.
        """
        if self.model.exists():
            return
        if not (server := self.recipe.model.tuned_at):
            rule = msg("'{run}' has no tuned model yet", run=str(self.path))
            raise RunError(Fault(rule, remedy=resume_remedy(self.path)))
        rule = msg("the tuned model of '{run}' is not here: it answers at an address", run=str(self.path))
        asked = msg("ask it there as '{name}'", name=self.recipe.model.tuned_name)
        if is_file(server):
            rule = msg("the tuned model of '{run}' is a GGUF file, and llama.cpp alone computes it", run=str(self.path))
            asked = msg("ask llama.cpp's server")
        folder = msg("where its weights can be had, prove these: `kamerton prove DATA --tuned FOLDER`")
        raise RunError(Fault(rule, server, Joined((asked, folder), "; ")))

    def checked_model(self) -> Path:
        """Return the folder of the tuned model after its files were checked.

        Raises:
            RunError: it is not here, or with every file that is damaged, missing or not the run's.
        """
        self.require_model()
        self.files.check(MODEL)
        return self.model

    def check_files(self) -> None:
        """Check all files, so that a resumed run does not build on damaged ones; those made anew may be deleted.

        The runs in this run's folder are checked, too; what was deleted there is made anew.

        Raises:
            RunError: with every file that is damaged or missing.
        """
        faults = list[Fault]()
        for files in (self.files, *(run.files for run in self.inner)):
            may_go = [name for name in files.checksums if files is not self.files or is_made_anew(name)]
            deleted = [name for name in may_go if not files.exists(name)]
            faults += files.damaged([name for name in files.checksums if name not in deleted])
            faults += files.damaged_logs()
        if faults:
            raise RunError(faults)

    def _json(self, name: str) -> Any:
        return parse_json(self.files.read(name), self.path / name)

    def _held(self, adapter: TypeAdapter[Held], name: str) -> Held:
        """Read a JSON file as values of a type."""
        return validated(adapter, self._json(name), self.path / name)

    def _write_json(self, name: str, value: object) -> None:
        with self.changing() as change:
            change.write(name, json_text(value).encode())

    def _rows(self, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Read a table that has these columns; no rows if the run lacks it."""
        return read_table(self.files.read(name), self.path / name, columns) if self.files.exists(name) else []

    # ── recipe and environment ────────────────────────────────────────────────────────────────

    @property
    def recipe(self) -> Recipe:
        """The recipe as it was last written, with the device that the run was opened for."""
        self.files.check(RECIPE)
        return resolve(self.files.place(RECIPE), {"model.device": self.device} if self.device else {})

    def write_recipe(self, recipe: Recipe) -> None:
        """Replace the recipe."""
        with self.changing() as change:
            change.write(RECIPE, to_yaml(recipe).encode())

    @property
    def state(self) -> State:
        """The progress of the run, with versions, hardware and fingerprints of the inputs."""
        return self._held(PROGRESS, STATE) if self.files.exists(STATE) else State()

    def write_state(self, state: State) -> None:
        """Replace the state; unknown values are left out."""
        self._write_json(STATE, as_json(state))

    # ── data ──────────────────────────────────────────────────────────────────────────────────

    @property
    def has_split(self) -> bool:
        """Whether the data were split."""
        return self.files.exists(LEDGER)

    def write_data(self, split: Split, findings: Sequence[Finding], ledger: Sequence[LedgerEntry]) -> None:
        """Write the split, the audit's findings, and the fate of every source row."""
        rows = [(e.id, e.place.file, e.place.line, e.fate, str(e.reason), _dumped(e.reason)) for e in ledger]
        with self.changing() as change:
            for part in ALL_PARTS:
                write_examples(change.path(f"data/{part}.parquet"), getattr(split, part))
            self._write_json(AUDIT, to_json(list(findings)))
            write_table(change.path(LEDGER), LEDGER_COLUMNS, rows)

    def read_split(self) -> Split:
        """Read the frozen split."""
        names = [f"data/{part}.parquet" for part in ALL_PARTS]
        return Split(*(read_examples(self.files.read(name), self.path / name) for name in names))

    def read_findings(self) -> list[Finding]:
        """Read the audit's findings."""
        return self._held(FINDINGS, AUDIT)

    def read_ledger(self) -> list[LedgerEntry]:
        """Read the fate of every source row."""
        return [
            LedgerEntry(row["id"], Place(row["file"], row["line"]), row["fate"], _loaded(row, "message", row["reason"]))
            for row in self._rows(LEDGER, LEDGER_COLUMNS[:-1])
        ]

    # ── training ──────────────────────────────────────────────────────────────────────────────

    def append(self, event: Event) -> None:
        """Append one event."""
        append_line(self.path / LOG, record_of(event), self.files.mode)

    def record(self, event: Event) -> None:
        """Append one event; a (re)start first removes the events that will be repeated.

        With each checkpoint the manifest takes the log's length: what came before is never written again.
        """
        if isinstance(event, Started):
            self.rewind(event.step)
        self.append(event)
        if isinstance(event, Saved):
            with self.changing():
                pass

    def events(self) -> list[Event]:
        """Read all events, without a last line that a kill cut short.

        Raises:
            RunError: with every line that is damaged, or holds no event.
        """
        place = self.files.log(LOG)
        return [_event(numbers(record), f"{place}:{n}") for n, record in enumerate(read_lines(place), 1)]

    def rewind(self, step: int) -> None:
        """Remove events after `step`, and an end of training, which the checkpoint of that step will repeat."""
        kept = [record_of(one) for one in self.events() if one.step <= step and not isinstance(one, Stopped)]
        with self.changing() as change:
            write_lines(change.path(LOG), kept, self.files.mode)

    def write_dynamics(self, rows: Sequence[RowDynamics]) -> None:
        """Write each row's training dynamics."""
        with self.changing() as change:
            write_table(change.path(CARTOGRAPHY), DYNAMICS, list(map(attrgetter(*DYNAMICS), rows)))

    def read_dynamics(self) -> list[RowDynamics]:
        """Read each row's training dynamics; empty before training has ended."""
        return [RowDynamics(*map(row.__getitem__, DYNAMICS)) for row in self._rows(CARTOGRAPHY, DYNAMICS)]

    @property
    def inner(self) -> list[Run]:
        """The runs in this run's folder: with other seeds, and with remedies."""
        folders = [folder for name in ("seeds", "remedies") for folder in sorted((self.path / name).glob("*"))]
        return [Run(folder) for folder in folders if RunFiles(folder).exists(RECIPE)]

    @property
    def repeats(self) -> list[Run]:
        """The runs in `seeds/` with the recipe's other seeds; missing ones are made."""
        recipe = self.recipe
        seeds = range(recipe.seed + 1, recipe.seed + recipe.seeds)
        return [self.variant(f"seeds/{i}", recipe.model_copy(update={"seed": i, "seeds": 1})) for i in seeds]

    def variant(self, name: str, recipe: Recipe) -> Run:
        """Open or make a run inside this one, with another recipe and the same split."""
        folder = self.path / name
        return Run(folder) if RunFiles(folder).exists(LEDGER) else self.with_same_split(folder, recipe)

    def with_same_split(self, folder: Path, recipe: Recipe) -> Run:
        """Make a run with another recipe and the same split.

        Raises:
            RunError: the folder holds a run already.
        """
        with self.copying_split(folder, recipe) as again:
            return again

    @contextmanager
    def copying_split(self, folder: Path, recipe: Recipe) -> Iterator[Run]:
        """Make a run as `with_same_split` does; it appears with all that the block writes into it, or not at all."""
        with Run.creating(folder, recipe) as again:
            again.write_state(dataclasses.replace(self.state, seed=recipe.seed, seconds={}))
            again.write_data(self.read_split(), self.read_findings(), self.read_ledger())
            yield again

    # ── outcome ───────────────────────────────────────────────────────────────────────────────

    def write_answers(self, examples: Sequence[Example], answers: Sequence[Answers], file: str = PREDICTIONS) -> None:
        """Write every contender's prediction for every row."""
        measured = attrgetter(*MEASURED)
        rows = [
            (p.id, one.name, one.kind, e.gold, p.text, *measured(p), one.seconds, p.wanted, _dumped(one.title))
            for one in answers
            for e, p in zip(examples, one.predictions, strict=True)
        ]
        with self.changing() as change:
            write_table(change.path(file), ANSWERS, rows)

    def read_answers(self, file: str = PREDICTIONS) -> list[Answers]:
        """Read every contender's predictions, in the order in which they were made; none if there is no such file."""
        grouped: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows(file, ANSWERS[:7]):
            grouped.setdefault(row["contender"], []).append(row)
        return [
            Answers(
                name, rows[0]["kind"], (*map(read_prediction, rows),), rows[0]["seconds"], _loaded(rows[0], "title")
            )
            for name, rows in grouped.items()
        ]

    def write_temperature(self, temperature: float) -> None:
        """Write the temperature, which divides the tuned model's logits in inference."""
        self._write_json(CALIBRATION, {"temperature": temperature})

    @property
    def temperature(self) -> float:
        """What divides the tuned model's logits in inference; 1 by default."""
        return self._held(TEMPERATURE, CALIBRATION)["temperature"] if self.files.exists(CALIBRATION) else 1.0

    def write_forgetting(self, forgetting: Forgetting) -> None:
        """Write what the tuned model forgot."""
        self._write_json(FORGOTTEN, to_json(forgetting))

    def read_forgetting(self) -> Forgetting | None:
        """Read what the tuned model forgot; None if it was not measured yet."""
        return self._held(FORGETTING, FORGOTTEN) if self.files.exists(FORGOTTEN) else None

    def write_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Write the remedies that were tried."""
        self._write_json(REMEDIES, to_json(list(attempts)))

    def read_attempts(self) -> list[Attempt]:
        """Read the remedies that were tried."""
        return self._held(ATTEMPTS, REMEDIES) if self.files.exists(REMEDIES) else []

    @property
    def finished(self) -> bool:
        """Whether the run has its result."""
        return self.files.exists(RESULT)

    @property
    def result(self) -> dict[str, Any]:
        """The outcome for programs.

        Raises:
            RunError: the run is not finished.
        """
        if not self.finished:
            raise RunError(Fault(msg("'{run}' is not finished", run=str(self.path)), remedy=resume_remedy(self.path)))
        return parse_object(self.files.read(RESULT), self.path / RESULT)

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the outcome for programs, the last file of a run; remove what only a resume needs."""
        self._write_json(RESULT, to_json(result))


REMAINS = ("recipe.yaml", "environment.json", "data", "cache", UNDERWAY)
"""Files of a run that failed before its data were split."""
FROZEN = {f"{part}.parquet" for part in (*ALL_PARTS, "ledger")} | {"audit.json"}
HARMLESS = {".DS_Store", ".gitignore", ".gitkeep", "Thumbs.db", "desktop.ini", "lost+found"}
"""Files of systems and version control in folders that look empty."""
SHOWN = 3


def resume_remedy(run: Path) -> Message:
    """Return the command that continues a run, as a remedy."""
    return msg("`kamerton resume {run}` continues it", run=shell_word(run))


def require_free(folder: Path) -> None:
    """Check that a run may use a folder: a new or empty one, or one with a run that failed before its data were split.

    Raises:
        RunError: it holds a run, or other files; nothing is changed.
    """
    if not folder.is_dir():
        return
    if RunFiles(folder).exists(LEDGER):
        remedy = Joined((resume_remedy(folder), msg("or choose another folder with --out")))
        raise RunError(Fault(msg("'{folder}' already holds a run", folder=str(folder)), remedy=remedy))
    begun = (folder / LOCK).exists()  # the first file of a run; a lone recipe may be the user's
    own = {*REMAINS, LOCK, MANIFEST, MARK} if begun else {LOCK, MARK}
    strange = [path for path in sorted(folder.iterdir()) if path.name not in own | HARMLESS and not _half(path)]
    if begun and (folder / "data").is_dir():
        strange += [path for path in sorted((folder / "data").iterdir()) if path.name not in FROZEN and not _half(path)]
    if strange:
        names: Value = ", ".join(str(path.relative_to(folder)) for path in strange[:SHOWN])
        if len(strange) > SHOWN:
            names = msg("{names} and {count} more", names=names, count=len(strange) - SHOWN)
        rule = msg("the run's folder must be new or empty; this one holds {names}", names=names)
        raise RunError(Fault(rule, str(folder), msg("choose another folder with --out; nothing was changed")))


def _half(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _dumped(message: Wording) -> str | None:
    """Return a message with its template as JSON; None for a string."""
    return None if isinstance(message, str) else json.dumps(message_to_json(message), ensure_ascii=False)


def _loaded(row: dict[str, Any], column: str, text: str = "") -> Wording:
    """Parse a message; the text where there is none, as in older runs."""
    dumped = row.get(column)
    return message_from_json(json.loads(dumped)) if dumped else text


def record_of(event: Event) -> dict[str, Any]:
    """Return the line of an event in the log."""
    return {"event": type(event).__name__.lower(), **to_json(event)}


def _event(record: dict[str, Any], place: str) -> Event:
    name = record.pop("event", None)
    if name not in EVENTS:
        rule = msg("this Kamerton knows no event {name}", name=repr(name))
        raise RunError(Fault(rule, place, msg("use the version of Kamerton that made the run")))
    return validated(EVENTS[name], record, place)
