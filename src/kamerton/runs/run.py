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
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import read_json, replacing, shell_word, write_json, write_text
from kamerton.core.message_json import from_json, said_from, said_json, to_json
from kamerton.core.messages import Joined, Message, Value, Wording, msg
from kamerton.core.outcomes import Answers, Attempt, Forgetting, Forgotten
from kamerton.core.records import Event, Example, Finding, LedgerEntry, Place, Prediction, RowDynamics, Split, Started
from kamerton.runs.recipe import Recipe, resolve, to_yaml
from kamerton.runs.state import State, read_state, write_state

EVENT_CLASSES = {cls.__name__.lower(): cls for cls in get_args(Event)}
PARTS = ("train", "validation", "test")
LEDGER = ("id", "file", "line", "fate", "reason", "message")
"""Columns of the ledger; `message` is the reason as JSON with its template."""
FINDING = tuple(field.name for field in dataclasses.fields(Finding))
DYNAMICS = tuple(field.name for field in dataclasses.fields(RowDynamics))


class Run:
    """A run folder that exists.

    Raises:
        RunError: the folder is not a run.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder; it ends with the process.

        Raises:
            RunError: another process holds it.
        """
        with _locked(self.path):
            yield

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
        """Replace the state."""
        write_state(self.path / "environment.json", state)

    # ── data ──────────────────────────────────────────────────────────────────────────────────

    @property
    def has_split(self) -> bool:
        """Whether the frozen split is complete (its ledger is written last)."""
        return (self.path / "data" / "ledger.parquet").exists()

    def write_data(self, split: Split, findings: Sequence[Finding], ledger: Sequence[LedgerEntry]) -> None:
        """Write the split, the audit's findings, and the fate of every source row."""
        for part in (*PARTS, "added"):
            write_examples(self.path / "data" / f"{part}.parquet", getattr(split, part))
        write_json(self.path / "data" / "audit.json", to_json(list(findings)))
        rows = [(e.id, e.place.file, e.place.line, e.fate, str(e.reason), _whole(e.reason)) for e in ledger]
        _write_table(self.path / "data" / "ledger.parquet", LEDGER, rows)

    def read_split(self) -> Split:
        """Read the frozen split."""
        return Split(*(read_examples(self.path / "data" / f"{part}.parquet") for part in (*PARTS, "added")))

    def read_findings(self) -> list[Finding]:
        """Read the audit's findings."""
        items = from_json(read_json(self.path / "data" / "audit.json"))
        lists = ("rows", "drop", "samples")
        values: list[dict[str, Any]] = [
            {name: tuple(item[name]) if name in lists else item[name] for name in FINDING} for item in items
        ]
        return [Finding(**one) for one in values]

    def read_ledger(self) -> list[LedgerEntry]:
        """Read the fate of every source row."""
        return [
            LedgerEntry(row["id"], Place(row["file"], row["line"]), row["fate"], _reason(row))
            for row in _read_rows(self.path / "data" / "ledger.parquet")
        ]

    # ── training ──────────────────────────────────────────────────────────────────────────────

    @property
    def cache(self) -> Path:
        """The folder of intermediate results; it is removed when the run has its result."""
        return self.path / "cache"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

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
        values = [(row.id, row.visits, row.confidence, row.variability, row.correctness) for row in rows]
        _write_table(self.path / "data" / "cartography.parquet", DYNAMICS, values)

    def read_dynamics(self) -> list[RowDynamics]:
        """Read each row's training dynamics; empty before training has ended."""
        path = self.path / "data" / "cartography.parquet"
        return [RowDynamics(**row) for row in _read_rows(path)] if path.exists() else []

    @property
    def model(self) -> Path:
        """The folder of the tuned model, in transformers' or PEFT's format."""
        return self.path / "model"

    # ── seeds ─────────────────────────────────────────────────────────────────────────────────

    @property
    def repeats(self) -> list[Run]:
        """The runs in `seeds/` with the recipe's other seeds; missing ones are made."""
        recipe = self.recipe
        return [self._repeat(recipe, recipe.seed + i) for i in range(1, recipe.seeds)]

    def _repeat(self, recipe: Recipe, seed: int) -> Run:
        return self.variant(f"seeds/{seed}", recipe.model_copy(update={"seed": seed, "seeds": 1}))

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

    def write_answers(self, examples: Sequence[Example], answers: Sequence[Answers]) -> None:
        """Write every contender's prediction for every test row."""
        _write_answers(self.path / "predictions.parquet", examples, answers)

    def read_answers(self) -> list[Answers]:
        """Read every contender's predictions, in the order in which they were made."""
        return _read_answers(self.path / "predictions.parquet")

    def write_validation_answers(self, examples: Sequence[Example], answers: Sequence[Answers]) -> None:
        """Write the tuned model's predictions for validation rows."""
        _write_answers(self.path / "validation.parquet", examples, answers)

    def read_validation_answers(self) -> list[Answers]:
        """Read the tuned model's predictions for validation rows, if there are some."""
        return _read_answers(self.path / "validation.parquet")

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
        if not path.exists():
            return None
        values = from_json(read_json(path))
        measured = tuple(Forgotten(**item) for item in values["measured"])
        return Forgetting(values["decision"], values["reason"], measured)

    def write_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Write the remedies that were tried."""
        write_json(self.path / "remedies.json", to_json(list(attempts)))

    def read_attempts(self) -> list[Attempt]:
        """Read the remedies that were tried."""
        path = self.path / "remedies.json"
        values = from_json(read_json(path)) if path.exists() else []
        return [
            Attempt(**{**item, "forgotten": item["forgotten"] and Forgotten(**item["forgotten"])}) for item in values
        ]

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
FROZEN = {f"{part}.parquet" for part in (*PARTS, "added", "ledger")} | {"audit.json"}
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


def _whole(reason: Wording) -> str | None:
    """Return a reason with its template as JSON; None for a string."""
    return None if isinstance(reason, str) else json.dumps(said_json(reason), ensure_ascii=False)


def _reason(row: dict[str, Any]) -> Wording:
    """Parse a reason; older runs have only its English text."""
    whole = row.get("message")
    return said_from(json.loads(whole)) if whole else row["reason"]


def _title(row: dict[str, Any]) -> Wording:
    """Read a contender's title; older runs have none."""
    whole = row.get("title")
    return said_from(json.loads(whole)) if whole else ""


