"""Words that become one token each: found, begun from what they were, learned, saved, and read by others."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, LlamaForCausalLM

from kamerton.core import registry
from kamerton.core.errors import ModelError, RecipeError
from kamerton.forgetting.speech import divergence
from kamerton.models.inspect import inspect_folder
from kamerton.models.load import Loaded, load_model, load_tokenizer
from kamerton.models.quantize import FILE, quantized
from kamerton.models.saved import save_model
from kamerton.models.vocabulary import add_words, begin_words, make_room, new_ids, read_words
from kamerton.runs.run import Run
from stories import DONE, MISTAKE, QUICK, Place

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

WORDS = ("kamerton", "->>", "настройка")
TEXT = "The kamerton is here ->> настройка, not kamertons."
AUTO = {
    "encoder": "AutoModelForSequenceClassification",
    "decoder": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
}
LEARNERS = ("full", "lora", "qlora", "adapter")
CELLS = list(product(LEARNERS, AUTO))


@dataclass(frozen=True)
class Trained:
    """A method that learned new tokens on a kind of model."""

    word: str
    kind: str
    base: Path
    model: nn.Module
    ids: tuple[int, ...]
    start: Tensor
    without_gradient: tuple[str, ...]


def extended(folder: Path, kind: str, start: str = "pieces", word: str = "full") -> tuple[Loaded, tuple[int, ...]]:
    facts = inspect_folder(folder, "tiny")
    config = {"num_labels": 3} if kind == "encoder" else {}
    how = registry.choose("methods", word)().quantization
    loaded = load_model(
        folder, AUTO[kind], config, 0, quantization=quantized(folder, AUTO[kind], config, how) if how else None
    )
    tokenizer = add_words(load_tokenizer(facts), WORDS)
    make_room(loaded.model, tokenizer)
    ids = new_ids(tokenizer, WORDS)
    begin_words(loaded.model, load_tokenizer(facts), ids, WORDS, start)
    return loaded, ids


def tokens_of(base: Path) -> Tensor:
    facts = inspect_folder(base, "tiny")
    return torch.tensor([add_words(load_tokenizer(facts), WORDS)(TEXT)["input_ids"]])


def inputs_of(base: Path, kind: str) -> dict[str, Tensor]:
    ids = tokens_of(base)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return {**inputs, "decoder_input_ids": ids[:, :6]} if kind == "seq2seq" else inputs


def logits_of(model: nn.Module, base: Path, kind: str) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(**inputs_of(base, kind)).logits


def rows_of(model: nn.Module, ids: tuple[int, ...]) -> Tensor:
    """Read the embeddings of tokens through the module that the model itself uses."""
    return model.get_input_embeddings()(torch.tensor(ids)).detach().clone()


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], Trained]]:
    """Train every cell for a few steps on one row."""
    cells = {}
    for word, kind in CELLS:
        base = request.getfixturevalue(f"{kind}_folder")
        loaded, ids = extended(base, kind, word=word)
        torch.manual_seed(0)
        model = registry.choose("methods", word)().attach(loaded.model, loaded.fresh, ids)
        start = rows_of(model, ids)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0)
        for _ in range(3):
            model.train()
            logits = model(**inputs_of(base, kind)).logits
            wanted = inputs_of(base, kind)["input_ids"][0, : logits.shape[-2]] if kind != "encoder" else torch.zeros(1)
            loss = cross_entropy(logits.reshape(-1, logits.shape[-1]), wanted.long())
            optimizer.zero_grad()
            loss.backward()
            missing = tuple(name for name, p in model.named_parameters() if p.requires_grad and p.grad is None)
            optimizer.step()
        cells[word, kind] = Trained(word, kind, base, model, ids, start, missing)
    return cells


@pytest.fixture(params=CELLS, ids="-".join)
def cell(request: pytest.FixtureRequest, trained: dict[tuple[str, str], Trained]) -> Trained:
    """Each method that learns new tokens, on each kind of model."""
    return trained[request.param]


# ── the tokenizer ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", AUTO)
def test_each_word_is_one_token_where_it_stands_alone_and_none_inside_longer_words(kind, request):
    facts = inspect_folder(request.getfixturevalue(f"{kind}_folder"), "tiny")
    tokenizer = add_words(load_tokenizer(facts), WORDS)
    tokens = tokenizer(TEXT)["input_ids"]
    assert [tokens.count(id) for id in new_ids(tokenizer, WORDS)] == [1, 1, 1]
    assert new_ids(tokenizer, WORDS) == tuple(range(len(load_tokenizer(facts)), len(tokenizer)))


def test_a_byte_level_tokenizer_gives_a_text_with_new_tokens_back_as_it_was(decoder_folder):
    tokenizer = add_words(load_tokenizer(inspect_folder(decoder_folder, "tiny")), WORDS)
    assert tokenizer.decode(tokenizer(TEXT, add_special_tokens=False)["input_ids"]) == TEXT


def test_a_tokenizer_that_folds_case_finds_a_word_in_any_case(encoder_folder, decoder_folder):
    for folder, found in ((encoder_folder, True), (decoder_folder, False)):
        tokenizer = add_words(load_tokenizer(inspect_folder(folder, "tiny")), WORDS)
        assert (new_ids(tokenizer, WORDS)[0] in tokenizer("Kamerton")["input_ids"]) is found


def test_words_that_cannot_be_added_are_all_named(decoder_folder):
    tokenizer = load_tokenizer(inspect_folder(decoder_folder, "tiny"))
    known = next(token for token in tokenizer.get_vocab() if token.isalpha())
    with pytest.raises(RecipeError) as told:
        add_words(tokenizer, ("fine", "fine", " ", known))
    assert [str(fault.rule) for fault in told.value.faults] == [
        "'fine' is listed twice",
        "a new token has at least one character other than spaces",
        f"'{known}' is already a token",
    ]


def test_a_file_of_tokens_has_one_a_line_and_keeps_leading_spaces(tmp_path):
    path = tmp_path / "tokens.txt"
    path.write_text("kamerton\n fork\n\n", encoding="utf-8")
    assert read_words(str(path)) == ("kamerton", " fork")
    assert read_words(("a", "b")) == ("a", "b")
    path.write_bytes(b"\xff\xfe\x00")
    for wrong, says in ((str(path), "UTF-8"), (str(tmp_path / "none.txt"), "cannot be read")):
        with pytest.raises(RecipeError, match=says):
            read_words(wrong)


# ── where embeddings begin ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", AUTO)
def test_embeddings_begin_as_the_mean_over_the_tokens_that_the_word_was_or_over_all(kind, request):
    folder = request.getfixturevalue(f"{kind}_folder")
    before = load_model(folder, AUTO[kind], {}, 0).model.get_input_embeddings().weight.detach()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pieces = tokenizer(WORDS[2], add_special_tokens=False)["input_ids"]
    wanted = {"pieces": before[pieces].mean(0), "mean": before[: len(tokenizer)].mean(0)}
    for start in ("pieces", "mean"):
        loaded, ids = extended(folder, kind, start)
        now = loaded.model.get_input_embeddings().weight
        torch.testing.assert_close(now[ids[2]], wanted[start])
        assert torch.equal(now[: len(tokenizer)], before[: len(tokenizer)])


def test_an_output_head_with_weights_of_its_own_begins_in_the_same_way(decoder_folder, tmp_path):
    folder = untied(decoder_folder, tmp_path)
    before = load_model(folder, AUTO["decoder"], {}, 0).model.get_output_embeddings().weight.detach()
    loaded, ids = extended(folder, "decoder")
    pieces = AutoTokenizer.from_pretrained(folder)(WORDS[1])["input_ids"][1:]
    torch.testing.assert_close(loaded.model.get_output_embeddings().weight[ids[1]], before[pieces].mean(0))


def untied(decoder_folder: Path, folder: Path) -> Path:
    """Save the tiny decoder with an output head of its own."""
    model = LlamaForCausalLM.from_pretrained(decoder_folder)
    model.config.tie_word_embeddings = False
    torch.manual_seed(1)
    model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight) / 8)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(decoder_folder).save_pretrained(folder)
    return folder


# ── learned ───────────────────────────────────────────────────────────────────────────────────


def test_every_new_row_moves_and_all_that_trains_gets_a_gradient(cell):
    assert (rows_of(cell.model, cell.ids) - cell.start).abs().amax(dim=1).min() > 1e-3
    assert cell.without_gradient == ()


def test_other_rows_stay_bit_for_bit_where_the_base_is_frozen(cell):
    if cell.word == "full":
        pytest.skip("all rows train")
    before = load_model(cell.base, AUTO[cell.kind], {}, 0).model.get_input_embeddings().weight
    old = tuple(range(len(load_tokenizer(inspect_folder(cell.base, "tiny")))))
    assert torch.equal(rows_of(cell.model, old), before[: len(old)])
    if cell.kind != "encoder":  # the head is tied to the table, new rows included
        head = cell.model.get_output_embeddings()
        torch.testing.assert_close(head.weight[list(cell.ids)], rows_of(cell.model, cell.ids))


def test_merging_keeps_the_logits_or_is_refused(cell):
    model = copy.deepcopy(cell.model)
    wanted = logits_of(model, cell.base, cell.kind)
    try:
        plain = registry.choose("methods", cell.word)().merge(model)
    except ValueError as error:
        assert str(error).startswith("cannot merge, because ")
        return
    assert (logits_of(plain, cell.base, cell.kind) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_a_head_of_its_own_learns_rows_too_and_is_restored(decoder_folder, tmp_path):
    folder = untied(decoder_folder, tmp_path / "base")
    loaded, ids = extended(folder, "decoder")
    model = registry.choose("methods", "lora")().attach(loaded.model, loaded.fresh, ids)
    trains = [name for name, p in model.named_parameters() if p.requires_grad and "tokens_delta" in name]
    assert len(trains) == 2
    with torch.no_grad():
        for name in trains:
            model.get_parameter(name).add_(1.0)
    tokenizer = add_words(load_tokenizer(inspect_folder(folder, "tiny")), WORDS)
    save_model(tmp_path / "model", model, tokenizer)
    there = elsewhere([job("own", folder, tmp_path / "model", "decoder", None)], tmp_path)
    torch.testing.assert_close(there["own"], logits_of(model, folder, "decoder"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("word", sorted(set(registry.names("methods")) - set(LEARNERS)))
@pytest.mark.parametrize("kind", AUTO)
def test_a_method_that_cannot_learn_them_says_why(word, kind, request):
    loaded, ids = extended(request.getfixturevalue(f"{kind}_folder"), kind)
    with pytest.raises(ModelError, match=r"model.new_tokens: embeddings of new tokens cannot be learned, because"):
        registry.choose("methods", word)().attach(loaded.model, loaded.fresh, ids)


def test_a_divergence_counts_what_new_tokens_take_from_the_others():
    base = torch.tensor([[0.5, 0.5]]).log().numpy()
    tuned = torch.tensor([[0.4, 0.4, 0.2]]).log().numpy()
    assert divergence(base, tuned)[0] == pytest.approx(torch.tensor(0.5 / 0.4).log().item())


# ── saved, and read by others ─────────────────────────────────────────────────────────────────

PROGRAM = """
import importlib, json, sys
import peft, torch, transformers
from safetensors.torch import save_file
from transformers import AutoTokenizer, BitsAndBytesConfig

