"""Write a cleaned copy of the data beside the source, and a ledger of every row.

Rows that cannot be used and exact duplicates are left out; wrong encodings, HTML entities, invisible characters and
stray spaces are repaired in texts and labels, and different spellings of a label become the most frequent one.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from kamerton.core.contracts import AuditContext, Task
from kamerton.core.errors import reason_of
from kamerton.core.files import appearing, hidden, mode_of, permitting
from kamerton.core.messages import Joined, Message, Wording, msg, term
from kamerton.core.outcomes import Fixed
from kamerton.core.records import Example, Finding, LedgerEntry, Row
from kamerton.data.cells import value_at
from kamerton.data.fates import check_complete
from kamerton.data.mend import Repaired, repair_rows
from kamerton.data.named import ARCHIVES, SHEETS, format_of
from kamerton.data.table import Table
from kamerton.data.write import LINES, Copy, target_format, write_copy
from kamerton.plugins.audits.damaged_encoding import DamagedEncoding
from kamerton.plugins.audits.empty_fields import EmptyFields
from kamerton.plugins.audits.exact_duplicates import ExactDuplicates
from kamerton.plugins.audits.html_remains import HtmlRemains
from kamerton.plugins.audits.label_spellings import LabelSpellings
from kamerton.plugins.audits.stray_signs import StraySigns

DROPPING = (EmptyFields, ExactDuplicates)
BY_HAND = msg("left out by hand")

MENDED = {
    check.__module__.rpartition(".")[2].replace("_", "-")
    for check in (*DROPPING, DamagedEncoding, HtmlRemains, LabelSpellings, StraySigns)
}
"""The checks that find nothing in a cleaned copy."""


def can_fix(findings: Sequence[Finding], unusable: Sequence[LedgerEntry]) -> bool:
    """Return whether a cleaned copy would differ from the source."""
    return bool(unusable) or any(finding.check in MENDED for finding in findings)


def dropped_examples(examples: Sequence[Example], task: Task) -> dict[int, Wording]:
    """Return by id the checks of `DROPPING` that leave examples out."""
    learned, is_class = [role.name for role in task.roles if role.to_learn], task.answers == "class"
    context = AuditContext(is_class, lengths=None, max_tokens=None, answers=task.answers, learned_from=learned)
    reasons: dict[int, Wording] = {}
    for check in reversed(DROPPING):
        if finding := check().check(examples, context):
            reasons |= dict.fromkeys(finding.drop, term(finding.check.replace("-", " ")))
    return reasons


def fix_data(path: Path, table: Table, task: Task, roles: Mapping[str, str], without: Collection[int] = ()) -> Fixed:
    """Write the cleaned copy of `path` and its ledger, without some rows by id; the source is only read."""
    repaired = repair_rows(table.rows, task, roles)
    others = [item.row for item in repaired if item.row.id not in without]
    unusable = {**dict.fromkeys(without, BY_HAND), **_unusable(others, task, roles)}
    entries = sorted([*table.rejected, *(_entry(item, unusable) for item in repaired)], key=lambda entry: entry.id)
    check_complete(table.rows_read, entries)
    kept = [item for item in repaired if item.row.id not in unusable]
    place = _free_place(path, table)
    copy, ledger = _target(path, path, place, table), _ledger_path(path, place, table)
    with appearing(copy) as beside, appearing(ledger) as temporary:  # the copy appears last
        copies = tuple(_write_copies(path, place, kept, table, beside))
        with permitting(min(map(mode_of, {entry.place.file for entry in entries}), default=0o600)):
            _write_ledger(temporary, entries)
    fates = Counter(entry.fate for entry in entries)
    repairs = Counter[Wording](repair for item in kept for repair in item.repairs)
    reasons = Counter(entry.reason for entry in entries if entry.fate == "dropped")
    counts = fates["used"], fates["repaired"], fates["dropped"]
    return Fixed(copies, ledger, *counts, dict(repairs), dict(reasons), tuple(_notes(path, copies, table)))


def _notes(path: Path, copies: Sequence[Path], table: Table) -> Iterator[Message]:
    if not all(name.startswith("utf-8") for name in table.encoding.split(", ")):
        yield msg("written in UTF-8; the source is in {encoding}", encoding=table.encoding)
    if copies and path.is_file() and copies[0].suffix != path.suffix:
        yield msg("written as {ending}: the source's format cannot hold these rows", ending=copies[0].suffix)


def _unusable(rows: Sequence[Row], task: Task, roles: Mapping[str, str]) -> dict[int, Wording]:
    """Return by id why rows are left out, judged after the repair, which can make rows equal."""
    reasons, examples = dict[int, Wording](), list[Example]()
    for row in rows:
        try:
            values = {role: value_at(row.values, column) for role, column in roles.items()}
            examples.append(task.example(row.id, row.place, values))
        except ValueError as error:
            reasons[row.id] = reason_of(error)
    return {**dropped_examples(examples, task), **reasons}


def _entry(item: Repaired, unusable: Mapping[int, Wording]) -> LedgerEntry:
    id, place = item.row.id, item.row.place
    if id in unusable:
        return LedgerEntry(id, place, "dropped", unusable[id])
    repairs = Joined(item.repairs, ", ") if item.repairs else ""
    return LedgerEntry(id, place, "repaired" if repairs else "used", repairs)


def _free_place(path: Path, table: Table) -> str:
    """Return the word to put between a name and its extension so that no file is overwritten.

    A ledger that a kill left without its copy is removed.
    """
    for number in count(1):
        word = f"cleaned-{number}" if number > 1 else "cleaned"
        copy, ledger = _target(path, path, word, table), _ledger_path(path, word, table)
        if hidden(copy).exists() and not copy.exists():
            ledger.unlink(missing_ok=True)
        if not copy.exists() and not ledger.exists():
            return word
    raise AssertionError("numbers have no end")


def _target(path: Path, file: Path, word: str, table: Table) -> Path:
    """Return the path of a file's copy: beside it, or in a folder beside the folder, archive or pattern."""
    ending = target_format(file) if file.is_file() and _is_written(file, table) else LINES
    if _is_one(path):
        return path.with_name(f"{path.name.removesuffix(ending)}.{word}{ending}")
    folder = path if path.exists() else Path("".join(sign if sign.isalnum() else "-" for sign in str(path)).strip("-"))
    beside = folder.with_name(f"{folder.name}.{word}")
    if file == path:
        return beside
    inner = file.relative_to(path) if path.exists() else Path(*(part for part in file.parts if part.strip("./")))
    return beside / inner.with_name(inner.name.removesuffix(ending) + ending)


