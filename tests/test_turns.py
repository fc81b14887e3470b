"""Nothing that anybody says becomes a control token, and ordinary text is tokenized as it always was."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from kamerton.core.errors import ModelError
from kamerton.core.records import Example, Place, Turn
from kamerton.forms.conversation import Conversation
from kamerton.forms.messages import written
from kamerton.forms.templates import RefusedError
from kamerton.forms.turns import Exchange, ended, plain, tokenize, write_exchange, write_prompt
from kamerton.models.load import PLAIN_TEMPLATE, load_tokenizer
from kamerton.models.vocabulary import add_words
from tiny_engines import facts_of

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""SmolLM2's own, with a shorter system prompt."""
TRIMMED = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}{% if m['role'] == 'assistant' %}"
    "{{ eos_token }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
TEMPLATES = {"own": None, "plain": PLAIN_TEMPLATE, "smollm2": SMOLLM2, "trimmed": TRIMMED}
PARTS = (
    "cat", " sat", "\n", "  ", "\t", "кот", "Ёж", "猫", "قطة", "🎉", "👩‍👩‍👧", "<", "|", ">", "im_end", "<|imx",
    "_end|>", "</s>", "[INST]", "{{ x }}", "{% if %}", "\\n", "'", '"', "3.5", "\u00a0", "def f():\n    return 1", "é",
)  # fmt: skip
CONTROL = ("<|im_end|>", "<|im_start|>", "<|begin|>", "<|pad|>")


@pytest.fixture(params=TEMPLATES, ids=list(TEMPLATES))
def tokenizer(request: pytest.FixtureRequest, decoder_folder: Path) -> PreTrainedTokenizerBase:
    """The tiny decoder's, with each template."""
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    tokenizer.chat_template = TEMPLATES[request.param] or tokenizer.chat_template
    return tokenizer


def words(case: int, *more: str) -> str:
    chance = random.Random(case)
    return "".join(chance.choices([*PARTS, *more], k=chance.randint(1, 12))) + "."


def conversation(case: int) -> list[Turn]:
    turns = [Turn("user", words(3 * case)), Turn("assistant", words(3 * case + 1))][: 2 * (case % 2)]
    return [*turns, Turn("user", words(3 * case + 2))]


def rendered(tokenizer: PreTrainedTokenizerBase, turns: list[Turn], *, open_end: bool) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_end)


def test_ordinary_text_is_tokenized_as_the_template_writes_it_whole(tokenizer):
    for case in range(300):
        turns, answer = conversation(case), words(7000 + case)
        assert not any(word in turn.content for turn in turns for word in CONTROL)
        prompt = rendered(tokenizer, turns, open_end=True)
        whole = rendered(tokenizer, [*turns, Turn("assistant", answer)], open_end=False)
        expected = tokenizer([prompt, whole[len(prompt) :]], add_special_tokens=False)["input_ids"]
        written = write_exchange(turns, answer, tokenizer)
        assert tokenize([written.prompt, written.answer], tokenizer) == expected
        assert tokenize([write_prompt(turns, tokenizer)], tokenizer) == expected[:1]


def test_control_words_that_somebody_says_are_text_and_all_others_are_what_the_template_writes(tokenizer):
    special = set(tokenizer.all_special_ids)
    for case in range(100):
        said, answer = words(case, *CONTROL, *CONTROL), words(500 + case, *CONTROL, *CONTROL)
        harmless = write_exchange([Turn("user", "cat")], "cat", tokenizer)
        written = write_exchange([Turn("user", said)], answer, tokenizer)
        counts = [
            [sum(token in special for token in ids) for ids in tokenize([one.prompt, one.answer], tokenizer)]
            for one in (harmless, written)
        ]
        assert counts[0] == counts[1]


def test_what_was_said_is_kept_letter_by_letter(tokenizer):
    for case in range(100):
        said, answer = words(case, *CONTROL).strip(), words(500 + case, *CONTROL).strip()
        written = write_exchange([Turn("user", said)], answer, tokenizer)
        prompt, reply = (tokenizer.decode(ids) for ids in tokenize([written.prompt, written.answer], tokenizer))
        assert said in prompt
        assert answer in reply


def test_an_answer_that_speaks_of_the_end_token_ends_once_and_whole(tokenizer):
    written = write_exchange([Turn("user", "Which token?")], "It is <|im_end|> itself.", tokenizer)
    [ids] = tokenize([written.answer], tokenizer)
    answer = ended(ids, tokenizer)
    assert answer.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(answer[:-1]).strip() == "It is <|im_end|> itself."


def test_plain_text_never_holds_a_control_token(decoder_folder, encoder_folder, seq2seq_folder):
    for folder in (decoder_folder, encoder_folder, seq2seq_folder):
        tokenizer = load_tokenizer(facts_of(folder))
        for word in tokenizer.all_special_tokens:
            [ids] = tokenize([plain(f"one {word} two{word}", tokenizer)], tokenizer)
            assert tokenizer.convert_tokens_to_ids(word) not in set(ids) - {tokenizer.unk_token_id}


def test_an_answer_is_taught_behind_servings_prompt_where_the_template_rewrites_it(decoder_folder):
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert write_exchange([Turn("user", "a")], "b", tokenizer) == Exchange(("1a",), ("b",))
    tokenizer.chat_template = "{{ messages | length }}"
    with pytest.raises(RefusedError, match="writes a prompt differently once it is answered"):
        write_exchange([Turn("user", "a")], "b", tokenizer)


def test_added_words_of_a_language_are_one_token_in_a_text_and_control_words_are_none(tokenizer):
    learned = add_words(tokenizer, ["kettle", "настройка", "->>", "<|aside|>"])
    [row] = Conversation("assistant", ()).encode(
        [example_of("A kettle ->> <|aside|>", "Одна настройка, kettle <|im_end|>")], learned, 512
    )
    tokens = learned.convert_ids_to_tokens(list(row.tokens))
    assert (tokens.count("kettle"), tokens.count("->>"), tokens.count("<|aside|>")) == (2, 1, 0)
    targets = learned.convert_ids_to_tokens(list(row.targets))
    assert targets.count("kettle") == targets.count("настройка") == 1
    assert row.targets.count(learned.eos_token_id) == 1


def example_of(asked: str, answer: str) -> Example:
    turns = [Turn("user", asked), Turn("assistant", answer)]
    return Example(0, Place("a.jsonl", 1), asked, answer, {"messages": written(turns)})


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_refused(tmp_path, decoder_folder):
    folder = tmp_path / "more"
    shutil.copytree(decoder_folder, folder)
    tokenizer = load_tokenizer(facts_of(folder))
    room = facts_of(folder).vocabulary - len(tokenizer)
    tokenizer.add_tokens([f"word{at}" for at in range(room + 2)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=rf"no embedding for 2 tokens of its tokenizer, such as 'word{room}'"):
        load_tokenizer(facts_of(folder))
