"""Rows without a text or without an answer."""

from collections import Counter
from collections.abc import Sequence

from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import SHOWN, Check, Data, counted, quote, sample, short

TEXT, ANSWER = msg("the text"), msg("the answer")


class EmptyFields(Check):
    """Find rows whose text or gold answer is blank; nothing can be learned from them, so they are dropped."""

    def find(self, data: Data) -> Finding | None:
        """Find blank texts and answers."""
        checked = ((example, _empty(example, data.context.learned_from)) for example in data.examples)
        empty = [(example, fields) for example, fields in checked if fields]
        kinds = Counter(field for _, fields in empty for field in fields)
        listed = Joined(counted(kinds.most_common()), ", ")
        return data.about(
            "empty-fields",
            [example for example, _ in empty],
            msg("{rows} {rows:row|rows} with empty fields: {fields}", fields=listed),
            msg("they are left out; fill them in to use them"),
            severity="severe" if len(empty) == len(data.examples) else "warning",
            drop=True,
            shown=tuple(_shown(example, fields[0]) for example, fields in empty[:SHOWN]),
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
