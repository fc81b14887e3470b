"""Columns as they are named in the wild are found to be the right task, with no flag."""

from __future__ import annotations

import json

import pytest

from kamerton.data.read import read_table
from kamerton.data.recognise import recognise
from kamerton.errors import DataError

WORDS = ["the", "cat", "sat", "on", "the", "mat", "and", "looked", "at", "us"]
TEXTS = [f"{' '.join(WORDS)}, said number {i} of them." for i in range(12)]
CLASSES = [("good", "bad", "so so")[i % 3] for i in range(12)]
SCORES = [i * 0.37 - 1 for i in range(12)]
TAGS = [["O" if w != "cat" else "B-animal" for w in WORDS]] * 12
ANSWERS = [f"number {i}" for i in range(12)]
IDS = list(range(12))
CASES = [
    ("text-classification", {"id": IDS, "review": TEXTS, "sentiment": CLASSES, "score": SCORES}),
    ("text-classification", {"Text": TEXTS, "Label": CLASSES, "timestamp": IDS}),
    ("text-classification", {"premise": TEXTS, "hypothesis": TEXTS, "label": CLASSES}),
    ("text-classification", {"idx": IDS, "sentence1": TEXTS, "sentence2": TEXTS, "label": [i % 2 for i in IDS]}),
    ("text-classification", {"question1": TEXTS, "question2": TEXTS, "is_duplicate": [i % 2 for i in IDS]}),
    ("text-classification", {"question": TEXTS, "context": TEXTS, "answerable": [i % 2 == 0 for i in IDS]}),
    ("text-classification", {"Отзыв": TEXTS, "Тональность": CLASSES}),
    ("text-classification", {"message": TEXTS, "intent": CLASSES, "user_id": IDS}),
    ("regression", {"text": TEXTS, "score": SCORES}),
    ("regression", {"id": IDS, "sentence1": TEXTS, "sentence2": TEXTS, "score": SCORES}),
    ("regression", {"sentence1": TEXTS, "sentence2": TEXTS, "label": SCORES}),
    ("regression", {"review": TEXTS, "rating": [str(score) for score in SCORES]}),
    ("regression", {"отзыв": TEXTS, "оценка": [str(score).replace(".", ",") for score in SCORES]}),
    ("regression", {"text": TEXTS, "similarity": SCORES, "source_id": IDS}),
    ("token-classification", {"tokens": [WORDS] * 12, "tags": TAGS, "id": IDS}),
    ("token-classification", {"tokens": [WORDS] * 12, "ner_tags": TAGS}),
    ("token-classification", {"tokens": [WORDS] * 12, "ner_tags": [[len(t) % 3 for t in row] for row in TAGS]}),
    ("token-classification", {"words": [WORDS] * 12, "labels": TAGS, "split": ["train"] * 12}),
    ("token-classification", {"tokens": [" ".join(WORDS)] * 12, "tags": [" ".join(row) for row in TAGS]}),
    ("token-classification", {"text": TEXTS, "entities": [[{"start": 4, "end": 7, "label": "animal"}]] * 12}),
    ("token-classification", {"text": TEXTS, "spans": [[[4, 7, "animal"]]] * 12, "score": SCORES}),
    ("token-classification", {"текст": TEXTS, "сущности": [[[4, 7, "животное"]]] * 12}),
    ("question-answering", {"context": TEXTS, "question": TEXTS, "answer": ANSWERS}),
    ("question-answering", {"id": IDS, "title": TEXTS, "context": TEXTS, "question": TEXTS,
                            "answers": [{"text": [a], "answer_start": [45]} for a in ANSWERS]}),
    ("question-answering", {"passage": TEXTS, "query": TEXTS, "answer": ANSWERS}),
    ("question-answering", {"context": TEXTS, "question": TEXTS,
                            "answers": [[{"text": a, "start": 1}] for a in ANSWERS]}),
    ("question-answering", {"контекст": TEXTS, "вопрос": TEXTS, "ответ": ANSWERS}),
    ("instruction", {"question": TEXTS, "answer": ANSWERS, "score": SCORES}),
    ("instruction", {"id": IDS, "instruction": TEXTS, "input": TEXTS, "output": ANSWERS}),
    ("summarization", {"article": TEXTS, "highlights": ANSWERS, "id": IDS}),
    ("translation", {"en": TEXTS, "ru": ANSWERS, "source": ["a/b"] * 12}),
]  # fmt: skip


def table_of(folder, columns):
    path = folder / "rows.jsonl"
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return read_table(path)


@pytest.mark.parametrize(("task", "columns"), CASES, ids=[f"{task}: {', '.join(c)}" for task, c in CASES])
def test_columns_as_they_are_named_in_the_wild_are_recognised(tmp_path, task, columns):
    assert recognise(table_of(tmp_path, columns), None, {}).task == task


@pytest.mark.parametrize(
    "columns",
    [
        {"text": TEXTS, "stars": [1 + i % 5 for i in IDS]},
        {"text": TEXTS, "label": list(range(100, 112))},
        {"context": TEXTS, "question": TEXTS, "answer": ["what it does not say"] * 12},
    ],
)
def test_what_may_be_several_things_is_asked_and_not_guessed(tmp_path, columns):
    with pytest.raises(DataError) as told:
        recognise(table_of(tmp_path, columns), None, {})
    assert all("--task" in fault.remedy or "--columns" in fault.remedy for fault in told.value.faults[1:])
