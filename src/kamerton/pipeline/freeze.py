"""From audited data to a frozen split and a resolved recipe."""

import hashlib
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import requires, version
from pathlib import Path

import torch
from transformers import PreTrainedModel

from kamerton.core import registry
from kamerton.core.contracts import Method
from kamerton.core.errors import DataError, Fault
from kamerton.core.figures import Figure
from kamerton.core.files import sha256_of
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.core.records import Finding, Split, Stage
from kamerton.data.augment import Augmentation, add_rows
from kamerton.data.fates import (
    check_complete,
    left_out_line,
    lost_classes,
    make_ledger,
    require_classes,
    untested_classes,
    used_line,
)
from kamerton.data.fetched import forget_fetched
from kamerton.data.find import data_files
from kamerton.data.gate import Passed, pass_gate
from kamerton.evaluate.score import undefined
from kamerton.forms.continuation import trial_of
from kamerton.forms.sandbox import isolation
from kamerton.kernels.device import choose_device
from kamerton.models.elsewhere import TunedModel
from kamerton.models.heads import new_head
from kamerton.models.locate import to_fetch
from kamerton.models.naming import origin
from kamerton.models.published import KINDS
from kamerton.models.served import served_facts
from kamerton.pipeline.prepare import (
    AuditedData,
    BoundData,
    ParsedData,
    audit_bound,
    bind,
    choose_base,
    parse_data,
    parted,
    require_fit,
)
from kamerton.runs.recipe import Recipe
from kamerton.runs.run import Run
from kamerton.runs.servers import title_of
from kamerton.runs.state import BaseModel, DataSource, State
from kamerton.session.machine import Machine, planned_machine
from kamerton.session.memory import EITHER
from kamerton.session.planner import choose_method, choose_pass, settings
from kamerton.session.setup import (
    Clock,
    make_form,
    make_method,
    parts_of,
)

SPLITS = {"random": msg("random"), "given": msg("given"), "test": msg("every row is tested on")}
SHOWN_LABELS = 12


def freeze(run: Run, clock: Clock, machine: Machine | None = None) -> Iterator[Stage]:
    """Freeze split and recipe: read, audit, gate, split, augment, resolve. Written last, the ledger marks it done.

    What is open is decided for the machine that is here, unless another one is given.
    """
    parsed = choose_base(parse_data(run.recipe), machine)
    yield clock.stage("read", _read_message(parsed))
    if notice := to_fetch(parsed.recipe.model.name or ""):
        yield clock.stage("fetch", notice)
    bound = bind(parsed)
    place = planned_machine(machine, bound.recipe.model)
    empty = require_fit(parsed, bound, place)
    yield clock.stage("model", _model_message(bound))
    audited = audit_bound(parsed, bound, place, empty)
    found = audited.findings
    yield clock.stage("audit", _lines(*_found(found)) if found else msg("nothing found"))
    yield from freeze_audited(run, clock, audited)


def freeze_audited(run: Run, clock: Clock, audited: AuditedData) -> Iterator[Stage]:
    """Freeze split and recipe of data that were audited: gate, split, augment, resolve."""
    parsed, bound, findings = audited.parsed, audited.bound, list(audited.findings)
    passed = _gated(audited)
    divided = parted(parsed, bound.recipe, passed.examples)
    first_id = parsed.table.rows_read
    given = bound.recipe, parsed.task, bound.form, bound.facts, bound.tokenizer, bound.max_tokens
    added = add_rows(Augmentation(*given, divided.split, first_id))
    split = replace(divided.split, added=added.examples)
    for message in added.messages:
        yield clock.stage("added", message)
    left_out = (*parsed.left_out, *passed.dropped, *divided.dropped)
    unused = {entry.id for entry in divided.dropped}
    cut = [entry for entry in passed.cut if entry.id not in unused]
    ledger = make_ledger(parsed.table.rejected, left_out, findings, split, cut, parsed.examples)
    check_complete(first_id, ledger)
    read = {e.id for e in parsed.examples}
    after = [entry for entry in ledger if entry.fate == "dropped" and entry.id in read]
    lost = lost_classes(parsed.examples, after, parsed.task.answers)
    require_classes(split, parsed.task.answers, parsed.recipe.data.path, lost)
    seen = [found for found in (lost, untested_classes(split, parsed.task.answers)) if found]
    findings += seen
    ledger += added.entries
    longest = max((sum(len(part.tokens) for part in row.sequences) for row in audited.encoded), default=0)
    recipe = _resolve(audited, split, longest)
    used = used_line(first_id, after, cut, first_id - len(read))
    with run.changing():
        run.write_recipe(recipe)
        run.write_state(_state(run.state, recipe, bound))
        run.write_data(split, findings, ledger)
        stage = clock.stage("split", _lines(_split_message(recipe, split), used, *_found(seen)))
    if recipe.data.fetched == "removed":
        forget_fetched(recipe.data.path)
    yield stage


