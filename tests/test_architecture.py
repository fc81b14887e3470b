"""The shape of the code: layers, sizes, plug-in words, and constructs that are never used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kamerton.core import registry

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"

MAY_IMPORT = {
    "core": (),
    "i18n": (),
    "text": (),
    "statistics": (),
    "runs": (),
    "kernels": (),
    "models": ("runs", "kernels"),
    "forms": ("text",),
    "engine": ("models", "kernels", "forms"),
    "plugins": ("forms", "models", "kernels", "text", "statistics", "runs"),
    "contenders": ("text", "runs"),
    "report": ("runs", "i18n", "text", "statistics", "models"),
    "data": ("engine", "plugins", "forms", "models", "text"),
    "train": ("engine", "models", "forms", "runs"),
    "forgetting": ("engine", "forms", "statistics"),
    "evaluate": ("plugins", "statistics", "runs"),
    "feedback": ("evaluate", "statistics"),
    "session": ("data", "train", "models", "engine", "forgetting"),
    "pipeline": ("session", "evaluate", "contenders", "report"),
    "deliver": ("session", "evaluate", "plugins"),
    "serve": ("deliver", "feedback", "i18n"),
    "studio": ("serve", "report", "evaluate", "feedback", "runs"),
    "planning": ("pipeline",),
    "launch": ("runs",),
    "tune": ("pipeline", "deliver"),
    "api": ("tune", "planning", "feedback"),
    "cli": ("tune", "planning", "serve", "studio", "launch"),
    "__init__": ("api",),
    "__main__": ("cli",),
}
"""What each folder of the package may import beside itself and `core`, and all that these may import."""
PLUGIN_FOLDERS = ("tasks", "methods", "optimizers", "metrics", "audits", "remedies", "exports", "workers", "launchers")
LIGHT_FOLDERS = ("core", "i18n", "statistics", "runs")
LIGHT = (*LIGHT_FOLDERS, "cli", "api", "__init__", "__main__")
"""What imports neither torch nor transformers, so that `kamerton --help` answers at once."""
HEAVY = {"torch", "transformers", "peft", "accelerate"}

MOST_LINES_OF_FILE = 500
MOST_LINES_OF_FUNCTION = 100
LONG_FUNCTION = 60
MOST_LONG_FUNCTIONS = 0.02


@dataclass(frozen=True)
class Import:
    """One import of a module, at run time or only for types, at the top of a file or inside a function."""

    module: str
    line: int
    typing_only: bool
    nested: bool


@dataclass(frozen=True)
class Module:
    """A source file, parsed."""

    path: Path

    @cached_property
    def name(self) -> str:
        parts = self.path.relative_to(SOURCE).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def part(self) -> str:
        parts = self.path.relative_to(SOURCE / "kamerton").parts
        return parts[0].removesuffix(".py")

    @property
    def package(self) -> str:
        """The folder it stands in, with dots."""
        return ".".join(self.path.relative_to(SOURCE).parent.parts)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def imports(self) -> list[Import]:
        return list(imports_of(self.tree))

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"


def imports_of(node: ast.AST, *, typing_only: bool = False, nested: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, typing_only, nested) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            # `from package import module` reaches the module; `from module import name` the module.
            yield from (
                Import(resolved(f"{child.module}.{alias.name}"), child.lineno, typing_only, nested)
                for alias in child.names
            )
        else:
            guard = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_of(child, typing_only=typing_only or guard, nested=nested or inside)


def resolved(dotted: str) -> str:
    return dotted if dotted in NAMES or not dotted.startswith("kamerton.") else dotted.rpartition(".")[0]


MODULES = [Module(path) for path in sorted((SOURCE / "kamerton").rglob("*.py"))]
NAMES = {module.name for module in MODULES}
PACKAGES = {module.name for module in MODULES if module.path.stem == "__init__"}


@cache
def nodes(*kinds: type[ast.AST]) -> list[tuple[Module, ast.AST]]:
    return [(module, node) for module in MODULES for node in ast.walk(module.tree) if isinstance(node, kinds)]


def part_of(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else "__init__"


def strings(module: Module) -> Iterator[ast.Constant]:
    """Go through the string constants that are not docstrings."""
    bare = {node.value for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in bare:
            yield node


def own_imports(module: Module) -> Iterator[Import]:
    """Go through imports of Kamerton's own modules, those written as `package.module:name` included."""
    yield from (found for found in module.imports if found.module.split(".")[0] == "kamerton")
    for node in strings(module):
        if re.fullmatch(r"kamerton(\.\w+)+:\w+", node.value):
            yield Import(node.value.partition(":")[0], node.lineno, typing_only=False, nested=True)


