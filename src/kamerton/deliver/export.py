"""Export a run's tuned model: write it to a temporary folder, prove it, then rename the folder."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kamerton.core import registry
from kamerton.core.contracts import Engine, Metric
from kamerton.core.errors import Fault, RunError, Unusable, reason_of
from kamerton.core.exporting import Export, ExportProof, Original, Tuned
from kamerton.core.figures import Figure
from kamerton.core.files import appearing, permitting, write_json
from kamerton.core.message_json import without_templates
from kamerton.core.messages import Wording, msg
from kamerton.core.outcomes import Comparison, Standing
from kamerton.core.records import Encoded
from kamerton.deliver.provenance import describe
from kamerton.engine.layout import decoder_inputs, padded_inputs
from kamerton.evaluate.compare import in_order, tuned_answers
from kamerton.evaluate.verdict import signed, stand
from kamerton.models.fresh import logits_of
from kamerton.models.saved import is_adapter, load_saved
from kamerton.models.structure import is_encoder_decoder
from kamerton.runs.recipe import checked
from kamerton.runs.run import Run
from kamerton.session.engines import engine_of, plain_model
from kamerton.session.setup import Setup, bare, make_method, open_setup
from kamerton.statistics.comparison import pair

OTHER_FOLDER = msg("choose another folder with --out")
OTHER_DISK = msg("free some, or choose a folder on another disk with --out")
OTHER_FORMAT = msg("export it in another format")
AS_IT_IS = msg("use it with `kamerton predict`, or export it as PEFT keeps it with --to adapter")
REMOVED = msg("the export was removed; please report this as a bug of Kamerton")
LESS_ROUNDED = msg("the export was removed; round less, or export it in another format")
DESCRIPTION, PROVENANCE = "export.json", "kamerton.json"
ROWS = 8
"""Test rows whose logits are compared."""


@dataclass(frozen=True)
class Rescoring:
    """The test rows answered again by an exported model that is rounded: positive means that it is better."""

    metric: str
    comparison: Comparison | None
    """None where the engine cannot answer them."""
    standing: Standing | None
    """What the interval says beside the run's margin."""
    reason: Wording = ""
    """Why they were not answered."""


@dataclass(frozen=True)
class Exported:
    """An exported model, compared with the run's own."""

    format: str
    folder: str
    bytes: int
    run: str
    task: str
    method: str
    model_class: str
    """transformers' auto class that loads it, or its base."""
    base: str | None
    """The base model that it needs; None if it is complete."""
    module: str
    """A module to import first, because it registers a type with PEFT; mostly empty."""
    temperature: float
    """What divides the logits for probabilities; 1 by default."""
    proof: ExportProof
    test_rows: int
    changed_answers: int | None
    """Test answers that differ from the run's; None where they must be equal."""
    settings: Mapping[str, object]
    """Of the format."""
    commands: Sequence[str]
    """Command lines that use it, in its folder."""
    rescoring: Rescoring | None
    """Of a rounded model."""


def export_run(run: Run, word: str, out: Path | None, settings: Mapping[str, object] | None = None) -> Exported:
    """Export a run's tuned model, prove it, and describe it in `export.json` and `kamerton.json`.

    Args:
        run: a finished one.
        word: the format.
        out: the folder; `exported/FORMAT` in the run's own if not given.
        settings: of the format.

    Raises:
        RecipeError: there is no such format, or setting of it.
        RunError: the run is not finished, its model is not here, the folder exists, there is too little room, or the
            model cannot be exported to this format, or is another one after it.
    """
    registry.allow(word)
    run.require_model()
    export: Any = checked(registry.choose("exports", word), settings or {}, place=f"export {word}:")
    task, target = run.result["task"], out or run.path / "exported" / word
    with permitting(run.files.mode), _new_folder(target) as folder:
        setup = open_setup(run)
        method = make_method(setup.recipe)
        original, commands = _write(export, run, setup, folder)
        with _refusing(run.model, REMOVED):
            proof = export.prove(original, folder)
        rescoring, changed = _answer_again(export, original, run, setup, folder)
        over = is_adapter(folder)
        exported = Exported(
            format=word,
            folder=str(target),
            bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            run=str(run.path),
            task=task,
            method=setup.recipe.method.name or "",
            model_class=setup.form.model_class,
            base=setup.facts.folder if over else None,
            module=type(method).__module__ if over and method.brings_type else "",
            temperature=run.temperature,
            proof=proof,
            test_rows=len(setup.split.test),
            changed_answers=changed,
            settings=export.model_dump(),
            commands=commands,
            rescoring=rescoring,
        )
        told = without_templates(exported)
        write_json(folder / DESCRIPTION, told)
        write_json(folder / PROVENANCE, describe(run, setup, folder, word, told))
    return exported


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that appears as `folder` on success.

    Raises:
        RunError: `folder` exists, or cannot be made.
    """
    if folder.exists():
        raise RunError(Fault(msg("'{folder}' exists already", folder=str(folder)), remedy=OTHER_FOLDER))
    try:
        with appearing(folder) as temporary:
            yield temporary
    except OSError as error:
        rule = msg("the folder cannot be written: {reason}", reason=error.strerror or str(error))
        raise RunError(Fault(rule, str(folder), OTHER_FOLDER)) from None


@contextmanager
def _refusing(place: Path, remedy: Wording) -> Iterator[None]:
    """Turn a plug-in's refusal into an error that names the model."""
    try:
        yield
    except ValueError as error:
        raise RunError(Fault(reason_of(error), str(place), remedy)) from error