def _gated(audited: AuditedData) -> Passed:
    """Pass the rows that the audit does not drop through the gate."""
    bound, dropped = audited.bound, {id for finding in audited.findings for id in finding.drop}
    pairs = [(e, item) for e, item in zip(audited.parsed.examples, audited.encoded, strict=True) if e.id not in dropped]
    examples, items = [example for example, _ in pairs], [item for _, item in pairs]
    return pass_gate(examples, items, bound.form, bound.tokenizer, bound.recipe.data.too_long or "cut")


def _resolve(audited: AuditedData, split: Split, longest: int) -> Recipe:
    parsed, bound, empty, machine = audited.parsed, audited.bound, audited.empty, audited.machine
    recipe = bound.recipe
    if empty and not recipe.model.is_finished:
        recipe = recipe.decide({"method.name": choose_method(bound.facts, len(split.train), machine, empty)})
    form = make_form(parsed.task, recipe, bound.facts.kind, split.typical)
    method = make_method(recipe)
    if recipe.evaluate.metric:
        registry.choose("metrics", recipe.evaluate.metric)  # an unknown one is reported before the training
    decided = settings(method, bound.facts, parsed.task, form, split.typical, bound.tokenizer, machine)
    if empty and not recipe.model.is_finished:
        recipe = _with_pass(recipe.decide(decided), bound, method, empty, machine, longest)
    else:  # nothing is trained
        recipe = recipe.decide({name: one for name, one in decided.items() if name.startswith("evaluate.")})
    names = (recipe.evaluate.metric or "", *parsed.task.metrics(split.typical))
    without = undefined(split.test, names)
    if reason := without.get(names[0]):
        rule = msg("{metric} is undefined on the test rows: {reason}", metric=names[0], reason=reason)
        rows = msg("use more rows, or test on more of them: --set split.test=0.3")
        metric = next((name for name in names if name not in without), "")
        remedy = Joined([rows, msg("or decide by --set evaluate.metric={metric}", metric=metric)]) if metric else rows
        raise DataError(Fault(rule, recipe.data.path, remedy))
    return recipe


def _with_pass(
    recipe: Recipe, bound: BoundData, method: Method, empty: PreTrainedModel, machine: Machine, longest: int
) -> Recipe:
    """Decide the tokens of a training pass, and whether layers are recomputed."""
    given = recipe.train.gradient_checkpointing
    # transformers drops a cache, which may hold what a method adds, where layers are recomputed
    possible = EITHER if empty.supports_gradient_checkpointing and not method.added_tokens else EITHER[:1]
    return recipe.decide(choose_pass(method, bound.facts, machine, longest, possible if given is None else (given,)))


def _state(state: State, recipe: Recipe, bound: BoundData) -> State:
    hashes = [sha256_of(file) for file in data_files(Path(recipe.data.path))]
    data = hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    facts, tuned = bound.facts, bound.tuned.model if bound.tuned else None
    required = [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in requires("kamerton") or [] if "extra ==" not in one]
    return replace(
        state,
        kamerton=version("kamerton"),
        python=platform.python_version(),
        platform=platform.platform(),
        processors=torch.get_num_threads(),
        device=str(choose_device(recipe.model.device)),
        libraries={name: version(name) for name in required},
        data=DataSource(recipe.data.path, data),
        model=BaseModel(facts.name, facts.fingerprint, parts_of(facts), facts.parameters),
        tuned=_given_model(recipe, tuned),
        seed=recipe.seed,
    )


