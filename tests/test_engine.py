"""An engine's four verbs give what the transformers library gives, however the items are batched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from kamerton.core.errors import ModelError
from kamerton.core.records import Encoded
from kamerton.engine import engine as engine_module
from kamerton.engine.engine import TorchEngine, classes_of
from kamerton.engine.passes import token_batches
from kamerton.kernels.dropout import set_dropout
from kamerton.models.load import NO_LIMIT, count_parameters, load_model, load_tokenizer, require_end
from tiny_engines import BARE, HEAD, TEXT, facts_of, tiny_engine
from tiny_models import SENTENCES

CLASSES = 3


@pytest.fixture(scope="module")
def texts(decoder_folder: Path) -> list[Encoded]:
    """Sentences in two languages, every token after the second supervised."""
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    rows = [tuple(ids) for ids in tokenizer(list(SENTENCES))["input_ids"]]
    return [Encoded(ids, tuple(range(1, len(ids) - 1)), ids[2:]) for ids in rows]


@pytest.fixture(scope="module")
def labelled(encoder_folder: Path) -> list[Encoded]:
    """The same sentences, with a class each."""
    tokenizer = load_tokenizer(facts_of(encoder_folder))
    rows = tokenizer(list(SENTENCES))["input_ids"]
    return [Encoded(tuple(ids), (0,), (i % CLASSES,)) for i, ids in enumerate(rows)]


@pytest.fixture(scope="module")
def talker_folder(decoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny decoder with an output head of its own: with a tied one it repeats its last token for ever."""
    folder = tmp_path_factory.mktemp("talker")
    model = AutoModelForCausalLM.from_pretrained(decoder_folder, tie_word_embeddings=False)
    torch.nn.init.normal_(model.lm_head.weight, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(folder)
    load_tokenizer(facts_of(decoder_folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def decoder(talker_folder: Path, texts: list[Encoded]) -> TorchEngine:
    return tiny_engine(talker_folder, TEXT, texts[:3])


@pytest.fixture(scope="module")
def encoder(encoder_folder: Path, labelled: list[Encoded]) -> TorchEngine:
    return tiny_engine(encoder_folder, HEAD, labelled[:3], classes=CLASSES)


# ── losses, read, embed ───────────────────────────────────────────────────────────────────────


def test_losses_of_texts_are_the_models_own(decoder, talker_folder, texts):
    model = AutoModelForCausalLM.from_pretrained(talker_folder).eval()
    wanted = []
    for item in texts:
        labels = torch.tensor([[-100, -100, *item.targets]])
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([item.tokens]), labels=labels).loss
        wanted.append(mean.item() * len(item.targets))
    np.testing.assert_allclose(decoder.losses(texts), wanted, rtol=1e-5)


def test_losses_of_classes_are_the_models_own(encoder, labelled, tmp_path):
    encoder.model.save_pretrained(tmp_path)  # the head is new, so the model is saved with it
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        wanted = [
            model(input_ids=torch.tensor([item.tokens]), labels=torch.tensor(item.targets)).loss.item()
            for item in labelled
        ]
    np.testing.assert_allclose(encoder.losses(labelled), wanted, rtol=1e-5)


def test_reads_are_the_logits_at_their_positions(decoder, talker_folder, texts):
    model = AutoModelForCausalLM.from_pretrained(talker_folder).eval()
    for item, got in zip(texts, decoder.read(texts), strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([item.tokens])).logits[0].numpy()
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, logits[list(item.output_positions)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_embeddings_are_unit_means_of_the_last_hidden_states(kind, request):
    folder: Path = request.getfixturevalue("encoder_folder" if kind == "encoder" else "talker_folder")
    items = request.getfixturevalue("labelled" if kind == "encoder" else "texts")
    got = tiny_engine(folder, BARE, items[:3]).embed([replace(item, output_positions=(), targets=()) for item in items])
    model = AutoModel.from_pretrained(folder).eval()
    for item, vector in zip(items, got, strict=True):
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([item.tokens])).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), rtol=1e-4, atol=1e-6)


