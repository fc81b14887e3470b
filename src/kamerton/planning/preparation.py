"""Prepare a run in parts that are shown one after another: recognize the data, show rows, audit, plan.

The file is read once and the model loaded once. A process of its own does it, since it takes the model's libraries:

python -P -m kamerton.planning.preparation FOLDER    reads FOLDER/request.json and adds lines to FOLDER/parts.jsonl
"""

import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from pydantic import PydanticInvalidForJsonSchema, TypeAdapter

from kamerton.core import registry
from kamerton.core.errors import KamertonError
from kamerton.core.files import appearing, scratch_folder
from kamerton.core.locks import holding
from kamerton.core.message_json import to_json
from kamerton.core.messages import Wording
from kamerton.core.outcomes import Fixed, Resources
from kamerton.core.preparation import (
    LOCK,
    PARTS,
    REQUEST,
    Audited,
    Begun,
    Cleaned,
    Concern,
    CountedRows,
    LookedAt,
    Part,
    PreparationRequest,
    Reasoned,
    Recognized,
    Refused,
    RunChoice,
    RunChoices,
    ShownRows,
)
from kamerton.core.records import Finding, LedgerEntry, Place
from kamerton.data.fates import lost_classes, used_line
from kamerton.data.fix import can_fix, fix_data
from kamerton.data.gate import look
from kamerton.models.locate import to_fetch
from kamerton.models.published import KINDS
from kamerton.pipeline.cost import estimate_cost
from kamerton.pipeline.freeze import freeze_audited
from kamerton.pipeline.prepare import (
    AuditedData,
    BoundData,
    ParsedData,
    audit_bound,
    bind,
    choose_base,
    parse_data,
    predicted_fates,
    require_fit,
)
from kamerton.runs.recipe import AUTO, Recipe, resolve
from kamerton.session.engines import load_base
from kamerton.session.machine import planned_machine
from kamerton.session.memory import ROOM
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, make_method, open_setup
from kamerton.session.trainable import attach
from kamerton.text.cells import plain

HEAD, VIEWS, PLACES, LOOKED_AT = 5, 3, 5, 20
"""First rows of the file; those as the model gets them; places of a reason; rows of a finding."""
MOST_CHARACTERS = 400
"""Of a cell or a text that is shown."""
QUICK_ROWS = 400
QUICK: Mapping[str, object] = {"train.epochs": 1, "evaluate.forgetting": "off", "prompt.search": False}
"""A quick look: whether everything works, and whether the task can be learned at all."""
SEEDS = 3
BEST: Mapping[str, object] = {"seeds": SEEDS, "train.learning_rate": AUTO, "remedy.names": [AUTO]}
"""The best run: a rate that is tried out, remedies against what training shows, and seeds that show the spread."""
RATES, TRIED_UPDATES = 5, 24
"""Most rates that the range test tries, and updates at each: `kamerton.pipeline.rate`."""
DECIDED = ("model.name", "method.name", "train.epochs", "train.batch_size", "train.learning_rate", "train.optimizer")
"""Settings whose reasons are told."""


def prepare(request: PreparationRequest) -> Iterator[Part]:
    """Yield the parts of a preparation; a cleaned copy is written first if the request names a source.

    Raises:
        KamertonError: the data cannot be used.
    """
    folder = Path(request.folder)
    if request.source:
        yield Begun("clean")
        yield _clean(Path(request.source), folder, request)
    yield Begun("read")
    os.chdir(folder)  # places of rows are told relative to it
    path = next(folder.iterdir())
    parsed = choose_base(parse_data(resolve(None, {"data.path": str(path), **request.settings})))
    yield _recognized(parsed)
    yield Begun("model", to_fetch(parsed.recipe.model.name or ""))
    bound = bind(parsed)
    yield _shown(parsed, bound)
    yield Begun("audit")
    machine = planned_machine(None, bound.recipe.model)  # before the model is loaded, as when `tune` decides
    audited = audit_bound(parsed, bound, machine, require_fit(parsed, bound, machine))
    yield _audited(audited)
    yield Begun("plan")
    yield _choices(path, request.settings, audited)