def _given_model(recipe: Recipe, tuned: TunedModel | None) -> BaseModel | None:
    """Record the model that was tuned elsewhere; None where the run trains one."""
    if server := recipe.model.tuned_at:
        served = served_facts(recipe.model.tuned_name, server)
        return BaseModel(served.name, served.fingerprint, parts_of(served), 0)
    if tuned is None:
        return None
    return BaseModel(tuned.name, tuned.fingerprint, tuned.parts, tuned.facts.parameters if tuned.facts else 0)


def _lines(*parts: Wording) -> Joined:
    return Joined([part for part in parts if part], "\n")


def _read_message(parsed: ParsedData) -> Joined:
    table = parsed.table
    rule = "{rows} {rows:row|rows} ({format}, {encoding})"
    read = msg(rule, rows=table.rows_read, format=table.format, encoding=table.encoding)
    task = msg("task {task}: {reason}", task=parsed.recipe.data.task or "", reason=parsed.reason)
    return _lines(read, *table.notes, task, left_out_line((*table.rejected, *parsed.left_out)))


def _model_message(bound: BoundData) -> Joined:
    facts = bound.facts
    kind, size = KINDS[facts.kind], Figure(facts.parameters, "parameters")
    rule = "{name}: {kind} ({family}), {size} parameters, {limit} tokens at most"
    model = msg(rule, name=facts.name, kind=kind, family=facts.family, size=size, limit=bound.max_tokens)
    if not facts.folder:
        model = msg("base model: {model}, of which only answers are known", model=facts.name)
    head = None if bound.recipe.model.is_finished else new_head(facts.folder, bound.form.model_class, bound.form.config)
    trial = trial_of(bound.form)
    isolated = isolation(trial.limits.unsafe).message if trial else ""
    chosen = bound.recipe.reasons.get("model.name")
    why = chosen.reason if chosen and chosen.origin == "decided" else ""
    tuned: list[Wording] = [bound.tuned.message, _outputs(bound.recipe)] if bound.tuned else []
    if server := bound.recipe.model.tuned_at:
        title = title_of(bound.recipe.model.tuned_name, server)
        tuned = [msg("tuned elsewhere: {model}, of which only answers are known", model=title)]
    if tuned and not bound.recipe.split.train_path:
        tuned.append(msg("whether it was trained on some of these rows is not known: name those with --trained-on"))
    named = origin(facts.name, Path(facts.folder)) if facts.folder else ""
    return _lines(model, why, named, head.message if head else "", isolated, *tuned)


def _outputs(recipe: Recipe) -> Wording:
    """Return which labels the outputs of a tuned model stand for; empty if they have none."""
    labels, why = recipe.model.labels, recipe.reasons.get("model.labels")
    if not labels:
        return ""
    how = why.reason if why and why.reason else msg("as you said")
    return msg("its outputs are {labels} ({how})", labels=", ".join(labels[:SHOWN_LABELS]), how=how)


def _split_message(recipe: Recipe, split: Split) -> Message:
    by = recipe.split
    how = msg("by the column {column}", column=by.column) if by.column else SPLITS[str(by.by)]
    if by.train_path:
        how = msg("the rows of {path} were trained on", path=by.train_path)
    if by.folds:
        how = msg("{how}, fold {fold} of {folds}", how=how, fold=by.fold, folds=by.folds)
    train, validation, test = len(split.train), len(split.validation), len(split.test)
    rule = "{train} train, {validation} validation, {test} test ({how})"
    return msg(rule, train=train, validation=validation, test=test, how=how)


def _found(findings: Sequence[Finding]) -> list[Wording]:
    lines: list[Wording] = [
        msg("severe: {title}" if one.severity == "severe" else "warning: {title}", title=one.title)
        for one in findings
        if one.severity != "note"
    ]
    if notes := len(findings) - len(lines):
        lines.append(msg("{notes} {notes:note|notes}, which `kamerton audit` shows", notes=notes))
    return lines
