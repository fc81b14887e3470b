"""Characters that a reader does not see and a tokenizer does."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import chosen, texts_of
from kamerton.plugins.audits._findings import about, graded
from kamerton.text.repair import INVISIBLE, ODD_SPACE

MANY = 0.2


class StraySigns:
    """Find control characters, zero-width spaces, byte order marks, soft hyphens and unusual spaces."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Search the texts for them."""
        texts = texts_of(examples, context)
        invisible = [at for at, text in enumerate(texts) if not text.isprintable() and INVISIBLE.search(text)]
        odd = [at for at, text in enumerate(texts) if not text.isascii() and ODD_SPACE.search(text)]
        rows = chosen(examples, invisible, odd)
        title = msg(
            "{rows} {rows:row|rows} ({share}) with characters that nobody sees: invisible ones in {invisible}, "
            "unusual spaces in {odd}",
            invisible=len(invisible),
            odd=len(odd),
        )
        remedy = msg("`kamerton audit DATA --fix` removes them")
        return about("stray-signs", rows, examples, title, remedy, severity=graded(invisible, examples, MANY))
