"""A model that was tuned elsewhere on its way into a run: its base, its labels, its tokenizer, and the run's copy."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from kamerton.core.contracts import ModelFacts, Task
from kamerton.core.errors import Fault, ModelError, RunError
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Example, Finding, LedgerEntry, Stage
from kamerton.data.parts import Sides
from kamerton.models.elsewhere import (
    GIVE_BASE,
    TunedModel,
    copy_model,
    inspect_tuned,
    read_template,
    require_base,
    require_head,
)
from kamerton.models.inspect import fingerprints
from kamerton.models.load import load_tokenizer
from kamerton.models.locate import unknown_model
from kamerton.models.saved import load_saved, unplaced
from kamerton.runs.recipe import Decision, Recipe
from kamerton.runs.run import MODEL, Run
from kamerton.session.differences import differences, require_vocabulary
from kamerton.session.elsewhere import check_labels, match_labels
from kamerton.session.engines import engine_of
from kamerton.session.setup import Clock, Setup, differing_parts, make_form, open_setup
from kamerton.text.near_duplicates import near_duplicate_groups

ALIKE = 0.1
"""Share of all rows from which on texts that are alike come from a template, and are no copies of each other."""
TRAINED_ON_IT = msg("the model was trained on the same row")
TRAINED_ON_NEAR = msg("the model was trained on a row nearly like it")


# ── rows that the model was trained on ────────────────────────────────────────────────────────


def without_trained(examples: Sequence[Example], sides: Sides) -> tuple[list[Example], list[LedgerEntry]]:
    """Leave out the rows that say the same, or nearly the same, as one that the model was trained on."""
    alike = near_duplicate_groups([example.text for example in examples]).tolist()
    sizes, most = Counter(alike), max(2.0, ALIKE * len(examples))
    trained: dict[object, Example] = {}
    for example, number in zip(examples, alike, strict=True):
        if example.id in sides.names:
            trained.setdefault(example.key, example)
            if sizes[number] <= most:
                trained.setdefault(number, example)
    kept, left_out = list[Example](), list[LedgerEntry]()
    for example, number in zip(examples, alike, strict=True):
        same = None if example.id in sides.names else trained.get(example.key) or trained.get(number)
        if same is None:
            kept.append(example)
            continue
        reason = TRAINED_ON_IT if same.key == example.key else TRAINED_ON_NEAR
        left_out.append(LedgerEntry(example.id, example.place, "dropped", reason))
    return kept, left_out


def trained_finding(left_out: Sequence[LedgerEntry], rows: int) -> Finding:
    """Report the rows that were left out because the model was trained on them."""
    title = msg(
        "{count} of {rows} rows {count:is|are} among those that the model was trained on, or nearly like one of "
        "them; {count:it is|they are} not tested on",
        count=len(left_out),
        rows=rows,
    )
    remedy = msg("scores on them would show memory; scores of other programs on all rows do")
    places = tuple(msg("{place}: {reason}", place=str(one.place), reason=one.reason) for one in left_out[:3])
    return Finding("trained-on", "warning", title, remedy, tuple(one.id for one in left_out), samples=places)


# ── the model ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Imported:
    """A model that was tuned elsewhere, with its tokenizer, and that of its base."""

    model: TunedModel
    tokenizer: PreTrainedTokenizerBase
    base: PreTrainedTokenizerBase

    def findings(self, facts: ModelFacts, texts: Sequence[str]) -> list[Finding]:
        """Find how it differs from its base in what is served beside the weights."""
        return differences(self.model, self.tokenizer, self.base, facts, texts)

    @property
    def message(self) -> Wording:
        """What it is, in one line."""
        if self.model.adapter:
            kind = msg("{type} adapter", type=self.model.adapter)
        else:
            size = self.model.facts.parameters if self.model.facts else 0
            kind = msg("plain weights, {size} parameters", size=Figure(size, "parameters"))
        own = "" if self.model.has_tokenizer else msg("without a tokenizer of its own: the base's is used")
        parts = [msg("tuned elsewhere: {name}, {kind}", name=self.model.name, kind=kind), own]
        return Joined([part for part in parts if part])


def base_of(name: str) -> Decision:
    """Find the base model that an adapter names.

    Raises:
        ModelError: it names none that can be found, or is no adapter.
    """
    tuned = inspect_tuned(name)
    if not tuned.adapter or not tuned.base:
        rule = msg("'{model}' does not say from which base model it was tuned", model=name)
        raise ModelError(Fault(rule, str(tuned.folder), GIVE_BASE))
    if fault := unknown_model(tuned.base):
        rule = msg("the adapter names a base model that is not here: {reason}", reason=fault.rule)
        raise ModelError(Fault(rule, str(tuned.folder), GIVE_BASE))
    return Decision(tuned.base, msg("the base that the adapter names"))


def fit(recipe: Recipe, tuned: TunedModel, facts: ModelFacts, task: Task, examples: Sequence[Example]) -> Recipe:
    """Check that a tuned model fits its base and the task, and decide which label each of its outputs means.

    Raises:
        ModelError: it does not fit, with the reason.
    """
    require_base(tuned, facts)
    bare = recipe.model_copy(update={"model": recipe.model.model_copy(update={"labels": None})})
    form = make_form(task, bare, facts.kind, examples)
    require_head(tuned, form)
    said = msg("as the model's files say")
    decisions = {
        "method.adapter": Decision(tuned.adapter, said),
        "method.added_tokens": Decision(tuned.added_tokens, said),
    }
    named = form.config.get("id2label")
    if isinstance(named, dict):
        labels = list(named.values())
        if recipe.model.labels:
            check_labels(recipe.model.labels, tuned.outputs, labels)
        else:
            decisions["model.labels"] = Decision(*match_labels(tuned.outputs, labels, str(tuned.folder)))
    elif form.config.get("num_labels") == 1 and len(tuned.outputs) > 1:
        rule = msg("the head has {count} outputs, and the task reads one number", count=len(tuned.outputs))
        raise ModelError(Fault(rule, str(tuned.folder), msg("name a model that was tuned for numbers")))
    return recipe.decide(decisions)


def imported(tuned: TunedModel, facts: ModelFacts, template: str | None) -> Imported:
    """Load the tokenizers of a tuned model, with the template of a file if one is given, and of its base.

    Raises:
        ModelError: one cannot be read, or they are not of one vocabulary.
    """
    base = load_tokenizer(facts)
    own = load_tokenizer(facts, tuned.folder if tuned.has_tokenizer else None)
    require_vocabulary(tuned, own, base)
    if template:
        own.chat_template = read_template(Path(template))
    return Imported(tuned, own, base)


def import_model(run: Run, clock: Clock) -> Iterator[Stage]:
    """Load the model once, since it must fit its base, and copy it into the run as transformers or PEFT wrote it.

    Raises:
        ModelError: it does not load over its base, or changes nothing.
        RunError: it has changed since the run began.
    """
    if run.model.exists() or not run.recipe.model.tuned:
        return
    tuned, known = inspect_tuned(run.recipe.model.tuned), run.state.tuned
    if known is not None and known.fingerprint != tuned.fingerprint:
        parts = differing_parts(known.parts, tuned.parts)
        rule = msg("the tuned model '{model}' has changed since this run began: {parts}", model=tuned.name, parts=parts)
        raise RunError(Fault(rule, str(tuned.folder), msg("restore the model, or start a new run")))
    setup = open_setup(run)
    own, given = imported(tuned, setup.facts, run.recipe.model.template).tokenizer, run.recipe.model.template
    require_change(replace(setup, tokenizer=own), tuned)
    with run.changing() as change:
        folder = change.path(MODEL)
        if given and not tuned.has_tokenizer:
            own.save_pretrained(folder)
        copy_model(tuned, folder, str(own.chat_template) if given else "")
        stage = clock.stage("import", msg("copied into {folder}", folder=str(run.path / MODEL)))
    yield stage


def require_change(setup: Setup, tuned: TunedModel) -> None:
    """Check that a tuned model loads whole over its base, and that it computes something else.

    Raises:
        ModelError: it does not, with the reason.
    """
    if tuned.facts and tuned.parts["weights"] == fingerprints(Path(setup.facts.folder))["weights"]:
        rule = msg("the weights are those of its base '{base}': nothing was tuned", base=setup.facts.name)
        raise ModelError(Fault(rule, str(tuned.folder), GIVE_BASE))
    model = load_saved(tuned.folder, setup.form, setup.facts, setup.tokenizer, setup.device)
    if not tuned.adapter:
        return
    if strange := unplaced(model, tuned.folder):
        rule = msg(
            "{count} {count:tensor|tensors} of the adapter {count:has|have} no place in the base, or none in the file, "
            "such as '{first}': answers would be the base's",
            count=len(strange),
            first=strange[0],
        )
        raise ModelError(Fault(rule, str(tuned.folder), GIVE_BASE))
    engine, adapted = engine_of(setup, model), cast(Any, model)
    if adapted.active_peft_config.is_prompt_learning:
        return  # its tokens stand in the engine's rows, whether the adapter is on or off
    tried = setup.samples
    with_adapter = engine.read(tried)
    with adapted.disable_adapter():
        without = engine.read(tried)
    if all(np.array_equal(one, other) for one, other in zip(with_adapter, without, strict=True)):
        rule = msg("the adapter changes nothing: with it, the model computes what its base computes")
        raise ModelError(Fault(rule, str(tuned.folder), msg("name the adapter after its training, not at its start")))
