"""From a data file to a frozen split and a resolved recipe."""

import hashlib
import platform
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import requires, version
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.addresses import written_out
from kamerton.core.contracts import AuditContext, Form, Method, ModelFacts, Task
from kamerton.core.errors import DataError, Fault, ModelError
from kamerton.core.figures import Figure
from kamerton.core.files import nearby, sha256_of
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.core.records import Encoded, Example, Finding, LedgerEntry, Split, Stage
from kamerton.data.audit import ORDER, other_columns, run_audit
from kamerton.data.augment import Augmentation, add_rows, refuse_unfit
from kamerton.data.cells import labels_with_columns
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
from kamerton.data.mixed import unified
from kamerton.data.parts import Sides, find_sides
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize, sample_rows
from kamerton.data.rows import Examples
from kamerton.data.split import Parted, split_examples
from kamerton.data.table import Options, Table, joined
from kamerton.engine.engine import Embedder
from kamerton.evaluate.score import undefined
from kamerton.forms.continuation import trial_of
from kamerton.forms.sandbox import isolation
from kamerton.kernels.device import choose_device
from kamerton.models.catalog import known
from kamerton.models.elsewhere import GIVE_BASE, TunedModel, inspect_tuned
from kamerton.models.heads import new_head
from kamerton.models.load import require_end
from kamerton.models.locate import commit_of, to_fetch
from kamerton.models.naming import origin
from kamerton.models.published import KINDS
from kamerton.models.served import served_facts
from kamerton.models.vocabulary import add_words, read_words
from kamerton.pipeline.imported import Imported, base_of, fit, imported, trained_finding, without_trained
from kamerton.runs.recipe import Decision, Recipe
from kamerton.runs.run import Run
from kamerton.runs.servers import title_of
from kamerton.runs.state import BaseModel, DataSource, State
from kamerton.session.base_model import choose_model
from kamerton.session.door import check_fit
from kamerton.session.machine import Machine, planned_machine
from kamerton.session.memory import EITHER
from kamerton.session.new_tokens import new_tokens_finding, new_tokens_of
from kamerton.session.planner import choose_method, choose_pass, settings
from kamerton.session.setup import (
    Clock,
    _max_tokens,
    base_facts,
    base_tokenizer,
    make_form,
    make_method,
    make_task,
    parts_of,
)
from kamerton.text.cells import filled
from kamerton.text.near_duplicates import near_duplicate_groups

SPLITS = {"random": msg("random"), "given": msg("given"), "test": msg("every row is tested on")}
ENCODED_AT_ONCE, SHOWN_LABELS = 2000, 12
FEW = 200
"""Rows whose texts are tokenized as a tuned model and as its base do it."""
MANY_TESTED = 2000
"""Test rows from which on their exact number does not matter."""


@dataclass(frozen=True)
class ParsedData:
    """A data file that was read and recognized; no model is chosen yet."""

    recipe: Recipe
    table: Table
    task: Task
    reason: Wording
    examples: Sequence[Example]
    left_out: tuple[LedgerEntry, ...]
    """Rows that were read but make no example, or were not drawn."""
    sides: Sides
    """How the rows are to be split, and the parts that they name."""
    leaks: Sequence[LedgerEntry] = ()
    """Rows that a model was trained on elsewhere; they are among those left out."""


@dataclass(frozen=True)
class BoundData:
    """Data bound to a base model: how it gets the examples."""

    recipe: Recipe
    facts: ModelFacts
    tokenizer: PreTrainedTokenizerBase
    form: Form
    max_tokens: int
    tuned: Imported | None = None
    """The model that was tuned elsewhere; `tokenizer` is its own."""

    def encode(self, examples: Sequence[Example]) -> Iterator[Encoded]:
        """Encode examples, some at a time: a tokenizer takes kilobytes for each in a batch."""
        for start in range(0, len(examples), ENCODED_AT_ONCE):
            yield from self.form.encode(examples[start : start + ENCODED_AT_ONCE], self.tokenizer, self.max_tokens)


