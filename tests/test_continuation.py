"""Programs go on as they stand; gaps are put as models of code know them; tests are run only when asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from kamerton.core.errors import RecipeError
from kamerton.core.records import Example, Place
from kamerton.forms.continuation import FILLING
from kamerton.models.load import load_tokenizer
from kamerton.plugins.tasks.code_completion import CodeCompletion
from kamerton.runs.recipe import checked
from kamerton.text.language_id import looks_like_code
from tiny_engines import facts_of

EXAMPLES = [
    CodeCompletion().example(id, Place("rows.jsonl", id + 1), row)
    for id, row in enumerate(CodeCompletion().example_rows())
]


@pytest.fixture
def tokenizer(decoder_folder: Path) -> PreTrainedTokenizerBase:
    """The tiny decoder's."""
    return load_tokenizer(facts_of(decoder_folder))


class Writer:
    """Answers each prompt with what it is told."""

    max_tokens, max_new_tokens = 256, 40

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> None:
        self.tokenizer, self.texts, self.asked = tokenizer, texts, 0

    def answer(self, items, prompts):
        self.asked += len(prompts)
        return [0.0 for _ in items], [self.texts[at % len(self.texts)] for at in range(len(prompts))]


def form_of(**settings: object):
    return CodeCompletion(**settings).form("decoder", EXAMPLES)


def test_a_program_goes_on_as_it_stands(tokenizer):
    for item, example in zip(form_of().encode(EXAMPLES[:2], tokenizer, 256), EXAMPLES, strict=False):
        text = f"<|begin|>{example.fields['prompt']}{example.gold}<|im_end|>"
        assert tokenizer.decode(item.tokens) == text
        assert tokenizer.decode(item.targets) == f"{example.gold}<|im_end|>"


@pytest.mark.parametrize("words", FILLING)
def test_a_gap_is_put_in_the_words_that_the_tokenizer_knows(tokenizer, words):
    tokenizer.add_special_tokens({"additional_special_tokens": list(words)})
    [item] = form_of().encode(EXAMPLES[2:3], tokenizer, 256)
    start, end, gap = words
    fields = EXAMPLES[2].fields
    expected = f"<|begin|>{start}{fields['prompt']}{end}{fields['suffix']}{gap}{EXAMPLES[2].gold}<|im_end|>"
    assert tokenizer.decode(item.tokens) == expected
    assert [item.tokens.count(tokenizer.convert_tokens_to_ids(word)) for word in words] == [1, 1, 1]


def test_shots_stand_before_as_whole_programs(tokenizer):
    seen = []
    writer = Writer(tokenizer, [""])
    writer.answer = lambda items, prompts: seen.extend(prompts) or ([0.0], [""] * len(prompts))
    form_of().predict_untuned(writer, EXAMPLES[1:2], EXAMPLES[:1])
    shot = EXAMPLES[0].fields["prompt"] + EXAMPLES[0].gold
    assert tokenizer.decode(seen[0].tokens) == f"<|begin|>{shot}\n\n\n{EXAMPLES[1].fields['prompt']}"


def test_the_space_that_a_continuation_begins_with_is_kept(tokenizer):
    [prediction] = form_of().predict(Writer(tokenizer, ["    return 2 * x\n\n"]), EXAMPLES[:1])
    assert prediction.text == "    return 2 * x"
    assert prediction.passed is None


def test_tests_are_run_where_that_is_asked_for(tokenizer):
    writer = Writer(tokenizer, ["    return 2 * x", "    return n", "    pass", "    return n % 2 == 0"])
    predictions = form_of(run_tests=True).predict(writer, EXAMPLES)
    assert [prediction.passed for prediction in predictions] == [1.0, None, None, 1.0]
    wrong = Writer(tokenizer, ["    return x", "", "", "    return n"])
    assert [p.passed for p in form_of(run_tests=True).predict(wrong, EXAMPLES)] == [0.0, None, None, 0.0]


def test_several_samples_give_the_unbiased_estimate(tokenizer):
    writer = Writer(tokenizer, ["    return 2 * x", "    return x", "    return 0", "    return x + x"])
    form = form_of(run_tests=True, samples=4, k=2)
    [prediction] = form.predict(writer, EXAMPLES[:1])
    assert prediction.passed == pytest.approx(5 / 6)
    assert writer.asked == 4


def test_more_programs_than_are_written_cannot_be_tried():
    with pytest.raises(RecipeError, match="pass@3 needs at least 3 samples, got 2"):
        checked(CodeCompletion, {"samples": 2, "k": 3}, "task code-completion:")


def test_tests_decide_where_they_are_run():
    assert CodeCompletion(run_tests=True).metrics(EXAMPLES)[0] == "pass-at-k"
    assert "pass-at-k" not in CodeCompletion().metrics(EXAMPLES)


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x + 1",
        "public static void main(String[] args) {\n    System.out.println(1);\n}",
        "SELECT name\nFROM people\nWHERE age = 7;",
        "    self.name = name\n    self.level = level",
        "const f = (x) => {\n  return x * 2;\n}",
    ],
)
def test_programs_are_told(text):
    assert looks_like_code([text])


@pytest.mark.parametrize(
    "text", ["What is the capital of France?", "Кошка сидит на коврике.", "Return it, please.\nThank you!", "我在北京"]
)
def test_prose_is_no_program(text):
    assert not looks_like_code([text])


def test_an_example_without_tests_has_no_program():
    form = form_of(run_tests=True)
    assert form.program(EXAMPLES[1], "x") == ""
    assert form.program(replace(EXAMPLES[0]), "    return 6").endswith("assert double(3) == 6\n")
    assert isinstance(EXAMPLES[0], Example)
