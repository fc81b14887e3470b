"""Every turn of a chat is taught as serving asks for it, whatever the model's chat template does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from transformers import AddedToken, PreTrainedTokenizerBase

from chat_templates import CHATML, FAMILIES, GEMMA, LLAMA3, MISTRAL, PHI3, QWEN3, R1, THINKING
from kamerton.core import registry
from kamerton.core.contracts import AuditContext, Form
from kamerton.core.errors import DataError
from kamerton.core.records import Encoded, Example, Place, Turn
from kamerton.data.gate import pass_gate
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize
from kamerton.forms.conversation import Conversation, answered_next, learned, turns_of
from kamerton.forms.messages import read_messages
from kamerton.forms.templates import RefusedError, abilities_of, adapt
from kamerton.forms.turns import tokenize, tokenize_alike, write_prompt
from kamerton.models.load import PLAIN_TEMPLATE, load_tokenizer
from kamerton.plugins.tasks.chat import Chat
from kamerton.plugins.tasks.instruction import Instruction
from kamerton.plugins.tasks.preference import Preference
from kamerton.plugins.tasks.text_classification import TextClassification
from tiny_engines import facts_of

ROOM = 4000
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": {}}}]
CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"город": "Пермь"}'}}


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def bot(text: str | None, **more: object) -> dict[str, object]:
    return {"role": "assistant", "content": text, **more}


SYSTEM = {"role": "system", "content": "Отвечай кратко."}
PLAIN = [user("Назови столицу России."), bot("Москва"), user("And of France?"), bot("Paris")]
LONG = [turn for i in range(10) for turn in (user(f"вопрос {i}"), bot(f"ответ {i}"))]
THOUGHT = [user("2+2?"), bot("<think>\ntwo and two\n</think>\n\n4"), user("3+3?"), bot("<think>\nthree\n</think>\n\n6")]
REASONED = [user("2+2?"), bot("4", reasoning_content="two and two"), user("3+3?"), bot("6", reasoning_content="three")]
CALLED = [
    user("Какая погода?"),
    bot(None, tool_calls=[{"id": "call_abcdef123", **CALL}]),
    {"role": "tool", "tool_call_id": "call_abcdef123", "content": "дождь"},
    bot("Идёт дождь."),
    user("Спасибо"),
    bot("Пожалуйста"),
]
ODD = {
    "plain": PLAIN,
    "twenty turns": LONG,
    "a system prompt": [SYSTEM, *PLAIN],
    "a system turn in the middle": [*PLAIN[:2], SYSTEM, *PLAIN[2:]],
    "a system turn before an answer": [PLAIN[0], SYSTEM, *PLAIN[1:]],
    "two users in a row": [user("Hi"), *PLAIN],
    "two answers in a row": [*PLAIN[:2], bot("!"), *PLAIN[2:]],
    "a greeting first": [bot("Здравствуйте!"), *PLAIN],
    "thoughts in the text": THOUGHT,
    "thoughts apart": REASONED,
    "calls": CALLED,
    "a call without an id": [CALLED[0], bot("", tool_calls=[CALL]), {"role": "tool", "content": "дождь"}, CALLED[3]],
    "a result without a call": [user("Погода?"), bot("Смотрю."), {"role": "tool", "content": "дождь"}, bot("Дождь.")],
    "somebody says the end token": [user("What is <|im_end|>?"), bot("<|im_end|> ends."), *PLAIN],
}


@pytest.fixture(params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest, decoder_folder: Path) -> PreTrainedTokenizerBase:
    """The tiny decoder's, with the template of each family."""
    return with_template(decoder_folder, FAMILIES[request.param])


def with_template(folder: Path, template: str) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(facts_of(folder))
    tokenizer.chat_template = template
    return tokenizer


def example_of(messages: Sequence[object], id: int = 0, tools: object = None, **settings: object) -> Example:
    values = {"messages": messages, "system": None, "tools": tools}
    return Chat(**settings).example(id, Place("rows.jsonl", id + 1), values)


def form_of(*examples: Example, **settings: object) -> Conversation:
    form = Chat(**settings).form("decoder", examples)
    assert isinstance(form, Conversation)
    return form


def faults(example: Example, form: Form, tokenizer: PreTrainedTokenizerBase) -> tuple[Encoded, str]:
    [item], [prompt] = form.encode([example], tokenizer, ROOM), form.prompts([example], tokenizer, ROOM)
    return item, item.fault or form.flaw(item, prompt, tokenizer)


