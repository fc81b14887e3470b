"""The run folder: the interface between training and everything after it.

Each file is written whole or not at all, so all files are valid after any stop:

    recipe.yaml  environment.json  data/  cache/  events.jsonl  checkpoints/  model/
    predictions.parquet  forgetting.json  remedies.json  result.json  report.html  seeds/
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import read_json, replacing, shell_word, write_json, write_text
from kamerton.core.message_json import from_json, message_from_json, message_to_json, to_json
from kamerton.core.messages import Joined, Message, Value, Wording, msg
from kamerton.core.outcomes import Answers, Attempt, Forgetting
from kamerton.core.records import Event, Example, Finding, LedgerEntry, Place, Prediction, RowDynamics, Split, Started
from kamerton.runs.recipe import Recipe, resolve, to_yaml
from kamerton.runs.state import State, as_json, read_state

EVENT_CLASSES = {cls.__name__.lower(): cls for cls in get_args(Event)}
FINDINGS, ATTEMPTS, FORGETTING = TypeAdapter(list[Finding]), TypeAdapter(list[Attempt]), TypeAdapter(Forgetting)
PARTS = ("train", "validation", "test")
ALL_PARTS = (*PARTS, "added")
PREDICTIONS, VALIDATION = "predictions.parquet", "validation.parquet"
"""Files of answers to test rows, and of the tuned model's to validation rows."""
LEDGER = ("id", "file", "line", "fate", "reason", "message")
"""Columns of the ledger; `message` is the reason as JSON with its template."""
EXAMPLES = ("id", "file", "line", "text", "gold", "fields", "group")
DYNAMICS = ("id", "visits", "confidence", "variability", "correctness")
MEASURED = ("score", "loss", "tokens", "passed", "probabilities")
ANSWERS = ("id", "contender", "kind", "gold", "prediction", *MEASURED, "seconds", "wanted", "title")
TYPES = {
    **dict.fromkeys(("id", "line", "tokens", "visits"), pa.int64()),
    **dict.fromkeys(("score", "loss", "passed", "seconds", *DYNAMICS[2:]), pa.float64()),
    "wanted": pa.bool_(),
    "probabilities": pa.list_(pa.float64()),
}
"""Types of columns; all others are texts."""


