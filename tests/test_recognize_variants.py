"""Columns as they are named in the wild are found to be the right task, with no flag."""

from __future__ import annotations

import json

import pytest

from kamerton.core import registry
from kamerton.core.errors import DataError
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize
from kamerton.pipeline.prepare import parse_data
from kamerton.runs.recipe import resolve

WORDS = ["the", "cat", "sat", "on", "the", "mat", "and", "looked", "at", "us"]
TEXTS = [f"{' '.join(WORDS)}, said number {i} of them." for i in range(12)]
CLASSES = [("good", "bad", "so so")[i % 3] for i in range(12)]
SCORES = [i * 0.37 - 1 for i in range(12)]
TAGS = [["O" if w != "cat" else "B-animal" for w in WORDS]] * 12
ANSWERS = [f"number {i}" for i in range(12)]
IDS = list(range(12))
RUSSIAN = [f"Кошка сидела на ковре и смотрела на нас, и было это в {i}-й раз." for i in range(12)]
CHATS = [[{"role": "user", "content": t}, {"role": "assistant", "content": t}] for t in TEXTS]
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
    ("text-classification", {"text": TEXTS, "labels": [[one] for one in CLASSES]}),
    ("text-classification", {"INPUT:text": TEXTS, "OUTPUT:result": CLASSES}),
    ("text-classification", {"текст": RUSSIAN, "метка": CLASSES}),
    ("multi-label", {"id": IDS, "comment_text": TEXTS, "toxic": [i % 2 for i in IDS], "rude": [i % 3 // 2 for i in IDS],
                     "threat": [i % 4 // 3 for i in IDS], "always": [1] * 12}),
    ("question-answering", {"id": IDS, "title": TEXTS, "context": TEXTS, "question": TEXTS,
                            "answers": [{"text": [t] if t else [], "answer_start": [4] if t else []}
                                        for t in ["", *["cat"] * 11]]}),
    ("instruction", {"query": TEXTS, "response": ANSWERS}),
    ("instruction", {"instruction": TEXTS, "input": [""] * 12, "output": ANSWERS,
                     "text": [f"### Ask: {t} ### Say: {a}" for t, a in zip(TEXTS, ANSWERS, strict=True)]}),
    ("instruction", {"input": TEXTS, "output": ANSWERS}),
    ("instruction", {"вопрос": RUSSIAN, "ответ": ANSWERS}),
    ("chat", {"lang": ["en"] * 12, "turns": [["Who is there?", f"It is {a}."] for a in ANSWERS]}),
    ("chat", {"диалог": [["Кто там?", "Сосед.", "Который?", f"Номер {i}."] for i in IDS]}),
    ("chat", {"conversations": [[{"from": "human", "value": t}, {"from": "gpt", "value": t}] for t in TEXTS]}),
    ("chat", {"prompt": [[{"role": "user", "content": t}] for t in TEXTS],
              "completion": [[{"role": "assistant", "content": t}] for t in TEXTS]}),
    ("summarization", {"document": TEXTS, "summary": ANSWERS}),
    ("summarization", {"id": IDS, "dialogue": TEXTS, "summary": ANSWERS}),
    ("summarization", {"статья": RUSSIAN, "аннотация": ANSWERS}),
    ("translation", {"id": IDS, "translation": [{"en": t, "ru": r} for t, r in zip(TEXTS, RUSSIAN, strict=True)]}),
    ("translation", {"src": TEXTS, "tgt": RUSSIAN}),
    ("translation", {"id": IDS, "sentence_eng_Latn": TEXTS, "sentence_rus_Cyrl": RUSSIAN}),
    ("translation", {"текст": TEXTS, "перевод": RUSSIAN}),
    ("translation", {"английский": TEXTS, "русский": RUSSIAN}),
    ("preference", {"prompt": [[{"role": "user", "content": t}] for t in TEXTS],
                    "chosen": [[{"role": "assistant", "content": a}] for a in ANSWERS],
                    "rejected": [[{"role": "assistant", "content": t}] for t in TEXTS]}),
    ("preference", {"prompt": TEXTS, "score_chosen": SCORES, "chosen": CHATS, "rejected": CHATS[::-1],
                    "messages": CHATS}),
    ("preference", {"chosen": [f"\n\nHuman: Who?\n\nAssistant: {a}" for a in ANSWERS],
                    "rejected": [f"\n\nHuman: Who?\n\nAssistant: Not {a}" for a in ANSWERS]}),
    ("multiple-choice", {"category": ["capital"] * 12, "context": TEXTS, "options": [["a", "b", "c", "d"]] * 12,
                         "answer": [i % 4 for i in IDS]}),
    ("multiple-choice", {"id": IDS, "question": TEXTS, "choices": [{"text": ["x", "y"], "label": ["A", "B"]}] * 12,
                         "answerKey": ["AB"[i % 2] for i in IDS]}),
    ("multiple-choice", {"ctx": TEXTS, "endings": [["x", "y", "z"]] * 12, "label": [str(i % 3) for i in IDS]}),
    ("multiple-choice", {"article": TEXTS, "question": ANSWERS, "options": [["x", "y"]] * 12, "answer": ["B"] * 12}),
    ("multiple-choice", {"вопрос": RUSSIAN, "варианты": [["да", "нет"]] * 12, "ответ": ["нет"] * 12}),
]  # fmt: skip


OPTIONS = ["a stone", "a swift", "a carp", "a fly"]
SPREAD = [
    ({"question": TEXTS, **{name: [option] * 12 for name, option in zip("ABCD", OPTIONS, strict=True)},
      "answer": ["ABCD"[i % 4] for i in IDS]}, "A+B+C+D", [i % 4 for i in IDS]),
    ({"вопрос": RUSSIAN, **{name: [option] * 12 for name, option in zip("АБВ", OPTIONS, strict=False)},
      "ответ": ["АБВ"[i % 3] for i in IDS]}, "А+Б+В", [i % 3 for i in IDS]),
    ({"sentence": TEXTS, "option1": ["a stone"] * 12, "option2": ["a swift"] * 12,
      "answer": [str(1 + i % 2) for i in IDS]}, "option1+option2", [i % 2 for i in IDS]),
    ({"context": TEXTS, "question": TEXTS,
      **{f"answer{name}": [option] * 12 for name, option in zip("ABC", OPTIONS, strict=False)},
      "label": [str(1 + i % 3) for i in IDS]}, "answerA+answerB+answerC", [i % 3 for i in IDS]),
    ({"goal": TEXTS, "sol1": ["a stone"] * 12, "sol2": ["a swift"] * 12, "label": [i % 2 for i in IDS]},
     "sol1+sol2", [i % 2 for i in IDS]),
    ({"question": TEXTS, **{f"op{name}": [o] * 12 for name, o in zip("abcd", OPTIONS, strict=True)},
      "cop": [i % 4 for i in IDS]}, "opa+opb+opc+opd", [i % 4 for i in IDS]),
    ({"question": TEXTS, "options": [dict(zip("ABCD", OPTIONS, strict=True))] * 12,
      "answer": ["ABCD"[i % 4] for i in IDS]}, "options", [i % 4 for i in IDS]),
    ({"question": TEXTS, "choices": [OPTIONS] * 12, "answer": [1 + i % 4 for i in IDS]}, "choices",
     [i % 4 for i in IDS]),
]  # fmt: skip
"""Columns as MMLU, WinoGrande, SIQA, PIQA, MedMCQA and MedQA have them; and the number of each row's right option."""


@pytest.mark.parametrize(("columns", "options", "right"), SPREAD, ids=[f"{options}" for _, options, _ in SPREAD])
def test_options_in_columns_of_their_own_are_a_multiple_choice_whose_answers_count_right(
    tmp_path, columns, options, right
):
    table = table_of(tmp_path, columns)
    found = recognize(table, None, {})
    assert (found.task, found.columns["options"]) == ("multiple-choice", options)
    made = make_examples(table, found, registry.choose("tasks", found.task)(**found.settings))
    assert [example.gold for example in made.examples] == [OPTIONS[at] for at in right]
    assert "not used" not in str(found.reason)


def test_the_number_that_answers_count_from_stands_in_the_recipe_unless_the_user_names_it(tmp_path):
    columns, _, right = SPREAD[2]
    path = str(tmp_path / "rows.jsonl")
    table_of(tmp_path, columns)
    found = parse_data(resolve(None, {"data.path": path}))
    assert found.recipe.task.knobs == {"first": 1}
    assert [example.gold for example in found.examples] == [OPTIONS[at] for at in right]
    assert "option1+option2" in str(found.recipe.data.columns)
    told = parse_data(resolve(None, {"data.path": path, "task.first": 0}))
    assert (told.recipe.task.knobs, len(told.examples)) == ({"first": 0}, 6)


def test_options_whose_answers_name_none_are_a_question_and_no_instructions(tmp_path):
    columns = {"question": TEXTS, "A": ["x"] * 12, "B": ["y"] * 12, "C": ["z"] * 12, "answer": ["so so"] * 12}
    with pytest.raises(
        DataError, match=r"12 of 12 rows cannot be used with .*, first .*rows.jsonl:1: the answer 'so so'"
    ):
        recognize(table_of(tmp_path, columns), None, {})


def table_of(folder, columns):
    path = folder / "rows.jsonl"
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return read_table(path)


@pytest.mark.parametrize(("task", "columns"), CASES, ids=[f"{task}: {', '.join(c)}" for task, c in CASES])
def test_columns_as_they_are_named_in_the_wild_are_recognized(tmp_path, task, columns):
    assert recognize(table_of(tmp_path, columns), None, {}).task == task


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
        recognize(table_of(tmp_path, columns), None, {})
    assert all("--task" in fault.remedy or "--columns" in fault.remedy for fault in told.value.faults[1:])


@pytest.mark.parametrize(
    ("columns", "choices"),
    [
        (
            {"text": TEXTS, "stars": [1 + i % 5 for i in IDS]},
            [
                "`--task text-classification --columns text=text,label=stars`",
                "`--task regression --columns text=text,number=stars`",
            ],
        ),
        (
            {"en_short": TEXTS, "ru_short": RUSSIAN, "en_long": TEXTS, "ru_long": RUSSIAN},
            ["`--columns source=en_short,target=ru_short`", "`--columns source=en_long,target=ru_long`"],
        ),
        (
            {"en": TEXTS, "ru": RUSSIAN, "uk": RUSSIAN},
            ["`--columns source=en,target=ru`", "`--columns source=en,target=uk`", "`--columns source=ru,target=uk`"],
        ),
        (
            {"tokens": [WORDS] * 12, "pos_tags": TAGS, "ner_tags": TAGS},
            ["`--columns tags=pos_tags`", "`--columns tags=ner_tags`"],
        ),
    ],
)  # fmt: skip
def test_a_question_names_every_choice_and_nothing_else(tmp_path, columns, choices):
    with pytest.raises(DataError) as told:
        recognize(table_of(tmp_path, columns), None, {})
    remedies = " ".join(str(fault.remedy) for fault in told.value.faults)
    assert all(choice in remedies for choice in choices)
    assert remedies.count("`--") == len(choices)


def test_the_direction_of_a_translation_is_that_of_the_columns_and_is_said(tmp_path):
    there, back = {"en": TEXTS, "ru": RUSSIAN}, {"ru": RUSSIAN, "en": TEXTS}
    assert dict(recognize(table_of(tmp_path, there), None, {}).columns) == {"source": "en", "target": "ru"}
    found = recognize(table_of(tmp_path, back), None, {})
    assert dict(found.columns) == {"source": "ru", "target": "en"}
    assert "source=ru, as the columns stand" in str(found.reason)
    assert recognize(table_of(tmp_path, back), None, {"source": "en"}).columns["target"] == "ru"


def test_texts_of_one_language_are_no_translation_unless_it_is_said(tmp_path):
    same = table_of(tmp_path, {"source": TEXTS, "target": [f"Indeed {text}" for text in TEXTS]})
    with pytest.raises(DataError, match="`--task translation --columns source=source,target=target`"):
        recognize(same, None, {})
    assert str(recognize(same, "translation", {"source": "source", "target": "target"}).reason) == "as you said"


@pytest.mark.parametrize("refused", [False, "false", "False"])
def test_answers_that_people_refused_are_left_out_and_it_is_said(tmp_path, refused):
    liked = [True if i % 4 == 0 else refused for i in IDS]
    for task, columns in (
        ("chat", {"messages": CHATS, "label": liked}),
        ("instruction", {"prompt": TEXTS, "completion": ANSWERS, "label": liked}),
    ):
        table = table_of(tmp_path, columns)
        found = recognize(table, task, {})
        made = make_examples(table, found, registry.choose("tasks", found.task)())
        assert "rows whose 'label' is false are left out" in str(found.reason)
        assert [example.id for example in made.examples] == [0, 4, 8]
        assert {str(entry.reason) for entry in made.rejected} == {"'label' is false"}


def test_answers_of_which_people_wanted_some_are_feedback_and_those_of_one_kind_are_not(tmp_path):
    for liked, task in (
        ([True, False] * 6, "feedback"),
        (["good", "bad"] * 6, "feedback"),
        ([True] * 12, "instruction"),
    ):
        table = table_of(tmp_path, {"prompt": TEXTS, "completion": ANSWERS, "label": liked})
        assert recognize(table, None, {}).task == task


def test_a_column_of_words_beside_a_chat_leaves_nothing_out(tmp_path):
    table = table_of(tmp_path, {"messages": CHATS, "label": CLASSES})
    assert dict(recognize(table, None, {}).columns) == {"messages": "messages"}


def test_columns_of_yes_and_no_are_labels_of_which_some_may_be_unknown(tmp_path):
    flags = {"war": [1, 0, 1, None], "love": [0, 0, 1, 1], "crime": [True, False, True, False]}
    table = table_of(tmp_path, {"text": TEXTS, **{name: cells * 3 for name, cells in flags.items()}})
    found = recognize(table, None, {})
    assert found.columns["labels"] == "war|love|crime"
    made = make_examples(table, found, registry.choose("tasks", found.task)())
    golds = ['["crime", "war"]', "[]", '["crime", "love", "war"]', ""] * 3
    assert [example.gold for example in made.examples] == golds
