"""Conversations are read from every usual shape, and each of the assistant's turns is learnt as it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from kamerton.core.contracts import Engine
from kamerton.core.records import Example, Place, Turn
from kamerton.forms.conversation import Conversation, answered_next, turns_of
from kamerton.forms.messages import read_messages, with_system
from kamerton.forms.turns import tokenize, write_prompt
from kamerton.models.load import load_tokenizer
from kamerton.plugins.tasks.chat import Chat
from tiny_engines import TEXT, facts_of, tiny_engine

FORGETFUL = (
    "{% for m in messages %}{% if not loop.last or m['role'] == 'user' %}"
    "[{{ m['role'] }}]{{ m['content'].split('!')[-1] }}"
    "{% else %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""Leaves out of earlier answers what stands before an exclamation mark, as templates do with thoughts."""
ROW = {
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Name the capital of France."},
        {"role": "assistant", "content": "hm! Paris"},
        {"role": "user", "content": "Назови столицу России."},
        {"role": "assistant", "content": "hm! Москва"},
    ]
}


@pytest.fixture
def tokenizer(decoder_folder: Path) -> PreTrainedTokenizerBase:
    """The tiny decoder's."""
    return load_tokenizer(facts_of(decoder_folder))


def example_of(row: dict[str, object], **settings: object) -> Example:
    return Chat(**settings).example(0, Place("rows.jsonl", 1), {"system": None, "tools": None, **row})


def form_of(row: dict[str, object], **settings: object) -> Conversation:
    return Chat(**settings).form("decoder", [example_of(row)])


def taught(form: Conversation, tokenizer: PreTrainedTokenizerBase) -> str:
    [item] = form.encode([example_of(ROW)], tokenizer, 256)
    assert all(
        item.tokens[read + 1] == target for read, target in zip(item.output_positions, item.targets, strict=True)
    )
    return tokenizer.decode(item.targets)


@pytest.mark.parametrize(
    ("train_on", "expected"),
    [("assistant", "hm! Paris<|im_end|>hm! Москва<|im_end|>"), ("last", "hm! Москва<|im_end|>")],
)
def test_only_the_assistants_words_and_their_ends_are_taught(tokenizer, train_on, expected):
    assert taught(form_of(ROW, train_on=train_on), tokenizer) == expected


def test_everything_is_taught_where_that_is_asked_for(tokenizer):
    form = form_of(ROW, train_on="all")
    [item] = form.encode([example_of(ROW)], tokenizer, 256)
    assert item.targets == item.tokens[1:]


