"""What `kamerton audit` does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from kamerton.cli.output import print_json, require_page
from kamerton.core.message_json import to_json
from kamerton.core.outcomes import Fixed
from kamerton.core.records import Finding
from kamerton.data.fates import lost_classes, used_line
from kamerton.data.fix import fix_data
from kamerton.i18n.voice import Language, Voice, voice
from kamerton.pipeline.prepare import Understood, bind, choose_base, predicted_fates, understand
from kamerton.pipeline.prepare import audit as audit_examples
from kamerton.report.audit import MOST_CLASSES, MOST_UNREAD, AuditPage, class_bars, length_bars, shown, write_audit_page
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment, resolve

LISTED = 10


def run(
    data: Path,
    flags: Mapping[str, object],
    fix: bool,
    out: Path | None,
    json: bool,
    assignments: Sequence[str] = (),
    language: Language = "en",
) -> None:
    """Look for what is wrong with the data; write a cleaned copy and a page if asked."""
    require_page(out)
    flags = {**flags, **dict(parse_assignment(text) for text in assignments)}
    understood = choose_base(understand(resolve(None, {"data.path": str(data), **flags})))
    bound = bind(understood) if "model.name" in flags else None
    findings = audit_examples(understood, bound)
    after, cut = predicted_fates(understood, findings, bound)
    if lost := lost_classes(understood.examples, after, understood.task.answers):
        findings.insert(0, lost)
    recipe = understood.recipe
    fixed = fix_data(data, understood.table, understood.task, recipe.data.columns or {}) if fix else None
    if out:
        write_audit_page(out, _page(data, flags, understood, findings, fixed), language)
    if json:
        print_json(_for_machines(understood, findings, fixed, out))
        return
    left_out = (*understood.table.rejected, *understood.left_out, *after)
    used = used_line(understood.table.rows_read, left_out, cut)
    _print(data, understood, findings, used, voice(language))
    _print_next(data, findings, fixed, out, voice(language))


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
        "findings": [to_json(finding) for finding in findings],
        "fixed": to_json(fixed) if fixed else None,
        "page": str(out) if out else None,
    }


def _print(data: Path, understood: Understood, findings: Sequence[Finding], used: str, voice: Voice) -> None:
    table, lost = understood.table, [*understood.table.rejected, *understood.left_out]
    about = {"task": understood.recipe.data.task, "reason": voice.repeat(understood.reason)}
    head = "{data}: {rows} {rows:row|rows}; {task}: {reason}"
    print(voice.say(head, {"data": data, "rows": table.rows_read, **about}))
    for note in (*table.notes, *([used] if used else [])):
        print(f"  {voice.repeat(note)}")
    for entry in lost[:LISTED]:
        print(f"  {voice.repeat(str(entry.place))}: {voice.render(entry.reason)}")
    if len(lost) > LISTED:
        more = {"count": len(lost) - LISTED}
        print("  " + voice.say("and {count} more rows that are left out; --json lists them", more))
    print()
    Screen(Console(), voice).show_findings(findings)


def _print_next(data: Path, findings: Sequence[Finding], fixed: Fixed | None, out: Path | None, voice: Voice) -> None:
    """Say what was written, or what can be."""
    print()
    if fixed:
        counts = {"used": fixed.used, "repaired": fixed.repaired, "dropped": fixed.dropped}
        print(f"{voice.text('cleaned'):9}{', '.join(map(str, fixed.copies))}")
        if fixed.copies and data.is_file() and fixed.copies[0].suffix != data.suffix:
            ending = {"ending": fixed.copies[0].suffix}
            print(
                " " * 9
                + voice.say("written as {ending}: the rows cannot be written as they stand in the source", ending)
            )
        print(" " * 9 + voice.say("{used} rows as they were, {repaired} repaired, {dropped} left out", counts))
        for reason, rows in (*fixed.repairs.items(), *fixed.reasons.items()):
            print(
                " " * 9 + voice.say("{reason}: {rows} {rows:row|rows}", {"reason": voice.repeat(reason), "rows": rows})
            )
        if not fixed.repaired + fixed.dropped:
            print(" " * 9 + voice.text("nothing is left to mend: the copy holds the same rows"))
        print(f"{voice.text('ledger'):9}{fixed.ledger}")
    elif findings:
        written = voice.text("writes a cleaned copy beside the data")
        print(f"{voice.text('next'):9}kamerton audit {shlex.quote(str(data))} --fix   {written}")
    if out:
        print(f"{voice.text('page'):9}{out}")


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
