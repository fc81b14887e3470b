"""Replay against forgetting: the base model's own answers to general requests, trained on beside the task's rows.

They need no license and no download, and by nature are what the model could say before.
"""

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

from kamerton.core.contracts import Engine
from kamerton.core.records import Encoded, Example, Place
from kamerton.forms.dialogue import Dialogue

OPENINGS = {
    "en": ("Explain", "Tell me a short story about", "Write a letter about", "Give three facts about"),
    "ru": ("Объясни, что такое", "Расскажи короткую историю. Тема:", "Напиши письмо. Тема:", "Назови три факта. Тема:"),
}
SUBJECTS = {
    "en": ("rain", "the moon", "a village school", "iron", "friendship", "a harbour", "bread", "winter", "money",
           "an old violin", "forests", "the human heart", "a train journey", "chess", "volcanoes", "tea"),
    "ru": ("дождь", "луна", "сельская школа", "железо", "дружба", "гавань", "хлеб", "зима", "деньги",
           "старая скрипка", "лес", "сердце человека", "поездка на поезде", "шахматы", "вулканы", "чай"),
}  # fmt: skip


def replay_rows(engine: Engine, count: int, languages: Sequence[str], seed: int) -> list[Encoded]:
    """Generate the untuned model's answers to general requests, in random order, and encode them as training rows.

    Rows repeat if there are fewer requests. Languages are `en` and `ru`.
    """
    asked = [f"{opening} {subject}." for lang in languages for opening in OPENINGS[lang] for subject in SUBJECTS[lang]]
    order = np.random.default_rng(seed).permutation(len(asked))[:count]
    examples = [Example(i, Place("base model", i + 1), asked[i], "") for i in order.tolist()]
    form = Dialogue(ask=lambda example: example.text)
    texts = engine.generate(form.prompts(examples, engine.tokenizer, engine.max_tokens - engine.max_new_tokens))
    solved = [Example(e.id, e.place, e.text, text) for e, text in zip(examples, texts, strict=True) if text]
    rows = form.encode(solved, engine.tokenizer, engine.max_tokens)
    return list(islice(cycle(rows), count)) if rows else []