def answers_in(item: Encoded) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Part what an item teaches into answers, each with all that stands before it."""
    found = []
    for sequence in item.sequences:
        starts = [read for read in sequence.output_positions if read - 1 not in set(sequence.output_positions)]
        for start in starts:
            end = next(at for at in range(start, len(sequence.tokens)) if at not in set(sequence.output_positions))
            found.append((sequence.tokens[: start + 1], sequence.tokens[start + 1 : end + 1]))
    return found


# ── the tokens of each answer ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ODD)
def test_each_answer_is_taught_once_behind_the_prompt_that_serving_sends(tokenizer, name):
    """The prompt is the template's own, tokenized whole; the answer ends with the end token."""
    example = example_of(ODD[name], tools=TOOLS if "call" in name else None)
    item, fault = faults(example, form_of(example), tokenizer)
    assert fault == ""
    turns = adapt(turns_of(example), tokenizer).turns
    answers = answers_in(item)
    assert len(answers) == len(learned(turns)) == len(set(answers))
    for at, (before, answer) in zip(learned(turns), answers, strict=True):
        assert list(before) == tokenize([write_prompt(turns[:at], tokenizer)], tokenizer)[0]
        assert answer[-1] == tokenizer.eos_token_id
        assert answer.count(tokenizer.eos_token_id) == 1
        told = tokenizer.decode(answer)
        assert turns[at].content.rpartition("</think>")[2].strip() in told or turns[at].calls
        assert "None" not in tokenizer.decode(before) + told
        assert "weather" in told or not turns[at].calls


@pytest.mark.parametrize("name", ["plain", "twenty turns", "a system prompt"])
def test_where_the_template_only_adds_turns_all_answers_share_one_sequence(decoder_folder, name):
    for template, sequences in ((CHATML, 1), (R1, 2), (QWEN3, 2), (PHI3, 2)):
        tokenizer = with_template(decoder_folder, template)
        [item] = form_of(example := example_of(ODD[name])).encode([example], tokenizer, ROOM)
        assert len(item.sequences) == (1 if sequences == 1 else len(learned(turns_of(example))))


def told(template: str, messages: Sequence[object], folder: Path, tools: object = None) -> list[str]:
    """Write what is taught, answer by answer."""
    tokenizer, example = with_template(folder, template), example_of(messages, tools=tools)
    [item] = form_of(example).encode([example], tokenizer, ROOM)
    assert item.fault == ""
    return [tokenizer.decode(answer) for _, answer in answers_in(item)]


EMPTY, END = "<think>\n\n</think>\n\n", "<|im_end|>"
FOUR, SIX = "<think>\ntwo and two\n</think>\n\n4", "<think>\nthree\n</think>\n\n6"
TAUGHT = [
    ("an empty thought before each answer", QWEN3, PLAIN, [f"{EMPTY}Москва", f"{EMPTY}Paris"]),
    ("thoughts in the text", QWEN3, THOUGHT, [FOUR, SIX]),
    ("thoughts apart", QWEN3, REASONED, [FOUR, SIX]),
    ("the prompt opens the thought", R1, PLAIN, ["\n</think>\n\nМосква", "\n</think>\n\nParis"]),
    ("the prompt opens the thought that is there", R1, THOUGHT, ["two and two\n</think>\n\n4", "three\n</think>\n\n6"]),
    ("the thought apart goes on from there", R1, REASONED, ["two and two\n</think>\n\n4", "three\n</think>\n\n6"]),
    ("another key", THINKING, REASONED, ["<analysis>two and two</analysis>4", "<analysis>three</analysis>6"]),
    ("a template that reads none", CHATML, REASONED, ["4", "6"]),
    ("thoughts in the text are its own there", CHATML, THOUGHT, [turn["content"] for turn in THOUGHT[1::2]]),
    ("trimmed answers", LLAMA3, [user(" a "), bot(" b ")], ["b"]),
    ("a space before answers", MISTRAL, [user("a"), bot("b")], [" b"]),
    ("what is written behind the last turn", PHI3, [user("a"), bot("b")], ["b<|end|>\n"]),
]  # fmt: skip


@pytest.mark.parametrize(("template", "messages", "expected"), [t[1:] for t in TAUGHT], ids=[t[0] for t in TAUGHT])
def test_answers_are_taught_as_the_template_writes_them_last(decoder_folder, template, messages, expected):
    assert told(template, messages, decoder_folder) == [f"{answer}{END}" for answer in expected]