def _clean(source: Path, folder: Path, request: PreparationRequest) -> Cleaned:
    """Write a cleaned copy of a file into a new folder."""
    parsed = parse_data(resolve(None, {"data.path": str(source), **request.settings}))
    columns = parsed.recipe.data.columns or {}
    fixed = fix_data(source, parsed.table, parsed.task, columns, frozenset(request.without))
    fixed.ledger.unlink()
    whole = source.parent / fixed.copies[0].relative_to(source.parent).parts[0]  # of an archive, a folder
    with appearing(folder) as made:
        made.mkdir(mode=0o700)
        whole.rename(made / whole.name)
    return _cleaned(fixed)


def _cleaned(fixed: Fixed) -> Cleaned:
    repairs, reasons = (
        tuple(CountedRows(reason, rows, ()) for reason, rows in counted.items())
        for counted in (fixed.repairs, fixed.reasons)
    )
    return Cleaned(fixed.used, fixed.repaired, fixed.dropped, repairs, reasons)


def _recognized(parsed: ParsedData) -> Recognized:
    table, columns = parsed.table, parsed.recipe.data.columns or {}
    return Recognized(
        parsed.recipe.data.task or "",
        parsed.reason,
        {role.name: columns.get(role.name, "") for role in parsed.task.roles},
        table.columns,
        table.format,
        table.rows_read,
        len(parsed.examples),
        table.notes,
        _counted((*table.rejected, *parsed.left_out)),
        tuple(tuple(_short(plain(row.values.get(name))) for name in table.columns) for row in table.rows[:HEAD]),
    )


def _counted(entries: Iterable[LedgerEntry]) -> tuple[CountedRows, ...]:
    """Group rows by their reasons, the most frequent first."""
    groups = defaultdict[str, list[LedgerEntry]](list)
    for entry in entries:
        groups[str(entry.reason)].append(entry)
    largest = sorted(groups.values(), key=len, reverse=True)
    return tuple(CountedRows(one[0].reason, len(one), tuple(_line(e.place) for e in one[:PLACES])) for one in largest)


def _line(place: Place) -> str:
    """Return where a row is in the only file."""
    return str(abs(place.line))


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"


def _shown(parsed: ParsedData, bound: BoundData) -> ShownRows:
    some, recipe = parsed.examples[:VIEWS], bound.recipe
    encoded = list(bound.encode(some))
    views = look(some, encoded, bound.form, bound.tokenizer, bound.max_tokens, recipe.data.too_long or "cut")
    views = [replace(view, tokens=view.tokens[:MOST_CHARACTERS]) for view in views]
    chosen = recipe.reasons.get("model.name")
    why: Wording = chosen.reason if chosen else ""
    return ShownRows(bound.facts.name, why, KINDS[bound.facts.kind], bound.max_tokens, tuple(views))


def _audited(audited: AuditedData) -> Audited:
    parsed, findings = audited.parsed, list(audited.findings)
    after, cut = predicted_fates(parsed, findings, audited.bound)
    if lost := lost_classes(parsed.examples, after, parsed.task.answers):
        findings.insert(0, lost)
    gone = (*parsed.table.rejected, *parsed.left_out, *after)
    dropped = {entry.id for entry in after}
    concerns = tuple(_concerns(parsed, findings, dropped))
    return Audited(concerns, used_line(parsed.table.rows_read, gone, cut), can_fix(findings, gone))


def _concerns(parsed: ParsedData, findings: Sequence[Finding], dropped: Container[int]) -> Iterator[Concern]:
    """Yield findings with the rows that they name first."""
    wanted = {id for finding in findings for id in finding.rows[:LOOKED_AT]}
    found = {example.id: example for example in parsed.examples if example.id in wanted}
    for one in findings:
        rows = tuple(
            LookedAt(e.id, _line(e.place), _short(e.text), _short(e.gold), e.id in dropped)
            for e in (found[id] for id in one.rows[:LOOKED_AT])
        )
        yield Concern(one.check, one.severity, one.title, one.remedy, len(one.rows), rows, one.samples[:PLACES])


