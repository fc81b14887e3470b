"""Export a finished run's tuned model to another format, tested, with a description."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from kamerton.core import registry
from kamerton.core.contracts import Export, Tuned
from kamerton.core.files import write_json
from kamerton.deliver.export import ExportProof, appearing, write_and_prove
from kamerton.models.saved import is_adapter, load_saved
from kamerton.runs.run import Run
from kamerton.session.engines import engine_of
from kamerton.session.setup import Setup, make_method, open_setup

FILE = "export.json"
ROWS = 8
"""Test rows whose logits are compared."""


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
    """Test answers that differ from the run's; None where logits must be equal."""


def export_run(run: Run, word: str, out: Path | None) -> Exported:
    """Export a run's tuned model.

    Args:
        run: a finished one.
        word: the format.
        out: the folder; `exported/FORMAT` in the run's own if not given.

    Raises:
        RecipeError: there is no such format.
        RunError: the run is not finished, the folder exists, or the model cannot be exported to this format.
    """
    export: Export = registry.choose("exports", word)()
    task = run.result["task"]
    with appearing(out or run.path / "exported" / word) as folder:
        setup = open_setup(run)
        method = make_method(setup.recipe)
        model = load_saved(run.model, setup.form, setup.facts, setup.tokenizer)
        tuned = Tuned(run.model, model, setup.tokenizer, method)
        base, rows = Path(setup.facts.folder), setup.encode(setup.split.test[:ROWS])
        proof = write_and_prove(export, tuned, folder, setup.form, base, rows)
        over = is_adapter(folder)
        exported = Exported(
            format=word,
            folder=str(out or run.path / "exported" / word),
            bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            run=str(run.path),
            task=task,
            method=setup.recipe.method.name or "",
            model_class=setup.form.model_class,
            base=str(base) if over else None,
            module=type(method).__module__ if over and method.brings_type else "",
            temperature=run.temperature,
            proof=proof,
            test_rows=len(setup.split.test),
            changed_answers=None if export.is_exact(method) else _changed(run, setup, folder),
        )
        write_json(folder / FILE, asdict(exported))
    return exported


def _changed(run: Run, setup: Setup, folder: Path) -> int:
    engine = engine_of(setup, load_saved(folder, setup.form, setup.facts, setup.tokenizer))
    [tuned] = [answers for answers in run.read_answers() if answers.kind == "tuned"]
    again = setup.form.predict(engine, setup.split.test)
    return sum(one.text != other.text for one, other in zip(tuned.predictions, again, strict=True))