CALLS = [
    (QWEN3, EMPTY + '<tool_call>\n{"name": "weather", "arguments": {"город": "Пермь"}}\n</tool_call>'),
    (LLAMA3, '{"name": "weather", "parameters": {"город": "Пермь"}}'),
    (MISTRAL, '[TOOL_CALLS][{"name": "weather", "arguments": {"город": "Пермь"}, "id": "000000000"}]'),
    (R1, "\n</think>\n\n" + '<call>weather\n```json\n{"город": "Пермь"}\n```'),
    (CHATML, json.dumps([{"id": "call_abcdef123", **CALL}], ensure_ascii=False)),
]


@pytest.mark.parametrize(("template", "expected"), CALLS, ids=["qwen3", "llama3", "mistral", "r1", "none"])
def test_calls_are_taught_in_the_templates_own_words(decoder_folder, template, expected):
    assert told(template, CALLED, decoder_folder, TOOLS)[0] == expected + END


SAME_CALLS = {
    "an object": bot(None, tool_calls=[{"function": {"name": "weather", "arguments": {"город": "Пермь"}}}]),
    "the legacy key": bot(None, function_call=CALL["function"]),
    "sharegpt": {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"город": "Пермь"}})},
    "a list as JSON": bot("", tool_calls=json.dumps([CALL])),
    "anthropic": bot(None) | {"content": [{"type": "tool_use", "name": "weather", "input": {"город": "Пермь"}}]},
    "bare": {"role": "tool_call", "content": json.dumps({"name": "weather", "arguments": {"город": "Пермь"}})},
}  # fmt: skip


@pytest.mark.parametrize("name", SAME_CALLS)
def test_calls_are_read_from_every_shape(decoder_folder, name):
    result = {"from": "observation", "value": "дождь"} if name == "sharegpt" else {"role": "tool", "content": "дождь"}
    taught = told(QWEN3, [user("Погода?"), SAME_CALLS[name], result, bot("Дождь.")], decoder_folder)
    assert '{"name": "weather", "arguments": {"город": "Пермь"}}' in taught[0]
    assert taught[1].endswith(f"Дождь.{END}")


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS), [TOOLS[0]["function"]], TOOLS[0]])
def test_descriptions_of_tools_are_given_to_a_template_that_knows_them(decoder_folder, tools):
    tokenizer = with_template(decoder_folder, QWEN3)
    text = tokenizer.decode(form_of().prompts([example_of(PLAIN, tools=tools)], tokenizer, ROOM)[0].tokens)
    assert '# Tools\n<tools>\n{"type": "function", "function": {"name": "weather"' in text
    bare = tokenizer.decode(form_of().prompts([example_of(PLAIN)], tokenizer, ROOM)[0].tokens)
    assert "# Tools" not in bare


