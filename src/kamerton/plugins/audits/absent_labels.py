"""Labels that the data name and no row has."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, first_of, quote


class AbsentLabels(Check):
    """Find label columns of yes and no that always say no, and numbers that are all the same."""

    def find(self, data: Data) -> Finding | None:
        """Compare the labels of the rows with those that have a column."""
        if data.context.answers == "number":
            numbers = {*data.golds} - {""}
            title = msg("every row has the same number, {number}", number=next(iter(numbers), ""))
            remedy = msg("add rows with other numbers: from one number there is nothing to learn")
            return Finding("absent-labels", "severe", title, remedy) if len(numbers) == 1 else None
        known = data.label_counts() if data.context.labels else {}
        names = [quote(label) for label in data.context.labels if label not in known]
        if not names:
            return None
        title = msg("{count} {count:label|labels} that no row has: {names}", count=len(names), names=first_of(names))
        remedy = msg("the model cannot learn them; add rows that have them, or remove their columns")
        return Finding("absent-labels", "warning", title, remedy)
