"""Make a data file out of Python's own standard library.

    python examples/make_docstrings.py --out docstrings.jsonl                        a function, and what it does
    python examples/make_docstrings.py --as summarization --out summaries.jsonl      a docstring, and its first line
    python examples/make_docstrings.py --as code-completion --out code.jsonl         a function's head, and its body
    python examples/make_docstrings.py --as preference --out preferences.jsonl       its first line before a later one
    python examples/make_docstrings.py --as feedback --out feedback.jsonl            one of these two, good or bad
    python examples/make_docstrings.py --as text-classification --out packages.jsonl a function, and its package
    python examples/make_docstrings.py --as modules --out modules.jsonl              a module's code, and what it does

Nothing is downloaded: the functions are those of the Python that runs this.
"""

from __future__ import annotations

import argparse
import ast
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from kamerton.core.files import write_text

REQUEST = "Write the first line of the docstring of this Python function."
SHORT, LONG = 40, 400
"""Bounds on a function's source in characters, so that a row has about a hundred tokens."""
PACKAGES = 8
MODULE = 4600
"""Letters of a module's code, so that a row has about 1,300 tokens."""


def functions(library: Path) -> Iterator[dict[str, str]]:
    """Give every short documented function of the library's top-level modules, without its docstring."""
    for path in sorted(library.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and (text := ast.get_docstring(node)):
                source = ast.unparse(ast.FunctionDef(**{**vars(node), "body": node.body[1:]}))
                first = text.splitlines()[0].strip()
                if SHORT <= len(source) <= LONG and len(first.split()) > 2:
                    yield {"instruction": REQUEST, "input": source, "output": first}


def modules(library: Path) -> Iterator[dict[str, str]]:
    """Give the beginning of every long documented module, without its docstring."""
    request = "Write the first line of the docstring of this Python module."
    for path in sorted(library.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        first = (ast.get_docstring(tree) or "").partition("\n")[0].strip()
        code = ast.unparse(ast.Module(tree.body[1:], []))
        if len(first.split()) > 2 and len(code) >= MODULE:
            yield {"instruction": request, "input": code[:MODULE], "output": first}


def summaries(library: Path) -> Iterator[dict[str, str]]:
    """Give the docstrings of more than one paragraph: the first line sums up the rest."""
    for path in sorted(library.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                first, _, rest = text.partition("\n\n")
                if "\n" not in first and len(first.split()) > 3 and 100 <= len(rest) <= 800:
                    yield {"text": rest.strip(), "summary": first.strip()}


def bodies(library: Path) -> Iterator[dict[str, str]]:
    """Give every short documented function: its head with the docstring, and its body."""
    for path in sorted(library.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and ast.get_docstring(node):
                head = ast.unparse(ast.FunctionDef(**{**vars(node), "body": node.body[:1]})) + "\n"
                whole = ast.unparse(node)
                if len(whole) <= LONG + SHORT and whole.startswith(head):
                    yield {"prompt": head, "completion": whole[len(head) :]}


def preferences(library: Path) -> Iterator[dict[str, str]]:
    """Give functions, the first line of the docstring as the better answer, and a later sentence as the worse one."""
    for path in sorted(library.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
                first, _, rest = text.partition("\n\n")
                later = " ".join(rest.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."
                if (
                    "\n" not in first
                    and len(first.split()) > 3
                    and SHORT <= len(later) <= LONG // 3
                    and ">>>" not in later
                ):
                    head = f"def {node.name}({ast.unparse(node.args)}):"
                    yield {"prompt": f"{REQUEST}\n\n{head}", "chosen": first.strip(), "rejected": later}


def judged(library: Path) -> Iterator[dict[str, str]]:
    """Give the same functions with one of the two answers each, in turn: good is the first line."""
    for at, row in enumerate(preferences(library)):
        good = at % 2 == 0
        yield {
            "prompt": row["prompt"],
            "completion": row["chosen" if good else "rejected"],
            "label": "good" if good else "bad",
        }


def packages(library: Path) -> Iterator[dict[str, str]]:
    """Give the functions of the library's largest packages without their docstrings, and which package each is of.

    Their lengths are skewed as those of real texts are: most have some dozen tokens, some have hundreds.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(library.glob("*/**/*.py")):
        package = path.relative_to(library).parts[0]
        tests = any(part.endswith(("test", "tests")) for part in path.relative_to(library).parts[1:-1])
        if (library / package / "__init__.py").exists() and package != "test" and not tests:
            found.setdefault(package, []).extend(_sources(path))
    for package in sorted(found, key=lambda name: (-len(found[name]), name))[:PACKAGES]:
        yield from ({"text": source, "label": package} for source in found[package])


def _sources(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            source = ast.unparse(ast.FunctionDef(**{**vars(node), "body": body})) if body else ""
            if SHORT * 2 <= len(source) <= LONG * 3:
                yield source


MAKERS = {
    "instruction": functions,
    "modules": modules,
    "summarization": summaries,
    "code-completion": bodies,
    "preference": preferences,
    "feedback": judged,
    "text-classification": packages,
}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--as", dest="task", choices=MAKERS, default="instruction")
    arguments = parser.parse_args()
    rows = list(MAKERS[arguments.task](standard_modules()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{len(rows)} rows in {arguments.out}")


def standard_modules() -> Path:
    """Find the standard library of the Python that runs this."""
    return Path(sysconfig.get_paths()["stdlib"])


if __name__ == "__main__":
    main()
