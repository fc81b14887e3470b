"""Models that all processes hold: each loads its own, by the recipe and the run's folder, which all can read."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from kamerton.core.errors import KamertonError
from kamerton.engine.dealing import hold, new_number
from kamerton.engine.engine import TorchEngine
from kamerton.kernels.processes import agree, together, world_size
from kamerton.runs.recipe import Recipe
from kamerton.runs.run import Run
from kamerton.session.setup import Setup, open_setup
from kamerton.session.trainable import TrainableModel, make_trainable

Made = TypeVar("Made")
Make = Callable[[Run, Setup], TorchEngine]

_opened: list[Setup] = []
"""The setup that was opened last on this rank: rank 0 mostly asks for the same one."""
_trainable: list[TrainableModel] = []
"""The model in training on this rank."""


def engine_everywhere(make: Make, run: Run, setup: Setup) -> TorchEngine:
    """Make an engine on all ranks by a function of a module; from then on, rows are dealt out to them.

    Raises:
        TogetherError: a rank could not.
    """
    number = new_number()
    with together(_hold, make, run.path, setup.origin, setup.recipe, number):
        return hold(_agreed(partial(make, run, setup)), number)


def trainable_everywhere(setup: Setup) -> TrainableModel:
    """Prepare the model for training on all ranks.

    Raises:
        TogetherError: a rank could not.
    """
    number = new_number()
    with together(_hold_trainable, setup.origin, setup.recipe, number):
        trainable = _agreed(partial(make_trainable, setup))
        return replace(trainable, engine=hold(trainable.engine, number))


def setup_of(origin: Path, recipe: Recipe) -> Setup:
    """Return the setup of a run with a recipe, on a rank that keeps nothing on the disk."""
    if not _opened or (_opened[0].origin, _opened[0].recipe) != (origin, recipe):
        _opened[:] = [replace(open_setup(Run(origin), recipe), cache=None)]
    return _opened[0]


def trainable_here() -> TrainableModel:
    """Return the model in training on this rank."""
    return _trainable[0]


def _hold(make: Make, folder: Path, origin: Path, recipe: Recipe, number: int) -> None:
    hold(_agreed(lambda: make(Run(folder), setup_of(origin, recipe))), number)


def _hold_trainable(origin: Path, recipe: Recipe, number: int) -> None:
    _trainable.clear()
    trainable = _agreed(lambda: make_trainable(setup_of(origin, recipe)))
    _trainable.append(replace(trainable, engine=hold(trainable.engine, number)))


def _agreed(make: Callable[[], Made]) -> Made:
    """Return what all ranks could make, each its own."""
    if world_size() == 1:
        return make()
    made: list[Made] = []
    failure = None
    try:
        made.append(make())
    except KamertonError as error:
        failure = error
    agree(failure)
    return made[0]