def test_what_prompts_have_in_common_is_tokenized_once_and_as_in_the_whole(decoder_folder):
    tokenizer = with_template(decoder_folder, CHATML)
    texts = [("<|im_start|>user\n", "a <|im_end|>\n\n Ёж"), ("<|im_start|>user\n a<|im_end|><|im_end|>",), ("",), ()]
    assert tokenize_alike(texts, tokenizer) == tokenize(texts, tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<eats>", rstrip=True)]})
    assert tokenize_alike([("<eats>  a <|im_end|>",)], tokenizer) == tokenize([("<eats>  a <|im_end|>",)], tokenizer)


# ── what a template cannot take ───────────────────────────────────────────────────────────────

CHANGES = [
    (GEMMA, "a system prompt", ("system",)),
    (PHI3, "a system prompt", ("system",)),
    (MISTRAL, "a system prompt", ()),
    (MISTRAL, "a system turn in the middle", ("system",)),
    (GEMMA, "two users in a row", ("neighbors",)),
    (MISTRAL, "two answers in a row", ("neighbors",)),
    (GEMMA, "a greeting first", ("opening",)),
    (CHATML, "a greeting first", ()),
    (CHATML, "calls", ("tools", "calls")),
    (GEMMA, "calls", ("tools", "calls", "results", "system")),
    (CHATML, "thoughts apart", ("reasoning",)),
    (QWEN3, "calls", ()),
]


@pytest.mark.parametrize(("template", "name", "changes"), CHANGES)
def test_what_a_template_cannot_take_is_put_by_a_rule_that_is_told(decoder_folder, template, name, changes):
    tokenizer = with_template(decoder_folder, template)
    example = example_of(ODD[name], tools=TOOLS if name == "calls" else None)
    assert adapt(turns_of(example), tokenizer).changes == changes


def test_nothing_that_is_put_elsewhere_is_lost(tokenizer):
    for name in ("a system prompt", "a system turn in the middle", "a system turn before an answer"):
        example = example_of(ODD[name])
        [prompt] = form_of(example).prompts([example], tokenizer, ROOM)
        assert "Отвечай кратко." in tokenizer.decode(prompt.tokens)


def test_a_row_that_the_template_refuses_is_dropped_and_named_and_the_others_train(decoder_folder):
    """Two calls at once, which Llama's template refuses."""
    tokenizer = with_template(decoder_folder, LLAMA3)
    twice = [user("Погода?"), bot(None, tool_calls=[CALL, CALL]), {"role": "tool", "content": "дождь"}, bot("Дождь.")]
    examples = [example_of(PLAIN, 0), example_of(twice, 1), example_of(LONG, 2)]
    form = form_of(*examples)
    passed = pass_gate(examples, form.encode(examples, tokenizer, ROOM), form, tokenizer, "cut")
    assert [example.id for example in passed.examples] == [0, 2]
    [entry] = passed.dropped
    assert str(entry.place) == "rows.jsonl:2"
    assert "single tool-calls at once" in str(entry.reason)
    with pytest.raises(DataError, match="no row can be trained on: the chat template refuses"):
        pass_gate(examples[1:2], form.encode(examples[1:2], tokenizer, ROOM), form, tokenizer, "cut")


def test_a_long_row_does_not_decide_for_the_others(decoder_folder):
    """Its first sequence may be shorter than another row's later ones."""
    tokenizer = with_template(decoder_folder, QWEN3)
    examples = [example_of(PLAIN, 0), example_of(LONG, 1), example_of(THOUGHT, 2)]
    form = form_of(*examples)
    for some in (examples, examples[:1], examples[2:]):
        assert len(pass_gate(some, form.encode(some, tokenizer, ROOM), form, tokenizer, "cut").examples) == len(some)


def test_the_gate_looks_at_every_sequence_of_a_row(decoder_folder):
    tokenizer, example = with_template(decoder_folder, QWEN3), example_of(PLAIN)
    form = form_of(example)
    [item], [prompt] = form.encode([example], tokenizer, ROOM), form.prompts([example], tokenizer, ROOM)
    first, second = item.sequences
    shifted = Encoded(
        (second.tokens[0], *second.tokens), tuple(read + 1 for read in second.output_positions), second.targets
    )
    endless = Encoded(second.tokens, second.output_positions[:-1], second.targets[:-1])
    for spoilt in (shifted, endless):
        assert form.flaw(
            Encoded(first.tokens, first.output_positions, first.targets, extra=(spoilt,)), prompt, tokenizer
        )
    assert not form.flaw(item, prompt, tokenizer)


# ── the other tasks that write by a template ──────────────────────────────────────────────────


def test_requests_and_pairs_are_put_by_the_same_rules(tokenizer):
    row = {"instruction": "Назови столицу.", "input": "", "system": "Отвечай кратко.", "output": "Москва"}
    pair = {"prompt": [SYSTEM, user("Hi"), *PLAIN[:1]], "chosen": "Москва", "rejected": "Пермь"}
    roles = {"input": None, "system": None, "wanted": None}
    for task, values in ((Instruction(), roles | row), (Preference(), roles | pair)):
        example = task.example(0, Place("rows.jsonl", 1), values)
        item, fault = faults(example, task.form("decoder", [example]), tokenizer)
        assert fault == ""
        assert "Отвечай кратко." in tokenizer.decode(item.tokens)
        assert "Москва" in tokenizer.decode(item.targets)


def test_a_chosen_call_is_compared_in_the_templates_words(decoder_folder):
    tokenizer = with_template(decoder_folder, QWEN3)
    answers = {"chosen": [bot(None, tool_calls=[CALL])], "rejected": "Нет."}
    example = Preference().example(0, Place("rows.jsonl", 1), {"prompt": "Погода?", **answers})
    [item] = Preference().form("decoder", [example]).encode([example], tokenizer, ROOM)
    assert '{"name": "weather", "arguments": {"город": "Пермь"}}' in tokenizer.decode(item.targets)


# ── marks and empty turns ─────────────────────────────────────────────────────────────────────

MARKS = [
    *({"weight": value} for value in (0, 0.0, "0", False)),
    *({key: False} for key in ("loss", "train", "training", "trainable")),
    {"train": "false"},
    {"loss": "нет"},
    {"masked": True},
    {"masked": 1},
]


@pytest.mark.parametrize("mark", MARKS, ids=str)
@pytest.mark.parametrize("train_on", ["assistant", "last", "all"])
def test_a_turn_that_is_marked_is_not_learned(decoder_folder, mark, train_on):
    tokenizer = with_template(decoder_folder, CHATML)
    example = example_of([user("a"), bot("WRONG", **mark), user("b"), bot("right", weight=1)], train_on=train_on)
    form = form_of(example, train_on=train_on)
    item, fault = faults(example, form, tokenizer)
    learnt = tokenizer.decode(item.targets)
    assert fault == ""
    assert "WRONG" not in learnt and "right" in learnt
    assert "WRONG" in tokenizer.decode(item.tokens)
    assert example.gold == "right"


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        ({"weight": 0.5}, "the mark 'weight' of a turn is neither true nor false: 0.5"),
        ({"train_detail": [{"begin_offset": 0, "end_offset": 3, "train": False}]}, "'train_detail' marks parts"),
    ],
)
def test_a_mark_that_cannot_be_followed_is_refused(mark, reason):
    with pytest.raises(ValueError, match=reason):
        example_of([user("a"), bot("b", **mark)])