def parse_data(recipe: Recipe) -> ParsedData:
    """Read the data file, find its task, and make examples of its rows.

    Raises:
        DataError: the file cannot be read, or its task cannot be recognized.
    """
    options, split = Options(recipe.data.header, recipe.data.sheet), recipe.split
    table = read_table(nearby(recipe.data.path), options)
    if split.test_path:
        tested = nearby(split.test_path)
        table = joined([table, read_table(tested, options)])
        split = split.model_copy(update={"test_path": written_out(tested)})  # as the rows' places name it
    table = unified(table, recipe.data.task, recipe.data.columns or {})
    if split.train_path:
        trained = nearby(split.train_path)
        table = joined([table, read_table(trained, options)])
        split = split.model_copy(update={"train_path": written_out(trained)})
    sides = find_sides(table, split)
    recognition = recognize(table, recipe.data.task, recipe.data.columns or {})
    decisions = {
        "data.task": Decision(recognition.task, recognition.reason),
        "data.columns": Decision(dict(recognition.columns), msg("found by their names")),
        "split.by": Decision(sides.by, sides.reason),
        **{f"task.{name}": Decision(one, msg("fits the most rows")) for name, one in recognition.settings.items()},
    }
    recipe = recipe.decide(decisions)
    task = make_task(recipe, recognition.task)
    made = make_examples(table, recognition, task, placeholders=recipe.data.placeholders)
    examples = sample_rows(made.examples, recipe.data.max_rows, recipe.seed)
    undrawn = []
    if len(examples) < len(made.examples):
        drawn = {example.id for example in examples}
        reason = msg("not drawn: max_rows is {rows}", rows=recipe.data.max_rows or 0)
        undrawn = [LedgerEntry(e.id, e.place, "dropped", reason) for e in made.examples if e.id not in drawn]
    leaks = list[LedgerEntry]()
    if sides.by == "test" and sides.names:
        examples, leaks = without_trained(examples, sides)
    return ParsedData(
        recipe, table, task, recognition.reason, examples, (*made.rejected, *undrawn, *leaks), sides, leaks
    )


def choose_base(parsed: ParsedData, machine: Machine | None = None) -> ParsedData:
    """Decide the base model where the recipe leaves it open, for the machine that is here if none is given."""
    recipe = parsed.recipe
    if recipe.model.name:
        return parsed
    if recipe.model.tuned:
        return replace(parsed, recipe=recipe.decide({"model.name": base_of(recipe.model.tuned)}))
    if recipe.model.tuned_at and recipe.prompt.against:
        return parsed  # the untuned model answers on a server, too
    if recipe.model.tuned_at:
        rule = msg("a server does not say from which base model its model was tuned")
        raise ModelError(Fault(rule, recipe.model.tuned_at, GIVE_BASE))
    place = planned_machine(machine, recipe.model)
    decisions = {"model.name": choose_model(recipe.data.task or "", parsed.examples, place)}
    return replace(parsed, recipe=recipe.decide(decisions))


