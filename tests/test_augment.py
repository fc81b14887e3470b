"""Rows added to training: evened out classes, general data mixed in, variants kept only if they help."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from kamerton.core.records import Encoded, Split
from kamerton.core.records import Place as Line
from kamerton.core.registry import choose
from kamerton.data.augment import (
    Augmentation,
    _masked,
    add_rows,
    in_other_words,
    with_guesses,
    with_swaps,
    without_words,
)
from kamerton.data.balance import class_weights, oversampled
from kamerton.engine.engine import make_engine
from kamerton.forms.labels import Labels
from kamerton.models.load import load_model, load_tokenizer
from kamerton.runs.recipe import resolve
from kamerton.runs.run import Run
from stories import DONE, MISTAKE, QUICK, Place, reviews
from tiny_engines import facts_of

GOLDS = st.lists(st.sampled_from("abвг"), min_size=1, max_size=60)
WORDS = st.lists(st.sampled_from(["один", "two", "three,", "четыре", "5"]), min_size=1, max_size=12)


# ── balance ───────────────────────────────────────────────────────────────────────────────────


@given(GOLDS)
def test_class_weights_agree_with_sklearn(golds: list[str]) -> None:
    assert class_weights(golds) == pytest.approx(compute_sample_weight("balanced", golds))


@given(GOLDS, st.integers(0, 5))
def test_oversampling_makes_all_classes_as_frequent_and_repeats_rows_evenly(golds: list[str], seed: int) -> None:
    chosen = oversampled(golds, seed)
    assert chosen[: len(golds)] == list(range(len(golds)))
    assert set(Counter(golds[i] for i in chosen).values()) == {max(Counter(golds).values())}
    times = Counter(chosen)
    for gold in set(golds):
        own = [times[i] for i in range(len(golds)) if golds[i] == gold]
        assert max(own) - min(own) <= 1
    assert chosen == oversampled(golds, seed)


# ── variants ──────────────────────────────────────────────────────────────────────────────────


@given(WORDS, st.floats(0.05, 0.9), st.integers(0, 9))
def test_deletion_keeps_the_order_and_at_least_a_word(words: list[str], share: float, seed: int) -> None:
    kept = without_words(" ".join(words), share, seed).split()
    rest = iter(words)
    assert kept and all(word in rest for word in kept)


@given(WORDS, st.floats(0.05, 0.9), st.integers(0, 9))
def test_swaps_keep_every_word(words: list[str], share: float, seed: int) -> None:
    assert sorted(with_swaps(" ".join(words), share, seed).split()) == sorted(words)


def test_deletion_leaves_out_the_share_that_it_should() -> None:
    texts = [" ".join(f"w{i}x{j}" for j in range(20)) for i in range(300)]
    left = sum(len(without_words(text, 0.2, 0).split()) for text in texts) / (300 * 20)
    assert left == pytest.approx(0.8, abs=0.02)


def engine_over(folder: Path, model_class: str):
    facts, tokenizer = facts_of(folder), load_tokenizer(facts_of(folder))
    ids = tokenizer(["a warm film", "тёплый фильм и ещё"])["input_ids"]
    samples = [Encoded(tuple(row), (0,), (row[0],)) for row in ids]
    model = load_model(folder, model_class, {}, seed=0).model
    return make_engine(model, tokenizer, facts, samples, max_tokens=64, max_new_tokens=8, tokens_per_pass=512)


def test_guessed_words_are_the_models_own_and_the_rest_stays(encoder_folder: Path) -> None:
    engine = engine_over(encoder_folder, "AutoModelForMaskedLM")
    texts = ["The cat sat, on the mat!", "тёплый фильм", "", "!"]
    guessed = with_guesses(texts, engine, 0.3, seed=0)
    assert guessed == with_guesses(texts, engine, 0.3, seed=0)
    assert guessed[2] == "" and len(guessed) == 4
    assert any(new != old for new, old in zip(guessed, texts, strict=True))
    with torch.no_grad():
        for old in texts[:2]:
            item, spans = _masked(old, engine, 0.3, 0)
            logits = engine.model(torch.tensor([item.tokens])).logits[0, list(item.output_positions)].numpy()
            assert np.allclose(engine.read([item])[0], logits, atol=1e-4)
            assert all(old[start:end].strip() for start, end in spans)


def test_a_paraphrase_of_another_length_is_none(decoder_folder: Path) -> None:
    engine = engine_over(decoder_folder, "AutoModelForCausalLM")
    texts = ["a warm film", "a " * 400, "тёплый фильм"]
    assert in_other_words(texts, engine)[1] == texts[1]


# ── what helps is kept ────────────────────────────────────────────────────────────────────────


def augmentation(folder: Path, rows: list[tuple[str, str]], **settings: object) -> Augmentation:
    task = choose("tasks", "text-classification")()
    examples = [task.example(i, Line("r.csv", i + 2), {"text": t, "label": g}) for i, (t, g) in enumerate(rows)]
    recipe = resolve(None, {"data.task": "text-classification", "data.columns": {"text": "text", "label": "label"}})
    values = recipe.model_dump() | {"augment": {"by": settings.pop("by", "none")}, "mix": settings}
    third = len(examples) // 3
    split = Split(*(tuple(examples[i * third : (i + 1) * third]) for i in range(3)))
    facts = facts_of(folder)
    form = Labels(("bad", "good"))
    return Augmentation(type(recipe).model_validate(values), task, form, facts, load_tokenizer(facts), 64, split, 500)


def test_variants_are_kept_only_if_they_help_on_the_validation_rows(encoder_folder: Path, monkeypatch) -> None:
    given_ = augmentation(encoder_folder, reviews(90), by="deletion")
    for scores, kept in (((0.7, 0.8), True), ((0.7, 0.7), False), ((0.8, 0.7), False)):
        monkeypatch.setattr("kamerton.data.augment._scores", lambda *_, found=scores: found)
        added = add_rows(given_)
        assert bool(added.examples) is kept is bool(added.entries)
        assert f"{scores[0]:.3f} without" in str(added.messages[0])
    monkeypatch.undo()
    assert "a head on frozen features scores" in str(add_rows(given_).messages[0])


def test_variants_keep_their_label_and_are_no_held_row(encoder_folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("kamerton.data.augment._scores", lambda *_: (0.0, 1.0))
    given_ = augmentation(encoder_folder, reviews(90), by="swap")
    added = add_rows(given_)
    sources = {example.place: example for example in given_.split.train}
    assert added.examples and [e.id for e in added.examples] == list(range(500, 500 + len(added.examples)))
    for example in added.examples:
        source = sources[example.place]
        assert example.gold == source.gold == example.fields["label"]
        assert example.fields["text"] == example.text != source.text
        assert sorted(example.text.split()) == sorted(source.text.split())
    assert not {e.key for e in added.examples} & {e.key for e in given_.held_out}


def test_mixed_rows_are_none_that_the_held_rows_repeat(encoder_folder: Path, tmp_path: Path) -> None:
    rows = reviews(90)
    words = random.Random(1)
    other = [(" ".join(words.choices("абвгдежзик", k=12)), "good") for _ in range(40)]
    unknown = [("something else entirely", "neutral")]
    file = tmp_path / "general.csv"
    lines = [f'"{text}",{label}' for text, label in [*rows[30:], *other, *unknown]]
    file.write_text("text,label\n" + "\n".join(lines), encoding="utf-8")
    added = add_rows(augmentation(encoder_folder, rows, source=str(file), share=0.9))
    assert {e.text for e in added.examples} <= {text for text, _ in other}
    assert len(added.examples) == 27 == len(added.entries)
    assert {entry.fate for entry in added.entries} == {"added"}
    few = add_rows(augmentation(encoder_folder, rows, source=str(file), share=0.1))
    assert {e.text for e in few.examples} < {e.text for e in added.examples}


# ── in a run ──────────────────────────────────────────────────────────────────────────────────


def test_a_run_trains_on_what_is_added_and_says_so(place: Place) -> None:
    lines = "".join(f'"общие слова номер {i} про погоду",{("bad", "good")[i % 2]}\n' for i in range(12))
    (place.folder / "general.csv").write_text("text,label\n" + lines, encoding="utf-8")
    settings = ("--set", "mix.source=general.csv", "--set", "data.balance=oversample", "--out", "mixed", *QUICK)
    ended = place.call(
        "tune", "reviews.csv", "--model", "encoder", "--method", "head", "--epochs", "1", "--seed", "1", *settings
    )
    assert ended.status == DONE, ended.said
    run: Run = Run(place.folder / "mixed")
    split, ledger = run.read_split(), run.read_ledger()
    assert split.added and {Path(e.place.file).name for e in split.added} == {"general.csv"}
    assert sorted(e.id for e in ledger if e.fate == "added") == [e.id for e in split.added]
    assert all(str(e.reason) == f"mixed in from {place.folder / 'general.csv'}" for e in ledger if e.fate == "added")
    seen = {row.id: row.visits for row in run.read_dynamics()}
    assert seen.keys() == {e.id for e in (*split.train, *split.added)}
    golds: Counter[str] = Counter()
    for example in (*split.train, *split.added):
        golds[example.gold] += seen[example.id]
    assert len(set(golds.values())) == 1, "each class is met as often"
    assert run.result["data"]["rows"] == 94


@pytest.mark.parametrize(
    ("data", "model", "setting", "said"),
    [
        ("answers.jsonl", "decoder", "data.balance=weights", "no classes to balance"),
        ("answers.jsonl", "decoder", "augment.by=swap", "would no longer fit its answer"),
        ("reviews.csv", "encoder", "mix.source=self", "writes no answers"),
        ("reviews.csv", "encoder", "augment.by=paraphrase", "cannot write"),
        ("reviews.csv", "encoder", "mix.source=missing.csv", "no such file"),
    ],
)
def test_what_does_not_fit_is_refused(place: Place, data: str, model: str, setting: str, said: str) -> None:
    ended = place.call("tune", data, "--model", model, "--set", setting, "--out", f"refused-{setting}")
    assert ended.status == MISTAKE and said in ended.err


def test_samples_that_would_all_be_the_same_are_refused(place: Place) -> None:
    rows = [{"prompt": f"def f{i}(x):\n", "completion": f"    return x + {i}\n"} for i in range(12)]
    (place.folder / "programs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    several = (
        "plan",
        "programs.jsonl",
        "--model",
        "decoder",
        "--set",
        "task.run_tests=true",
        "--set",
        "task.samples=3",
    )
    refused = place.call(*several)
    assert refused.status == MISTAKE and "3 samples per row are all equal at temperature 0" in refused.err
    planned = place.call(*several, "--set", "evaluate.temperature=0.8")
    assert planned.status == 0 and "generated programs run in " in planned.said
