"""What is forgotten: nothing at all by the base itself, measured as transformers measures it, judged by rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, BertForMaskedLM

from kamerton.core.outcomes import Forgotten
from kamerton.core.records import Encoded
from kamerton.forgetting.before import remembered
from kamerton.forgetting.decide import (
    NATS,
    SHARES,
    Measured,
    Precision,
    conclude_forgetting,
    masked_change,
    representation_changes,
    speech_changes,
)
from kamerton.forgetting.probe import LANGUAGES, load_probe
from kamerton.forgetting.representation import masked, neighbor_overlap, probe_hits, represent
from kamerton.forgetting.speech import Speech, divergence, log_softmax, measure_speech, variety
from kamerton.models.inspect import inspect_folder
from kamerton.pipeline.forgetting import left_out, masked_language_model, speech_probe
from kamerton.session.setup import open_setup
from tiny_engines import BARE, TEXT, tiny_engine

PRECISION = Precision(0.95, 1000, 0)
SAMPLES = [Encoded(tuple(range(5, 5 + n)), (0,), (0,)) for n in (4, 6, 9)]
ENCODER_DECODER = [Encoded(tuple(range(5, 5 + n)), (0, 1), (6, 7)) for n in (4, 6, 9)]
QUICK = load_probe(list(LANGUAGES), "quick")
SMALL = replace(QUICK, documents=QUICK.documents[::3], questions=QUICK.questions[::4], requests=QUICK.requests[::4])

TEXTS = replace(QUICK, documents=QUICK.documents[::3], questions=(), requests=())


@pytest.fixture(scope="module")
def speaker(decoder_folder):
    return tiny_engine(decoder_folder, TEXT, SAMPLES)


@pytest.fixture(scope="module")
def reader(encoder_folder):
    return tiny_engine(encoder_folder, BARE, SAMPLES)


@pytest.fixture(scope="module")
def heard(speaker):
    return measure_speech(speaker, SMALL)


def change(low: float, high: float) -> Forgotten:
    return Forgotten("some text", 3.0, 3.0 + (low + high) / 2, (low + high) / 2, low, high)


# ── the base against itself ───────────────────────────────────────────────────────────────────


def test_a_language_model_against_itself_has_forgotten_exactly_nothing(decoder_folder, heard):
    again = measure_speech(tiny_engine(decoder_folder, TEXT, SAMPLES), SMALL)
    measured = list(speech_changes(SMALL, heard, again, PRECISION))
    assert len(measured) == 5 * len(LANGUAGES)
    assert all((one.change.change, one.change.low, one.change.high) == (0, 0, 0) for one in measured)
    assert conclude_forgetting(measured).decision == "none"


def test_an_encoder_against_itself_has_forgotten_exactly_nothing(encoder_folder, reader):
    base, again = represent(reader, QUICK), represent(tiny_engine(encoder_folder, BARE, SAMPLES), QUICK)
    measured = list(representation_changes(QUICK, base, again, PRECISION))
    assert all((one.change.change, one.change.low, one.change.high) == (0, 0, 0) for one in measured)
    assert conclude_forgetting(measured).decision == "none"


def test_a_language_model_whose_weights_were_shaken_has_forgotten_severely(decoder_folder, heard):
    shaken = tiny_engine(decoder_folder, TEXT, SAMPLES)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in shaken.model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    measured = list(speech_changes(SMALL, heard, measure_speech(shaken, SMALL), PRECISION))
    forgetting = conclude_forgetting(measured)
    assert forgetting.decision == "severe"
    assert "nats per token" in str(forgetting.reason) and "severe" in str(forgetting.reason)
    assert len(forgetting.measured) == len(measured)


def halves_heard(folder):
    return measure_speech(tiny_engine(folder, "AutoModelForSeq2SeqLM", ENCODER_DECODER), TEXTS, halves=True)


def test_a_model_of_two_halves_against_itself_has_forgotten_exactly_nothing(seq2seq_folder):
    measured = list(speech_changes(TEXTS, halves_heard(seq2seq_folder), halves_heard(seq2seq_folder), PRECISION))
    assert len(measured) == 2 * len(LANGUAGES)
    assert all((one.change.change, one.change.low, one.change.high) == (0, 0, 0) for one in measured)
    assert conclude_forgetting(measured).decision == "none"


def test_the_loss_of_a_second_half_is_that_of_transformers_and_rises_where_weights_were_shaken(seq2seq_folder):
    base, engine = halves_heard(seq2seq_folder), tiny_engine(seq2seq_folder, "AutoModelForSeq2SeqLM", ENCODER_DECODER)
    model = AutoModelForSeq2SeqLM.from_pretrained(seq2seq_folder)
    for document, loss, tokens in zip(TEXTS.documents[:4], base.losses, base.tokens, strict=False):
        words = document.text.split()
        first, second = " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])
        cut = {"truncation": True, "max_length": engine.max_tokens, "return_tensors": "pt"}
        source, labels = (engine.tokenizer(text, **cut)["input_ids"] for text in (first, second))
        with torch.no_grad():
            assert loss / tokens == pytest.approx(model(input_ids=source, labels=labels).loss.item(), rel=1e-4)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    measured = list(speech_changes(TEXTS, base, measure_speech(engine, TEXTS, halves=True), PRECISION))
    assert conclude_forgetting(measured).decision == "severe"


# ── what a model is asked ─────────────────────────────────────────────────────────────────────


def russian(setup):
    rows = tuple(
        replace(row, text="Тёплый и смешной фильм, который хочется пересмотреть.") for row in setup.split.train
    )
    return replace(setup, split=replace(setup.split, train=rows))


def test_texts_in_the_language_of_the_rows_are_asked_even_of_a_model_that_breaks_it_into_letters(place, monkeypatch):
    monkeypatch.chdir(place.folder)
    setup = open_setup(place.run("labels"))
    monkeypatch.setattr("kamerton.pipeline.forgetting.known_languages", lambda tokenizer: ["en"])
    english = replace(setup, split=replace(setup.split, train=()))
    assert {document.language for document in speech_probe(english, "quick").documents} == {"en"}
    assert "Russian is not measured" in str(left_out(english))
    probe = speech_probe(russian(setup), "quick")
    assert {document.language for document in probe.documents} == {"en", "ru"}
    assert {question.language for question in probe.questions} == {"en"}
    assert {request.language for request in probe.requests} == {"en"}
    assert str(left_out(russian(setup))).startswith("Russian is tokenized nearly character by character")


# ── measured as others measure it ─────────────────────────────────────────────────────────────


def test_the_loss_of_a_text_is_that_of_transformers(decoder_folder, speaker, heard):
    model = AutoModelForCausalLM.from_pretrained(decoder_folder)
    for document, loss, tokens in zip(SMALL.documents[:4], heard.losses, heard.tokens, strict=False):
        ids = torch.tensor([speaker.tokenizer(document.text)["input_ids"][: speaker.max_tokens]])
        with torch.no_grad():
            wanted = model(ids, labels=ids).loss.item()
        assert loss / tokens == pytest.approx(wanted, rel=1e-5)


def test_the_chosen_answer_is_the_one_with_the_least_loss_a_letter(decoder_folder, speaker, heard):
    model = AutoModelForCausalLM.from_pretrained(decoder_folder)
    for question, right in zip(SMALL.questions[:5], heard.right, strict=False):
        words = {"en": "Question: {}\nAnswer:", "ru": "Вопрос: {}\nОтвет:"}[question.language]
        prompt = speaker.tokenizer(words.format(question.question))["input_ids"]
        costs = []
        for choice in question.choices:
            answer = speaker.tokenizer(f" {choice}", add_special_tokens=False)["input_ids"]
            ids = torch.tensor([prompt + answer])
            labels = torch.tensor([[-100] * len(prompt) + answer])
            with torch.no_grad():
                costs.append(model(ids, labels=labels).loss.item() * len(answer) / len(choice))
        assert bool(right) == (int(np.argmin(costs)) == question.answer)


def test_divergence_is_torchs_kl():
    generator = np.random.default_rng(0)
    base, tuned = (log_softmax(generator.normal(size=(7, 50)).astype(np.float32)) for _ in range(2))
    wanted = torch.nn.functional.kl_div(
        torch.from_numpy(tuned).double(), torch.from_numpy(base).double(), log_target=True, reduction="none"
    ).sum(-1)
    assert divergence(base, tuned) == pytest.approx(wanted.numpy(), abs=1e-9)
    assert (divergence(base, base) == 0).all()


def test_a_linear_reader_finds_what_is_there_and_nothing_in_noise():
    classes = [f"class {i % 4}" for i in range(80)]
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(80, 30))
    marked = noise + 6 * np.eye(30)[[i % 4 for i in range(80)]]
    assert probe_hits(marked, classes).mean() > 0.95
    assert probe_hits(noise, classes).mean() < 0.5


def test_shared_neighbours_are_counted_as_by_hand():
    generator = np.random.default_rng(1)
    base, tuned = generator.normal(size=(30, 6)), generator.normal(size=(30, 6))

    def nearest(rows: np.ndarray, i: int) -> set[int]:
        return set(sorted(set(range(30)) - {i}, key=lambda j: -rows[i] @ rows[j])[:10])

    wanted = [len(nearest(base, i) & nearest(tuned, i)) / 10 for i in range(30)]
    assert neighbor_overlap(base, tuned).tolist() == wanted
    assert neighbor_overlap(base, base).tolist() == [1.0] * 30


def test_masked_losses_are_those_of_transformers_and_a_base_without_the_head_has_none(encoder_folder, reader, tmp_path):
    assert masked_language_model(inspect_folder(encoder_folder, "tiny")) is None
    torch.manual_seed(0)
    BertForMaskedLM.from_pretrained(encoder_folder).save_pretrained(tmp_path)
    reader.tokenizer.save_pretrained(tmp_path)
    model = masked_language_model(inspect_folder(tmp_path, "tiny"))
    items = masked(reader, SMALL, reader.tokenizer.mask_token_id)
    losses = tiny_engine(tmp_path, "AutoModelForMaskedLM", items[:2]).losses(items)
    for item, loss in zip(items[:4], losses, strict=False):
        labels = torch.full((1, len(item.tokens)), -100)
        labels[0, list(item.output_positions)] = torch.tensor(item.targets)
        with torch.no_grad():
            wanted = model.eval()(torch.tensor([item.tokens]), labels=labels).loss.item()
        assert loss / len(item.targets) == pytest.approx(wanted, rel=1e-4)
        assert all(item.tokens[read] == reader.tokenizer.mask_token_id for read in item.output_positions)
    words = np.array([float(len(item.targets)) for item in items])
    assert masked_change(losses, losses + 0.4 * words, words, PRECISION).change.change == pytest.approx(0.4)


def test_answers_that_repeat_each_other_have_no_words_of_their_own():
    assert variety(["the cat sat", "THE CAT sat", ""]).tolist() == [0, 0, 0]
    assert variety(["a b", "a c"]).tolist() == [0.5, 0.5]


# ── the decision ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "interval", "decision"),
    [
        (NATS, (-0.1, 0.02), "none"),
        (NATS, (0.04, 0.5), "none"),
        (NATS, (0.06, 0.5), "mild"),
        (NATS, (0.31, 0.5), "severe"),
        (NATS, (-0.9, -0.5), "none"),
        (SHARES, (-0.2, -0.04), "none"),
        (SHARES, (-0.2, -0.06), "mild"),
        (SHARES, (-0.4, -0.16), "severe"),
        (SHARES, (0.1, 0.2), "none"),
    ],
)
def test_the_decision_goes_by_the_end_of_the_interval_that_speaks_for_the_model(limits, interval, decision):
    forgetting = conclude_forgetting([Measured(change(*interval), limits)])
    assert forgetting.decision == decision
    assert "some text" in str(forgetting.reason)


@pytest.mark.parametrize(
    ("limits", "interval", "said", "unsaid"),
    [
        (NATS, (0.01, 0.5), "not chance, but it does not surely exceed +0.050", "too few"),
        (SHARES, (-0.237, -0.031), "not chance, but it does not surely exceed −0.050", "too few"),
        (SHARES, (-0.237, 0.031), "too few rows to tell it from chance", "not chance"),
    ],
)
def test_a_change_whose_interval_leaves_out_0_is_never_called_chance(limits, interval, said, unsaid):
    forgetting = conclude_forgetting([Measured(change(*interval), limits)])
    assert forgetting.decision == "none"
    assert said in str(forgetting.reason) and unsaid not in str(forgetting.reason)


def test_the_worst_measure_decides_and_those_without_limits_never():
    measured = [
        Measured(change(5, 6)),
        Measured(change(0, 0.01), NATS),
        Measured(replace(change(0.4, 0.5), name="other text"), NATS),
    ]
    forgetting = conclude_forgetting(measured, "Russian is not measured.")
    assert forgetting.decision == "severe"
    reason = str(forgetting.reason)
    assert reason.startswith("other text") and reason.endswith("Russian is not measured.")


def test_a_paired_change_is_the_difference_of_the_weighted_means():
    generator = np.random.default_rng(0)
    tokens = generator.integers(50, 150, 24).astype(float)
    base = 3 * tokens
    tuned = base + tokens * generator.normal(0.1, 0.03, 24)
    found = PRECISION.measure("text", base, tuned, tokens).change
    assert found.base == pytest.approx(3)
    assert found.change == pytest.approx(found.tuned - found.base)
    assert found.low < found.change < found.high
    assert found.low > 0.05 and found.high < 0.15  # pairs: the spread between texts does not matter


def test_readings_are_kept_for_the_same_circumstances_only(tmp_path, monkeypatch, heard):
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path))
    assert remembered(Speech, ("a model", 1), lambda: heard).answers == heard.answers
    kept = remembered(Speech, ("a model", 1), lambda: pytest.fail("it was read again"))
    assert kept.answers == heard.answers
    for name in ("losses", "tokens", "outlooks", "right"):
        assert (getattr(kept, name) == getattr(heard, name)).all(), name
    with pytest.raises(RecursionError):  # it is read again
        remembered(Speech, ("a model", 2), lambda: (_ for _ in ()).throw(RecursionError))
