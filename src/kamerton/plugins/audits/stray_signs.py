"""Signs that a reader does not see and a tokenizer does."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._texts import chosen, texts_of
from kamerton.plugins.audits._wording import count, ids, samples, share
from kamerton.text.repair import INVISIBLE, ODD_SPACE

MANY = 0.2


class StraySigns:
    """Find control characters, zero-width spaces, byte order marks, soft hyphens and unusual spaces."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for them in the texts."""
        texts = texts_of(examples, context)
        invisible = [at for at, text in enumerate(texts) if not text.isprintable() and INVISIBLE.search(text)]
        odd = [at for at, text in enumerate(texts) if not text.isascii() and ODD_SPACE.search(text)]
        rows = chosen(examples, invisible, odd)
        if not rows:
            return None
        return Finding(
            check="stray-signs",
            severity="warning" if len(invisible) > MANY * len(examples) else "note",
            title=f"{count(len(rows), 'row')} ({share(len(rows), len(examples))}) with signs that are not seen: "
            f"invisible ones in {len(invisible):,}, unusual spaces in {len(odd):,}",
            remedy="`kamerton audit DATA --fix` removes them",
            rows=ids(rows),
            samples=samples(rows),
        )
