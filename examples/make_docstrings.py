"""Make an instruction file out of Python's own standard library: a short function, and its docstring's first line.

    python examples/make_docstrings.py --out docstrings.jsonl

Nothing is downloaded: the functions are those of the Python that runs this.
"""

from __future__ import annotations

import argparse
import ast
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from kamerton.files import write_text

REQUEST = "Write the first line of the docstring of this Python function."
SHORT, LONG = 40, 400
"""Bounds on a function's source in characters, so that a row has about a hundred tokens."""


def functions(library: Path) -> Iterator[dict[str, str]]:
    """Give every short documented function of the library's top-level modules, without its docstring."""
    for path in sorted(library.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and (text := ast.get_docstring(node)):
                source = ast.unparse(ast.FunctionDef(**{**vars(node), "body": node.body[1:]}))
                first = text.splitlines()[0].strip()
                if SHORT <= len(source) <= LONG and len(first.split()) > 2:
                    yield {"instruction": REQUEST, "input": source, "output": first}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    rows = list(functions(Path(sysconfig.get_paths()["stdlib"])))
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{len(rows)} rows in {out}")


if __name__ == "__main__":
    main()
