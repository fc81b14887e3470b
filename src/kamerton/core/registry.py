"""Plug-ins: the folder is the registry, the file's name is the word that the user types.

`methods/lora.py` is `--method lora`, `tasks/text_classification.py` is `--task text-classification`.
A plug-in file defines one public class whose name is the word in CamelCase (`Lora`,
`TextClassification`). A stranger's plug-in needs no fork: `package.module:Class` works in the same place.

Such a word is code. It is imported only if the user named it: on a command line or to `kamerton.tune`, which is kept in
a file of the user's own, or in `$KAMERTON_PLUGINS`. A recipe or a run cannot allow it by itself.
"""

import importlib
import inspect
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from kamerton.core.errors import Fault, RecipeError, nearest
from kamerton.core.files import optional, own_lines, shell_word, write_text
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
    "workers": msg("place of work"),
    "launchers": msg("launcher"),
}
"""The plug-in folders, and what each plug-in is."""
CONTRACTS = {
    **{folder: f"kamerton.core.contracts:{str(kind).capitalize()}" for folder, kind in KINDS.items()},
    "exports": "kamerton.core.exporting:Export",
    "workers": "kamerton.core.pieces:Workers",
    "launchers": "kamerton.core.launching:Launcher",
}
"""What a plug-in of each folder must implement."""
WITH_SETTINGS = ("tasks", "methods", "exports", "launchers")
"""The folders whose plug-ins are pydantic models of their own settings."""
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
CODE = re.compile(rf"{DOTTED.pattern}|.+\.ya?ml")
"""What names code from elsewhere: a class, or a benchmark's task file, which may name functions."""
ALLOWED = "KAMERTON_PLUGINS"
"""The environment variable with the code that recipes and runs may name, semicolons between."""
KEPT = "plugins"
"""The user's own file of the code that was named."""


def names(folder: str) -> list[str]:
    """List the words of one plug-in folder, sorted, without importing any of them.

    >>> "lora" in names("methods")
    True
    """
    files = (PACKAGE / folder).glob("*.py")
    return sorted(path.stem.replace("_", "-") for path in files if not path.stem.startswith("_"))


def unknown(folder: str, word: str) -> Fault | None:
    """Return the fault of a word that names no plug-in, without importing any; None if it names one."""
    if DOTTED.fullmatch(word):
        return refused(word)
    if word in names(folder):
        return None
    return Fault(msg("there is no {kind} '{word}'", kind=KINDS[folder], word=word), remedy=nearest(word, names(folder)))


def choose(folder: str, word: str) -> Any:
    """Import the one module that `word` names in a plug-in folder and return its class.

    The word is a file's name with dashes, or `package.module:Class` for a class from elsewhere.

    Raises:
        RecipeError: no such plug-in; the message names the nearest one. Or code that only a recipe names, or that is no
            class of the kind.
    """
    if fault := unknown(folder, word):
        raise RecipeError(fault)
    if DOTTED.fullmatch(word):
        return _fitting(folder, word, load(word))
    class_name = "".join(part.capitalize() for part in word.split("-"))
    return getattr(importlib.import_module(f"kamerton.plugins.{folder}.{word.replace('-', '_')}"), class_name)


def allow(*values: object) -> None:
    """Allow recipes and runs to name the code among these values, which the user gave, from now on."""
    given = [one for value in values for one in (value if isinstance(value, list | tuple) else (value,))]
    words = [one for one in given if isinstance(one, str) and CODE.fullmatch(one)]
    words = [word if DOTTED.fullmatch(word) else str(Path(word).absolute()) for word in words]
    if new := [word for word in words if refused(word)]:
        os.environ[ALLOWED] = ";".join([os.environ.get(ALLOWED, ""), *new])  # for the processes that this one starts
        with optional():
            path, lines = own_lines(KEPT)
            write_text(path, "\n".join([*lines, *new, ""]))


def refused(word: str) -> Fault | None:
    """Return the fault of code that the user has not named, a class or the path of a file; None if it is allowed."""
    allowed = os.environ.get(ALLOWED, "").split(";")
    with suppress(OSError):
        allowed += own_lines(KEPT)[1]
    if word in allowed:
        return None
    rule = msg("'{code}' is code from elsewhere, which runs only if you name it yourself", code=word)
    once = f"{ALLOWED}={shell_word(word)} kamerton …"
    return Fault(rule, remedy=msg("if you trust it, give it on the command line, or once: `{command}`", command=once))


def _fitting(folder: str, word: str, found: Any) -> Any:
    """Return a class from elsewhere if it has everything that the contract names. Raises `RecipeError` otherwise."""
    contract = load(CONTRACTS[folder])
    wanted = _members(contract) | ({"model_validate"} if folder in WITH_SETTINGS else set())
    lacking = sorted(wanted - _members(found)) if isinstance(found, type) and found is not contract else ["class"]
    if lacking:
        rule = msg("'{word}' is no {kind}: it lacks {names}", word=word, kind=KINDS[folder], names=", ".join(lacking))
        remedy = msg("implement `{contract}`", contract=CONTRACTS[folder].replace(":", "."))
        raise RecipeError(Fault(rule, remedy=remedy))
    return found


def _members(kind: type) -> set[str]:
    named = {name for base in kind.__mro__ for name in (*vars(base), *inspect.get_annotations(base))}
    return {name for name in named if not name.startswith("_")}


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
