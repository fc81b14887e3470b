"""Every English sentence that the source can show, found in its syntax: so that none lacks a translation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import kamerton

SOURCE = Path(kamerton.__file__).parent
UNSHOWN = {
    "cli.commands", "cli.options", "cli.app",  # `--help` is English
    "i18n", "text.language_id", "text.pii", "text.mojibake", "forms.rendered", "forms.sandbox", "train.replay",
    "models.e5", "models.load", "models.template", "models.naming", "data.augment", "contenders.baselines_of_tags",
    "forgetting.probe", "forgetting.before", "engine.embed", "engine.packed", "kernels.trial", "text.label_values",
}  # fmt: skip
"""What holds data, prompts, programs and features instead of sentences to a reader."""
UNSHOWN_FUNCTIONS = {
    "Fault", "Error", "nearest", "ValueError", "RuntimeError", "IndexError", "Role", "add_row", "fault", "_fault",
    "example_rows", "prompt", "parse", "compile",
}  # fmt: skip
UNSHOWN_NAMES = re.compile(r"STYLE|PATTERN|PLACEHOLDER|HARMLESS|WAYS|INSTRUCTIONS|_RE$|_ENVIRON|^(rule|remedy)$")
"""Variables that hold no sentence to a reader; what is said of a mistake has English words in a Russian frame yet."""
WORD = re.compile(r"[A-Za-z]{2,}")
SENTENCE = re.compile(r"[A-Za-z]{2,},? [A-Za-z(]")
HOLED = re.compile(r"\{\w+:[^}|]+\|[^}]+\}")
NUMBERS = re.compile(r"[,%dgef]")


@dataclass(frozen=True)
class Said:
    """A sentence of the source, with examples in its holes."""

    module: str
    """Below `kamerton`, with dots."""
    line: int
    text: str


def sentences() -> Iterator[Said]:
    """Go through what the source can say, each with every wording that its plural forms give."""
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if not any(module == unshown or module.startswith(f"{unshown}.") for unshown in UNSHOWN):
            finder = _Finder(module)
            finder.visit(ast.parse(path.read_text(encoding="utf-8")))
            yield from finder.found


class _Finder(ast.NodeVisitor):
    def __init__(self, module: str) -> None:
        self.module, self.found = module, list[Said]()

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name not in UNSHOWN_FUNCTIONS:
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(target, ast.Name) and UNSHOWN_NAMES.search(target.id) for target in node.targets):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == "count":
            self.visit(node.args[0])  # the noun is said in the sentence around it
        elif called not in UNSHOWN_FUNCTIONS:
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and (SENTENCE.search(node.value) or HOLED.search(node.value)):
            self.found.append(Said(self.module, node.lineno, node.value))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = [_examples(part) for part in node.values]
        own = " ".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        spoken = (WORD.search(own) and " " in own) or any(len(one) > 1 for one in parts)
        if spoken and sum(map(str.isalpha, own)) > 3:
            self.found += [Said(self.module, node.lineno, "".join(chosen)) for chosen in product(*parts)]
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and not isinstance(part.value, ast.IfExp):
                self.visit(part.value)


def _examples(node: ast.AST) -> list[str]:
    """Give what may stand in a part of an f-string."""
    match node:
        case ast.Constant():
            return [str(node.value)]
        case ast.FormattedValue(value=ast.IfExp(body=yes, orelse=no)):
            chosen = [_examples(ast.FormattedValue(one, -1)) for one in (yes, no)]
            return [*chosen[0], *chosen[1]]
        case ast.FormattedValue(value=ast.Constant(value=text)):
            return [str(text)]
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="count"), args=[_, ast.Constant(value=noun), *more])):
            plural = more[0].value if more and isinstance(more[0], ast.Constant) else f"{noun}s"
            return [f"1 {noun}", f"7 {plural}"]
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="share" | "percent"))):
            return ["4.1%"]
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="len"))):
            return ["7"]
        case ast.FormattedValue(format_spec=ast.JoinedStr() as spec) if NUMBERS.search(ast.unparse(spec)):
            return ["41%" if "%" in ast.unparse(spec) else "7"]
        case _:
            return ["Xyz"]
