"""What every task must keep to, whichever it is: each file in `tasks/` is tested here without being listed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import Form, ModelKind, Task, TooLong
from kamerton.core.records import Encoded, Example, Place
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.forms.writing import Rewriting
from kamerton.runs.tables import read_examples, write_examples

ROOM = 256
"""Tokens that every example row fits in."""
TIGHT = 12
"""Tokens that hardly any fits in."""


@dataclass(frozen=True)
class Case:
    """A task put to one kind of model."""

    task: Task
    kind: ModelKind
    tokenizer: PreTrainedTokenizerBase

    form_as: TooLong | None = None

    @cached_property
    def examples(self) -> list[Example]:
        return examples_of(self.task)

    @cached_property
    def form(self) -> Form:
        form = self.task.form(self.kind, self.examples)
        return form.with_too_long(self.form_as) if self.form_as else form

    def encode(self, max_tokens: int = ROOM) -> list[Encoded]:
        return self.form.encode(self.examples, self.tokenizer, max_tokens)


def examples_of(task: Task) -> list[Example]:
    rows = task.example_rows()
    return [task.example(id, Place("rows.jsonl", id + 1), row) for id, row in enumerate(rows)]


def task_of(word: str) -> Task:
    return registry.choose("tasks", word)()


TASKS = registry.names("tasks")
PAIRS = [(word, kind) for word in TASKS for kind in task_of(word).kinds]
FORMS = {(word, kind): task_of(word).form(kind, examples_of(task_of(word))) for word, kind in PAIRS}
IN_CLASSES = [pair for pair, form in FORMS.items() if isinstance(form, Labels)]
IN_TOKENS = [pair for pair, form in FORMS.items() if isinstance(form, Dialogue)]


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    """Each task."""
    return task_of(request.param)


def case_of(request: pytest.FixtureRequest) -> Case:
    word, kind = request.param
    folder: Path = request.getfixturevalue(f"{kind}_folder")
    return Case(task_of(word), kind, AutoTokenizer.from_pretrained(folder))


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    """Each task put to each kind of model that it fits."""
    return case_of(request)


@pytest.fixture(params=IN_TOKENS, ids="-".join)
def tokens_case(request: pytest.FixtureRequest) -> Case:
    """Each of those whose answers are written in tokens."""
    return case_of(request)


@pytest.fixture(params=IN_CLASSES, ids="-".join)
def classes_case(request: pytest.FixtureRequest) -> Case:
    """Each of those whose answers are chosen among classes."""
    return case_of(request)


# ── rows and examples ─────────────────────────────────────────────────────────────────────────


def test_example_rows_make_examples_that_know_their_place(task):
    examples = examples_of(task)
    assert len(examples) >= 3
    for id, example in enumerate(examples):
        assert (example.id, example.place) == (id, Place("rows.jsonl", id + 1))
        assert example.text.strip()
        assert example.gold.strip()


def test_example_rows_speak_english_and_russian(task):
    texts = [example.text + example.gold for example in examples_of(task)]
    assert any(re.search("[а-яё]", text, re.IGNORECASE) for text in texts)
    assert any(re.search("[a-z]", text, re.IGNORECASE) for text in texts)


def test_example_rows_fill_the_roles_and_look_plausible(task):
    rows = task.example_rows()
    names = {role.name for role in task.roles}
    required = {role.name for role in task.roles if role.required}
    for row in rows:
        assert required <= row.keys() <= names
    columns = {name: [row.get(name) for row in rows] for name in names}
    assert task.plausible(columns)


def test_empty_columns_are_not_plausible(task):
    assert task.plausible({role.name: [None, "", float("nan")] for role in task.roles}) == ""


def test_no_spelling_stands_for_two_roles_and_all_are_lower_case(task):
    spellings = [spelling for role in task.roles for spelling in role.spellings]
    assert len(spellings) == len(set(spellings))
    assert all(spelling == spelling.lower() for spelling in spellings)
    assert all(role.meaning for role in task.roles)


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), 3.0, True, [], {}, [1, "два"], "🙂\u2028\x00"])
def test_an_odd_value_makes_an_example_or_is_refused_with_a_reason(task, value):
    for role in task.roles:
        try:
            example = task.example(7, Place("rows.jsonl", 8), {**task.example_rows()[0], role.name: value})
        except ValueError as error:
            assert str(error)
        else:
            assert (type(example.text), type(example.gold)) == (str, str)


def test_examples_survive_the_run_folder(task, tmp_path):
    write_examples(tmp_path / "train.parquet", examples_of(task))
    assert list(read_examples((tmp_path / "train.parquet").read_bytes(), tmp_path)) == examples_of(task)


def test_metrics_are_known_by_name(task):
    names = task.metrics(examples_of(task))
    assert names
    assert len(names) == len(set(names))
    assert set(names) <= set(registry.names("metrics"))


# ── encoding ──────────────────────────────────────────────────────────────────────────────────


def supervised_within(case: Case, items: Sequence[Encoded]) -> bool:
    """Say whether reads stand in order within what is read: the tokens, or the answer that another half writes."""
    return all(
        len(item.output_positions) == len(item.targets)
        and list(item.output_positions) == sorted(set(item.output_positions))
        and all(
            0 <= read < len(item.targets if case.kind == "seq2seq" else item.tokens) for read in item.output_positions
        )
        for item in items
    )


def length(case: Case, item: Encoded) -> int:
    """Count all tokens of a row, those of an answer that another half writes included."""
    answers = sum(len(sequence.targets) for sequence in item.sequences) if case.kind == "seq2seq" else 0
    return answers + sum(len(sequence.tokens) for sequence in item.sequences)


def test_each_example_is_encoded_in_order_with_something_to_learn_and_nothing_cut(case):
    items = case.encode()
    assert len(items) == len(case.examples)
    assert all(item.output_positions and item.cut == 0 for item in items)
    assert supervised_within(case, items)


def test_encoding_is_the_same_each_time_and_alone_or_in_company(case):
    alone = [case.form.encode([example], case.tokenizer, ROOM)[0] for example in case.examples]
    assert case.encode() == case.encode() == alone


def test_no_sequence_begins_twice(case):
    first = case.tokenizer.cls_token_id if case.tokenizer.bos_token_id is None else case.tokenizer.bos_token_id
    for item in (*case.encode(), *case.form.prompts(case.examples, case.tokenizer, ROOM)):
        assert item.tokens.count(first) == (0 if first is None else 1)


def test_the_prompt_in_training_is_the_prompt_in_serving_token_for_token(case):
    prompts = case.form.prompts(case.examples, case.tokenizer, ROOM)
    for item, prompt in zip(case.encode(), prompts, strict=True):
        assert item.tokens[: len(prompt.tokens)] == prompt.tokens


def test_the_right_answer_never_stands_in_the_prompt(case):
    for example in case.examples:
        other = next(one.gold for one in case.examples if one.gold != example.gold)
        fields = {name: other if value == example.gold else value for name, value in example.fields.items()}
        changed = replace(example, gold=other, fields=fields)
        [prompt, same] = case.form.prompts([example, changed], case.tokenizer, ROOM)
        assert prompt.tokens == same.tokens


@pytest.mark.parametrize("pair", [pair for pair, form in FORMS.items() if isinstance(form, Rewriting)], ids="-".join)
def test_another_half_writes_exactly_the_answer_and_one_end(pair, seq2seq_folder):
    tokenizer = AutoTokenizer.from_pretrained(seq2seq_folder)
    case = Case(task_of(pair[0]), pair[1], tokenizer)
    for item, example in zip(case.encode(), case.examples, strict=True):
        assert list(item.targets) == tokenizer(example.gold)["input_ids"]
        assert item.output_positions == tuple(range(len(item.targets)))


def test_targets_are_exactly_the_answer_and_one_end(tokens_case):
    end = tokens_case.tokenizer.eos_token_id
    for item, example in zip(tokens_case.encode(), tokens_case.examples, strict=True):
        assert tokens_case.tokenizer.decode(item.targets[:-1]) == tokens_case.form.answer(example)
        assert (item.targets[-1], item.targets.count(end)) == (end, 1)


def test_each_token_of_the_answer_is_read_just_before_it_stands(tokens_case):
    prompts = tokens_case.form.prompts(tokens_case.examples, tokens_case.tokenizer, ROOM)
    for item, prompt in zip(tokens_case.encode(), prompts, strict=True):
        assert item.output_positions == tuple(range(len(prompt.tokens) - 1, len(item.tokens) - 1))
        assert tuple(item.tokens[read + 1] for read in item.output_positions) == item.targets


def test_class_targets_name_the_answer(classes_case):
    names = classes_case.form.labels
    assert classes_case.form.config["num_labels"] == len(names)
    assert classes_case.form.config["id2label"] == dict(enumerate(names))
    for item in classes_case.encode():
        assert all(0 <= target < len(names) for target in item.targets)


def test_what_does_not_fit_is_cut_and_counted(case):
    if "cut" not in case.form.too_long:
        pytest.skip("this form never cuts")
    cutting = replace(case, form_as="cut")
    for whole, short in zip(cutting.encode(), cutting.encode(TIGHT), strict=True):
        longest = max(
            len(sequence.tokens) for sequence in whole.sequences
        )  # two answers share one prompt, cut for both
        assert max(len(sequence.tokens) for sequence in short.sequences) == min(longest, TIGHT)
        assert short.cut == length(case, whole) - length(case, short)
    assert any(item.cut for item in cutting.encode(TIGHT))
    assert supervised_within(case, cutting.encode(TIGHT))


def test_windows_hold_every_token_within_the_limit_and_lose_nothing(case):
    if "window" not in case.form.too_long:
        pytest.skip("this form reads no windows")
    sliding = replace(case, form_as="window")
    limit = max(len(item.tokens) for item in sliding.encode()) // 2 + 4
    assert any(item.extra for item in sliding.encode(limit))
    for whole, parted in zip(sliding.encode(), sliding.encode(limit), strict=True):
        assert not whole.extra and parted.cut == 0
        assert all(len(sequence.tokens) <= limit for sequence in parted.sequences)
        if len(whole.output_positions) == 1:  # of a window without anything to read there would be no use
            assert {token for sequence in parted.sequences for token in sequence.tokens} == set(whole.tokens)
        assert case.form.supervised(parted) >= case.form.supervised(whole) > 0
        assert supervised_within(case, parted.sequences)


def test_each_way_with_long_rows_that_a_form_names_it_takes(case):
    assert len(set(case.form.too_long)) == len(case.form.too_long)
    assert all(type(case.form.with_too_long(way)) is type(case.form) for way in case.form.too_long)


def test_an_answer_that_was_cut_is_a_part_of_the_whole_one(tokens_case):
    """Its beginning; of several answers of one conversation, the last ones."""
    for max_tokens in range(TIGHT, ROOM, 5):
        for whole, short in zip(tokens_case.encode(), tokens_case.encode(max_tokens), strict=True):
            starts = range(len(whole.targets) - len(short.targets) + 1)
            assert any(short.targets == whole.targets[at : at + len(short.targets)] for at in starts)
            assert tuple(short.tokens[read + 1] for read in short.output_positions) == short.targets


def test_generated_answers_have_room_for_the_longest_one(tokens_case):
    longest = max(len(item.targets) for item in tokens_case.encode())
    room = tokens_case.form.answer_tokens(tokens_case.tokenizer)
    assert room == 0 or room >= longest


def test_shots_are_drawn_from_the_examples_the_same_each_time(case):
    shots = case.form.shots(case.examples, 2, seed=3)
    assert shots == case.form.shots(case.examples, 2, seed=3)
    assert not shots or len(shots) >= 2
    assert len({shot.id for shot in shots}) == len(shots)
    assert all(shot in case.examples for shot in shots)
