"""Conversations as tools and data sets keep them: each shape is the same messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kamerton.core.errors import DataError
from kamerton.forms.rendered import read_rendered
from kamerton.pipeline.prepare import ParsedData, parse_data
from kamerton.runs.recipe import resolve

COUNT = range(12)
ASKED, SAID = "Count to {}.", "Aye, {}."
WANTED = [{"role": "user", "content": "Count to 0."}, {"role": "assistant", "content": "Aye, 0."}]
SYSTEM = {"role": "system", "content": "Be short."}


def parsed(folder: Path, name: str, rows: object, **settings: object) -> ParsedData:
    path = folder / name
    text = json.dumps(rows) if name.endswith(".json") else "".join(f"{json.dumps(row)}\n" for row in list(rows))
    path.write_text(text, encoding="utf-8")
    return parse_data(resolve(None, {"data.path": str(path), **settings}))


def filled(pattern: object) -> list[Any]:
    return [json.loads(json.dumps(pattern).replace("{}", str(at))) for at in COUNT]


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": said} for at, said in enumerate(contents)]


KEPT: Mapping[str, object] = {
    "an object by role": {"conversation": {"user": ASKED, "assistant": SAID}},
    "objects by role": {"conversation": [{"human": ASKED, "assistant": SAID}]},
    "requests with answers": {"conversations": [{"question": ASKED, "answer": SAID}]},
    "a JSON string": {"messages": json.dumps(turns(ASKED, SAID))},
    "an object that holds them": {"conversations": {"messages": turns(ASKED, SAID)}},
    "lists side by side": {"messages": {"role": ["user", "assistant"], "content": [ASKED, SAID]}},
    "content parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}, turns("", SAID)[1]]},
    "Gemini": {
        "contents": [{"role": "user", "parts": [{"text": ASKED}]}, {"role": "model", "parts": [{"text": SAID}]}]
    },
    "ShareGPT": {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}]},
    "Cohere": {"messages": [{"role": "User", "content": ASKED}, {"role": "Chatbot", "content": SAID}]},
    "OpenAI's evaluations": {"input": turns(ASKED), "ideal": SAID},
    "OpenAI's evaluations of several answers": {"input": turns(ASKED), "ideal": [SAID, "Aye."]},
    "messages and an answer": {"messages": turns(ASKED), "ideal": SAID},
    "OpenAI's responses": {
        "input": turns(ASKED),
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": SAID}]}],
    },
    "OpenAI's batches with their responses": {
        "custom_id": "{}",
        "body": {"model": "m", "messages": turns(ASKED)},
        "response": {"body": {"choices": [{"message": {"role": "assistant", "content": SAID}}]}},
    },
    "UltraChat": {"id": "{}", "data": [ASKED, SAID]},
    "a bare list": turns(ASKED, SAID),
    "ChatML": {"text": f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{SAID}<|im_end|>\n"},
    "Vicuna": {"text": f"USER: {ASKED} ASSISTANT: {SAID}</s>"},
    "Guanaco": {"text": f"### Human: {ASKED}### Assistant: {SAID}"},
    "Russian names": {"текст": f"Пользователь: {ASKED}\nАссистент: {SAID}"},
}


@pytest.mark.parametrize("shape", KEPT)
def test_every_shape_of_a_conversation_is_the_same_messages(tmp_path, shape):
    found = parsed(tmp_path, "rows.jsonl", filled(KEPT[shape]))
    assert found.recipe.data.task == "chat"
    assert len(found.examples) == len(COUNT)
    assert found.examples[0].fields["messages"] == WANTED


def test_what_a_template_wrote_is_told_and_stays_text_where_that_is_said(tmp_path):
    rows = filled(KEPT["ChatML"])
    assert "conversations in one text (ChatML)" in str(parsed(tmp_path, "rows.jsonl", rows).reason)
    plain = parsed(tmp_path, "rows.jsonl", rows, **{"data.task": "language-modeling"})
    assert plain.examples[0].gold.startswith("<|im_start|>user")


RENDERED = {
    "Llama 2": "<s>[INST] <<SYS>>\nBe short.\n<</SYS>>\n\nA? [/INST] B. </s><s>[INST] C? [/INST] D. </s>",
    "Llama 3": "<|begin_of_text|>"
    + "".join(
        f"<|start_header_id|>{who}<|end_header_id|>\n\n{said}<|eot_id|>"
        for who, said in (
            ("system", "Be short."),
            ("user", "A?"),
            ("assistant", "B."),
            ("user", "C?"),
            ("assistant", "D."),
        )
    ),
    "Gemma": "<bos><start_of_turn>system\nBe short.<end_of_turn>\n<start_of_turn>user\nA?<end_of_turn>\n"
    "<start_of_turn>model\nB.<end_of_turn>\n<start_of_turn>user\nC?<end_of_turn>\n<start_of_turn>model\nD.<end_of_turn>\n",
    "Phi, Zephyr or OpenAssistant": "<|system|>\nBe short.</s>\n<|user|>\nA?</s>\n<|assistant|>\nB.</s>\n"
    "<|user|>\nC?</s>\n<|assistant|>\nD.</s>",
    "DeepSeek": "<｜begin▁of▁sentence｜>Be short.<｜User｜>A?<｜Assistant｜>B.<｜end▁of▁sentence｜>"
    "<｜User｜>C?<｜Assistant｜>D.",
    "Saiga": "<s>system\nBe short.</s>\n<s>user\nA?</s>\n<s>bot\nB.</s>\n<s>user\nC?</s>\n<s>bot\nD.</s>",
    "Vicuna": "Be short. USER: A? ASSISTANT: B.</s>USER: C? ASSISTANT: D.</s>",
    "names after ###": "### System:\nBe short.\n\n### User:\nA?\n\n### Assistant:\nB.\n\n"
    "### User:\nC?\n\n### Assistant:\nD.",
    "names of the speakers": "Система: Be short.\nПользователь: A?\nАссистент: B.\nПользователь: C?\nАссистент: D.",
}


@pytest.mark.parametrize("template", RENDERED)
def test_every_rendering_is_read_back(template):
    found = read_rendered(RENDERED[template])
    assert found is not None
    assert found.template == template
    assert found.turns == (
        ("system", "Be short."), ("user", "A?"), ("assistant", "B."), ("user", "C?"), ("assistant", "D."),
    )  # fmt: skip


def test_alpacas_prompt_is_its_request_and_its_answer():
    text = "Below is an instruction.\n\n### Instruction:\nSort.\n\n### Input:\n2, 1\n\n### Response:\n1, 2\n\n### End"
    found = read_rendered(text)
    assert found is not None
    assert found.turns == (("user", "Sort.\n\n2, 1"), ("assistant", "1, 2"))


@pytest.mark.parametrize(
    "text",
    [
        "The Question: was asked, and the Answer: was no.",
        "USER: hello",
        "He said: yes.\nShe said: no.",
        "[INST] A?",
        "",
    ],
)
def test_other_texts_are_no_conversations(text):
    assert read_rendered(text) is None


def test_messages_that_are_rows_are_put_together_by_their_number(tmp_path):
    rows = [
        {
            "ticket_id": at // 2,
            "author": ("клиент", "оператор")[at % 2],
            "text": ("Где заказ?", f"В пути {at}.")[at % 2],
        }
        for at in range(24)
    ]
    found = parsed(tmp_path, "rows.jsonl", rows)
    assert found.recipe.data.task == "chat"
    assert len(found.examples) == 12
    assert found.examples[1].fields["messages"] == turns("Где заказ?", "В пути 3.")


def tree(at: int, ranks: tuple[int | None, int | None]) -> dict[str, Any]:
    replies = [
        {"message_id": f"{at}-{n}", "text": said, "role": "assistant", "rank": rank, "replies": []}
        for n, (said, rank) in enumerate(zip(("No.", f"Aye, {at}."), ranks, strict=True))
    ]
    replies[1]["replies"] = [{"message_id": f"{at}-9", "text": "Thanks.", "role": "prompter", "replies": []}]
    prompt = {"message_id": str(at), "text": f"Count to {at}.", "role": "prompter", "replies": replies}
    return {"message_tree_id": str(at), "tree_state": "ready", "prompt": prompt}


def flat(trees: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    waiting = [(one["prompt"], None, one["message_tree_id"]) for one in trees]
    while waiting:
        node, parent, name = waiting.pop()
        waiting += [(reply, node["message_id"], name) for reply in node["replies"]]
        kept = {key: node.get(key) for key in ("message_id", "text", "role", "rank")}
        rows.append({**kept, "parent_id": parent, "message_tree_id": name, "lang": "en"})
    return rows


@pytest.mark.parametrize("kept", ["trees", "messages"])
def test_trees_are_pairs_of_ranked_answers_or_conversations(tmp_path, kept):
    ranked, plain = [tree(at, (1, 0)) for at in COUNT], [tree(at, (None, None)) for at in COUNT]
    ranked[3] = tree(3, (None, None))
    rows = ranked if kept == "trees" else flat(ranked)
    found = parsed(tmp_path, "rows.jsonl", rows)
    assert found.recipe.data.task == "preference"
    first = next(one for one in found.examples if one.fields["prompt"] == WANTED[:1])
    assert (first.gold, first.fields["rejected"]) == ("Aye, 0.", "No.")
    assert [str(entry.reason) for entry in found.table.rejected] == ["no answers of the tree were ranked"]
    chats = parsed(tmp_path, "rows.jsonl", rows, **{"data.task": "chat"})
    assert WANTED in [one.fields["messages"] for one in chats.examples]
    unranked = parsed(tmp_path, "plain.jsonl", plain if kept == "trees" else flat(plain))
    assert unranked.recipe.data.task == "chat"
    assert {len(one.fields["messages"]) for one in unranked.examples} == {2}


def test_what_a_model_is_told_in_a_context_and_turns_before_a_message_are_kept(tmp_path):
    said = [{"author": "user", "content": ASKED}, {"author": "bot", "content": SAID}]
    found = parsed(tmp_path, "palm.jsonl", filled({"context": "Be short.", "messages": said}))
    assert found.examples[0].fields["messages"] == [SYSTEM, *WANTED]
    history = [{"role": "USER", "message": "Hello."}, {"role": "CHATBOT", "message": "Ahoy."}]
    found = parsed(tmp_path, "cohere.jsonl", filled({"message": ASKED, "chat_history": history, "response": SAID}))
    assert found.examples[0].fields["messages"] == [*turns("Hello.", "Ahoy."), *WANTED]


def test_turns_in_a_history_stand_before_the_request(tmp_path):
    pattern = {"instruction": "And {}?", "input": "", "output": "Aye, {}.", "history": [["Hello.", "Ahoy."]]}
    rows = filled(pattern)
    rows[1]["history"] = []
    found = parsed(tmp_path, "rows.jsonl", rows)
    assert found.recipe.data.task == "chat"
    assert [one.fields["messages"] for one in found.examples[:2]] == [
        turns("Hello.", "Ahoy.", "And 0?", "Aye, 0."),
        turns("And 1?", "Aye, 1."),
    ]


COMPARED = {
    "scores": {
        "instruction": ASKED,
        "completions": [{"response": "No.", "overall_score": 2}, {"response": SAID, "overall_score": 8.5}],
    },
    "ranks": {"prompt": ASKED, "answers": [{"answer": "No.", "rank": 3}, {"answer": SAID, "rank": 1}]},
    "the arena": {"conversation_a": turns(ASKED, "No."), "conversation_b": turns(ASKED, SAID), "winner": "model_b"},
    "JSON of tools and messages": {
        "chosen": json.dumps({"tools": [], "messages": turns(ASKED, SAID)}),
        "rejected": json.dumps({"tools": [], "messages": turns(ASKED, "No.")}),
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", COMPARED)
def test_compared_answers_of_every_make_are_the_same_preference(tmp_path, shape):
    found = parsed(tmp_path, "rows.jsonl", filled(COMPARED[shape]))
    assert found.recipe.data.task == "preference"
    assert found.examples[0].fields == {"prompt": WANTED[:1], "chosen": "Aye, 0.", "rejected": "No."}


def test_messages_that_nothing_puts_together_are_no_table_of_roles(tmp_path):
    with pytest.raises(DataError, match="no column says which of them are one conversation") as told:
        parsed(tmp_path, "rows.jsonl", [*turns("A?", "B."), {"role": "user", "content": "C?", "time": 1}])
    assert "label=role" not in str(told.value)


@pytest.mark.parametrize("mark", ["kto_tag", "label", "нравится"])
def test_the_last_answer_of_a_judged_conversation_is_parted_from_it(tmp_path, mark):
    pattern = {"messages": turns("Hello.", "Ahoy.", ASKED, SAID)}
    rows = [{**row, mark: at % 2 == 0} for at, row in enumerate(filled(pattern))]
    found = parsed(tmp_path, "rows.jsonl", rows)
    assert found.recipe.data.task == "feedback"
    wanted = {"prompt": turns("Hello.", "Ahoy.", "Count to 0."), "completion": "Aye, 0.", "wanted": True}
    assert found.examples[0].fields == wanted
    assert str(parsed(tmp_path, "rows.jsonl", rows, **{"data.task": "chat"}).left_out[0].reason) == f"'{mark}' is false"


def test_yes_and_no_of_judged_answers_may_be_numbers_where_the_column_says_what_it_is(tmp_path):
    rows = [{**row, "kto_tag": at % 2} for at, row in enumerate(filled({"instruction": ASKED, "output": SAID}))]
    found = parsed(tmp_path, "rows.jsonl", rows)
    assert [example.fields["wanted"] for example in found.examples[:2]] == [False, True]
