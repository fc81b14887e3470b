"""Rows in another language than the rest, and words of two alphabets."""

import re
from collections import Counter

from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import SHOWN, Check, Data, samples
from kamerton.plugins.audits._languages import LANGUAGES
from kamerton.text.language_id import language_of

MINORITY = 0.2
"""Below this share of the rows a language is the exception; above it the data are of several languages."""
LEAST = 0.0005
MANY = 0.01
ALIKE_LATIN, ALIKE_CYRILLIC = "ABCEHKMOPTXaceopxy", "АВСЕНКМОРТХасеорху"
DISGUISED = re.compile(
    f"(?<![А-яЁёA-Za-z])(?=[А-яЁё{ALIKE_LATIN}]*[А-яЁё]{{2}})(?>[А-яЁё{ALIKE_LATIN}]*?"
    f"[А-яЁё][{ALIKE_LATIN}][А-яЁё])[А-яЁё{ALIKE_LATIN}]*(?![A-Za-z])"
    f"|(?<![А-яЁёA-Za-z])[A-Za-z]*[a-z][{ALIKE_CYRILLIC}][a-z][A-Za-z]*(?![А-яЁё])"
)
"""Words of one alphabet with letters of the other that look the same: a tokenizer sees another word."""


class MixedLanguages(Check):
    """Find rows in another language than most, and words with look-alike letters of another alphabet."""

    def find(self, data: Data) -> Finding | None:
        """Identify the language of each text where that is possible, and search for disguised words."""
        languages = list(map(language_of, data.texts))
        counts = Counter(language for language in languages if language)
        mixed = [at for at, text in enumerate(data.texts) if not text.isascii() and DISGUISED.search(text)]
        disguised = data.at(mixed)
        known = counts.total()
        main = counts.most_common(1)[0][0] if counts else ""
        others = [at for at, language in enumerate(languages) if language not in ("", main)]
        foreign = others if len(others) > LEAST * known else []
        parts = [_shares(counts, len(foreign))] if foreign else []
        if disguised:
            parts.append(
                msg("{rows} {rows:row|rows} with words that mix letters of two alphabets", rows=len(disguised))
            )
        minor = [at for at in foreign if counts[languages[at]] < MINORITY * known]
        remedy = msg(
            "choose a model that knows each of the languages, and compare their scores; remove rows that do not belong "
            "here"
        )
        return data.about(
            "mixed-languages",
            [*disguised, *data.at(foreign)],
            Joined(parts),
            remedy,
            severity=data.graded(disguised, MANY),
            shown=samples([*disguised[:2], *data.at((minor or foreign)[:SHOWN])]),
        )


def _shares(counts: Counter[str], others: int) -> Message:
    listed = [
        msg("{language} {share}", language=LANGUAGES[language], share=Figure(number / counts.total(), "share"))
        for language, number in counts.most_common(5)
    ]
    return msg(
        "{rows} {rows:row|rows} in other languages than most: {listed}", rows=others, listed=Joined(listed, ", ")
    )