def test_rows_of_which_nothing_can_be_learned_say_why():
    with pytest.raises(ValueError, match="every answer of the conversation is marked"):
        example_of([user("a"), bot("b", weight=0)])
    with pytest.raises(ValueError, match="no turn of the user comes before"):
        example_of([bot("b")])
    assert example_of([SYSTEM, user("a")]).gold == ""
    assert example_of([user("a"), bot("  ")]).gold == ""


@pytest.mark.parametrize("nothing", ["", " \n", None, []])
def test_an_empty_answer_is_not_learned_but_stays_in_the_conversation(decoder_folder, nothing):
    for template in (CHATML, QWEN3):
        tokenizer = with_template(decoder_folder, template)
        example = example_of([user("a"), bot(nothing), user("b"), bot("right")])
        item, fault = faults(example, form_of(example), tokenizer)
        assert fault == ""
        assert tokenizer.decode(item.targets).endswith(f"right{END}")
        assert len(answers_in(item)) == 1


def finding_of(word: str, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    context = AuditContext(False, None, None, tokenizer=tokenizer, learned_from=("chosen", "rejected"))
    found = registry.choose("audits", word)().check(examples, context)
    return str(found.title) if found else ""


def test_what_is_not_learned_is_counted():
    marked = [user("a"), bot("b", weight=0), user("c"), bot("d")]
    examples = [example_of(marked, 0), example_of([user("a"), bot(""), user("c"), bot("d"), user("bye")], 1)]
    assert finding_of("unlearned-turns", [*examples, example_of(PLAIN, 2)]) == (
        "3 turns in 2 conversations are not trained on: answers marked in the data 1, first rows.jsonl:1; "
        "empty answers 1, first rows.jsonl:2; turns after the last answer 1, first rows.jsonl:2"
    )
    twice = [example_of(PLAIN, 0), example_of([user("a"), user("b"), bot("c")], 1)]
    assert finding_of("unlearned-turns", twice) == (
        "1 turn in 1 conversation is not trained on: turns of the user before another one 1, first rows.jsonl:2"
    )
    assert not finding_of("unlearned-turns", [example_of(PLAIN)])


def test_what_the_template_makes_necessary_is_counted(decoder_folder):
    examples = [example_of([SYSTEM, *PLAIN], 0), example_of([SYSTEM, user("a"), *PLAIN], 1), example_of(PLAIN, 2)]
    assert finding_of("adapted-turns", examples, with_template(decoder_folder, GEMMA)) == (
        "2 rows are changed to fit the model's chat template: "
        "system turns joined to a user turn: 2; neighboring turns of one role joined: 1"
    )
    assert not finding_of("adapted-turns", examples, with_template(decoder_folder, CHATML))


def test_reasoning_is_mentioned_before_a_model_is_chosen_and_where_its_template_drops_it(decoder_folder):
    thinking = [example_of([user("a"), bot("b", reasoning_content="because")], 0), example_of(PLAIN, 1)]
    assert finding_of("adapted-turns", thinking) == (
        "1 row contains reasoning; a model is trained on it if its chat template reads it"
    )
    assert "reasoning removed" in finding_of("adapted-turns", thinking, with_template(decoder_folder, CHATML))
    assert not finding_of("adapted-turns", thinking, with_template(decoder_folder, QWEN3))
    assert not finding_of("adapted-turns", thinking[1:])


def test_a_model_without_a_template_says_which_one_its_rows_get(decoder_folder):
    check, facts = registry.choose("audits", "plain-template")().check, facts_of(decoder_folder)
    plain, own = (with_template(decoder_folder, template) for template in (PLAIN_TEMPLATE, CHATML))
    [example], text = [example_of(PLAIN)], Example(0, Place("rows.txt", 1), "a", "a", {"text": "a"})
    found = check([example], AuditContext(False, None, None, model=facts, tokenizer=plain))
    assert found.severity == "warning" and "has no chat template: requests follow '### Request:'" in str(found.title)
    assert check([example], AuditContext(False, None, None, model=facts, tokenizer=own)) is None
    assert check([text], AuditContext(False, None, None, model=facts, tokenizer=plain)) is None


def test_pairs_without_one_of_their_answers_are_left_out():
    values = {"prompt": "a", "input": None, "system": None}
    pairs = [("b", "c"), ("b", " "), ("", "c")]
    examples = [
        Preference().example(id, Place("rows.jsonl", id + 1), {**values, "chosen": chosen, "rejected": rejected})
        for id, (chosen, rejected) in enumerate(pairs)
    ]
    assert finding_of("empty-fields", examples) == "2 rows with empty fields: 'rejected' 1, the answer 1"
    transcript = "\n\nHuman: Why?\n\nAssistant:"
    assert (
        Preference()
        .example(0, Place("", 1), {"chosen": f"{transcript} So.", "rejected": transcript})
        .fields["rejected"]
        == ""
    )


@pytest.mark.parametrize("name", ODD)
def test_messages_are_kept_as_they_are_read_and_can_be_read_as_data_again(name):
    """The proof of a saved model writes examples as a data file."""
    marked = [*ODD[name], user("c"), bot("d", weight=0), user("e"), bot("f", reasoning="g")]
    example = example_of(marked, tools=TOOLS)
    again = example_of(json.loads(json.dumps(example.fields["messages"])))
    assert turns_of(again) == turns_of(example)
    assert (again.text, again.gold) == (example.text, example.gold)


def test_a_pair_with_calls_or_reasoning_is_kept_whole():
    answers = {"chosen": [bot("a", reasoning_content="thought")], "rejected": [bot(None, tool_calls=[CALL])]}
    example = Preference().example(0, Place("rows.jsonl", 1), {"prompt": "Погода?", **answers})
    again = Preference().example(0, Place("rows.jsonl", 1), json.loads(json.dumps(dict(example.fields))))
    assert again == example


# ── serving ───────────────────────────────────────────────────────────────────────────────────


def test_an_open_conversation_is_answered_next_when_it_is_served_and_learned_when_it_is_trained(tokenizer):
    example = example_of([*PLAIN, user("bye")])
    form = form_of(example)
    assert example.gold == "Москва\n\nParis"
    [served] = answered_next([example])
    assert served.gold == ""
    [prompt] = form.prompts([served], tokenizer, ROOM)
    whole = tokenize([write_prompt(read_messages([*PLAIN, user("bye")]), tokenizer)], tokenizer)[0]
    assert list(prompt.tokens) == whole


def test_the_template_with_its_date_is_tried_without_harm(decoder_folder):
    can = abilities_of(with_template(decoder_folder, LLAMA3))
    assert (can.system, can.tools, can.results, can.reasoning) == (True, True, True, "")
    assert Turn("assistant", "", calls="[]").empty is False


# ── what the other rows of a file are ─────────────────────────────────────────────────────────


def test_conversations_that_nobody_can_learn_from_do_not_hide_what_the_others_are(tmp_path):
    """One row in four in which only the assistant speaks is told row by row."""
    rows = [{"messages": [bot("Hi")] if i % 4 == 0 else [user(f"вопрос {i}"), bot(f"ответ {i}")]} for i in range(48)]
    file = tmp_path / "d.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    table = read_table(file)
    found = recognize(table, None, {})
    made = make_examples(table, found, Chat())
    assert (found.task, len(made.examples)) == ("chat", 36)
    assert [entry.place.line for entry in made.rejected] == [1 + 4 * i for i in range(12)]
    assert {str(entry.reason) for entry in made.rejected} == {"no turn of the user comes before the assistant's"}


def test_rows_with_one_of_two_texts_are_counted():
    rows = [("Where is it?", "Where did it go?"), ("Где он?", ""), ("", "Куда он делся?"), ("Why?", "How?")]
    examples = [
        TextClassification().example(i, Place("rows.csv", i + 2), {"text": text, "second": second, "label": "1"})
        for i, (text, second) in enumerate(rows)
    ]
    assert finding_of("single-texts", examples) == (
        "2 rows with one text where the others have two: without the first 1, without the second 1"
    )
    assert not finding_of("single-texts", examples[:1])
    assert not finding_of("single-texts", examples[1:2])


# ── answering ─────────────────────────────────────────────────────────────────────────────────


class Parrot:
    """An engine whose model writes what it is told to."""

    max_tokens, max_new_tokens = ROOM, 100

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> None:
        self.tokenizer, self.texts = tokenizer, list(texts)
        self.asked = list[str]()

    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        return np.array([float(len(item.targets)) for item in items])

    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        self.asked += [self.tokenizer.decode(prompt.tokens) for prompt in prompts]
        return [self.texts.pop(0) for _ in prompts]

    def answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[np.ndarray, list[str]]:
        return self.losses(items), self.generate(prompts)


ANSWERED = [
    (QWEN3, PLAIN, [f"{EMPTY}Москва", f"{EMPTY}Paris"], "Москва\n\nParis"),
    (QWEN3, REASONED, ["<think>\nanother way\n</think>\n\n4", FOUR], "4\n\n4"),
    (R1, REASONED, ["I add\n</think>\n\n4", "so\n</think>\n\n6"], "4\n\n6"),
    (QWEN3, CALLED[:4], [f'{EMPTY}<tool_call>\n{{"name": "weather", "arguments": {{"город": "Пермь"}}}}\n</tool_call>',
                         f"{EMPTY}Идёт дождь."], None),
    (CHATML, THOUGHT, [turn["content"] for turn in THOUGHT[1::2]], None),
]  # fmt: skip


@pytest.mark.parametrize(("template", "messages", "written", "expected"), ANSWERED)
def test_answers_are_compared_without_the_templates_own_words(decoder_folder, template, messages, written, expected):
    engine = Parrot(with_template(decoder_folder, template), written)
    example = example_of(messages)
    form = form_of(example)
    [prediction] = form.predict(engine, [example])
    assert prediction.text == (expected or example.gold)
    assert prediction.tokens == form.supervised(form.encode([example], engine.tokenizer, ROOM)[0])
    turns = adapt(turns_of(example), engine.tokenizer).turns
    prompts = tokenize([write_prompt(turns[:at], engine.tokenizer) for at in learned(turns)], engine.tokenizer)
    assert engine.asked == [engine.tokenizer.decode(ids) for ids in prompts]


def test_a_request_is_answered_without_the_templates_empty_thought(decoder_folder):
    row = {"instruction": "Назови столицу.", "input": "", "output": "Москва"}
    example = Instruction().example(0, Place("rows.jsonl", 1), row)
    form = Instruction().form("decoder", [example])
    for template, text in ((QWEN3, f"{EMPTY}Москва"), (R1, "hm\n</think>\n\nМосква"), (CHATML, " Москва ")):
        engine = Parrot(with_template(decoder_folder, template), [text])
        [prediction] = form.predict(engine, [example])
        assert prediction.text == "Москва"
        assert form.answer_tokens(engine.tokenizer) > len(engine.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_conversation_that_the_template_refuses_is_refused_when_it_is_answered(decoder_folder):
    engine = Parrot(with_template(decoder_folder, LLAMA3), ["unused"])
    twice = example_of([user("Погода?"), bot(None, tool_calls=[CALL, CALL]), {"role": "tool", "content": "дождь"}])
    with pytest.raises(RefusedError, match="single tool-calls"):
        form_of(example_of(PLAIN)).predict(engine, [twice])
