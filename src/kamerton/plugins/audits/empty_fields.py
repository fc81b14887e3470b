"""Rows without a text or without an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import SHOWN, about, counted, quote, sample, short

TEXT, ANSWER = msg("the text"), msg("the answer")


class EmptyFields:
    """Find rows whose text or gold answer is blank; nothing can be learned from them, so they are dropped."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Find blank texts and answers."""
        empty = {example.id: fields for example in examples if (fields := _empty(example, context.learned_from))}
        rows = [example for example in examples if example.id in empty]
        kinds = Counter(field for fields in empty.values() for field in fields)
        listed = Joined(tuple(counted(field, number) for field, number in kinds.most_common()), ", ")
        return about(
            "empty-fields",
            rows,
            examples,
            msg("{rows} {rows:row|rows} with empty fields: {fields}", fields=listed),
            msg("they are left out; fill them in to use them"),
            severity="severe" if len(rows) == len(examples) else "warning",
            drop=True,
            shown=tuple(_shown(row, empty[row.id][0]) for row in rows[:SHOWN]),
        )


def _empty(example: Example, roles: Sequence[str]) -> list[Message]:
    """Name the fields that a row is trained by and that are blank: the text, the answer, others such as `rejected`."""
    fields = [TEXT] if not example.text.strip() else []
    if not example.gold.strip():
        return [*fields, ANSWER]
    cells = {role: example.fields.get(role) for role in roles}
    return fields + [quote(role) for role, cell in cells.items() if isinstance(cell, str) and not cell.strip()]


def _shown(example: Example, field: Message) -> Message:
    if field in (TEXT, ANSWER):
        return sample(example, short(example.text))
    return msg("{place}: {text} → {field} is empty", place=str(example.place), text=short(example.text), field=field)
