"""Begin a run: resolve the recipe and make the folder, before anything slow."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

from kamerton import plugins
from kamerton.errors import RecipeError
from kamerton.recipe import AUTO, Recipe, resolve
from kamerton.run import Run

RECIPES = (".yaml", ".yml")
RUNS = Path("runs")


def new_run(data: Path, out: Path | None, settings: Mapping[str, object]) -> Run:
    """Make a run's folder with its recipe.

    Args:
        data: a data file, or a recipe that names one.
        out: the folder; a new one under `runs/` if not given.
        settings: by dotted path; they overrule a recipe's.

    Raises:
        RecipeError: a setting is wrong; all faults at once.
        RunError: the folder already holds a run.
    """
    written = data if data.suffix in RECIPES else None
    recipe = resolve(written, settings if written else {"data.path": str(data), **settings})
    words = [
        ("tasks", recipe.data.task),
        ("methods", recipe.method.name),
        ("optimizers", recipe.train.optimizer),
        ("metrics", recipe.evaluate.metric),
        *(("remedies", word) for word in recipe.remedy.names if word != AUTO),
    ]
    faults = [fault for folder, word in words if word and (fault := plugins.unknown(folder, word))]
    if faults:
        raise RecipeError(faults)
    return Run.create(out or _free_folder(recipe), recipe)


def _free_folder(recipe: Recipe) -> Path:
    """Name a new folder under `runs/` after the data and the time."""
    name = re.sub(r"[^\w.-]+", "", Path(recipe.data.path).stem) or "data"
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 100)))
    return next(RUNS / name for name in names if not (RUNS / name).exists())