jobs, out = json.loads(open(sys.argv[1]).read()), {}
for job in sorted(jobs, key=lambda job: bool(job["module"])):
    if job["module"]:
        importlib.import_module(job["module"])  # a type that PEFT does not have
    else:
        assert "kamerton" not in sys.modules
    auto = getattr(transformers, job["auto"])
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    if job["adapter"]:
        if job["quantization"]:
            job["config"]["quantization_config"] = BitsAndBytesConfig.from_dict(job["quantization"])
        base = auto.from_pretrained(job["base"], **job["config"])
        for module in base.modules():
            if "support_avx512bf16_for_cpu" in vars(module):
                module.support_avx512bf16_for_cpu = False  # else evaluated in bf16 on such a CPU
        base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model = peft.PeftModel.from_pretrained(base, job["folder"])
        if job["whole"]:
            whole = getattr(peft, "AutoPeft" + job["auto"].removeprefix("Auto")).from_pretrained(job["folder"])
    else:
        model = auto.from_pretrained(job["folder"])
    ids = tokenizer(job["text"], return_tensors="pt")["input_ids"]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if job["decoder_ids"]:
        inputs["decoder_input_ids"] = ids[:, :6]
    with torch.no_grad():
        out[job["name"]] = model.eval()(**inputs).logits.contiguous()
        if job["adapter"] and job["whole"]:
            assert torch.equal(whole.eval()(**inputs).logits, out[job["name"]])
