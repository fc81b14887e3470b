"""Create a run: resolve the recipe and make the folder."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from kamerton.core import registry
from kamerton.core.addresses import address_of, written_out
from kamerton.core.errors import Fault, RecipeError
from kamerton.core.messages import msg
from kamerton.data.named import is_pattern
from kamerton.models.catalog import names
from kamerton.models.locate import unknown_model
from kamerton.runs.recipe import AUTO, ModelSettings, Recipe, of_training, resolve
from kamerton.runs.run import Run
from kamerton.runs.servers import allow_key
from kamerton.runs.settings import SELF, PromptSettings
from kamerton.session.setup import make_method, make_task

T = TypeVar("T")
RECIPES = (".yaml", ".yml")
RUNS = Path("runs")
WORDS = ("data.task", "model.name", "train.optimizer", "evaluate.metric", "remedy.names")
"""Settings that name plug-ins or a model."""
EVERY = "test"
"""The split in which every row is tested on."""


def new_run(data: Path, out: Path | None, settings: Mapping[str, object]) -> Run:
    """Create a run's folder with its recipe.

    Args:
        data: a data file, or a recipe.
        out: the folder; a new one under `runs/` if not given.
        settings: by dotted path; they override a recipe's.

    Raises:
        RecipeError: with every wrong setting.
        RunError: the folder already holds a run.
    """
    written = data if data.suffix in RECIPES else None
    given = settings if written else {"data.path": written_out(data), **settings}
    recipe, faults = _tried(partial(resolve, written, given))
    if recipe is None:  # the names of plug-ins are checked, too
        named = {path: v for path, v in given.items() if path in WORDS or path.startswith(("method.", "task."))}
        recipe = _tried(partial(resolve, None, named))[0] or Recipe()
    faults = [*faults, *_unknown(recipe)]
    if faults:
        raise RecipeError(faults)
    prompt, unnamed = recipe.prompt, PromptSettings()
    if prompt.against and ("prompt.key" in given or ("prompt.against" in given and prompt.key == unnamed.key)):
        allow_key(prompt.against, prompt.key)
    model, none = recipe.model, ModelSettings()
    if model.tuned_at and (
        "model.tuned_key" in given or ("model.tuned_at" in given and model.tuned_key == none.tuned_key)
    ):
        allow_key(model.tuned_at, model.tuned_key)
    return Run.create(out or _free_folder(recipe), anchored(recipe))


def _unknown(recipe: Recipe) -> list[Fault]:
    """Return the faults of unknown names, and of settings that the method or the task does not have."""
    words = [
        ("tasks", recipe.data.task),
        ("methods", recipe.method.name),
        ("optimizers", recipe.train.optimizer),
        ("metrics", recipe.evaluate.metric),
        *(("remedies", word) for word in recipe.remedy.names if word != AUTO),
    ]
    faults = [fault for folder, word in words if word and (fault := registry.unknown(folder, word))]
    faults += [fault for name in (recipe.model.name, recipe.model.tuned) if name and (fault := unknown_model(name))]
    if recipe.model.tuned_at and recipe.benchmarks.tasks:
        rule = msg("benchmarks need the weights of the tuned model, and only its answers are known")
        faults.append(Fault(rule, "benchmarks.tasks", msg("leave it out")))
    if recipe.model.is_finished:
        faults += _not_trained(recipe)
    elif recipe.split.train_path or recipe.split.by == EVERY:
        rule = msg("without training rows there is nothing to train on: these settings are for a finished model")
        faults.append(Fault(rule, "split.by", msg("`kamerton prove DATA --tuned MODEL` judges one")))
    task, method = recipe.data.task or "", recipe.method.name or ""
    if task in registry.names("tasks"):
        faults += _tried(partial(make_task, recipe, task))[1]
    if method in registry.names("methods"):
        faults += _tried(partial(make_method, recipe))[1]
    return faults


def _not_trained(recipe: Recipe) -> list[Fault]:
    """Return the faults of settings of a training, in a run whose model was tuned elsewhere."""
    given = [one for one in recipe.settings() if one.reason.origin in ("flag", "recipe") and of_training(one)]
    rule, remedy = msg("nothing is trained in this run: its model was tuned elsewhere"), msg("leave it out")
    return [Fault(rule, one.path, remedy) for one in given]


def _tried(make: Callable[[], T]) -> tuple[T | None, Sequence[Fault]]:
    try:
        return make(), ()
    except RecipeError as error:
        return None, error.faults


def anchored(recipe: Recipe) -> Recipe:
    """Make the paths of existing files and folders absolute, so that the run works from anywhere.

    Non-paths are returned unchanged: names of known models and tasks, ids of the Hub.
    """
    data, split, mix, benchmarks = recipe.data, recipe.split, recipe.mix, recipe.benchmarks
    model, prompt = recipe.model, recipe.prompt
    words = model.new_tokens
    changes: dict[str, dict[str, object]] = {
        "data": {"path": _anchored(data.path)},
        "split": {"test_path": _anchored(split.test_path), "train_path": _anchored(split.train_path)},
        "mix": {"source": mix.source if mix.source == SELF else _anchored(mix.source)},
        "model": {
            "name": model.name if model.name in names() else _anchored(model.name),
            "tuned": _anchored(model.tuned),
            "tuned_at": _anchored(model.tuned_at),
            "template": _anchored(model.template),
            "new_tokens": _anchored(words) if isinstance(words, str) else words,
        },
        "prompt": {"against": _anchored(prompt.against)},
        "benchmarks": {"tasks": tuple(_anchored(t) if t.endswith(RECIPES) else t for t in benchmarks.tasks)},
    }
    values = recipe.model_dump()
    return Recipe.model_validate({**values, **{group: {**values[group], **new} for group, new in changes.items()}})


def _anchored(word: str | None) -> str | None:
    """Return the absolute path of an existing file or folder, or of a pattern."""
    if not word or address_of(word) or not (is_pattern(Path(word)) or Path(word).exists()):
        return word
    return str(Path.cwd() / word)  # a link stays a link


def _free_folder(recipe: Recipe) -> Path:
    name = re.sub(r"[^\w.-]+", "", Path(recipe.data.path).stem) or "data"
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folders = [RUNS / stem, *(RUNS / f"{stem}-{number}" for number in range(2, 100))]
    return next(folder for folder in folders if not folder.exists())