def test_items_that_are_not_supervised_lose_nothing(decoder, texts):
    bare = replace(texts[0], output_positions=(), targets=())
    assert decoder.losses([bare, texts[1], bare]).tolist() == [0, pytest.approx(decoder.losses([texts[1]])[0]), 0]
    assert decoder.losses([bare]).tolist() == [0]
    assert decoder.losses([]).tolist() == []


def test_unknown_classes_are_read_but_lose_nothing(encoder, labelled):
    unknown = replace(labelled[0], targets=(-100,))
    assert encoder.losses([unknown]).tolist() == [0]
    assert encoder.read([unknown])[0].shape == (1, CLASSES)


@pytest.mark.parametrize("tokens_per_pass", [1, 40, 100_000])
def test_results_do_not_depend_on_how_items_are_batched(decoder, texts, tokens_per_pass):
    other = replace(decoder, tokens_per_pass=tokens_per_pass)
    np.testing.assert_allclose(other.losses(texts), decoder.losses(texts), rtol=1e-5)
    backwards = other.losses(texts[::-1])[::-1]
    np.testing.assert_allclose(backwards, decoder.losses(texts), rtol=1e-5)


def test_no_pass_gives_more_logits_than_allowed(decoder, texts, monkeypatch):
    allowed, seen = 3000, []
    monkeypatch.setattr(engine_module, "LOGITS_PER_PASS", allowed)
    layout = decoder.layout

    class Watched:
        def logits(self, model, items):
            logits = layout.logits(model, items)
            seen.append((len(items), logits.numel()))
            return logits

    wanted = decoder.losses(texts)
    assert replace(decoder, layout=Watched()).losses(texts) == pytest.approx(wanted, rel=1e-5)
    assert all(items == 1 or logits <= allowed for items, logits in seen)


def test_the_number_of_classes_is_the_width_of_the_logits(encoder, decoder, labelled, texts):
    assert classes_of(encoder.model) == encoder.read(labelled[:1])[0].shape[1]
    assert classes_of(decoder.model) == decoder.read(texts[:1])[0].shape[1]


# ── generate ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def prompts(texts: list[Encoded]) -> list[Encoded]:
    """Beginnings of different lengths."""
    return [Encoded(item.tokens[: 2 + i % 9], (), ()) for i, item in enumerate(texts)]


@pytest.fixture(scope="module")
def alone(talker_folder: Path, decoder: TorchEngine, prompts: list[Encoded]) -> list[str]:
    """What transformers itself writes after each prompt, one by one."""
    model = AutoModelForCausalLM.from_pretrained(talker_folder).eval()
    results = []
    for prompt in prompts:
        ids = torch.tensor([prompt.tokens])
        written = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
        new = written[0, len(prompt.tokens) :]
        results.append(decoder.tokenizer.decode(new, skip_special_tokens=True))
    return results


def test_answers_are_those_of_transformers_one_by_one(decoder, prompts, alone):
    assert len(set(alone)) > 20
    assert decoder.generate(prompts) == alone


@pytest.mark.parametrize("tokens_per_pass", [1, 64, 100_000])
def test_answers_do_not_depend_on_how_prompts_are_batched(decoder, prompts, alone, tokens_per_pass):
    other = replace(decoder, tokens_per_pass=tokens_per_pass)
    assert other.generate(prompts) == alone
    assert other.generate(prompts[::-1]) == alone[::-1]


def test_an_answer_ends_with_the_end_token(decoder, talker_folder, prompts):
    """What is written freely is cut after a token that is then made the end token."""
    model = AutoModelForCausalLM.from_pretrained(talker_folder).eval()
    prompt = prompts[8]
    written = model.generate(torch.tensor([prompt.tokens]), do_sample=False, max_new_tokens=8)[0]
    new = written[len(prompt.tokens) :].tolist()
    end = new[4]
    assert new.index(end) > 0
    tokenizer = load_tokenizer(facts_of(talker_folder))
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    answer = replace(decoder, tokenizer=tokenizer).generate([prompt, prompts[0]])[0]
    assert answer == decoder.tokenizer.decode(new[: new.index(end)])


