"""Remains of web pages in the texts."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import chosen, texts_of
from kamerton.plugins.audits._findings import about
from kamerton.text.repair import ENTITY, TAG

MANY = 0.05


class HtmlRemains:
    """Find tags and entities of HTML: a model learns them as words."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Search the texts for tags of pages and for entities."""
        texts = texts_of(examples, context)
        tags = [at for at, text in enumerate(texts) if "<" in text and TAG.search(text)]
        entities = [at for at, text in enumerate(texts) if "&" in text and ENTITY.search(text)]
        rows = chosen(examples, tags, entities)
        title = msg(
            "{rows} {rows:row|rows} ({share}) with remains of HTML: tags in {tags}, entities in {entities}",
            tags=len(tags),
            entities=len(entities),
        )
        remedy = msg(
            "`kamerton audit DATA --fix` replaces entities by letters; strip tags that are not intended, and do the "
            "same to the requests that the model will get"
        )
        return about("html-remains", rows, examples, title, remedy, many=MANY)
