"""Characters that a reader does not see and a tokenizer does."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.text.repair import INVISIBLE, ODD_SPACE


class StraySigns(Check):
    """Find control characters, zero-width spaces, byte order marks, soft hyphens and unusual spaces."""

    def find(self, data: Data) -> Finding | None:
        """Search the texts for them."""
        invisible = [at for at, text in enumerate(data.texts) if not text.isprintable() and INVISIBLE.search(text)]
        odd = [at for at, text in enumerate(data.texts) if not text.isascii() and ODD_SPACE.search(text)]
        title = msg(
            "{rows} {rows:row|rows} ({share}) with characters that nobody sees: invisible ones in {invisible}, "
            "unusual spaces in {odd}",
            invisible=len(invisible),
            odd=len(odd),
        )
        remedy = msg("`kamerton audit DATA --fix` removes them")
        severity = data.graded(invisible, many=0.2)
        return data.about("stray-signs", data.at(invisible, odd), title, remedy, severity=severity)