save_file(out, sys.argv[2])
"""
"""What a stranger runs: transformers and PEFT only."""


def job(name: str, base: Path, folder: Path, kind: str, module: str | None) -> dict[str, object]:
    quantization = folder / FILE
    return {
        "name": name,
        "base": str(base),
        "folder": str(folder),
        "auto": AUTO[kind],
        "config": {"num_labels": 3} if kind == "encoder" else {},
        "adapter": (folder / "adapter_config.json").exists(),
        "quantization": json.loads(quantization.read_text()) if quantization.exists() else None,
        "whole": kind != "encoder" and not quantization.exists(),
        "module": module,
        "text": TEXT,
        "decoder_ids": kind == "seq2seq",
    }


def elsewhere(jobs: list[dict[str, object]], folder: Path) -> dict[str, Tensor]:
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-c", PROGRAM, str(folder / "jobs.json"), str(folder / "logits.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "logits.safetensors")


@pytest.fixture(scope="module")
def read_elsewhere(trained: dict[tuple[str, str], Trained], tmp_path_factory: pytest.TempPathFactory):
    """Save every cell, and load all of them in one new process."""
    root, jobs = tmp_path_factory.mktemp("saved"), []
    for (word, kind), cell in trained.items():
        folder = root / f"{word}-{kind}"
        tokenizer = add_words(load_tokenizer(inspect_folder(cell.base, "tiny")), WORDS)
        save_model(folder, cell.model, tokenizer)
        brings = registry.choose("methods", word).brings_type
        module = f"kamerton.plugins.methods.{word}" if brings else None
        jobs.append(job(f"{word}-{kind}", cell.base, folder, kind, module))
    return elsewhere(jobs, root)


def test_a_process_without_kamerton_gives_the_same_logits(cell, read_elsewhere):
    there = read_elsewhere[f"{cell.word}-{cell.kind}"]
    torch.testing.assert_close(there, logits_of(cell.model, cell.base, cell.kind), rtol=1e-5, atol=1e-5)


# ── a whole run ───────────────────────────────────────────────────────────────────────────────

TOLD = {
    "new-labels": ("reviews.csv", "--model", "encoder", "--method", "lora", "--set", "model.new_tokens=tokens.txt"),
    "new-answers": ("answers.jsonl", "--model", "decoder", "--method", "full", "--set",
                    "model.new_tokens=[Name the,Назови]"),
}  # fmt: skip


@pytest.fixture(scope="module", params=TOLD)
def told(request: pytest.FixtureRequest, place: Place) -> Run:
    """A run with new tokens."""
    (place.folder / "tokens.txt").write_text("warm film\nкино\n", encoding="utf-8")
    ended = place.call("tune", *TOLD[request.param], "--out", request.param, "--epochs", "1", *QUICK)
    assert ended.status == DONE, ended.said
    return Run(place.folder / request.param)


def test_a_run_keeps_the_tokens_in_its_recipe_and_its_model_and_measures_the_base_with_its_own(told, place):
    words = told.recipe.model.new_tokens
    assert words in {("warm film", "кино"), ("Name the", "Назови")}
    tokenizer = AutoTokenizer.from_pretrained(told.model)
    assert all(len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1 for word in words)
    kinds = {answers.kind for answers in told.read_answers()}
    assert {"base", "tuned"} <= kinds
    assert told.state.artefact.rows > 0
    assert told.read_forgetting().measured
    ended = place.call("predict", told.path.name, "-", stdin="a warm film\n")
    assert ended.status == DONE, ended.said


def test_a_plan_names_a_token_that_is_there_already(place):
    ended = place.call("plan", "reviews.csv", "--model", "encoder", "--set", "model.new_tokens=[film,film]")
    assert ended.status == MISTAKE
    assert "'film' is already a token" in ended.err or "'film' is listed twice" in ended.err
    assert "Traceback" not in ended.err
