"""Files in the shapes that tools and data sets write them in, read as `kamerton show` and every other command does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kamerton.core.errors import DataError
from kamerton.core.records import Turn
from kamerton.data.fix import fix_data
from kamerton.data.gate import look
from kamerton.forms.continuation import Continuation
from kamerton.forms.sandbox import SandboxLimits, passes
from kamerton.pipeline.prepare import ParsedData, bind, parse_data
from kamerton.runs.recipe import resolve

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
TOLD = "Answer like a sailor."


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def lines(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def parsed(path: Path, **settings: object) -> ParsedData:
    return parse_data(resolve(None, {"data.path": str(path), **settings}))


def columns(found: ParsedData) -> Mapping[str, str]:
    return dict(found.recipe.data.columns or {})


# ── what the assistant is told beforehand ─────────────────────────────────────────────────────

PROMPTED = {
    "OpenOrca": (
        "instruction",
        {"id": "7", "system_prompt": TOLD, "question": "Count to {}.", "response": "Aye, {} it is."},
    ),
    "columns of roles": ("instruction", {"system": TOLD, "user": "Count to {}.", "assistant": "Aye, {} it is."}),
    "DPO-Orca": (
        "preference",
        {"system": TOLD, "question": "Count to {}.", "chosen": "Aye, {} it is.", "rejected": "I count to {}."},
    ),
    "Gemini": (
        "chat",
        {
            "systemInstruction": {"role": "system", "parts": [{"text": TOLD}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Count to {}."}]},
                {"role": "model", "parts": [{"text": "Aye, {} it is."}]},
            ],
        },
    ),
}


def rows_of(pattern: object) -> list[Any]:
    written = json.dumps(pattern)
    return [json.loads(written.replace("{}", number)) for number in NUMBERS]


@pytest.mark.parametrize("name", PROMPTED)
def test_a_system_prompt_is_told_in_training_in_serving_and_in_what_is_shown(tmp_path, decoder_folder, name):
    task, pattern = PROMPTED[name]
    found = parsed(write(tmp_path, "rows.jsonl", lines(rows_of(pattern))), **{"model.name": str(decoder_folder)})
    assert found.recipe.data.task == task
    bound = bind(found)
    two = found.examples[:2]
    trained, served = bound.form.encode(two, bound.tokenizer, 256), bound.form.prompts(two, bound.tokenizer, 256)
    views = look(two, trained, bound.form, bound.tokenizer, 256)
    for item, prompt, view in zip(trained, served, views, strict=True):
        for told in (bound.tokenizer.decode(item.tokens), bound.tokenizer.decode(prompt.tokens)):
            assert TOLD in told.split("Count to")[0]
        assert TOLD in "".join(token.token for token in view.tokens)


def test_every_contender_is_told_the_system_prompt_once_and_rows_without_one_are_told_nothing(tmp_path, decoder_folder):
    rows = rows_of(PROMPTED["OpenOrca"][1])
    rows[1] = {"id": "8", "system_prompt": "", "question": "Count to two.", "response": "Two."}
    found = parsed(write(tmp_path, "rows.jsonl", lines(rows)), **{"model.name": str(decoder_folder)})
    form = bind(found).form
    prompted, silent, shot = found.examples[0], found.examples[1], found.examples[2]
    asked = list(form.requests(prompted, [shot])[0])
    assert asked[0] == Turn("system", TOLD)
    assert [turn.role for turn in asked] == ["system", "user", "assistant", "user"]
    assert [turn.role for turn in form.requests(silent, ())[0]] == ["user"]
    instructed = form.with_instruction("Be brief.")
    assert instructed is not None
    assert [turn.role for turn in instructed.requests(prompted, ())[0]] == ["system", "user"]


def test_a_model_of_two_halves_reads_the_system_prompt_before_the_request(tmp_path, seq2seq_folder):
    path = write(tmp_path, "rows.jsonl", lines(rows_of(PROMPTED["OpenOrca"][1])))
    found = parsed(path, **{"model.name": str(seq2seq_folder)})
    bound = bind(found)
    [item] = bound.form.encode(found.examples[:1], bound.tokenizer, 256)
    words = bound.tokenizer(f"{TOLD}\n\nCount to one.")["input_ids"]
    assert list(item.tokens) == words


def test_the_text_that_audits_and_splits_compare_is_the_request_alone(tmp_path):
    found = parsed(write(tmp_path, "rows.jsonl", lines(rows_of(PROMPTED["OpenOrca"][1]))))
    assert [example.text for example in found.examples[:2]] == ["Count to one.", "Count to two."]


# ── questions about a text ────────────────────────────────────────────────────────────────────


def article(number: str, *, version: int) -> dict[str, object]:
    context = f"Ship {number} left at noon. Its captain was Ada."
    start = context.index("Ada")
    given = {"id": f"{number}-1", "question": "Who led it?", "answers": [{"text": "Ada", "answer_start": start}]}
    lost: dict[str, object] = {"id": f"{number}-2", "question": "Where did it sink?", "answers": []}
    if version == 2:
        given["is_impossible"] = False
        lost |= {"is_impossible": True, "plausible_answers": [{"text": "noon", "answer_start": context.index("noon")}]}
    return {"title": f"Ship {number}", "paragraphs": [{"context": context, "qas": [given, lost][:version]}]}


@pytest.mark.parametrize("version", [1, 2])
def test_squad_as_it_is_published_is_a_row_for_each_question(tmp_path, version):
    document = {"version": f"v{version}", "data": [article(number, version=version) for number in NUMBERS]}
    found = parsed(write(tmp_path, "train.json", json.dumps(document)))
    assert found.recipe.data.task == "question-answering"
    assert len(found.examples) == version * len(NUMBERS)
    assert "each question about a paragraph is a row" in tuple(map(str, found.table.notes))
    first, second = found.examples[:2]
    assert first.fields["question"] == "Who led it?"
    assert first.fields["answer"] == [{"text": "Ada", "answer_start": first.fields["context"].index("Ada")}]
    if version == 2:
        assert (second.fields["question"], second.fields["answer"]) == ("Where did it sink?", [])


def test_an_article_that_is_none_is_rejected_and_the_others_are_read(tmp_path):
    articles = [article(number, version=1) for number in NUMBERS]
    articles[3] = {"title": "lost", "paragraphs": [{"qas": [{"question": "Who led it?"}]}]}
    found = parsed(write(tmp_path, "train.json", json.dumps({"data": articles})))
    assert len(found.examples) == len(NUMBERS) - 1
    assert [str(entry.reason) for entry in found.table.rejected] == [
        "a paragraph has no context, or a question no text"
    ]


# ── preferences ───────────────────────────────────────────────────────────────────────────────

PREFERRED = {
    "OpenAI": {
        "input": {"messages": [{"role": "user", "content": "Count to {}."}], "tools": []},
        "preferred_output": [{"role": "assistant", "content": "Aye, {}."}],
        "non_preferred_output": [{"role": "assistant", "content": "No, {}."}],
    },
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Count to {}."}],
        "chosen": {"from": "gpt", "value": "Aye, {}."},
        "rejected": {"from": "gpt", "value": "No, {}."},
    },
    "won and lost": {"prompt": "Count to {}.", "win": "Aye, {}.", "lose": "No, {}."},
}

COMPARED = {
    "SHP": {"history": "Count to {}.", "human_ref_A": "Aye, {}.", "human_ref_B": "No, {}.", "labels": 1},
    "SafeRLHF": {"prompt": "Count to {}.", "response_0": "Aye, {}.", "response_1": "No, {}.", "better_response_id": 0},
}


@pytest.mark.parametrize("name", COMPARED)
def test_a_number_that_says_which_answer_is_better_is_obeyed(tmp_path, name):
    rows = rows_of(COMPARED[name])
    which = list(COMPARED[name])[-1]
    rows[1][which] = 1 - rows[1][which]
    rows[2][which] = 7
    found = parsed(write(tmp_path, "rows.jsonl", lines(rows)))
    assert found.recipe.data.task == "preference"
    golds = [(example.fields["chosen"], example.fields["rejected"]) for example in found.examples[:2]]
    assert golds == [("Aye, one.", "No, one."), ("No, two.", "Aye, two.")]
    assert [str(entry.reason) for entry in found.table.rejected] == [f"'{which}' is neither 0 nor 1"]


@pytest.mark.parametrize("name", PREFERRED)
def test_preferences_of_every_make_are_the_same_example(tmp_path, name):
    found = parsed(write(tmp_path, "rows.jsonl", lines(rows_of(PREFERRED[name]))))
    assert found.recipe.data.task == "preference"
    asked = [{"role": "user", "content": "Count to one."}]
    assert found.examples[0].fields == {"prompt": asked, "chosen": "Aye, one.", "rejected": "No, one."}


def test_a_preference_may_have_a_request_and_what_it_is_about(tmp_path):
    pattern = {"instruction": "Count to this:", "input": "{}", "chosen": "Aye, {}.", "rejected": "No, {}."}
    found = parsed(write(tmp_path, "rows.jsonl", lines(rows_of(pattern))))
    assert found.examples[0].fields["prompt"] == [{"role": "user", "content": "Count to this:\n\none"}]
    alone = {"input": "Count to {}.", "chosen": "Aye, {}.", "rejected": "No, {}."}
    found = parsed(write(tmp_path, "alone.jsonl", lines(rows_of(alone))))
    assert columns(found)["prompt"] == "input"


def test_a_conversation_of_several_turns_is_the_request_of_a_preference(tmp_path):
    turns = [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Hello."}]
    pattern = {**PREFERRED["ShareGPT"], "conversations": [*turns, {"from": "human", "value": "Count to {}."}]}
    found = parsed(write(tmp_path, "rows.jsonl", lines(rows_of(pattern))))
    assert found.recipe.data.task == "preference"
    assert [turn["role"] for turn in found.examples[0].fields["prompt"]] == ["user", "assistant", "user"]


# ── spans of a text ───────────────────────────────────────────────────────────────────────────

SENTENCE = "Ada sailed ship {} home."
SPAN = {"start": 0, "end": 3}


def offsets(value: Mapping[str, object]) -> dict[str, object]:
    return {"start_offset": value["start"], "end_offset": value["end"], "label": "captain"}


SPANNED = {
    "spacy.jsonl": lines(rows_of([SENTENCE, {"entities": [[0, 3, "captain"]]}])),
    "spacy.json": json.dumps(rows_of([SENTENCE, {"entities": [[0, 3, "captain"]]}]), indent=1),
    "doccano.jsonl": lines(rows_of({"id": 1, "text": SENTENCE, "label": [[0, 3, "captain"]]})),
    "doccano-labels.jsonl": lines(rows_of({"text": SENTENCE, "labels": [[0, 3, "captain"]]})),
    "doccano-relations.jsonl": lines(rows_of({"text": SENTENCE, "entities": [offsets(SPAN)], "relations": []})),
    "label-studio.json": json.dumps(
        rows_of(
            {
                "id": 5,
                "data": {"text": SENTENCE},
                "annotations": [
                    {"was_cancelled": True, "result": []},
                    {"result": [{"value": {**SPAN, "text": "Ada", "labels": ["captain"]}, "type": "labels"}]},
                ],
                "predictions": [],
            }
        )
    ),
    "label-studio-min.json": json.dumps(rows_of({"text": SENTENCE, "label": [{**SPAN, "labels": ["captain"]}]})),
    "words.csv": "Sentence #,Word,POS,Tag\n"
    + "".join(
        f"Sentence: {number},Ada,NNP,B-captain\n,sailed,VBD,O\n,ship,NN,O\n,{number},CD,O\n,home,RB,O\n,.,.,O\n"
        for number in NUMBERS
    ),
    "words-numbered.csv": "sentence_id;token;ner_tag\n"
    + "".join(
        f"{at};{word};{'B-captain' if word == 'Ada' else 'O'}\n"
        for at, number in enumerate(NUMBERS)
        for word in ("Ada", "sailed", "ship", number, "home", ".")
    ),
}


@pytest.mark.parametrize("name", SPANNED)
def test_spans_of_every_tool_are_the_same_tags(tmp_path, name):
    found = parsed(write(tmp_path, name, SPANNED[name]))
    assert found.recipe.data.task == "token-classification"
    assert len(found.examples) == len(NUMBERS)
    for number, example in zip(NUMBERS, found.examples, strict=True):
        assert example.fields["tokens"] == ["Ada", "sailed", "ship", number, "home", "."]
        assert example.fields["tags"] == ["B-captain", "O", "O", "O", "O", "O"]


def test_a_task_that_nobody_annotated_is_kept_without_an_answer_and_choices_are_labels(tmp_path):
    rows = rows_of({"data": {"text": "Ship {}."}, "annotations": [{"result": [{"value": {"choices": ["late"]}}]}]})
    for at in (1, 4, 7):
        rows[at] = {"data": {"text": "Ship."}, "annotations": [{"result": [{"value": {"choices": ["early"]}}]}]}
    rows[2] = {"data": {"text": "Ship three."}, "annotations": []}
    found = parsed(write(tmp_path, "project.json", json.dumps(rows)))
    assert found.recipe.data.task == "text-classification"
    assert [example.gold for example in found.examples[:4]] == ["late", "early", "", "late"]


def test_a_sentence_with_a_bad_line_is_rejected_whole_and_every_row_is_accounted_for(tmp_path):
    content = SPANNED["words.csv"].replace(",two,CD,O\n", ",two,CD\n")
    found = parsed(write(tmp_path, "words.csv", content))
    assert [entry.place.line for entry in found.table.rejected] == [8]
    assert "line 11" in str(found.table.rejected[0].reason)
    assert found.table.rows_read == len(NUMBERS)


# ── labels, programs, parts ───────────────────────────────────────────────────────────────────


def test_fasttexts_lines_are_texts_with_labels(tmp_path):
    content = "".join(f"__label__{'late' if at % 2 else 'early'} ship {n} came\n" for at, n in enumerate(NUMBERS))
    found = parsed(write(tmp_path, "train.txt", content + "no label here\n"))
    assert (found.recipe.data.task, found.table.format) == ("text-classification", "fasttext")
    assert (found.examples[1].text, found.examples[1].gold) == ("ship two came", "late")
    assert "no label stands before the text" in str(found.table.rejected[0].reason)
    several = "".join(f"__label__{'ab'[at % 2]} __label__c ship {n} came\n" for at, n in enumerate(NUMBERS))
    found = parsed(write(tmp_path, "several.txt", several))
    assert (found.recipe.data.task, found.examples[0].gold) == ("multi-label", '["a", "c"]')


@pytest.mark.parametrize("asked", ["text", "prompt"])
def test_tasks_of_mbpp_are_programs_whose_tests_pass_and_fail(tmp_path, decoder_folder, asked):
    pattern = {
        "task_id": 1,
        asked: "Write a function that returns the length of '{}'.",
        "code": "def length():\r\n    return len('{}')",
        "test_list": ["assert length() == len('{}')", "assert sqrt(4) == 2"],
        "test_imports" if asked == "prompt" else "test_setup_code": ["from math import sqrt"],
    }
    if asked == "text":
        pattern["test_setup_code"] = "from math import sqrt"
    found = parsed(write(tmp_path, "mbpp.jsonl", lines(rows_of(pattern))))
    assert found.recipe.data.task == "code-completion"
    example = found.examples[0]
    assert example.text.startswith("# Write a function that returns the length of 'one'.\n# assert length()")
    assert example.gold == "def length():\n    return len('one')"
    form = found.task.form("decoder", found.examples)
    assert isinstance(form, Continuation)
    assert passes(form.program(example, example.gold), SandboxLimits(5, 512))
    assert not passes(form.program(example, "def length():\n    return 0"), SandboxLimits(5, 512))


def test_parts_in_one_document_are_the_split(tmp_path):
    rows = [{"text": f"ship {n} came late", "label": "ab"[at % 2]} for at, n in enumerate(NUMBERS * 3)]
    document = {"train": rows[:24], "dev": rows[24:30], "test": rows[30:]}
    found = parsed(write(tmp_path, "data.json", json.dumps(document)))
    assert found.recipe.data.task == "text-classification"
    assert found.sides.by == "given"
    counts = [list(found.sides.names.values()).count(part) for part in ("train", "validation", "test")]
    assert counts == [24, 6, 6]


# ── pairs as they are called ──────────────────────────────────────────────────────────────────

LATE = ["late", "early"]
CLASSIFIED = {
    "headline,category": {"text": "headline", "label": "category"},
    "v1,v2": {"label": "v1", "text": "v2"},
    "Ticket Description,Ticket Type": {"text": "Ticket Description", "label": "Ticket Type"},
    "Наименование,Категория": {"text": "Наименование", "label": "Категория"},
    "Описание проблемы,Тип обращения": {"text": "Описание проблемы", "label": "Тип обращения"},
    "комментарий,токсичность": {"text": "комментарий", "label": "токсичность"},
    "comment,toxic": {"text": "comment", "label": "toxic"},
}


@pytest.mark.parametrize("header", CLASSIFIED)
def test_a_text_and_its_class_are_known_by_their_names(tmp_path, header):
    roles = CLASSIFIED[header]
    cells = {roles["text"]: "ship {} came in again", roles["label"]: "{label}"}
    body = "".join(
        ",".join(cells[name].replace("{}", n).replace("{label}", LATE[at % 2]) for name in header.split(",")) + "\n"
        for at, n in enumerate(NUMBERS)
    )
    found = parsed(write(tmp_path, "rows.csv", f"{header}\n{body}"))
    assert (found.recipe.data.task, columns(found)) == ("text-classification", roles)


PAIRED = {
    "question,sql": ("instruction", "Which ships came on day {}?", "SELECT name FROM ships WHERE day = '{}'"),
    "input_text,target_text": ("instruction", "count to {}", "aye it is {}"),
    "text_input,output": ("instruction", "count to {}", "aye it is {}"),
    "user_message,bot_response": ("instruction", "count to {}", "aye it is {}"),
    "Original,Translated": ("translation", "a ship has come to harbour {}", "корабль {} вернулся в гавань"),
}


@pytest.mark.parametrize("header", PAIRED)
def test_a_text_and_its_answer_are_known_by_their_names(tmp_path, header):
    task, given, wanted = PAIRED[header]
    body = "".join(f"{given},{wanted}\n".replace("{}", number) for number in NUMBERS)
    found = parsed(write(tmp_path, "rows.csv", f"{header}\n{body}"))
    assert found.recipe.data.task == task
    assert set(columns(found).values()) == set(header.split(","))


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        (
            [{"Review Text": f"ship {n} came", "Star Rating": 1 + at % 5} for at, n in enumerate(NUMBERS)],
            ["label=Star Rating", "number=Star Rating"],
        ),
        (
            [{"code": f"def {n}(x):\n    return {at} * x\n", "docstring": f"Say {n}."} for at, n in enumerate(NUMBERS)],
            ["instruction=docstring,output=code", "text=code,summary=docstring"],
        ),
    ],
    ids=["stars", "functions"],
)
def test_a_pair_that_can_be_read_both_ways_is_a_question(tmp_path, rows, asked):
    with pytest.raises(DataError) as told:
        parsed(write(tmp_path, "rows.jsonl", lines(rows)))
    assert all(one in str(told.value) for one in asked)


@pytest.mark.parametrize("name", ["words.csv", "train.txt", "tagged.txt", "label-studio.json"])
def test_a_cleaned_copy_of_rows_that_were_made_of_others_is_read_as_the_same_rows(tmp_path, name):
    contents = {
        **SPANNED,
        "train.txt": "".join(f"__label__{LATE[at % 2]} ship {n} came\n" for at, n in enumerate(NUMBERS)),
        "tagged.txt": "".join(f"ship O\n{number} B-name\n\n" for number in NUMBERS),
    }
    found = parsed(write(tmp_path, name, contents[name]))
    [copy] = fix_data(tmp_path / name, found.table, found.task, columns(found)).copies
    again = parsed(copy)
    assert again.recipe.data.task == found.recipe.data.task
    assert [(e.text, e.gold) for e in again.examples] == [(e.text, e.gold) for e in found.examples]
