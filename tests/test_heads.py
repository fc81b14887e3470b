"""Models that were saved with a head: it stays where it answers the same question, and else a new one is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoTokenizer

from crossing import SETTINGS, Cell, cross
from kamerton.core.errors import ModelError
from kamerton.models.heads import new_head
from kamerton.models.load import load_model
from kamerton.pipeline.freeze import freeze
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock
from tiny_families import tiny_family

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

STARS = ("star0", "star1", "star2", "star3", "star4")
TEXTS, TOKENS, SPANS = (f"AutoModelFor{what}" for what in ("SequenceClassification", "TokenClassification",
                                                           "QuestionAnswering"))  # fmt: skip
NUMBER = {"num_labels": 1, "problem_type": "regression"}
ENDS = {"num_labels": 2}


def named(*labels: str) -> dict[str, object]:
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {v: i for i, v in enumerate(labels)},
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save a family with a head, each once."""
    made: dict[object, Path] = {}

    def save(family: str, model_class: str, config: Mapping[str, object]) -> Path:
        key = (family, model_class, json.dumps(config))
        if key not in made:
            bare = tiny_family(family, tmp_path_factory.mktemp("bare"))
            folder = tmp_path_factory.mktemp("headed")
            torch.manual_seed(1)
            getattr(transformers, model_class).from_pretrained(bare, **config).save_pretrained(folder)
            AutoTokenizer.from_pretrained(bare).save_pretrained(folder)
            made[key] = folder
        return made[key]

    return save


@pytest.mark.parametrize(
    ("old_class", "old", "new_class", "new", "says"),
    [
        (TEXTS, named(*STARS), TEXTS, named(*STARS), None),
        (TEXTS, named(*STARS), TEXTS, named("bad", "good"), "2 labels of whole texts (bad, good) replaces"),
        (TEXTS, named(*STARS), TEXTS, named("a", "b", "c", "d", "e"), "is for 5 labels of whole texts (star0, "),
        (TEXTS, named("bad", "good"), TEXTS, named("good", "bad"), "(good, bad) replaces"),
        (TEXTS, {"num_labels": 2}, TEXTS, named("хорошо", "плохо"), "(LABEL_0, LABEL_1)"),
        (TEXTS, named(*STARS), TEXTS, NUMBER, "a new head for one number replaces"),
        (TEXTS, NUMBER, TEXTS, NUMBER, None),
        (TEXTS, NUMBER, TEXTS, named("bad", "good"), "is for one number"),
        (TEXTS, named(*STARS), TOKENS, named(*STARS), "5 labels of single tokens"),
        (TEXTS, named(*STARS), SPANS, ENDS, "a new head for spans replaces"),
        (TOKENS, named("O", "B-x", "I-x"), TOKENS, named("O", "B-x", "I-x"), None),
        (TOKENS, named("O", "B-x", "I-x"), TEXTS, named("a", "b", "c"), "is for 3 labels of single tokens"),
        (SPANS, ENDS, SPANS, ENDS, None),
        (SPANS, ENDS, TEXTS, named("a", "b"), "is for spans"),
        (TEXTS, named(*STARS), "AutoModelForMaskedLM", {}, None),
    ],
)
def test_a_head_stays_where_it_answers_the_same_and_else_a_new_one_is_drawn(
    saved, old_class, old, new_class, new, says
):
    folder = saved("bert", old_class, old)
    head = new_head(folder, new_class, new)
    assert (head is None) == (says is None)
    assert says is None or says in str(head.message)
    loaded, again = (load_model(folder, new_class, new, seed=0) for _ in range(2))
    weights = {name: w for name, w in loaded.model.state_dict().items() if name.startswith(("classifier", "qa_out"))}
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in weights.items())
    old_weights = load_file(folder / "model.safetensors")
    kept = [n for n, w in weights.items() if n in old_weights and torch.equal(w, old_weights[n]) and w.abs().sum() > 0]
    if new_class != "AutoModelForMaskedLM":
        assert bool(kept) == (head is None)
        assert bool(loaded.fresh) == (head is not None)


def test_of_a_head_of_two_layers_only_the_output_is_new_but_the_whole_head_is_trained(saved):
    folder = saved("roberta", TEXTS, named(*STARS))
    loaded = load_model(folder, TEXTS, named("bad", "good"), seed=0)
    assert loaded.fresh == ("classifier",)
    dense = load_file(folder / "model.safetensors")["classifier.dense.weight"]
    assert torch.equal(loaded.model.classifier.dense.weight, dense)
    assert loaded.model.classifier.out_proj.weight.shape == (2, 32)


@pytest.mark.parametrize(
    ("family", "task", "method", "config"),
    [
        ("bert", "text-classification", "lora", named(*STARS)),
        ("roberta", "text-classification", "lora", named(*STARS)),
        ("roberta", "text-classification", "prompt-tuning", named("x", "y")),
        ("bert", "text-classification", "head", named(*STARS)),
        ("bert", "text-classification", "full", named("good", "bad")),
        ("electra", "regression", "lora", named(*STARS)),
        ("bert", "regression", "full", NUMBER),
        ("bert", "token-classification", "lora", named(*STARS)),
        ("bert", "question-answering", "head", named(*STARS)),
        ("distilbert", "multi-label", "adapter", named(*STARS)),
    ],
)
def test_a_model_with_another_head_is_tuned_saved_and_loaded(family, task, method, config, saved, nursery, tmp_path):
    outcome = cross(Cell(task, method, saved(family, TEXTS, config)), tmp_path / "cell", nursery)
    assert not outcome.refused
    assert outcome.updates > 0


def test_the_terminal_says_in_one_line_that_a_new_head_is_made(saved, tmp_path):
    data = tmp_path / "rows.jsonl"
    rows = Cell("text-classification", "full", tmp_path).data
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    named_so = {"model.name": str(saved("bert", TEXTS, named(*STARS))), "method.name": "full"}
    run = new_run(data, tmp_path / "run", {**named_so, **SETTINGS})
    said = {stage.name: str(stage.message).splitlines() for stage in freeze(run, Clock(run))}
    assert said["model"][1:] == [
        "a new head for 2 labels of whole texts (bad, good) replaces the model's own, which is for 5 labels of whole "
        "texts (star0, star1, star2, …)"
    ]


def test_weights_of_other_sizes_than_the_configuration_states_are_named(saved, tmp_path):
    folder = tmp_path / "torn"
    folder.symlink_to(saved("bert", TEXTS, named(*STARS)))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(ModelError, match=r"are 64, and the configuration states 48; \d+ more"):
        load_model(copy, TEXTS, named(*STARS), seed=0)