def bind(parsed: ParsedData) -> BoundData:
    """Fetch and inspect the base model, and settle how it gets the examples.

    Raises:
        ModelError: the model is not available, is unsafe, or cannot do the task.
        DataError: no row has an answer.
    """
    recipe = parsed.recipe
    facts = base_facts(recipe)
    if commit := commit_of(Path(facts.folder)):
        recipe = recipe.decide({"model.revision": Decision(commit, msg("the commit on this machine"))})
    if facts.kind not in parsed.task.kinds:
        kinds, task = Joined([KINDS[kind] for kind in parsed.task.kinds], " or "), recipe.data.task or ""
        template = "this model is of the kind {kind}; {task} takes the kind {kinds}"
        fitting = ", ".join(model.name for model in known() if model.kind in parsed.task.kinds)
        remedy = msg("choose another model, such as {models}", models=fitting)
        raise ModelError(Fault(msg(template, kind=KINDS[facts.kind], task=task, kinds=kinds), facts.name, remedy))
    answered = [example for example in parsed.examples if filled(example.gold)]
    if not answered:
        column = (recipe.data.columns or {}).get(parsed.task.roles[-1].name, "")
        rule = msg("column '{column}' is empty in every row", column=column)
        raise DataError(Fault(rule, recipe.data.path, msg("fill in the answers")))
    tuned = inspect_tuned(recipe.model.tuned) if recipe.model.tuned else None
    if tuned:
        recipe = fit(recipe, tuned, facts, parsed.task, answered)
    form = make_form(parsed.task, recipe, facts.kind, answered)
    recipe = recipe.decide({"data.too_long": Decision(form.too_long[0], msg("the default of this task"))})
    refuse_unfit(recipe, parsed.task, form)
    words = read_words(recipe.model.new_tokens)
    if words != recipe.model.new_tokens:
        reason = msg("the lines of {file}", file=str(recipe.model.new_tokens))
        recipe = recipe.settle({"model.new_tokens": Decision(words, reason)})
    both = imported(tuned, facts, recipe.model.template) if tuned else None
    tokenizer = both.tokenizer if both else add_words(base_tokenizer(facts), words)
    if form.ends:
        require_end(tokenizer, str(tuned.folder) if tuned and tuned.has_tokenizer else facts.folder)
    max_tokens = _max_tokens(recipe, facts)
    if tuned and tuned.facts:
        max_tokens = min(max_tokens, tuned.facts.context)
    if facts.folder:
        most = Decision(max_tokens, msg("the most that {model} takes", model=facts.name))
        recipe = recipe.decide({"model.max_tokens": most})
    return BoundData(recipe, facts, tokenizer, form, max_tokens, both)


def audit(
    parsed: ParsedData, bound: BoundData | None = None, encoded: Iterable[Encoded] | None = None
) -> list[Finding]:
    """Run the audit on the examples; with a model, also on their lengths, encoded here if not given."""
    if bound and encoded is None:
        encoded = bound.encode(parsed.examples)
    task, recipe, sides = parsed.task, parsed.recipe, parsed.sides
    few = len(parsed.examples) * recipe.split.tested < MANY_TESTED
    context = AuditContext(
        stratified=task.answers == "class",
        lengths=array("q", (len(item.tokens) + item.cut for item in encoded)) if encoded is not None else None,
        max_tokens=bound.max_tokens if bound else None,
        test_share=recipe.split.tested,
        tested=_rows_to_test(parsed) if few else None,
        share_metric=_share_metric(parsed) if few else "",
        answers=task.answers,
        model=bound.facts if bound else None,
        tokenizer=bound.tokenizer if bound else None,
        embed=Embedder(bound.facts, recipe.model.precision, recipe.model.device)
        if bound and bound.facts.kind == "encoder"
        else None,
        columns=other_columns(parsed.table, parsed.examples, recipe.data.columns or {}),
        golds=parsed.examples.golds if isinstance(parsed.examples, Examples) else None,
        texts=parsed.examples.texts if isinstance(parsed.examples, Examples) else None,
        labels=labels_with_columns(parsed.table, (recipe.data.columns or {}).values()),
        learned_from=[role.name for role in task.roles if role.to_learn],
        parts=[sides.names.get(e.id, "train") for e in parsed.examples] if sides.by == "given" else None,
    )
    findings = run_audit(parsed.examples, context)
    if parsed.leaks:
        findings.append(trained_finding(parsed.leaks, parsed.table.rows_read - len(sides.names)))
    if bound and bound.tuned:
        findings += bound.tuned.findings(bound.facts, [example.text for example in parsed.examples[:FEW]])
    findings.sort(key=lambda finding: ORDER.index(finding.severity))
    if bound and (more := new_tokens_of(recipe, parsed.examples, bound.facts, bound.tokenizer)):
        findings.append(new_tokens_finding(more, str(nearby(recipe.data.path)), bound.facts.name))
    return findings


def _rows_to_test(parsed: ParsedData) -> int:
    """Count the test rows, by splitting what the audit and the gate will probably let through."""
    kept = {(e.key, e.gold): e for e in reversed(parsed.examples) if filled(e.text) and filled(e.gold)}
    rows = sorted(kept.values(), key=lambda example: example.id)
    try:
        return len(_parted(parsed, parsed.recipe, rows).split.test) if rows else 0
    except DataError:  # reported when the rows are split
        return 0


