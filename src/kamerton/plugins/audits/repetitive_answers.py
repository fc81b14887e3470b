"""Answers that repeat themselves, and one answer to everything."""

from collections import Counter

from kamerton.core.messages import Joined, msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, samples, share, short

LEAST_WORDS, SPAN = 30, 3
DISTINCT = 0.5
"""Share of different runs of three words below which an answer repeats itself; of real prose 0.9 and more differ."""
PHRASE = 4
"""Words from which on an answer is a phrase: numbers, names and yes or no may well be frequent."""
OFTEN, VERY_OFTEN = 0.02, 0.2
LEAST_TIMES = 5
MANY = 0.02


class RepetitiveAnswers(Check):
    """Find answers that repeat themselves, and phrases that answer many different inputs."""

    def find(self, data: Data) -> Finding | None:
        """Search the answers for repetitions, where they are free texts."""
        if not data.context.free:
            return None
        circling = [example for example in data.examples if _circles(example.gold)]
        folded = [" ".join(example.gold.casefold().split()) for example in data.examples]
        counts = Counter(answer for answer in folded if len(answer.split()) >= PHRASE)
        phrase, times = counts.most_common(1)[0] if counts else ("", 0)
        stock = times if times >= max(LEAST_TIMES, OFTEN * len(data.examples)) else 0
        same = [example for example, answer in zip(data.examples, folded, strict=True) if stock and answer == phrase]
        parts = []
        if circling:
            parts.append(msg("{rows} {rows:answer repeats itself|answers repeat themselves}", rows=len(circling)))
        if same:
            template = "{rows} {rows:row has|rows have} the same answer, {phrase} ({share})"
            parts.append(msg(template, rows=stock, phrase=short(phrase), share=share(same, data.examples)))
        bad = len(circling) > MANY * len(data.examples) or stock > VERY_OFTEN * len(data.examples)
        remedy = msg("a model learns to do the same: rewrite them, or keep a few of each")
        return data.about(
            "repetitive-answers",
            [*circling, *same],
            Joined(parts),
            remedy,
            severity="warning" if bad else "note",
            shown=samples([*circling[:3], *same]),
        )


def _circles(answer: str) -> bool:
    words = answer.casefold().split()[:2000]
    if len(words) < LEAST_WORDS:
        return False
    spans = [tuple(words[i : i + SPAN]) for i in range(len(words) - SPAN + 1)]
    return len(set(spans)) < DISTINCT * len(spans)