def _line(event: Event) -> str:
    record = {"event": type(event).__name__.lower(), **to_json(event)}
    return json.dumps(record, ensure_ascii=False) + "\n"


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as Parquet, their roles as JSON."""
    rows = [
        (e.id, e.place.file, e.place.line, e.text, e.gold, json.dumps(dict(e.fields), ensure_ascii=False), e.group)
        for e in examples
    ]
    _write_table(path, ("id", "file", "line", "text", "gold", "fields", "group"), rows)


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read examples that `write_examples` wrote."""
    return tuple(_example(row) for row in _read_rows(path))


def _example(row: dict[str, Any]) -> Example:
    place, fields = Place(row["file"], row["line"]), json.loads(row["fields"])
    return Example(row["id"], place, row["text"], row["gold"], fields, row.get("group", ""))  # older runs have none


ANSWERS = (
    "id", "contender", "kind", "gold", "prediction", "score", "loss", "tokens", "passed", "probabilities", "seconds",
    "wanted", "title",
)  # fmt: skip
"""Columns of a file of answers."""


def _write_answers(path: Path, examples: Sequence[Example], answers: Sequence[Answers]) -> None:
    rows = [
        (
            p.id,
            contender.name,
            contender.kind,
            example.gold,
            p.text,
            p.score,
            p.loss,
            p.tokens,
            p.passed,
            p.probabilities,
            contender.seconds,
            p.wanted,
            _whole(contender.title),
        )
        for contender in answers
        for example, p in zip(examples, contender.predictions, strict=True)
    ]
    _write_table(path, ANSWERS, rows)


def _read_answers(path: Path) -> list[Answers]:
    if not path.exists():
        return []
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in _read_rows(path):
        grouped.setdefault(row["contender"], []).append(row)
    return [
        Answers(name, rows[0]["kind"], tuple(map(_prediction, rows)), rows[0]["seconds"], _title(rows[0]))
        for name, rows in grouped.items()
    ]


def _prediction(row: dict[str, Any]) -> Prediction:
    """Build a prediction from a row; the last columns are missing in older runs."""
    known = row.get("probabilities")
    probabilities = None if known is None else tuple(known)
    measured = row["score"], row["loss"], row["tokens"], row.get("passed"), probabilities
    return Prediction(row["id"], row["prediction"], *measured, wanted=row.get("wanted"))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    with pq.ParquetFile(path) as file:  # reading a whole table imports pandas: a third of a second
        rows: list[dict[str, Any]] = file.read().to_pylist()
        return rows


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    values = zip(*rows, strict=True) if rows else [[] for _ in columns]
    types = {
        **dict.fromkeys(("id", "line", "tokens", "visits"), pa.int64()),
        **dict.fromkeys(("score", "loss", "passed", "seconds", *DYNAMICS[2:]), pa.float64()),
        "wanted": pa.bool_(),
        "probabilities": pa.list_(pa.float64()),
    }
    named = zip(columns, values, strict=True)
    arrays = [pa.array(list(column), types.get(name, pa.string())) for name, column in named]
    with replacing(path) as temporary:
        pq.write_table(pa.table(dict(zip(columns, arrays, strict=True))), temporary)