def _share_metric(parsed: ParsedData) -> str:
    """Return the metric that will decide, if it is the share of rows that are answered correctly."""
    answered = [example for example in parsed.examples if filled(example.gold)]
    if not answered:
        return ""
    name = parsed.recipe.evaluate.metric or parsed.task.metrics(answered)[0]
    return name if registry.choose("metrics", name).per_row_binary else ""


def predicted_fates(
    parsed: ParsedData, findings: Sequence[Finding], bound: BoundData | None
) -> tuple[list[LedgerEntry], list[LedgerEntry]]:
    """Return which rows `tune` would leave out after reading, and, with a model, which of the others it would cut."""
    dropped = {id for finding in findings for id in finding.drop}
    left_out = make_ledger((), (), findings, Split((), (), ()), (), parsed.examples) if dropped else []
    if bound is None:
        return left_out, []
    kept = [example for example in parsed.examples if example.id not in dropped]
    try:
        too_long = bound.recipe.data.too_long or "cut"
        passed = pass_gate(kept, list(bound.encode(kept)), bound.form, bound.tokenizer, too_long)
    except DataError as error:  # no row passes
        reason = error.faults[0].rule
        return [*left_out, *(LedgerEntry(e.id, e.place, "dropped", reason) for e in kept)], []
    return [*left_out, *passed.dropped], list(passed.cut)


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
    here = bound if bound.facts.folder else None  # else the base model is only on a server
    empty = check_fit(bound.recipe, bound.form, bound.facts, len(parsed.examples), place) if here else None
    yield clock.stage("model", _model_message(bound))
    everything = list(bound.encode(parsed.examples))
    findings = audit(parsed, here, everything if here else None)
    yield clock.stage("audit", _lines(*_found(findings)) if findings else msg("nothing found"))
    passed = _gated(parsed, bound, everything, findings)
    parted = _parted(parsed, bound.recipe, passed.examples)
    first_id = parsed.table.rows_read
    given = bound.recipe, parsed.task, bound.form, bound.facts, bound.tokenizer, bound.max_tokens
    added = add_rows(Augmentation(*given, parted.split, first_id))
    split = replace(parted.split, added=added.examples)
    for message in added.messages:
        yield clock.stage("added", message)
    left_out = (*parsed.left_out, *passed.dropped, *parted.dropped)
    unused = {entry.id for entry in parted.dropped}
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
    longest = max((sum(len(part.tokens) for part in row.sequences) for row in everything), default=0)
    recipe = _resolve(parsed, bound, split, empty, place, longest)
    used = used_line(first_id, after, cut, first_id - len(read))
    with run.changing():
        run.write_recipe(recipe)
        run.write_state(_state(run.state, recipe, bound))
        run.write_data(split, findings, ledger)
        stage = clock.stage("split", _lines(_split_message(recipe, split), used, *_found(seen)))
    if recipe.data.fetched == "removed":
        forget_fetched(recipe.data.path)
    yield stage


def _gated(parsed: ParsedData, bound: BoundData, encoded: Sequence[Encoded], findings: Sequence[Finding]) -> Passed:
    """Pass the rows that the audit does not drop through the gate."""
    dropped = {id for finding in findings for id in finding.drop}
    pairs = [(e, item) for e, item in zip(parsed.examples, encoded, strict=True) if e.id not in dropped]
    examples, items = [example for example, _ in pairs], [item for _, item in pairs]
    return pass_gate(examples, items, bound.form, bound.tokenizer, bound.recipe.data.too_long or "cut")


def _parted(parsed: ParsedData, recipe: Recipe, examples: Sequence[Example]) -> Parted:
    seed, sides, by_class = recipe.seed, parsed.sides, parsed.task.answers == "class"
    alike = near_duplicate_groups([example.text for example in examples]).tolist()
    return split_examples(examples, recipe.split, stratified=by_class, seed=seed, sides=sides, alike=alike)


def _resolve(
    parsed: ParsedData, bound: BoundData, split: Split, empty: PreTrainedModel | None, machine: Machine, longest: int
) -> Recipe:
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
