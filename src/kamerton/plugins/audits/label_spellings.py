"""One label in several spellings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._labels import label_counts, labels_of
from kamerton.plugins.audits._wording import SHOWN, count, ids, samples
from kamerton.text.label_values import main_spellings


class LabelSpellings:
    """Find labels that differ in case, spaces, hyphens, signs that look alike, ё and е, or `1` and `1.0`."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Count the rows whose label is another spelling of a commoner one, where answers are labels."""
        counts = label_counts(examples, context)
        main = main_spellings(counts)
        if not main:
            return None
        rows = [example for example in examples if not main.keys().isdisjoint(labels_of(example.gold, context))]
        variants = defaultdict(list)
        for label, whole in main.items():
            variants[whole].append(f"{label!r} {counts[label]:,}")
        said = [f"{whole!r} {counts[whole]:,} = {' = '.join(found)}" for whole, found in variants.items()]
        more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
        return Finding(
            check="label-spellings",
            severity="severe",
            title=f"{count(len(rows), 'row')} whose label is another spelling of a commoner one: "
            f"{', '.join(said[:SHOWN])}{more}",
            remedy="`kamerton audit DATA --fix` writes each as its commonest spelling; until then they are learnt as "
            "different classes",
            rows=ids(rows),
            samples=samples(rows),
        )
