"""A classification head on a decoder: what is saved is transformers' own, and the untuned model is still asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from kamerton.core.records import Example
from kamerton.core.records import Place as Row
from kamerton.forms.labels import ClosingLabels
from kamerton.plugins.tasks.text_classification import TextClassification
from kamerton.runs.run import Run
from stories import DONE, Place, write_reviews

# of a name that PEFT asks for in every model
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FLAGS = ("--set", "task.decoder=classifier", "--set", "evaluate.resamples=200", "--learning-rate", "3e-3",
         "--epochs", "3")  # fmt: skip
TEXTS = ("a warm film", "two hours lost, and a very thin plot in them", "тёплый фильм")


def examples() -> list[Example]:
    rows = [{"text": text, "label": ("good", "bad")[n % 2]} for n, text in enumerate(TEXTS)]
    return [TextClassification().example(n, Row("rows.jsonl", n + 1), row) for n, row in enumerate(rows)]


def form_of_head() -> ClosingLabels:
    form = TextClassification(decoder="classifier").form("decoder", examples())
    assert isinstance(form, ClosingLabels)
    return form


@pytest.mark.parametrize("method", ["full", "head", "lora"])
def test_the_saved_head_gives_its_answers_in_transformers_alone(place: Place, method: str):
    data = place.folder / "decoder-head.csv"
    write_reviews(data)
    out = f"decoder-{method}-head"
    ended = place.call("tune", data.name, "--model", "decoder", "--method", method, "--out", out, *FLAGS)
    assert ended.status == DONE, ended.said
    run = Run(place.folder / out)
    assert run.recipe.task.model_dump()["decoder"] == "classifier"
    answered = {answers.kind: answers for answers in run.read_answers()}
    assert answered["base"].predictions, "the untuned model is asked in words"
    if method == "lora":
        return  # tests/test_usage.py loads adapters
    model = AutoModelForSequenceClassification.from_pretrained(run.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    texts = [example.text for example in run.read_split().test]
    batch = tokenizer(texts, padding=True, return_tensors="pt", padding_side="right")
    with torch.no_grad():
        alone = model(**batch).logits.softmax(dim=-1)
    ours = torch.tensor([prediction.probabilities for prediction in answered["tuned"].predictions])
    torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-5)


def test_the_last_token_of_each_text_is_read_and_no_template_is_written(decoder_folder: Path):
    tokenizer = AutoTokenizer.from_pretrained(decoder_folder)
    for text, item in zip(TEXTS, form_of_head().encode(examples(), tokenizer, 128), strict=True):
        assert list(item.tokens) == tokenizer(text)["input_ids"]
        assert item.output_positions == (len(item.tokens) - 1,)


def test_windows_and_cuts_are_read_at_their_own_last_token(decoder_folder: Path):
    tokenizer = AutoTokenizer.from_pretrained(decoder_folder)
    [_, whole, _] = form_of_head().encode(examples(), tokenizer, 8)
    assert (len(whole.tokens), whole.output_positions) == (8, (7,))
    assert whole.cut > 0
    [_, slid, _] = form_of_head().with_too_long("window").encode(examples(), tokenizer, 8)
    assert len(slid.sequences) > 1
    assert all(sequence.output_positions == (len(sequence.tokens) - 1,) for sequence in slid.sequences)


def test_a_text_without_any_token_is_its_end(decoder_folder: Path):
    tokenizer = AutoTokenizer.from_pretrained(decoder_folder)
    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])  # as of models that begin without a token
    assert tokenizer("")["input_ids"] == []
    empty = TextClassification().example(0, Row("rows.jsonl", 1), {"text": "", "label": "good"})
    [item] = form_of_head().encode([empty], tokenizer, 128)
    assert (item.tokens, item.output_positions) == ((tokenizer.eos_token_id,), (0,))


def test_the_untuned_model_answers_as_without_a_head(decoder_folder: Path):
    form = form_of_head()
    plain = TextClassification().form("decoder", examples())
    assert form.untuned_class == plain.untuned_class == AutoModelForCausalLM.__name__
    assert [message.content for message in form.requests(examples()[0], ())[0]] == [
        message.content for message in plain.requests(examples()[0], ())[0]
    ]
    instructed = form.with_instruction("Be strict.")
    assert instructed is not None
    assert instructed.requests(examples()[0], ())[0][0].content.startswith("Be strict.")
    assert form.parse("It is bad, I think.") == "bad"