def _is_one(path: Path) -> bool:
    return path.is_file() and format_of(path) not in ARCHIVES


def _is_written(file: Path, table: Table) -> bool:
    """Return whether rows can be written in a file's own format: a sheet takes cells, but no lists."""
    if format_of(file) in SHEETS:
        return not any(isinstance(cell, list | dict) for row in table.rows[:1] for cell in row.values.values())
    return not table.reshaped


def _ledger_path(path: Path, word: str, table: Table) -> Path:
    target = _target(path, path, word, table)
    return target.with_name(f"{target.name}.ledger.jsonl")


def _write_copies(path: Path, word: str, kept: Sequence[Repaired], table: Table, beside: Path) -> Iterator[Path]:
    """Write a copy of each file, of a workbook all sheets into one, under a hidden path; yield their later paths."""
    whole = _target(path, path, word, table)
    by_file: dict[Path, list[Repaired]] = defaultdict(list)
    for item in kept:
        by_file[path if _is_one(path) else Path(item.row.place.file)].append(item)
    for source, mine in by_file.items():
        target = _target(path, source, word, table)
        changed = frozenset(name for item in mine for name in item.changed)
        hidden_copy = beside / target.relative_to(whole)
        hidden_copy.parent.mkdir(parents=True, exist_ok=True)
        with permitting(mode_of(str(source))):
            write_copy(Copy(source, target, [item.row for item in mine], table.notes, changed), hidden_copy)
        yield target


def _write_ledger(path: Path, entries: Sequence[LedgerEntry]) -> None:
    """Write one JSON object a line: the row's id, its file and line in the source, its fate and the reason."""
    with path.open("w", encoding="utf-8") as file:
        for entry in entries:
            line = entry.place.line
            place = {"line": line} if line > 0 else {"line": 1, "item": -line}
            record = {"id": entry.id, "file": entry.place.file, **place}
            record |= {"fate": entry.fate, "reason": str(entry.reason)}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