class Run:
    """A run folder that exists.

    Raises:
        RunError: the folder is not a run.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.cache = self.path / "cache"
        """The folder of intermediate results; it is removed when the run has its result."""
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        """The folder of the tuned model, in transformers' or PEFT's format."""
        if not (self.path / "recipe.yaml").is_file():
            rule = msg("'{path}' is not a run: it has no recipe.yaml", path=str(path))
            raise RunError(Fault(rule, remedy=msg("name a folder that `kamerton tune` made")))

    @classmethod
    def create(cls, path: str | Path, recipe: Recipe) -> Run:
        """Make the folder and write the recipe.

        A run that failed before its data were split is replaced.

        Raises:
            RunError: there is a run already, or the folder cannot be made.
        """
        folder = Path(path)
        try:
            if not (folder / ".lock").exists():
                require_free(folder)
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder):
                require_free(folder)
                write_text(folder / "recipe.yaml", to_yaml(recipe))
        except OSError as error:
            rule = msg("the run's folder cannot be made: {reason}", reason=error.strerror or str(error))
            raise RunError(Fault(rule, str(folder), msg("choose another folder with --out"))) from None
        return cls(folder)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock of the folder; it ends with the process.

        Raises:
            RunError: another process holds it.
        """
        return _locked(self.path)

    # ── recipe and environment ────────────────────────────────────────────────────────────────

    @property
    def recipe(self) -> Recipe:
        """The recipe as it was last written."""
        return resolve(self.path / "recipe.yaml")

    def write_recipe(self, recipe: Recipe) -> None:
        """Replace the recipe."""
        write_text(self.path / "recipe.yaml", to_yaml(recipe))

    @property
    def state(self) -> State:
        """The progress of the run, with versions, hardware and fingerprints of the inputs."""
        return read_state(self.path / "environment.json")

    def write_state(self, state: State) -> None:
        """Replace the state; unknown values are left out."""
        write_json(self.path / "environment.json", as_json(state))

    # ── data ──────────────────────────────────────────────────────────────────────────────────

    @property
    def has_split(self) -> bool:
        """Whether the frozen split is complete (its ledger is written last)."""
        return (self.path / "data" / "ledger.parquet").exists()

    def write_data(self, split: Split, findings: Sequence[Finding], ledger: Sequence[LedgerEntry]) -> None:
        """Write the split, the audit's findings, and the fate of every source row."""
        for part in ALL_PARTS:
            write_examples(self.path / "data" / f"{part}.parquet", getattr(split, part))
        write_json(self.path / "data" / "audit.json", to_json(list(findings)))
        rows = [(e.id, e.place.file, e.place.line, e.fate, str(e.reason), _dumped(e.reason)) for e in ledger]
        _write_table(self.path / "data" / "ledger.parquet", LEDGER, rows)

    def read_split(self) -> Split:
        """Read the frozen split."""
        return Split(*(read_examples(self.path / "data" / f"{part}.parquet") for part in ALL_PARTS))

    def read_findings(self) -> list[Finding]:
        """Read the audit's findings."""
        return FINDINGS.validate_python(from_json(read_json(self.path / "data" / "audit.json")))

    def read_ledger(self) -> list[LedgerEntry]:
        """Read the fate of every source row."""
        return [
            LedgerEntry(row["id"], Place(row["file"], row["line"]), row["fate"], _loaded(row, "message", row["reason"]))
            for row in _read_rows(self.path / "data" / "ledger.parquet")
        ]

    # ── training ──────────────────────────────────────────────────────────────────────────────

    def append(self, event: Event) -> None:
        """Append one event."""
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(_line(event))

    def record(self, event: Event) -> None:
        """Append one event; a (re)start first removes the events that will be repeated."""
        if isinstance(event, Started):
            self.rewind(event.step)
        self.append(event)

    def events(self) -> list[Event]:
        """Read all events, without a last line that a kill cut short."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")[:-1]  # bytes: a kill may cut a letter in two
        records = [from_json(json.loads(line)) for line in lines]
        return [EVENT_CLASSES[record.pop("event")](**record) for record in records]

    def rewind(self, step: int) -> None:
        """Remove events after `step`, which the checkpoint of that step will repeat."""
        kept = [_line(event) for event in self.events() if event.step <= step]
        write_text(self.path / "events.jsonl", "".join(kept))

    def write_dynamics(self, rows: Sequence[RowDynamics]) -> None:
        """Write each row's training dynamics."""
        path = self.path / "data" / "cartography.parquet"
        _write_table(path, DYNAMICS, list(map(attrgetter(*DYNAMICS), rows)))

    def read_dynamics(self) -> list[RowDynamics]:
        """Read each row's training dynamics; empty before training has ended."""
        path = self.path / "data" / "cartography.parquet"
        return [RowDynamics(**row) for row in _read_rows(path)] if path.exists() else []

    @property
    def repeats(self) -> list[Run]:
        """The runs in `seeds/` with the recipe's other seeds; missing ones are made."""
        recipe = self.recipe
        seeds = range(recipe.seed + 1, recipe.seed + recipe.seeds)
        return [self.variant(f"seeds/{i}", recipe.model_copy(update={"seed": i, "seeds": 1})) for i in seeds]

    def variant(self, name: str, recipe: Recipe) -> Run:
        """Open or make a run inside this one, with another recipe and the same split."""
        folder = self.path / name
        if (folder / "recipe.yaml").exists() and Run(folder).has_split:
            return Run(folder)
        return self.with_same_split(folder, recipe)

    def with_same_split(self, folder: Path, recipe: Recipe) -> Run:
        """Make a run with another recipe and the same split.

        Raises:
            RunError: the folder holds a run already.
        """
        again = Run.create(folder, recipe)
        again.write_state(dataclasses.replace(self.state, seed=recipe.seed, seconds={}))
        again.write_data(self.read_split(), self.read_findings(), self.read_ledger())
        return again

    # ── outcome ───────────────────────────────────────────────────────────────────────────────

    def write_answers(self, examples: Sequence[Example], answers: Sequence[Answers], file: str = PREDICTIONS) -> None:
        """Write every contender's prediction for every row."""
        measured = attrgetter(*MEASURED)
        rows = [
            (p.id, one.name, one.kind, e.gold, p.text, *measured(p), one.seconds, p.wanted, _dumped(one.title))
            for one in answers
            for e, p in zip(examples, one.predictions, strict=True)
        ]
        _write_table(self.path / file, ANSWERS, rows)

    def read_answers(self, file: str = PREDICTIONS) -> list[Answers]:
        """Read every contender's predictions, in the order in which they were made; none if there is no such file."""
        path = self.path / file
        grouped: dict[str, list[dict[str, Any]]] = {}
        for row in _read_rows(path) if path.exists() else ():
            grouped.setdefault(row["contender"], []).append(row)
        return [
            Answers(name, rows[0]["kind"], (*map(_prediction, rows),), rows[0]["seconds"], _loaded(rows[0], "title"))
            for name, rows in grouped.items()
        ]

    def write_temperature(self, temperature: float) -> None:
        """Write the temperature, which divides the tuned model's logits in inference."""
        write_json(self.path / "calibration.json", {"temperature": temperature})

    @property
    def temperature(self) -> float:
        """What divides the tuned model's logits in inference; 1 by default."""
        path = self.path / "calibration.json"
        return float(read_json(path)["temperature"]) if path.exists() else 1.0

    def write_forgetting(self, forgetting: Forgetting) -> None:
        """Write what the tuned model forgot."""
        write_json(self.path / "forgetting.json", to_json(forgetting))

    def read_forgetting(self) -> Forgetting | None:
        """Read what the tuned model forgot; None if it was not measured yet."""
        path = self.path / "forgetting.json"
        return FORGETTING.validate_python(from_json(read_json(path))) if path.exists() else None

    def write_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Write the remedies that were tried."""
        write_json(self.path / "remedies.json", to_json(list(attempts)))

    def read_attempts(self) -> list[Attempt]:
        """Read the remedies that were tried."""
        path = self.path / "remedies.json"
        return ATTEMPTS.validate_python(from_json(read_json(path))) if path.exists() else []

    @property
    def finished(self) -> bool:
        """Whether the run has its result."""
        return (self.path / "result.json").exists()

    @property
    def result(self) -> dict[str, Any]:
        """The outcome for programs.

        Raises:
            RunError: the run is not finished.
        """
        if not self.finished:
            raise RunError(Fault(msg("'{run}' is not finished", run=str(self.path)), remedy=resume_remedy(self.path)))
        return dict(read_json(self.path / "result.json"))

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the outcome for programs, the last file of a run; remove what only a resume needs."""
        write_json(self.path / "result.json", to_json(result))
        shutil.rmtree(self.cache, ignore_errors=True)


