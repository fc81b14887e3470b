"""Files among several from which nothing can be learned: without any text, or without any answer."""

from collections import defaultdict
from shlex import quote

from kamerton.core.messages import Joined, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import Check, Data


class IncompleteFiles(Check):
    """Find files in which no row has a text, or no row has an answer, where others have both."""

    def find(self, data: Data) -> Finding | None:
        """Check the texts and answers of each file."""
        files: dict[str, list[Example]] = defaultdict(list)
        for example in data.examples:
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
                msg("answer {file} with the tuned model: `kamerton predict RUN {path}`", file=name, path=quote(name))
                for name in unanswered
            ),
        ]
        if len(whole) == 1:
            remedies.append(msg("to learn from the rest, name {file} instead of the folder", file=whole[0]))
        rows = [row for name in (*textless, *unanswered) for row in files[name]]
        return data.about("incomplete-files", rows, Joined(titles), Joined(remedies))
