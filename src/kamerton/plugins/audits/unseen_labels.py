"""Labels of the tested rows that no training row has."""

from collections import Counter

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import Check, Data, counted, first_of
from kamerton.text.label_values import likely_spellings
from kamerton.text.tags import kind_of, read_list


class UnseenLabels(Check):
    """Find labels of validation and test rows that are never trained on, where the user gave the split."""

    def find(self, data: Data) -> Finding | None:
        """Compare the labels of the parts."""
        context = data.context
        if context.parts is None or (context.answers not in ("class", "classes", "tags") and not context.stratified):
            return None
        known, tested = set[str](), list[tuple[Example, set[str]]]()
        for example, part in zip(data.examples, context.parts, strict=True):
            labels = _labels(example, context)
            if part == "train":
                known |= labels
            else:
                tested.append((example, labels))
        rows = [example for example, labels in tested if not known.issuperset(labels)]
        if not rows or not known:
            return None
        counts = Counter(label for _, labels in tested for label in labels if label not in known)
        template = "{rows} of {tested} tested rows {rows:has|have} labels that no training row has: {labels}"
        title = msg(template, tested=len(tested), labels=first_of(counted(counts.most_common())))
        same = [
            msg("'{label}' = '{known}'", label=one, known=own) for one, own in likely_spellings(counts, known).items()
        ]
        if same:
            remedy = msg(
                "probably other spellings of trained labels: {spellings}; spell them alike in all files",
                spellings=first_of(same),
            )
        else:
            remedy = msg(
                "add such rows to training, or remove them from the test: a model cannot predict unseen labels"
            )
        return data.about("unseen-labels", rows, title, remedy, severity="severe")


def _labels(example: Example, context: AuditContext) -> set[str]:
    """Return an example's labels, or the kinds of its spans."""
    if not example.gold.strip():
        return set()
    if context.answers == "tags":
        return {kind_of(tag) for tag in read_list(example.gold)} - {""}
    return {*read_list(example.gold)} if context.answers == "classes" else {example.gold}
