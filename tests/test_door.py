"""What cannot work is refused before anything is trained, by `plan` and `tune` alike, and says what to take instead."""

from __future__ import annotations

import pytest

from crossing import Models
from kamerton.core import registry
from kamerton.models.heads import empty_model
from kamerton.models.inspect import inspect_folder
from kamerton.session.machine import described_machine
from kamerton.session.planner import candidates
from stories import MISTAKE
from tiny_families import tiny_family

TEXTS = "AutoModelForSequenceClassification"
CASES = {
    "no keys and values from before": ("distilbert", "prefix-tuning", (), "its layers do not take cached keys and"),
    "no prompt tokens for hidden ones": (
        "masked", "prompt-tuning", ("--task", "language-modeling", "--columns", "text=text"), "a BertForMaskedLM",
    ),
    "no head for hidden tokens": (
        "encoder", "full", ("--task", "language-modeling", "--columns", "text=text"), "no weights for its masked-lang",
    ),
    "more layers than there are": ("encoder", "last-layers", ("--set", "method.layers=9"), "because the model has 2"),
    "a mean of tokens that are read each": (
        "masked", "head",
        ("--task", "language-modeling", "--columns", "text=text", "--set", "method.reads=mean"),
        "the mean of the tokens",
    ),
    "a task of other kinds of model": ("seq2seq", "full", (), "takes the kind encoder or decoder"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("command", ["plan", "tune"])
def test_what_does_not_fit_is_refused_before_anything_is_trained(command, name, place):
    model, method, flags, says = CASES[name]
    assert Models(place.folder)[model].exists()
    ended = place.call(command, "reviews.csv", "--model", model, "--method", method, *flags)
    assert ended.status == MISTAKE, ended.said
    assert says in ended.err
    assert "→" in ended.err
    assert "baselines" not in ended.said
    assert "Traceback" not in ended.said


@pytest.mark.parametrize("method", ["head", "last-layers", "ia3", "prompt-tuning", "prefix-tuning", "p-tuning"])
def test_new_tokens_that_a_method_cannot_learn_are_refused_before_anything_is_trained(method, place):
    (place.folder / "words.txt").write_text("кинематографический\n", "utf-8")
    tokens = ("--set", "model.new_tokens=words.txt")
    ended = place.call("tune", "reviews.csv", "--model", "encoder", "--method", method, *tokens)
    assert ended.status == MISTAKE, ended.said
    assert "model.new_tokens: embeddings of new tokens cannot be learned, because" in ended.err
    assert "baselines" not in ended.said


def test_the_planner_takes_a_method_that_fits_and_says_of_the_others_why_not(tmp_path):
    folder = tiny_family("distilbert", tmp_path / "distilbert")
    empty = empty_model(folder, TEXTS, {"num_labels": 2})
    order = candidates(inspect_folder(folder, "distilbert"), 1000, described_machine("cpu-100gb"), empty)
    assert {one.word for one in order} == set(registry.names("methods"))
    [refused] = [one for one in order if one.refusal]
    assert refused == order[-1]
    assert refused.word == "prefix-tuning"
    assert str(refused.reason).startswith("does not fit the model: its layers do not take cached")
    assert order[0].fits
