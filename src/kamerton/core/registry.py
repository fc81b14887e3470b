"""Plug-ins: the folder is the registry, the file's name is the word that the user types.

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
from kamerton.core.messages import msg, verbatim

PACKAGE = Path(__file__).parent.parent / "plugins"
KINDS = {
    "tasks": msg("task"),
    "methods": msg("method"),
    "optimizers": msg("optimizer"),
    "metrics": msg("metric"),
    "audits": msg("audit"),
    "remedies": msg("remedy"),
    "exports": msg("export"),
}
"""The plug-in folders, and what each plug-in is."""
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def names(folder: str) -> list[str]:
    """List the words of one plug-in folder, sorted, without importing any of them.

    >>> "lora" in names("methods")
    True
    """
    files = (PACKAGE / folder).glob("*.py")
    return sorted(path.stem.replace("_", "-") for path in files if not path.stem.startswith("_"))


def unknown(folder: str, word: str) -> Fault | None:
    """Return the fault of a word that names no plug-in, without importing any; None if it names one."""
    if DOTTED.fullmatch(word) or word in names(folder):
        return None
    return Fault(msg("there is no {kind} '{word}'", kind=KINDS[folder], word=word), remedy=nearest(word, names(folder)))


def choose(folder: str, word: str) -> Any:
    """Import the one module that `word` names in a plug-in folder and return its class.

    The word is a file's name with dashes, or `package.module:Class` for a class from elsewhere.

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
        rule = msg("'{name}' names a module that cannot be imported", name=dotted)
        remedy = msg("install {module}, or check its spelling", module=error.name)
        raise RecipeError(Fault(rule, remedy=remedy)) from error
    if attribute not in vars(module):
        rule = msg("module '{module}' has no '{name}'", module=module_name, name=attribute)
        raise RecipeError(Fault(rule, remedy=nearest(attribute, vars(module))))
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
        rule = msg("this needs {library}, which is not installed", library=error.name)
        raise RecipeError(Fault(rule, remedy=verbatim(f"pip install 'kamerton[{extra}]'"))) from error
