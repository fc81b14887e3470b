"""Files among several from which nothing can be learned: without any text, or without any answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from shlex import quote

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import about


class IncompleteFiles:
    """Find files in which no row has a text, or no row has an answer, where others have both."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Check the texts and answers of each file."""
        files: dict[str, list[Example]] = defaultdict(list)
        for example in examples:
            files[example.place.file].append(example)
        textless = [name for name, rows in files.items() if not any(row.text.strip() for row in rows)]
        unanswered = [
            name for name, rows in files.items() if name not in textless and not any(row.gold.strip() for row in rows)
        ]
        whole = [name for name in files if name not in (*textless, *unanswered)]
        if not whole or not (textless or unanswered):
            return None
        titles = [
            *(msg("{file} has no texts, as a sample of a submission", file=name) for name in textless),
            *(msg("{file} has no answers", file=name) for name in unanswered),
        ]
        remedies = [
            *(msg("leave {file} out", file=name) for name in textless),
            *(
                msg(
                    "answer {file} with the tuned model: `kamerton predict RUN {path}`",
                    file=name,
                    path=quote(name),
                )
                for name in unanswered
            ),
        ]
        if len(whole) == 1:
            remedies.append(msg("to learn from the rest, name {file} instead of the folder", file=whole[0]))
        rows = [row for name in (*textless, *unanswered) for row in files[name]]
        return about("incomplete-files", rows, examples, Joined(titles), Joined(remedies))
