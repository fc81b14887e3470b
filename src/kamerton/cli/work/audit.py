"""What `kamerton audit` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from kamerton.cli.output import print_json
from kamerton.prepare import audit as audit_examples
from kamerton.prepare import choose_base, fit, understand
from kamerton.recipe import resolve
from kamerton.report.terminal import Screen


def run(data: Path, flags: Mapping[str, object], json: bool) -> None:
    """Look for what is wrong with the data."""
    understood = choose_base(understand(resolve(None, {"data.path": str(data), **flags})))
    findings = audit_examples(understood, fit(understood) if "model.name" in flags else None)
    if json:
        print_json([asdict(finding) for finding in findings])
        return
    screen = Screen(Console())
    print(f"{data}: {understood.table.rows_read} rows; {understood.recipe.data.task}: {understood.reason}")
    for entry in [*understood.table.rejected, *understood.left_out][:10]:
        print(f"  {entry.place}: {entry.reason}")
    screen.show_findings(findings)
