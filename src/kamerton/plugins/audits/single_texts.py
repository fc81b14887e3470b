"""Rows that hold only one text where the others hold two."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, samples


class SingleTexts:
    """Find pairs of which one text is blank. They are kept: the same can be asked once the model is in use."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for blank texts where some row has a second one."""
        if not any("second" in example.fields for example in examples):
            return None
        bare = [e for e in examples if "second" not in e.fields and e.text.strip()]
        headless = [e for e in examples if "second" in e.fields and not str(e.fields.get("text", "")).strip()]
        rows = sorted([*bare, *headless], key=lambda example: example.id)
        if not rows:
            return None
        return Finding(
            check="single-texts",
            severity="warning",
            title=f"{count(len(rows), 'row')} with one text where the others have two: without the first "
            f"{len(headless):,}, without the second {len(bare):,}",
            remedy="they are kept and read as the text that they have; fill in the other, or remove them",
            rows=ids(rows),
            samples=samples(rows),
        )
