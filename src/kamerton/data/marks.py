"""Marks by which annotators and reviewers refuse whole rows: rejected, skipped, discarded, cancelled."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kamerton.core.messages import Message, Wording, msg
from kamerton.data.cells import cells_of
from kamerton.data.spelling import called
from kamerton.data.table import Table
from kamerton.text.cells import plain


@dataclass(frozen=True)
class Mark:
    """A column in which every row is accepted or refused."""

    names: tuple[str, ...]
    refuses: frozenset[str]
    """Lower-case values of rows that are left out."""
    accepts: frozenset[str]
    """Further values that the column may hold; with any other it means something else."""


YES, NO = frozenset({"true", "1", "yes", "да"}), frozenset({"false", "0", "no", "нет"})
VERDICT = "answer"
PRODIGY = Mark((VERDICT, "decision"), frozenset({"reject", "ignore"}), frozenset({"accept"}))
MARKS = (
    PRODIGY,
    Mark(
        ("status", "record_status", "response_status", "annotation_status", "review_status", "статус"),
        frozenset({"discarded", "rejected", "skipped", "отклонено", "отклонена", "отклонён", "пропущено"}),
        frozenset({"validated", "default", "submitted", "pending", "draft", "approved", "accepted", "labeled",
                   "labelled", "unlabeled", "принято", "принята", "проверено", "размечено"}),
    ),  # Argilla, Toloka
    Mark(("was_cancelled", "skip", "skipped", "is_skipped", "discarded", "is_discarded", "is_rejected", "пропущено",
          "отклонено", "пропуск"), YES, NO),  # Label Studio, Toloka
    Mark(("is_approved", "is_accepted", "is_confirmed", "проверено", "одобрено", "подтверждено"), NO, YES),
)  # fmt: skip
"""`cancelled` and `completed` are not here: of orders or flights they are plain facts."""


def find_marks(table: Table, columns: Sequence[str]) -> dict[str, Mark]:
    """Return the columns by which people accepted or refused rows, if they refused at least one."""
    found = {}
    for mark in MARKS:
        for column in called(mark.names, columns):
            words = {_word(cell) for cell in cells_of(table, column)}
            if words & mark.refuses and words <= mark.refuses | mark.accepts:
                found[column] = mark
    return found


def without_verdicts(table: Table) -> tuple[str, ...]:
    """Return the columns without Prodigy's `answer`, which accepts or rejects the row's other values."""
    words = {_word(cell) for cell in cells_of(table, VERDICT)} if {VERDICT} < {*table.columns} else set()
    is_verdict = bool(words) and words <= PRODIGY.refuses | PRODIGY.accepts and len(table.columns) > 2
    return tuple(name for name in table.columns if not (is_verdict and name == VERDICT))


def refusal(values: Mapping[str, object], marks: Mapping[str, Mark]) -> Wording:
    """Return which mark refuses a row; an empty string if none does."""
    for name, mark in marks.items():
        if _word(values.get(name)) in mark.refuses:
            return msg("marked as refused: '{column}' is {value}", column=name, value=plain(values[name]).strip())
    return ""


def explained(marks: Iterable[str]) -> list[Message]:
    """Return which columns leave rows out."""
    return [msg("rows that are marked as refused in '{column}' are left out", column=name) for name in marks]


def _word(value: object) -> str:
    return plain(value).strip().casefold()
