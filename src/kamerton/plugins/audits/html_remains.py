"""What is left of web pages in the texts."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._texts import chosen, texts_of
from kamerton.plugins.audits._wording import count, ids, samples, share
from kamerton.text.repair import ENTITY, TAG

MANY = 0.05


class HtmlRemains:
    """Find tags and entities of HTML: a model learns them as words."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for tags of pages and for entities."""
        texts = texts_of(examples, context)
        tags = [at for at, text in enumerate(texts) if "<" in text and TAG.search(text)]
        entities = [at for at, text in enumerate(texts) if "&" in text and ENTITY.search(text)]
        rows = chosen(examples, tags, entities)
        if not rows:
            return None
        return Finding(
            check="html-remains",
            severity="warning" if len(rows) > MANY * len(examples) else "note",
            title=f"{count(len(rows), 'row')} ({share(len(rows), len(examples))}) with remains of HTML: "
            f"tags in {len(tags):,}, entities in {len(entities):,}",
            remedy="`kamerton audit DATA --fix` writes entities as letters; strip tags where they are not meant, "
            "and do the same to what the model will be asked",
            rows=ids(rows),
            samples=samples(rows),
        )
