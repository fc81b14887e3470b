"""Rows in another language than the rest, and words of two alphabets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._texts import texts_of
from kamerton.plugins.audits._wording import SHOWN, count, ids, samples, share
from kamerton.text.language_id import language_of

MINORITY = 0.2
"""Below this share of the rows a language is the exception; above it the data are of several languages."""
LEAST = 0.0005
ALIKE_LATIN, ALIKE_CYRILLIC = "ABCEHKMOPTXaceopxy", "АВСЕНКМОРТХасеорху"
DISGUISED = re.compile(
    f"(?<![А-яЁёA-Za-z])(?=[А-яЁё{ALIKE_LATIN}]*[А-яЁё]{{2}})[А-яЁё{ALIKE_LATIN}]*"
    f"(?:[А-яЁё][{ALIKE_LATIN}][А-яЁё])[А-яЁё{ALIKE_LATIN}]*(?![A-Za-z])"
    f"|(?<![А-яЁёA-Za-z])[A-Za-z]*[a-z][{ALIKE_CYRILLIC}][a-z][A-Za-z]*(?![А-яЁё])"
)
"""Words of one alphabet with letters of the other that look the same: a tokenizer sees another word."""


class MixedLanguages:
    """Find rows in another language than most, and words with look-alike letters of another alphabet."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Name each text's language where it can be told, and look for disguised words."""
        texts = texts_of(examples, context)
        languages = list(map(language_of, texts))
        counts = Counter(language for language in languages if language)
        disguised = [examples[at] for at, text in enumerate(texts) if not text.isascii() and DISGUISED.search(text)]
        told = counts.total()
        main = counts.most_common(1)[0][0] if counts else ""
        others = [at for at, language in enumerate(languages) if language not in ("", main)]
        if not disguised and len(others) <= LEAST * told:
            return None
        foreign = others if len(others) > LEAST * told else []
        parts = [_shares(counts, len(foreign))] if foreign else []
        if disguised:
            parts.append(f"{count(len(disguised), 'row')} with words in which letters of two alphabets are mixed")
        minor = [at for at in foreign if counts[languages[at]] < MINORITY * told]
        return Finding(
            check="mixed-languages",
            severity="warning" if disguised and len(disguised) > 0.01 * len(examples) else "note",
            title="; ".join(parts),
            remedy="choose a model that knows each of the languages, and look at each one's scores; "
            "rows that strayed in are best removed",
            rows=tuple(dict.fromkeys([*ids(disguised), *(examples[at].id for at in foreign)])),
            samples=samples([*disguised[:2], *(examples[at] for at in (minor or foreign)[:SHOWN])]),
        )


def _shares(counts: Counter[str], others: int) -> str:
    listed = ", ".join(f"{language} {share(number, counts.total())}" for language, number in counts.most_common(5))
    return f"{count(others, 'row')} in other languages than most: {listed}"
