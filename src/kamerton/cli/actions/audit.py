"""What `kamerton audit` does."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from kamerton.cli.output import LISTED, listed, open_console, print_json, require_page
from kamerton.core.addresses import written_out
from kamerton.core.files import mode_of, permitting, shell_word
from kamerton.core.message_json import to_json
from kamerton.core.messages import Wording, msg
from kamerton.core.outcomes import Fixed
from kamerton.core.records import Finding, LedgerEntry
from kamerton.data.fates import lost_classes, used_line
from kamerton.data.fix import can_fix, fix_data
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.pipeline.prepare import ParsedData, bind, choose_base, parse_data, predicted_fates
from kamerton.pipeline.prepare import audit as audit_examples
from kamerton.report.audit import MOST_CLASSES, MOST_UNREAD, AuditPage, class_bars, length_bars, shown, write_audit_page
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment, resolve

FLAGS = {"data.task": "--task", "data.columns": "--columns", "data.max_rows": "--max-rows", "model.name": "--model"}
"""The options of the settings that have one."""
MOST_REASONS = 10
INDENT = " " * 9


def run(
    data: Path,
    flags: Mapping[str, object],
    fix: bool,
    out: Path | None,
    json: bool,
    assignments: Sequence[str] = (),
    language: Language = "en",
) -> None:
    """Audit the data; write a cleaned copy and a page if asked."""
    require_page(out)
    settings = {**flags, **dict(map(parse_assignment, assignments))}
    parsed = choose_base(parse_data(resolve(None, {"data.path": written_out(data), **settings})))
    bound = bind(parsed) if "model.name" in settings else None
    findings = audit_examples(parsed, bound)
    after, cut = predicted_fates(parsed, findings, bound)
    if lost := lost_classes(parsed.examples, after, parsed.task.answers):
        findings.insert(0, lost)
    recipe = parsed.recipe
    fixed = fix_data(data, parsed.table, parsed.task, recipe.data.columns or {}) if fix else None
    left_out = (*parsed.table.rejected, *parsed.left_out, *after)
    mendable = can_fix(findings, () if recipe.data.max_rows else left_out)
    command = _fix_command(data, flags, assignments) if mendable else ""
    if out:
        model = str(settings.get("model.name", ""))
        with permitting(mode_of(str(data))):
            write_audit_page(out, _page(data, model, parsed, findings, fixed, command), language)
    if json:
        print_json(_for_machines(parsed, findings, fixed, out))
        return
    speaker = voice(language)
    _print(data, parsed, findings, used_line(parsed.table.rows_read, left_out, cut), speaker)
    lines = list(_copy_lines(fixed, speaker)) if fixed else []
    if not fixed and command:
        does = speaker.translate("writes a cleaned copy beside the data")
        lines = [f"{speaker.translate('next'):9}{command}   {does}"]
    if out:
        lines.append(f"{speaker.translate('page'):9}{out}")
    if lines:
        print("", *lines, sep="\n")


def _fix_command(data: Path, flags: Mapping[str, object], assignments: Sequence[str]) -> str:
    """Return the command that writes a cleaned copy, with the options that were given."""
    words = ["kamerton", "audit", str(data)]
    for path, value in flags.items():
        text = ",".join(f"{role}={name}" for role, name in value.items()) if isinstance(value, dict) else str(value)
        words += [FLAGS[path], text]
    sets = (word for text in assignments for word in ("--set", text))
    return " ".join(map(shell_word, [*words, *sets, "--fix"]))


def _for_machines(
    parsed: ParsedData, findings: Sequence[Finding], fixed: Fixed | None, out: Path | None
) -> dict[str, object]:
    table = parsed.table
    return {
        "data": parsed.recipe.data.path,
        "task": parsed.recipe.data.task,
        "columns": parsed.recipe.data.columns,
        "rows": table.rows_read,
        "notes": list(table.notes),
        "unusable": [
            {"id": entry.id, "place": str(entry.place), "reason": entry.reason}
            for entry in (*table.rejected, *parsed.left_out)
        ],
        "findings": [to_json(finding) for finding in findings],
        "fixed": to_json(fixed) if fixed else None,
        "page": str(out) if out else None,
    }


def _print(data: Path, parsed: ParsedData, findings: Sequence[Finding], used: Wording, voice: Voice) -> None:
    table = parsed.table
    rule = "{data}: {rows} {rows:row|rows}; {task}: {reason}"
    task = parsed.recipe.data.task or ""
    head = msg(rule, data=str(data), rows=table.rows_read, task=task, reason=parsed.reason)
    print(voice.render(head))
    for note in (*table.notes, *([used] if used else [])):
        print(f"  {voice.render(note)}")
    for line in _places([*table.rejected, *parsed.left_out], voice):
        print(f"  {line}")
    print()
    Screen(open_console(), voice).show_findings(findings)


def _places(entries: Sequence[LedgerEntry], voice: Voice) -> Iterator[str]:
    """Yield the places of the rows that share a reason; a single row's place is in the line that counts the rows."""
    reasons = sorted(entries, key=lambda entry: str(entry.reason))
    groups = [list(group) for _, group in groupby(reasons, key=lambda entry: str(entry.reason))]
    several = sorted((group for group in groups if len(group) > 1), key=len, reverse=True)
    for group in several[:MOST_REASONS]:
        places = listed([str(entry.place) for entry in group])
        yield voice.render(msg("{reason}: {places}", reason=group[0].reason, places=places))
    if len(several) > MOST_REASONS or any(len(group) > LISTED for group in several):
        yield voice.translate("--json lists every row")


def _copy_lines(fixed: Fixed, voice: Voice) -> Iterator[str]:
    """Yield what was written, and what was repaired and left out."""
    yield f"{voice.translate('cleaned'):9}{', '.join(map(str, fixed.copies))}"
    yield from (INDENT + voice.render(note) for note in fixed.notes)
    counts = "{used} rows as they were, {repaired} repaired, {dropped} left out"
    yield INDENT + voice.render(msg(counts, used=fixed.used, repaired=fixed.repaired, dropped=fixed.dropped))
    for reason, rows in (*fixed.repairs.items(), *fixed.reasons.items()):
        yield INDENT + voice.render(msg("{reason}: {rows} {rows:row|rows}", reason=reason, rows=rows))
    if not fixed.repaired + fixed.dropped:
        yield INDENT + voice.translate("nothing is left to mend: the copy holds the same rows")
    yield f"{voice.translate('ledger'):9}{fixed.ledger}"


def _page(
    data: Path, model: str, parsed: ParsedData, findings: Sequence[Finding], fixed: Fixed | None, command: str
) -> AuditPage:
    table, examples, lost = parsed.table, parsed.examples, (*parsed.table.rejected, *parsed.left_out)
    classes = class_bars(examples) if parsed.task.answers == "class" else ()
    return AuditPage(
        name=data.name,
        task=parsed.recipe.data.task or "",
        reason=parsed.reason,
        model=model,
        rows=table.rows_read,
        examples=len(examples),
        unread=tuple(lost[:MOST_UNREAD]),
        unread_rows=len(lost),
        findings=shown(findings, examples),
        classes=classes[:MOST_CLASSES],
        more_classes=max(0, len(classes) - MOST_CLASSES),
        lengths=length_bars(examples),
        command=command,
        mended=fixed,
    )
