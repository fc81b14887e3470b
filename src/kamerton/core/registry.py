"""The folder is the registry; the file name is the word the user types.

`methods/lora.py` is `--method lora`, `tasks/text_classification.py` is `--task text-classification`.
A plug-in file defines one public class whose name is the word in CamelCase (`Lora`,
`TextClassification`). A stranger's plug-in needs no fork: `package.module:Class` works in the same place.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from kamerton.core.errors import Fault, RecipeError, nearest

PACKAGE = Path(__file__).parent.parent / "plugins"
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def names(folder: str) -> list[str]:
    """List the words of one plug-in folder, sorted, without importing any of them.

    >>> "lora" in names("methods")
    True
    """
    return words_in(PACKAGE / folder)


def words_in(folder: Path) -> list[str]:
    """List the words that the files of a folder stand for, sorted."""
    return sorted(path.stem.replace("_", "-") for path in folder.glob("*.py") if not path.stem.startswith("_"))


def unknown(folder: str, word: str) -> Fault | None:
    """Say what is wrong with a word that names no plug-in, without importing any; None if it names one."""
    if DOTTED.fullmatch(word) or word in names(folder):
        return None
    return Fault(f"there is no {_one_of(folder)} '{word}'", remedy=nearest(word, names(folder)))


def _one_of(folder: str) -> str:
    """Name one thing of a folder: `remedy` of `remedies`."""
    return f"{folder.removesuffix('ies')}y" if folder.endswith("ies") else folder.removesuffix("s")


def choose(folder: str, word: str) -> Any:
    """Import the one module that `word` names and return its class.

    Args:
        folder: the plug-in folder: `tasks`, `methods`, `optimizers`, `metrics`, `audits`.
        word: a file's name with dashes, or `package.module:Class` for a class from elsewhere.

    Raises:
        RecipeError: no such plug-in; the message names the nearest one.

    """
    if DOTTED.fullmatch(word):
        return load(word)
    if fault := unknown(folder, word):
        raise RecipeError(fault)
    class_name = "".join(part.capitalize() for part in word.split("-"))
    return getattr(importlib.import_module(f"kamerton.plugins.{folder}.{word.replace('-', '_')}"), class_name)


def load(dotted: str) -> Any:
    """Import `package.module:name` and return the object.

    The command line uses it to reach heavy modules only when a command runs.

    Raises:
        RecipeError: the module or the name in it does not exist.

    """
    module_name, _, attribute = dotted.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        fault = Fault(f"'{dotted}' names a module that cannot be imported", remedy=f"install or spell {error.name}")
        raise RecipeError(fault) from error
    if attribute not in vars(module):
        raise RecipeError(
            Fault(f"module '{module_name}' has no '{attribute}'", remedy=nearest(attribute, vars(module)))
        )
    return vars(module)[attribute]


def require(module: str, extra: str) -> Any:
    """Import a library that one of Kamerton's extras installs.

    Raises:
        RecipeError: it is not installed; the message names the command.

    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        fault = Fault(f"this needs {error.name}, which is not installed", remedy=f"pip install 'kamerton[{extra}]'")
        raise RecipeError(fault) from error
