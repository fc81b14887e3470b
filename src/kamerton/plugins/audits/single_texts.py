"""Rows with only one text where the others have two."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data


class SingleTexts(Check):
    """Find pairs of which one text is blank. They are kept: such requests can come once the model is in use."""

    def find(self, data: Data) -> Finding | None:
        """Find blank texts where some row has a second one."""
        if not any("second" in example.fields for example in data.examples):
            return None
        bare = [e for e in data.examples if "second" not in e.fields and e.text.strip()]
        headless = [e for e in data.examples if "second" in e.fields and not str(e.fields.get("text", "")).strip()]
        rows = sorted([*bare, *headless], key=lambda example: example.id)
        title = msg(
            "{rows} {rows:row|rows} with one text where the others have two: without the first {headless}, without "
            "the second {bare}",
            headless=len(headless),
            bare=len(bare),
        )
        remedy = msg("they are kept and used with the one text; fill in the other, or remove them")
        return data.about("single-texts", rows, title, remedy)
