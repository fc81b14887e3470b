"""Answers that are not at the position that the data give."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, first_of, quote


class MovedAnswers(Check):
    """Find answers whose position is wrong, and which were found elsewhere in their context."""

    def find(self, data: Data) -> Finding | None:
        """Collect the answers that the task found at another position."""
        rows, texts = data.noted("moved")
        if data.context.answers != "span":
            return None
        title = msg(
            "{rows} {rows:row|rows} ({share}) whose answer is not at the given position: {texts}",
            texts=first_of([quote(text) for text in dict.fromkeys(texts)]),
        )
        remedy = msg("each is taken where it was found; correct the positions, or remove their column")
        return data.about("moved-answers", rows, title, remedy, many=0.05)