REMAINS = {".lock", "recipe.yaml", "environment.json", "data", "cache"}
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
    if (folder / "recipe.yaml").exists() and Run(folder).has_split:
        remedy = Joined((resume_remedy(folder), msg("or choose another folder with --out")))
        raise RunError(Fault(msg("'{folder}' already holds a run", folder=str(folder)), remedy=remedy))
    begun = (folder / ".lock").exists()  # the first file of a run; a lone recipe may be the user's
    own = REMAINS if begun else {".lock"}
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


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            rule = msg("another process is at work on '{folder}'", folder=str(folder))
            raise RunError(Fault(rule, remedy=msg("wait for it, or stop it"))) from None
        yield


def _dumped(message: Wording) -> str | None:
    """Return a message with its template as JSON; None for a string."""
    return None if isinstance(message, str) else json.dumps(message_to_json(message), ensure_ascii=False)


def _loaded(row: dict[str, Any], column: str, text: str = "") -> Wording:
    """Parse a message; the text where there is none, as in older runs."""
    dumped = row.get(column)
    return message_from_json(json.loads(dumped)) if dumped else text


def _line(event: Event) -> str:
    record = {"event": type(event).__name__.lower(), **to_json(event)}
    return json.dumps(record, ensure_ascii=False) + "\n"


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as Parquet, their roles as JSON."""
    rows = [
        (e.id, e.place.file, e.place.line, e.text, e.gold, json.dumps(dict(e.fields), ensure_ascii=False), e.group)
        for e in examples
    ]
    _write_table(path, EXAMPLES, rows)


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read examples that `write_examples` wrote; older runs have no groups."""
    return tuple(
        Example(e["id"], Place(e["file"], e["line"]), e["text"], e["gold"], json.loads(e["fields"]), e.get("group", ""))
        for e in _read_rows(path)
    )


def _prediction(row: dict[str, Any]) -> Prediction:
    """Build a prediction from a row; older runs lack the last columns."""
    known: dict[str, Any] = {name: row.get(name) for name in (*MEASURED, "wanted")}
    chances = known.pop("probabilities")
    return Prediction(row["id"], row["prediction"], **known, probabilities=None if chances is None else tuple(chances))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    with pq.ParquetFile(path) as file:  # reading a whole table imports pandas: a third of a second
        return file.read().to_pylist()


def _write_table(path: Path, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    schema = pa.schema([(name, TYPES.get(name, pa.string())) for name in names])
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pydict(dict(zip(names, columns, strict=True)), schema), temporary)
