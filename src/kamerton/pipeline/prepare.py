"""From a data file to audited examples, bound to a base model."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.addresses import written_out
from kamerton.core.contracts import AuditContext, Form, ModelFacts, Task
from kamerton.core.errors import DataError, Fault, ModelError
from kamerton.core.files import nearby
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Encoded, Example, Finding, LedgerEntry, Split
from kamerton.data.audit import ORDER, other_columns, run_audit
from kamerton.data.augment import refuse_unfit
from kamerton.data.cells import labels_with_columns
from kamerton.data.fates import (
    make_ledger,
)
from kamerton.data.gate import pass_gate
from kamerton.data.mixed import unified
from kamerton.data.parts import Sides, find_sides
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize, sample_rows
from kamerton.data.rows import Examples
from kamerton.data.split import Parted, split_examples
from kamerton.data.table import Options, Table, joined
from kamerton.engine.engine import Embedder
from kamerton.models.catalog import known
from kamerton.models.elsewhere import GIVE_BASE, inspect_tuned
from kamerton.models.load import require_end
from kamerton.models.locate import commit_of
from kamerton.models.published import KINDS
from kamerton.models.vocabulary import add_words, read_words
from kamerton.pipeline.imported import Imported, base_of, fit, imported, trained_finding, without_trained
from kamerton.runs.recipe import Decision, Recipe
from kamerton.session.base_model import choose_model
from kamerton.session.door import check_fit
from kamerton.session.machine import Machine, planned_machine
from kamerton.session.new_tokens import new_tokens_finding, new_tokens_of
from kamerton.session.setup import (
    _max_tokens,
    base_facts,
    base_tokenizer,
    make_form,
    make_task,
)
from kamerton.text.cells import filled
from kamerton.text.near_duplicates import near_duplicate_groups

ENCODED_AT_ONCE = 2000
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
        return len(parted(parsed, parsed.recipe, rows).split.test) if rows else 0
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


def parted(parsed: ParsedData, recipe: Recipe, examples: Sequence[Example]) -> Parted:
    """Divide examples into the parts that a recipe says; rows that say almost the same come into the same part."""
    seed, sides, by_class = recipe.seed, parsed.sides, parsed.task.answers == "class"
    alike = near_duplicate_groups([example.text for example in examples]).tolist()
    return split_examples(examples, recipe.split, stratified=by_class, seed=seed, sides=sides, alike=alike)


@dataclass(frozen=True)
class AuditedData:
    """Data bound to a base model, and what the audit found: all that is known before the split."""

    parsed: ParsedData
    bound: BoundData
    machine: Machine
    """The machine that decisions are made for."""
    empty: PreTrainedModel | None
    """The base model without weights; None if it is only on a server."""
    encoded: Sequence[Encoded]
    findings: Sequence[Finding]


def require_fit(parsed: ParsedData, bound: BoundData, machine: Machine) -> PreTrainedModel | None:
    """Check that a machine has room for the model, and return it without weights; None if it is only on a server.

    Raises:
        ModelError: it does not fit.
    """
    facts = bound.facts
    return check_fit(bound.recipe, bound.form, facts, len(parsed.examples), machine) if facts.folder else None


def audit_bound(parsed: ParsedData, bound: BoundData, machine: Machine, empty: PreTrainedModel | None) -> AuditedData:
    """Encode the examples, and audit them as the model sees them; only themselves where the model is on a server."""
    encoded = list(bound.encode(parsed.examples))
    found = audit(parsed, bound, encoded) if bound.facts.folder else audit(parsed)
    return AuditedData(parsed, bound, machine, empty, encoded, found)