def test_the_tokens_are_those_of_the_whole_conversation(tokenizer):
    [item] = form_of(ROW).encode([example_of(ROW)], tokenizer, 256)
    whole = tokenizer.apply_chat_template(ROW["messages"], tokenize=False)
    assert tokenizer.decode(item.tokens) == whole.removesuffix("\n")
    assert list(item.tokens) == tokenizer(whole.removesuffix("\n"), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("template", [None, FORGETFUL])
@pytest.mark.parametrize("at", [2, 4])
def test_each_turn_is_learnt_after_the_prompt_that_serving_sends_for_it(tokenizer, template, at):
    tokenizer.chat_template = template or tokenizer.chat_template
    [item] = form_of(ROW).encode([example_of(ROW)], tokenizer, 256)
    row = {"messages": ROW["messages"][:at]}
    [prompt] = form_of(ROW).prompts([example_of(row)], tokenizer, 256)
    assert any(sequence.tokens[: len(prompt.tokens)] == prompt.tokens for sequence in item.sequences)
    assert list(prompt.tokens) == tokenize([write_prompt(turns_of(example_of(row)), tokenizer)], tokenizer)[0]
    assert not form_of(ROW).flaw(item, form_of(ROW).prompts([example_of(ROW)], tokenizer, 256)[0], tokenizer)


def test_where_the_template_rewrites_earlier_turns_each_answer_is_a_sequence_of_its_own(tokenizer):
    tokenizer.chat_template = FORGETFUL
    form = form_of(ROW)
    [item] = form.encode([example_of(ROW)], tokenizer, 256)
    assert [tokenizer.decode(sequence.targets) for sequence in item.sequences] == [
        "hm! Paris<|im_end|>",
        "hm! Москва<|im_end|>",
    ]
    assert form.supervised(item) == sum(len(sequence.targets) for sequence in item.sequences)


def test_each_turn_is_answered_after_the_true_ones_and_its_likelihood_counts(decoder_folder):
    examples = [example_of(ROW), example_of({"messages": ROW["messages"][:4]})]
    form = form_of(ROW)
    samples = form.encode(examples[:1], load_tokenizer(facts_of(decoder_folder)), 256)
    engine: Engine = tiny_engine(decoder_folder, TEXT, samples, max_new_tokens=5)
    scored, served = form.predict(engine, answered_next(examples))
    rows = answered_next([example_of({"messages": ROW["messages"][:at]}) for at in (2, 4)])
    separate = [prediction.text for prediction in form.predict(engine, rows)]
    assert scored.text == "\n\n".join(separate)
    assert served.text == separate[1]
    assert scored.loss == pytest.approx(float(engine.losses(samples)[0]), rel=1e-6)
    assert scored.tokens == len(samples[0].targets)
    assert served.loss == pytest.approx(
        float(engine.losses(form.encode(examples[1:], engine.tokenizer, 256))[0]), rel=1e-6
    )
    assert len(form.predict_untuned(engine, examples, [example_of(ROW)])) == 2


def test_a_conversation_that_nobody_answers_has_no_gold_and_a_greeting_answers_nothing(tokenizer):
    asked = example_of({"messages": ROW["messages"][:2]})
    assert asked.gold == ""
    [open_end] = answered_next([example_of({"messages": ROW["messages"][:4]})])
    assert open_end.gold == ""
    greeting = {"messages": [{"role": "assistant", "content": "Hello!"}, *ROW["messages"][1:3]]}
    [item] = form_of(greeting).encode([example_of(greeting)], tokenizer, 256)
    assert tokenizer.decode(item.targets) == "hm! Paris<|im_end|>"
    assert example_of(greeting).gold == "hm! Paris"


@pytest.mark.parametrize(
    "cell",
    [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}],
        [["a", "b"]],
        [{"instruction": "a", "input": "", "output": "b"}],
        json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
    ],
)
def test_every_usual_shape_is_read(cell):
    assert read_messages(cell) == (Turn("user", "a"), Turn("assistant", "b"))


def test_calls_of_tools_and_their_descriptions_are_kept_as_they_are():
    calls = [{"id": "1", "type": "function", "function": {"name": "clock", "arguments": '{"город": "Пермь"}'}}]
    [message] = read_messages([{"role": "assistant", "content": None, "tool_calls": calls}])
    assert (message.content, json.loads(message.calls)) == ("", calls)
    tools = '[{"name": "clock"}]'
    assert with_system((Turn("user", "a"),), "", tools) == (Turn("tools", tools), Turn("user", "a"))
    assert with_system((Turn("system", "x"), Turn("user", "a")), "y", "")[0] == Turn("system", "x\n\ny")


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("hello", "not a list of messages"),
        ([], "not a list of messages"),
        ([{"content": "a"}], "has no role"),
        ([{"role": "wizard", "content": "a"}], "unknown role 'wizard'"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "an image"),
    ],
)
def test_what_is_no_conversation_is_refused_with_the_reason(cell, reason):
    with pytest.raises(ValueError, match=reason):
        read_messages(cell)


def test_what_does_not_fit_loses_its_start_as_in_serving_and_is_counted(tokenizer):
    """The last answer stays whole, with its end: cut at the end, it would be the first to go."""
    form = form_of(ROW)
    [whole] = form.encode([example_of(ROW)], tokenizer, 256)
    last = whole.targets[
        max(i for i, target in enumerate(whole.targets[:-1]) if target == tokenizer.eos_token_id) + 1 :
    ]
    for room in range(len(last) * 2, len(whole.tokens)):
        [short] = form.encode([example_of(ROW)], tokenizer, room)
        [prompt] = form.prompts([example_of(ROW)], tokenizer, room - len(last))
        begin = len(whole.tokens) - room
        assert short.tokens == whole.tokens[begin:] == (*prompt.tokens, *last)
        assert short.cut == begin
        assert short.targets == tuple(whole.tokens[read + 1] for read in whole.output_positions if read >= begin)