def _choices(path: Path, settings: Mapping[str, object], audited: AuditedData) -> RunChoices:
    """Decide what is left open as `tune` does, load the model, and predict what the training of three runs takes."""
    with scratch_folder() as folder:
        run = new_run(path, folder / "plan", settings)
        for _ in freeze_audited(run, Clock(run), audited):
            pass  # what it says is in the parts
        setup = open_setup(run)
        method = make_method(setup.recipe)
        trainable = attach(setup, load_base(setup, method))
        estimate = estimate_cost(setup, trainable)
        recipe, rows = run.recipe, len(setup.split.train)
    free = audited.machine.free_bytes
    reasons = tuple(_reasons(recipe))
    every = (
        _quick(recipe, rows, estimate),
        RunChoice("balanced", {}, rows, estimate.updates, estimate.seconds, False, estimate.peak_bytes),
        _best(recipe, rows, estimate),
    )
    fits, chosen = estimate.peak_bytes <= ROOM * free, recipe.method.name or ""
    methods = {name: registry.choose("methods", name) for name in registry.names("methods")} | {chosen: type(method)}
    of_methods = {name: settings_of("method", kind) for name, kind in methods.items()}
    return RunChoices(every, free, fits, reasons, chosen, settings_of("task", type(setup.task)), of_methods)


def settings_of(group: str, plugin: type) -> dict[str, Mapping[str, Any]]:
    """Return the JSON schemas of a plug-in's own settings, by dotted path."""
    try:
        schema = TypeAdapter(plugin).json_schema()
    except PydanticInvalidForJsonSchema:  # of a plug-in of the user's own: forms leave such settings out
        return {}
    return {f"{group}.{name}": about for name, about in schema.get("properties", {}).items()}


def _quick(recipe: Recipe, rows: int, whole: Resources) -> RunChoice:
    """Predict a quick look from the balanced run: its updates take as long as those."""
    most = {"data.max_rows": QUICK_ROWS} if rows > QUICK_ROWS else {}
    some = min(rows, round(QUICK_ROWS * (1 - recipe.split.tested - recipe.split.validation)) if most else rows)
    updates = max(1, math.ceil(some / (recipe.train.batch_size or 1)))
    due = whole.until(updates)
    return RunChoice("quick", {**QUICK, **most}, some, updates, due.seconds, False, due.peak_bytes)


def _best(recipe: Recipe, rows: int, whole: Resources) -> RunChoice:
    """Predict the most that the best run takes: every seed, every rate, and all the time that remedies may take."""
    tried = whole.until(RATES * TRIED_UPDATES).seconds
    seconds = whole.seconds * (SEEDS + recipe.remedy.trainings) + tried
    return RunChoice("best", BEST, rows, whole.updates * SEEDS, seconds, True, whole.peak_bytes)


def _reasons(recipe: Recipe) -> Iterator[Reasoned]:
    for setting in recipe.settings():
        if setting.path in DECIDED:
            yield Reasoned(setting.path, plain(setting.value), setting.reason.reason)


def main() -> None:
    """Prepare what a folder's request asks for, while its lock is held; its parts are in the folder then."""
    folder = Path(sys.argv[1])
    request = TypeAdapter(PreparationRequest).validate_json((folder / REQUEST).read_bytes())
    with holding(folder / LOCK) as held, (folder / PARTS).open("a", encoding="utf-8") as parts:
        if not held:
            return
        try:
            for part in prepare(request):
                _write(parts, part)
        except KamertonError as error:
            _write(parts, Refused(error.faults))


def _write(parts: TextIO, part: Part) -> None:
    parts.write(json.dumps({"part": type(part).__name__, **to_json(part)}, ensure_ascii=False, default=str) + "\n")
    parts.flush()


if __name__ == "__main__":
    main()