@cache
def reachable(part: str) -> frozenset[str]:
    """Return what a part may import: its own entry of the table, and all that those may import."""
    return frozenset({part, "core"}.union(MAY_IMPORT[part], *(reachable(below) for below in MAY_IMPORT[part])))


def test_the_table_names_every_part_and_no_other():
    assert {module.part for module in MODULES} == set(MAY_IMPORT)


TREE = re.compile(r"^  (\w+)(?:/|\.py) +[^←\n]+(?:← (.+))?$", re.MULTILINE)
"""A line of the README's tree: the part, what it holds, what it may import."""


def test_the_tree_in_the_readme_is_the_table():
    tree = (ROOT / "README.md").read_text(encoding="utf-8").partition("src/kamerton/\n")[2].partition("```")[0]
    assert {name: tuple(imports.split()) for name, imports in TREE.findall(tree)} == MAY_IMPORT


def test_the_pages_for_newcomers_name_files_that_are_there():
    for page in (ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"):
        named = re.findall(r"`((?:src|docs|tests)/[\w/.]+?)`", page.read_text(encoding="utf-8"))
        assert named and [name for name in named if not (ROOT / name).exists()] == []


def test_each_part_imports_only_what_the_table_allows():
    wrong = [
        f"{module.at(found.line)}: {module.part} imports {found.module}"
        for module in MODULES
        for found in own_imports(module)
        if part_of(found.module) not in reachable(module.part)
    ]
    assert wrong == []


def test_private_modules_are_imported_only_within_their_folder():
    wrong = [
        f"{module.at(found.line)}: {found.module}"
        for module in MODULES
        for found in own_imports(module)
        if "._" in found.module and found.module.rpartition("._")[0] != module.package
    ]
    assert wrong == []


def test_the_root_package_holds_the_story_and_the_python_interface_only():
    assert {module.path.stem for module in MODULES if module.path.parent == SOURCE / "kamerton"} == {
        "__init__", "__main__", "api", "tune",
    }  # fmt: skip


def test_imports_name_leaf_modules_and_stand_at_the_top():
    through_package = [
        f"{module.at(found.line)}: {found.module}"
        for module in MODULES
        for found in own_imports(module)
        if found.module in PACKAGES and found.module != module.name
    ]
    relative = [
        module.at(node.lineno)
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    nested = [module.at(found.line) for module in MODULES for found in module.imports if found.nested]
    assert (through_package, relative, nested) == ([], [], [])


def test_no_import_cycle():
    graph = {module.name: {i.module for i in module.imports if i.module in NAMES} - {module.name} for module in MODULES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
    assert set(order) == NAMES


def test_light_parts_import_no_model_library():
    wrong = [
        f"{module.at(found.line)}: {found.module}"
        for module in MODULES
        if module.part in LIGHT
        for found in module.imports
        if found.module.split(".")[0] in HEAVY and not found.typing_only
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        *((module.name, HEAVY) for module in MODULES if module.part in LIGHT_FOLDERS),
        ("kamerton", {*HEAVY, "numpy", "pydantic"}),
        ("kamerton.cli.app", {*HEAVY, "numpy", "pydantic"}),
    ],
)
def test_a_light_module_loads_nothing_heavy(module, absent):
    code = f"import sys, {module}; print(*sorted({absent!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_files_are_short():
    lines = {module.at(1): module.path.read_text(encoding="utf-8").count("\n") for module in MODULES}
    assert {place: count for place, count in lines.items() if count > MOST_LINES_OF_FILE} == {}


def test_functions_are_short():
    lengths = {
        module.at(node.lineno): node.end_lineno - node.lineno + 1
        for module, node in nodes(ast.FunctionDef, ast.AsyncFunctionDef)
    }
    long = {place: length for place, length in lengths.items() if length > LONG_FUNCTION}
    assert max(lengths.values()) <= MOST_LINES_OF_FUNCTION, long
    assert len(long) <= MOST_LONG_FUNCTIONS * len(lengths), long


# ── contracts and names ───────────────────────────────────────────────────────────────────────

MOST_MEMBERS = 8
PLUGIN_CLASSES = {word.title().replace("-", "") for folder in PLUGIN_FOLDERS for word in registry.names(folder)}
"""Named by the words that users type."""


def test_protocols_are_small():
    members = {
        f"{module.at(node.lineno)}: {node.name}": sum(
            isinstance(one, ast.FunctionDef | ast.AnnAssign) for one in node.body
        )
        for module, node in nodes(ast.ClassDef)
        if "Protocol" in {ast.unparse(base) for base in node.bases}
    }
    assert {name: count for name, count in members.items() if count > MOST_MEMBERS} == {}


def test_a_class_name_has_one_owner():
    owners = Counter(node.name.lstrip("_") for _, node in nodes(ast.ClassDef))
    twice = {name for name, count in owners.items() if count > 1} - PLUGIN_CLASSES
    assert twice == set()


def test_only_the_forms_know_which_form_they_are():
    forms = {node.name for module, node in nodes(ast.ClassDef) if module.part == "forms"}
    wrong = [
        module.at(node.lineno)
        for module in MODULES
        if module.part != "forms"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
        if forms & {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
        or re.search(r"\bform$", ast.unparse(node.args[0]))
    ]
    assert wrong == []


# ── plug-in words ─────────────────────────────────────────────────────────────────────────────

NAMED_BY_CONTRACT = {"tasks": "metrics"}
"""A task names its metrics: the contract asks for it."""
LIBRARY_OF_THAT_NAME = {
    ("report", "peft"), ("forms", "regression"), ("forms", "instruction"), ("tasks", "instruction"),
    ("report", "text-classification"), ("workers", "ray"), ("launchers", "ray"),
    ("studio", "dial"),
}  # fmt: skip
"""Where a word is not the plug-in's: a package whose code the report shows, transformers' problem type, the key of a
request in data sets, a pipeline of the hub, Ray's package, a command."""


def words_outside_their_files() -> Iterator[str]:
    for folder in PLUGIN_FOLDERS:
        words = set(registry.names(folder))
        for module in MODULES:
            own = module.path.stem.replace("_", "-") if module.path.parent.name == folder else None
            for node in strings(module):
                named_by_contract = NAMED_BY_CONTRACT.get(module.path.parent.name) == folder
                library = (module.path.parent.name, node.value) in LIBRARY_OF_THAT_NAME
                if node.value in words - {own} and not named_by_contract and not library:
                    yield f"{module.at(node.lineno)}: '{node.value}' of {folder}"


def test_a_plugin_word_stands_as_a_string_only_in_its_own_file():
    assert list(words_outside_their_files()) == []


def test_every_plugin_folder_has_plugins_and_their_classes_can_be_chosen():
    for folder in PLUGIN_FOLDERS:
        assert registry.names(folder), folder
        for word in registry.names(folder):
            assert registry.choose(folder, word).__module__.endswith(f".plugins.{folder}.{word.replace('-', '_')}")


# ── what is never used ────────────────────────────────────────────────────────────────────────

BANNED_MODULES = {"pickle", "joblib", "marshal", "shelve", "dill", "cloudpickle", "evaluate"}
BANNED_CALLS = {
    "eval", "exec", "compile", "hasattr", "torch.load", "os.system", "os.popen",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip
BANNED_TRUE = {"shell", "allow_pickle", "trust_remote_code"}
BROAD = {"Exception", "BaseException"}


def faults_of(module: Module) -> Iterator[str]:
    for found in module.imports:
        if found.module.split(".")[0] in BANNED_MODULES:
            yield f"{module.at(found.line)}: import {found.module}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield from (f"{module.at(node.lineno)}: {fault}" for fault in faults_of_call(node))
        elif isinstance(node, ast.ExceptHandler):
            caught = {ast.unparse(name) for name in ([*ast.walk(node.type)] if node.type else []) if is_name(name)}
            if node.type is None or caught & BROAD:
                yield f"{module.at(node.lineno)}: broad except"
            if all(isinstance(statement, ast.Pass) for statement in node.body):
                yield f"{module.at(node.lineno)}: except that says nothing"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and passes_on_keywords(node):
            yield f"{module.at(node.lineno)}: {node.name} takes keywords that it does not name"


NAMED_BY_TEMPLATE = "msg"
"""The function whose keywords its first argument names."""


def passes_on_keywords(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether unnamed keywords are taken and used; `**_` only lets a library's caller pass more."""
    return node.args.kwarg is not None and node.args.kwarg.arg != "_" and node.name != NAMED_BY_TEMPLATE


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute)


def faults_of_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    if called in BANNED_CALLS:
        yield f"{called}()"
    if called == "getattr" and len(node.args) > 2:
        yield "getattr() with a default: a guess"
    for keyword in node.keywords:
        literal_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg in BANNED_TRUE and not literal_false:
            yield f"{keyword.arg}={ast.unparse(keyword.value)}"


def test_no_unsafe_or_guessing_construct_is_used():
    assert [fault for module in MODULES for fault in faults_of(module)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "eval('1')",
        "yaml.load(text)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "hasattr(model, 'config')",
        "getattr(model, 'config', None)",
        "def f(**kwargs): return kwargs",
        "try:\n    f()\nexcept Exception as error:\n    print(error)",
        "try:\n    f()\nexcept (OSError, BaseException):\n    raise",
        "try:\n    f()\nexcept:\n    raise",
        "try:\n    f()\nexcept OSError:\n    pass",
    ],
)
def test_each_banned_construct_is_seen(line, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "sample.py"
    path.write_text(line + "\n", encoding="utf-8")
    assert len(list(faults_of(Module(path)))) == 1


# ── requirements ──────────────────────────────────────────────────────────────────────────────


def locked(file: str) -> dict[str, str]:
    """The version of each package in a file of requirements."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = (line.removesuffix("\\").partition(";")[0].split("==") for line in lines if "==" in line and line[0] != "#")
    return {canonicalize_name(name): version.strip() for name, version in pins}


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-audit.lock", "requirements-elsewhere.lock"])
def test_every_locked_package_has_hashes(file):
    text = "".join(line for line in (ROOT / file).read_text(encoding="utf-8").splitlines(True) if line[0] != "#")
    entries = re.split(r"\n(?=\S)", text.strip())
    bare = [
        entry
        for entry in entries
        if not re.fullmatch(r"[^\n]+==[^\n]+ \\(\n    --hash=sha256:[0-9a-f]{64}( \\)?)+", entry)
    ]
    assert (bare, len(entries)) == ([], len(locked(file)))


def test_only_torch_is_installed_without_hashes_or_what_it_needs():
    recipes = re.findall(r"pip install (.+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    free = [line for line in recipes if "--require-hashes" not in line and "--editable" not in line]
    assert [line.split("--requirement ")[1] for line in free if "peers" not in line] == ["requirements-torch.txt"]
    assert list(locked("requirements-torch.txt")) == ["torch"]


def test_the_lock_pins_every_dependency_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [Requirement(line) for line in project["project"]["dependencies"] + project["dependency-groups"]["dev"]]
    pinned = locked("requirements.lock") | locked("requirements-torch.txt")
    outside = [
        str(need) for need in wanted if not need.specifier.contains(pinned.get(canonicalize_name(need.name), ""))
    ]
    assert outside == []
