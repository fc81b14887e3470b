"""Answers that repeat themselves, and one answer to everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import samples, share, short

LEAST_WORDS, SPAN = 30, 3
DISTINCT = 0.5
"""Share of different runs of three words below which an answer repeats itself; of real prose 0.9 and more differ."""
PHRASE = 4
"""Words from which on an answer is a phrase: numbers, names and yes or no may well be frequent."""
OFTEN, VERY_OFTEN = 0.02, 0.2
LEAST_TIMES = 5
MANY = 0.02


class RepetitiveAnswers:
    """Find answers that repeat themselves, and phrases that answer many different inputs."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Search the answers for repetitions, where they are free texts."""
        if not context.free:
            return None
        circling = [example for example in examples if _circles(example.gold)]
        counts = Counter(" ".join(e.gold.casefold().split()) for e in examples if len(e.gold.split()) >= PHRASE)
        phrase, times = counts.most_common(1)[0] if counts else ("", 0)
        stock = times if times >= max(LEAST_TIMES, OFTEN * len(examples)) else 0
        same = [e for e in examples if stock and " ".join(e.gold.casefold().split()) == phrase]
        if not circling and not same:
            return None
        parts = []
        if circling:
            parts.append(msg("{rows} {rows:answer repeats itself|answers repeat themselves}", rows=len(circling)))
        if same:
            parts.append(
                msg(
                    "{rows} {rows:row has|rows have} the same answer, {phrase} ({share})",
                    rows=stock,
                    phrase=short(phrase),
                    share=share(same, examples),
                )
            )
        bad = len(circling) > MANY * len(examples) or stock > VERY_OFTEN * len(examples)
        return Finding(
            check="repetitive-answers",
            severity="warning" if bad else "note",
            title=Joined(tuple(parts)),
            remedy=msg("a model learns to do the same: rewrite them, or keep a few of each"),
            rows=tuple(dict.fromkeys(row.id for row in [*circling, *same])),
            samples=samples([*circling[:3], *same]),
        )


def _circles(answer: str) -> bool:
    words = answer.casefold().split()[:2000]
    if len(words) < LEAST_WORDS:
        return False
    spans = [tuple(words[i : i + SPAN]) for i in range(len(words) - SPAN + 1)]
    return len(set(spans)) < DISTINCT * len(spans)