def test_no_prompt_needs_no_answer(decoder):
    assert decoder.generate([]) == []


# ── batches ───────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 600), st.integers(1, 20))
def test_batches_hold_each_item_once_within_their_budgets(lengths, tokens, items):
    batches = list(token_batches(lengths, tokens, items))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= items
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= tokens
    if batches:
        assert lengths[batches[0][0]] == max(lengths)


# ── loading ───────────────────────────────────────────────────────────────────────────────────

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


@pytest.mark.parametrize("config", ["DebertaV2Config", "MPNetConfig"])
def test_models_without_fused_attention_load_too(config, tmp_path):
    AutoModel.from_config(getattr(transformers, config)(vocab_size=100, **SMALL)).save_pretrained(tmp_path)
    model = load_model(tmp_path, HEAD, {"num_labels": 4}, seed=0).model
    assert classes_of(model) == 4


def test_a_new_head_is_drawn_from_the_seed_and_named(encoder_folder):
    first, again, other = (load_model(encoder_folder, HEAD, {"num_labels": 2}, seed=seed) for seed in (1, 1, 2))
    assert first.fresh == ("classifier",)
    assert torch.equal(first.model.classifier.weight, again.model.classifier.weight)
    assert not torch.equal(first.model.classifier.weight, other.model.classifier.weight)


def test_a_class_that_cannot_be_made_is_the_users_to_mend(seq2seq_folder):
    with pytest.raises(ModelError, match="AutoModelForCausalLM cannot be loaded"):
        load_model(seq2seq_folder, TEXT, {}, seed=0)


def test_dropout_is_set_in_every_layer_and_in_attention(encoder_folder, decoder_folder):
    for folder, model_class in ((encoder_folder, HEAD), (decoder_folder, TEXT)):
        model = load_model(folder, model_class, {}, seed=0).model.train()
        ids = torch.arange(5, 13).unsqueeze(0)
        set_dropout(model, 0.5)
        assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
        set_dropout(model, 0.0)
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_parameters_are_counted_once_and_only_those_that_train(decoder_folder):
    model = load_model(decoder_folder, TEXT, {}, seed=0).model
    assert count_parameters(model, trainable=False) == model.num_parameters()
    for parameter in model.model.layers.parameters():
        parameter.requires_grad_(False)
    assert count_parameters(model, trainable=True) == model.num_parameters(only_trainable=True)


def test_a_tokenizer_without_a_limit_takes_the_models_context(decoder_folder, tmp_path):
    facts = facts_of(decoder_folder)
    tokenizer = load_tokenizer(facts)
    tokenizer.model_max_length = NO_LIMIT * 2
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(replace(facts, folder=str(tmp_path))).model_max_length == facts.context


def test_a_decoder_without_padding_and_template_gets_both(decoder_folder, tmp_path):
    facts = facts_of(decoder_folder)
    tokenizer = load_tokenizer(facts)
    tokenizer.chat_template = None
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(replace(facts, folder=str(tmp_path)))
    assert loaded.pad_token == tokenizer.eos_token
    messages = [{"role": "user", "content": "Назови столицу."}, {"role": "assistant", "content": "Москва"}]
    prompt = loaded.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    whole = loaded.apply_chat_template(messages, tokenize=False)
    assert whole.startswith(prompt)
    assert whole.removeprefix(prompt).strip() == f"Москва{tokenizer.eos_token}"


def test_an_end_token_is_asked_for_only_where_one_is_needed(decoder_folder, tmp_path):
    facts = facts_of(decoder_folder)
    tokenizer = load_tokenizer(facts)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    without = load_tokenizer(replace(facts, folder=str(tmp_path)))
    require_end(load_tokenizer(facts), facts.folder)
    with pytest.raises(ModelError, match="end token"):
        require_end(without, str(tmp_path))


def test_a_folder_without_a_tokenizer_is_refused(decoder_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((decoder_folder / "config.json").read_bytes())
    with pytest.raises(ModelError, match="tokenizer cannot be read"):
        load_tokenizer(replace(facts_of(decoder_folder), folder=str(tmp_path)))
