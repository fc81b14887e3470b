"""What `kamerton audit` does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from kamerton.cli.output import print_json
from kamerton.data.fix import fix_data
from kamerton.outcomes import Fixed
from kamerton.prepare import Understood, choose_base, fit, understand
from kamerton.prepare import audit as audit_examples
from kamerton.recipe import resolve
from kamerton.records import Finding
from kamerton.report.audit import (
    MOST_CLASSES,
    MOST_UNREAD,
    AuditPage,
    class_bars,
    length_bars,
    shown,
    write_audit_page,
)
from kamerton.report.terminal import Screen

LISTED = 10


def run(data: Path, flags: Mapping[str, object], fix: bool, out: Path | None, json: bool) -> None:
    """Look for what is wrong with the data; write a cleaned copy and a page if asked."""
    understood = choose_base(understand(resolve(None, {"data.path": str(data), **flags})))
    findings = audit_examples(understood, fit(understood) if "model.name" in flags else None)
    recipe = understood.recipe
    fixed = fix_data(data, understood.table, understood.task, recipe.data.columns or {}) if fix else None
    if out:
        write_audit_page(out, _page(data, flags, understood, findings, fixed))
    if json:
        print_json(_for_machines(understood, findings, fixed, out))
        return
    _print(data, flags, understood, findings)
    _print_next(data, findings, fixed, out)


def _for_machines(
    understood: Understood, findings: Sequence[Finding], fixed: Fixed | None, out: Path | None
) -> dict[str, object]:
    table = understood.table
    return {
        "data": understood.recipe.data.path,
        "task": understood.recipe.data.task,
        "columns": understood.recipe.data.columns,
        "rows": table.rows_read,
        "notes": list(table.notes),
        "unusable": [
            {"id": entry.id, "place": str(entry.place), "reason": entry.reason}
            for entry in (*table.rejected, *understood.left_out)
        ],
        "findings": [asdict(finding) for finding in findings],
        "fixed": asdict(fixed) if fixed else None,
        "page": str(out) if out else None,
    }


def _print(data: Path, flags: Mapping[str, object], understood: Understood, findings: Sequence[Finding]) -> None:
    table, lost = understood.table, [*understood.table.rejected, *understood.left_out]
    print(f"{data}: {table.rows_read:,} rows; {understood.recipe.data.task}: {understood.reason}")
    for note in table.notes:
        print(f"  {note}")
    for entry in lost[:LISTED]:
        print(f"  {entry.place}: {entry.reason}")
    if len(lost) > LISTED:
        print(f"  and {len(lost) - LISTED:,} more rows that are left out; --json lists them")
    print()
    Screen(Console()).show_findings(findings)


def _print_next(data: Path, findings: Sequence[Finding], fixed: Fixed | None, out: Path | None) -> None:
    """Say what was written, or what can be."""
    print()
    if fixed:
        print(f"cleaned  {', '.join(map(str, fixed.copies))}")
        print(f"         {fixed.used:,} rows as they were, {fixed.repaired:,} repaired, {fixed.dropped:,} left out")
        print(f"ledger   {fixed.ledger}")
    elif findings:
        print(f"next     kamerton audit {shlex.quote(str(data))} --fix   writes a cleaned copy beside the data")
    if out:
        print(f"page     {out}")


def _page(
    data: Path,
    flags: Mapping[str, object],
    understood: Understood,
    findings: Sequence[Finding],
    fixed: Fixed | None,
) -> AuditPage:
    table, examples, lost = understood.table, understood.examples, (*understood.table.rejected, *understood.left_out)
    classes = class_bars(examples) if understood.task.stratified else ()
    return AuditPage(
        name=data.name,
        task=understood.recipe.data.task or "",
        reason=understood.reason,
        model=str(flags.get("model.name", "")),
        rows=table.rows_read,
        examples=len(examples),
        unread=tuple(lost[:MOST_UNREAD]),
        unread_rows=len(lost),
        findings=shown(findings, examples),
        classes=classes[:MOST_CLASSES],
        more_classes=max(0, len(classes) - MOST_CLASSES),
        lengths=length_bars(examples),
        command=f"kamerton audit {shlex.quote(str(data))} --fix",
        mended=fixed,
    )
