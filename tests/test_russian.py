"""What Kamerton says on pages and on the terminal has its Russian: no sentence of the source is without."""

from __future__ import annotations

import re

import pytest

from kamerton.i18n.voice import voice
from sentences import Said, sentences

ENGLISH = {
    "text.printed", "forms.feedback", "forms.label_sets",
    "cli.work.ab", "cli.work.benchmark", "cli.work.models", "cli.work.show",  # commands that speak English only
    "data.annotations", "data.dialect", "data.json_scan",
    "data.encoding", "data.gate", "data.ledger", "data.question", "data.read_arrow", "data.read_csv",
    "data.read_json", "data.split", "data.enlarge", "core.errors", "evaluate.artefact", "forgetting.benchmarks",
    "evaluate.compare", "contenders.endpoint", "feedback.judging", "feedback.living", "evaluate.verdict",
    "models.structure", "models.fetch", "models.hazards", "models.inspect", "engine.checkpointing", "core.registry",
    "forms.conversation", "forms.dialogue", "forms.preferences", "forms.rewriting", "forms.running_text", "forms.span",
}  # fmt: skip
"""Modules in which what has no Russian is said of mistakes: their frame is Russian, their words are not yet."""
NOT_SAID = re.compile(
    r"^(\.|README|report\.|<span|  \{task|>|--|the resolved|\n\ncheck|# The resolved|Xyzmedian|, the best of )"
    r"|\.tmp$|kamerton (predict|audit|judge|tune) |^p by Holm over all pairs; Xyz$|Xyz (min|h) 7|\n\n(Answer|Which)"
    r"|^Translate into|^Summarize the text|^Xyz(-Xyz)+\.json$|^kamerton\.|^Xyz byte Xyz$|^sample Xyz|^`--task"
    r"|^The least populated|^Label \.\*|^Position ids|^the heads were not counted$"
    r"|^changed by 7 \(7 to 7\)$|examplesXyz$|^nrefs:|^Xyz item Xyz$|kamerton:Xyz$"
)
"""File names, commands, prompts to a model, others' messages, figures that `Voice.figure` writes, pieces of a whole."""
FAULTS = re.compile(
    "^(any one task|(surely )?look like|they hold numbers|no answer|no label|leave it out for this task)$"
    "|^, but (no column|the values)|may be that \\(Xyz\\), were there|^Xyz:Xyz column Xyz$"
    "|^another (configuration|tokenizer)$|^other weights$|^'Xyz' is false$|and Xyz more"
    "|, or from the Hugging Face cache"
)
"""Parts of messages about mistakes in modules that say other things as well."""


def shown() -> list[Said]:
    return [
        said
        for said in sentences()
        if said.module.partition(".")[0] not in ("cli", "report", "core")
        and said.module not in ENGLISH
        and not NOT_SAID.search(said.text)
        and not FAULTS.search(said.text)
    ]


def test_every_sentence_that_can_be_shown_has_its_russian():
    said = shown()
    assert len(said) > 400, "the search for sentences has lost its way"
    assert [f"{one.module}:{one.line}: {one.text}" for one in said if voice("ru").again(one.text) is None] == []


def test_a_sentence_without_russian_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / "new.py").write_text('def f(n):\n    return f"{n:,} rows are purple and loud"\n', encoding="utf-8")
    monkeypatch.setattr("sentences.SOURCE", tmp_path)
    assert [one.text for one in sentences()] == ["7 rows are purple and loud"]
    assert voice("ru").again("7 rows are purple and loud") is None


@pytest.mark.parametrize(
    ("english", "russian"),
    [
        ("1 row (0.2%) repeats the text and the answer of an earlier row", "1 строка повторяет"),
        ("22 rows (4.1%) repeat the text and the answer of an earlier row", "22 строки повторяют"),
        ("4 texts (0.7%) nearly repeat an earlier one, 1 of them with another label", "из них с другой меткой: 1"),
        ("4 texts (0.7%) nearly repeat an earlier one", "4 текста почти повторяют более ранние (0,7\u00a0%)"),
        ("training will take about 1 min 05 s and 1.5 GB of memory", "около 1\u00a0мин 05\u00a0с и 1,5\u00a0ГБ памяти"),
        ("Nothing severe, 5 warnings", "Серьёзного нет, 5 предупреждений"),
        ("twice the rows would give +1.2 to +3.0 points", "вдвое больше строк дали бы от +1,2 до +3,0 п. п."),
        ("a request and its answer; not used: id, meta", "запрос и ответ на него; не используются: id, meta"),
        ("messages with roles; not used: a, b, c, d, e, f … (9 in all)", "a, b, c, d, e, f … (всего 9)"),
        ("2 different labels; not used: text", "разные метки: 2; не используются: text"),
        ("each question has 3 options; the first one's number is 1", "вариантов: 3; номер первого — 1"),
        ("too few updates, spikes", "слишком мало шагов, выбросы"),
    ],
)
def test_numbers_and_forms_agree(english, russian):
    assert russian in (voice("ru").again(english) or "")


def test_a_value_is_never_taken_for_a_sentence_of_ours():
    assert voice("ru").again("my own review of the film; it was long") is None