def _write(export: Export, run: Run, setup: Setup, folder: Path) -> tuple[Original, Sequence[str]]:
    """Write the exported model; return what it is to be compared with, and how it is used.

    The model is dropped then, so that an engine has its memory.

    Raises:
        RunError: the format cannot take it, or there is too little room; nothing is written then.
    """
    tuned = open_tuned(run, setup)
    saved, original = tuned.folder, compared_with(setup, tuned.model)
    if reason := export.refuses(tuned):
        raise RunError(Fault(reason, str(saved), OTHER_FORMAT))
    require_room(folder.parent, export.room(tuned))
    with _refusing(saved, AS_IT_IS):
        return original, export.write(tuned, folder)


def open_tuned(run: Run, setup: Setup) -> Tuned:
    """Load a run's tuned model after its files were checked."""
    saved = run.checked_model()
    model = load_saved(saved, setup.form, setup.facts, setup.tokenizer, setup.device)
    [inputs] = inputs_of(model, setup.encode(setup.split.test[:1]))
    return Tuned(saved, model, setup.tokenizer, make_method(setup.recipe), setup.form, setup.facts, tuple(inputs))


def compared_with(setup: Setup, model: nn.Module) -> Original:
    """Return what an export of a run's model is compared with: its logits for the first test rows."""
    examples = setup.split.test[:ROWS]
    items = setup.encode(examples)
    inputs = inputs_of(model, items)
    return Original(
        form=setup.form,
        facts=setup.facts,
        tokenizer=setup.tokenizer,
        method=make_method(setup.recipe),
        examples=examples,
        items=items,
        inputs=inputs,
        logits=logits_of(model, inputs),
        untuned=partial(_untuned, setup, inputs),
        loaded=partial(_loaded, setup),
        max_tokens=setup.max_tokens,
        max_new_tokens=min(setup.recipe.evaluate.max_new_tokens or 1, setup.max_tokens // 2),
    )


def require_room(folder: Path, needed: int) -> None:
    """Check that a disk has room for an export.

    Raises:
        RunError: it has not.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        sizes = {"needed": Figure(needed, "memory"), "free": Figure(free, "memory")}
        raise RunError(Fault(msg("the export needs {needed}, and {free} are free", **sizes), str(folder), OTHER_DISK))


def inputs_of(model: nn.Module, items: Sequence[Encoded]) -> list[dict[str, Tensor]]:
    """Return the inputs of the model's forward pass for each row."""
    two = is_encoder_decoder(model)
    return [{**padded_inputs(model, [one]), **(decoder_inputs(model, [one]) if two else {})} for one in items]


def _untuned(setup: Setup, inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the untuned model's logits for rows whose tokens it knows."""
    model = plain_model(bare(setup), setup.form.model_class)
    known = model.get_input_embeddings().weight.shape[0]
    return logits_of(model, [{name: one.clamp(max=known - 1) for name, one in row.items()} for row in inputs])


def _loaded(setup: Setup, folder: Path) -> Engine:
    return engine_of(setup, load_saved(folder, setup.form, setup.facts, setup.tokenizer, setup.device))


def _answer_again(
    export: Export, original: Original, run: Run, setup: Setup, folder: Path
) -> tuple[Rescoring | None, int | None]:
    """Answer the test rows with a rounded model; return how it scores beside the run's, and how many answers differ.

    Raises:
        RunError: it is worse than the run's model by more than chance.
    """
    engine = export.engine(original, folder)
    if engine is None:
        return None, None
    name, examples, settings = setup.recipe.evaluate.metric or "", setup.split.test, setup.recipe.evaluate
    try:
        again = setup.form.predict(engine, examples)
    except Unusable as error:
        return Rescoring(name, None, None, reason_of(error)), None
    first = in_order(tuned_answers(run), examples).predictions
    changed = sum(one.text != other.text for one, other in zip(first, again, strict=True))
    measure: Metric = registry.choose("metrics", name)()
    golds, groups = [one.gold for one in examples], [one.group for one in examples]
    [pairing] = pair(
        measure, golds, again, [first], groups=groups, resamples=settings.resamples, seed=setup.recipe.seed
    )
    comparison = signed(pairing.at(settings.confidence), measure)
    score = float(measure.value(measure.statistics(golds, first).sum(axis=0)))
    standing = stand(comparison, settings.margin * (1.0 if measure.unit_interval else abs(score)))
    standing = standing if changed else "equivalent"  # intervals of shares have a width even then
    if standing == "worse":
        rule = msg(
            "rounded so, it is worse than the run's model: by {by} of {metric} "
            "({low} to {high}) on {rows} test {rows:row|rows}",
            by=Figure(-comparison.difference),
            metric=name,
            low=Figure(-comparison.high),
            high=Figure(-comparison.low),
            rows=len(examples),
        )
        raise RunError(Fault(rule, str(run.model), LESS_ROUNDED))
    return Rescoring(name, comparison, standing), changed
