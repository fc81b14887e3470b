"""Remains of web pages in the texts."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.text.repair import ENTITY, TAG


class HtmlRemains(Check):
    """Find tags and entities of HTML: a model learns them as words."""

    def find(self, data: Data) -> Finding | None:
        """Search the texts for tags of pages and for entities."""
        tags = [at for at, text in enumerate(data.texts) if "<" in text and TAG.search(text)]
        entities = [at for at, text in enumerate(data.texts) if "&" in text and ENTITY.search(text)]
        template = "{rows} {rows:row|rows} ({share}) with remains of HTML: tags in {tags}, entities in {entities}"
        title = msg(template, tags=len(tags), entities=len(entities))
        remedy = msg(
            "`kamerton audit DATA --fix` replaces entities by letters; strip tags that are not intended, and do the "
            "same to the requests that the model will get"
        )
        return data.about("html-remains", data.at(tags, entities), title, remedy, many=0.05)
