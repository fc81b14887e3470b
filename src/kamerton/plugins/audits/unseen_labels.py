"""Labels of the tested rows that no training row has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import SHOWN, count, ids, samples
from kamerton.text.label_values import likely_spellings
from kamerton.text.tags import kind_of, read_list


class UnseenLabels:
    """Find labels of validation and test rows that training never shows, where the user gave the split."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the labels of the parts."""
        if context.parts is None or (context.answers not in ("class", "classes", "tags") and not context.stratified):
            return None
        pairs = [(example, _labels(example, context)) for example in examples]
        known = {
            label for (_, labels), part in zip(pairs, context.parts, strict=True) if part == "train" for label in labels
        }
        tested = [pair for pair, part in zip(pairs, context.parts, strict=True) if part != "train"]
        rows = [example for example, labels in tested if not known.issuperset(labels)]
        if not rows or not known:
            return None
        counts = Counter(label for _, labels in tested for label in labels if label not in known)
        shown = ", ".join(f"'{label}' {number:,}" for label, number in counts.most_common(SHOWN))
        more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
        same = likely_spellings(counts, known)
        spelled = ", ".join(f"'{label}' = '{own}'" for label, own in list(same.items())[:SHOWN])
        return Finding(
            check="unseen-labels",
            severity="severe",
            title=f"{count(len(rows), 'row')} of {len(tested):,} that are tested on have labels that no training row "
            f"has: {shown}{more}",
            remedy=f"probably other spellings of trained labels: {spelled}; spell them alike in all files"
            if same
            else "add such rows to training, or take them out of the test: no model can give a label that it never saw",
            rows=ids(rows),
            samples=samples(rows),
        )


def _labels(example: Example, context: AuditContext) -> set[str]:
    """Return an example's labels, or the kinds of its spans."""
    if not example.gold.strip():
        return set()
    if context.answers == "tags":
        return {kind_of(tag) for tag in read_list(example.gold)} - {""}
    return {*read_list(example.gold)} if context.answers == "classes" else {example.gold}
