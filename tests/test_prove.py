"""`kamerton prove`: what Trainer and PEFT alone tuned gets the scores of a plain script, and its faults are told."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
import sacrebleu
import torch
from peft import AutoPeftModelForCausalLM, IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import tuned_elsewhere
from children import Nursery
from kamerton.core.errors import KamertonError
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, Prediction
from kamerton.core.records import Place as At
from kamerton.evaluate.diagnosis import diagnose_order
from kamerton.models.elsewhere import inspect_tuned, read_template
from kamerton.models.inspect import inspect_folder
from kamerton.models.load import PLAIN_TEMPLATE, load_tokenizer
from kamerton.models.saved import load_saved, unplaced
from kamerton.pipeline.imported import imported
from kamerton.pipeline.prepare import bind, choose_base, parse_data
from kamerton.plugins.exports._gguf_weights import write_model
from kamerton.plugins.exports._llama_cpp import LIBRARY
from kamerton.plugins.exports._shared import is_installed
from kamerton.plugins.tasks.instruction import Instruction
from kamerton.runs.recipe import resolve
from kamerton.runs.run import Run
from kamerton.session.differences import differences
from kamerton.session.elsewhere import check_labels, match_labels
from serving import Server
from stories import DONE, MISTAKE, Place, reviews, wait_for, write_reviews

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning", "ignore::UserWarning:torch"
)
with_llama_cpp = pytest.mark.skipif(not is_installed(LIBRARY), reason="xllamacpp is not installed")
QUICK = ("--set", "evaluate.resamples=200", "--set", "evaluate.forgetting=off")
SAME = ("talks.jsonl", "--all-test", "--set", "evaluate.max_new_tokens=6")
"""Conversations, for every way to ask a model."""
ROOT = Path(__file__).parent.parent
LINES = re.findall("^kamerton prove (.*)$", (ROOT / "docs" / "prove.md").read_text("utf-8"), re.MULTILINE)
PAGE = [shlex.split(line) for line in LINES]
"""The commands of the page on this: all of them are run here."""
HERE = "http://127.0.0.1:8000"
"""Where the page's server is."""
OTHER_TEMPLATE = (
    "{% for message in messages %}{{ '[' + message['role'] + '] ' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory,
    nursery: Nursery,
    encoder_folder: Path,
    decoder_folder: Path,
    seq2seq_folder: Path,
) -> Place:
    """A folder with models that were tuned elsewhere, their bases, and data that some of them were trained on."""
    folder, rows = tmp_path_factory.mktemp("elsewhere"), tuned_elsewhere.questions(96)
    bases = {"base-encoder": encoder_folder, "decoder": decoder_folder, "seq2seq": seq2seq_folder}
    for name, base in bases.items():
        (folder / name).symlink_to(base)
    tuned_elsewhere.classifier(encoder_folder, folder / "my-classifier", reviews(60), ("Good", "BAD"))
    tuned_elsewhere.adapter(decoder_folder, folder / "my-adapter", rows[:64])
    tuned_elsewhere.writer(seq2seq_folder, folder / "t5", rows[:64])
    written = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "chats.jsonl").write_text(written, encoding="utf-8")
    write_reviews(folder / "reviews.csv")
    _write(folder / "train.csv", reviews(60))
    (first, label), *_ = reviews(60)
    _write(folder / "mixed.csv", [*reviews(90)[50:], (f"{first}!", label)])
    return Place(folder, nursery)


def _write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def _proven(shop: Place, name: str, *words: str) -> tuple[Run, str]:
    """Run the command once for all tests that look at the run."""
    if name not in shop.told:
        shop.told[name] = shop.call("prove", *words, "--out", name, *QUICK)
    assert shop.told[name].status == DONE, shop.told[name].said
    return Run(shop.folder / name), shop.told[name].out


@pytest.fixture
def classified(shop: Place) -> tuple[Run, str]:
    """The page's first command."""
    return _of_page(shop, 0)


@pytest.fixture
def chatted(shop: Place) -> tuple[Run, str]:
    """The page's second command."""
    return _of_page(shop, 1)


def _of_page(shop: Place, number: int) -> tuple[Run, str]:
    return _proven(shop, f"page-{number}", *PAGE[number])


def _scores(run: Run) -> dict[str, float]:
    tuned = next(one for one in run.result["contenders"] if one["kind"] == "tuned")
    return {name: measure["value"] for name, measure in tuned["metrics"].items()}


def _tuned(run: Run) -> list[str]:
    answers = next(one for one in run.read_answers() if one.kind == "tuned")
    return [prediction.text for prediction in answers.predictions]


# ── the same scores as a plain script ─────────────────────────────────────────────────────────


def test_a_classifier_of_trainer_gets_the_scores_of_a_plain_script(classified):
    run, _ = classified
    test = run.read_split().test
    answers = [
        name.casefold()
        for name in tuned_elsewhere.classes_of(run.path.parent / "my-classifier", [row.text for row in test])
    ]
    golds = [row.gold for row in test]
    assert _tuned(run) == answers
    assert _scores(run)["accuracy"] == pytest.approx(accuracy_score(golds, answers))
    assert _scores(run)["macro-f1"] == pytest.approx(f1_score(golds, answers, average="macro"))


def test_an_adapter_of_peft_gets_the_scores_of_a_plain_script(chatted):
    run, _ = chatted
    folder, test, most = run.path.parent / "my-adapter", run.read_split().test[:24], run.recipe.evaluate.max_new_tokens
    model, tokenizer = AutoPeftModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    answers = []
    for row in test:
        turns = [{"role": "user", "content": row.fields["instruction"]}]
        prompt = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        answers.append(tuned_elsewhere.said(model, tokenizer, prompt, most))
    assert _tuned(run)[:24] == answers
    assert len(set(answers)) > 2


def test_an_encoder_decoder_gets_the_scores_of_a_plain_script(shop):
    more = ("--set", "split.test=0.3", "--set", "evaluate.shots=0")
    run, _ = _proven(shop, "prove-t5", "chats.jsonl", "--base", "seq2seq", "--tuned", "t5", *more)
    test, most = run.read_split().test, run.recipe.evaluate.max_new_tokens
    model, tokenizer = (kind.from_pretrained(shop.folder / "t5") for kind in (AutoModelForSeq2SeqLM, AutoTokenizer))
    prompts = [tokenizer(row.fields["instruction"], return_tensors="pt")["input_ids"] for row in test]
    answers = [tuned_elsewhere.said(model, tokenizer, prompt, most) for prompt in prompts]
    assert _tuned(run) == answers
    right = sum(answer == row.gold for answer, row in zip(answers, test, strict=True)) / len(test)
    chrf = sacrebleu.corpus_chrf(answers, [[row.gold for row in test]]).score
    assert _scores(run)["exact-match"] == pytest.approx(right)
    assert _scores(run)["chrf"] == pytest.approx(chrf / 100)


# ── a run like any other ──────────────────────────────────────────────────────────────────────


def test_the_model_is_copied_as_it_was_and_no_more(chatted):
    run, _ = chatted
    source = run.path.parent / "my-adapter"
    for name in ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (run.model / name).read_bytes() == (source / name).read_bytes()
    assert (source / "training_args.bin").exists() and not (run.model / "training_args.bin").exists()


COMMANDS = (
    ("verify", "{}"), ("predict", "{}", "a warm film"), ("evaluate", "{}", "reviews.csv"), ("report", "{}"),
    ("compare", "{}", "{}-again"), ("resume", "{}"),
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_command_on_runs_works_on_it(shop, classified, words):
    run, _ = classified
    shutil.copytree(run.path, run.path.with_name(f"{run.path.name}-again"), dirs_exist_ok=True)
    ended = shop.call(*(word.format(run.path.name) for word in words))
    assert ended.status == DONE, ended.said
    assert "trained on" not in ended.said  # of these rows nothing is known


def test_its_answers_can_be_judged_blindly(shop, chatted):
    ended = shop.call("judge", chatted[0].path.name)
    assert ended.status == DONE and "pairs to judge" in ended.out, ended.said


def test_the_dial_needs_a_training(shop, classified):
    ended = shop.call("dial", classified[0].path.name)
    assert ended.status == MISTAKE and "tuned elsewhere" in ended.err


def test_nothing_is_claimed_about_a_training(classified):
    run, _ = classified
    result = run.result
    assert "trainable_parameters" not in result and result["forecast"] is None
    assert result["model"]["tuned"].endswith("my-classifier") and result["method"]["name"] == "elsewhere"
    card = (run.model / "README.md").read_text("utf-8")
    assert "tuned elsewhere" in card and "Kamerton only judged it" in card and "learning rate" not in card
    page = (run.path / "report.html").read_text("utf-8")
    assert "nothing is known here about its training" in page and "train.learning_rate" not in page
    assert "which none of them had seen" not in page


def test_settings_of_a_training_are_refused(shop):
    settings = ("--set", "train.epochs=2", "--set", "seeds=3")
    ended = shop.call("prove", *PAGE[0], *settings, "--out", "refused")
    assert ended.status == MISTAKE
    assert "train.epochs: nothing is trained in this run" in ended.err and "seeds: nothing is trained" in ended.err


def test_every_command_of_the_page_is_run_here(shop):
    on_servers = [line for line in PAGE if any(word.startswith(HERE) for word in line)]
    assert len(on_servers) == 1 and PAGE[-1] in on_servers  # see `asked`
    assert all(_of_page(shop, number)[0].finished for number in range(len(PAGE) - 1))


def test_a_killed_run_goes_on(shop):
    words = ("reviews.csv", "--base", "base-encoder", "--tuned", "my-classifier", "--out", "killed", *QUICK)
    child = shop.start("prove", *words)
    wait_for(child, lambda: (shop.folder / "killed" / "model" / "config.json").exists() or child.has_ended)
    child.kill()
    child.wait()
    ended = shop.call("resume", "killed")
    assert ended.status == DONE, ended.said
    run, whole = Run(shop.folder / "killed"), _of_page(shop, 0)[0]
    assert _scores(run) == _scores(whole)


# ── rows that the model was trained on ────────────────────────────────────────────────────────


def test_rows_that_the_model_was_trained_on_are_not_tested_on(shop):
    run, out = _of_page(shop, 2)
    split, seen = run.read_split(), {text for text, _ in reviews(60)}
    assert split.test and not seen & {row.text for row in split.test}
    assert {row.text for row in (*split.train, *split.validation)} <= seen
    assert {row.place.file.rpartition("/")[2] for row in split.test} == {"mixed.csv"}
    reasons = [str(entry.reason) for entry in run.read_ledger() if entry.fate == "dropped"]
    assert reasons.count("the model was trained on the same row") == 10
    assert "the model was trained on a row nearly like it" in reasons
    assert "rows are among those that the model was trained on" in out
    kinds = {one["kind"] for one in run.result["contenders"]}
    assert {"classic", "trivial", "prompt", "tuned"} <= kinds
    assert "calibration" not in run.result  # validation rows were trained on: nothing is fitted on them


def test_every_row_can_be_tested_on(chatted):
    run, out = chatted
    split = run.read_split()
    assert len(split.test) == 96 and not split.train and not split.validation
    assert {one["kind"] for one in run.result["contenders"]} == {"tuned", "base"}
    assert "none: there are no training rows to learn from" in out


# ── a model on a server ───────────────────────────────────────────────────────────────────────


class Colors(BaseHTTPRequestHandler):
    """Knows the color of everything as `my-model`, and of nothing under other names."""

    asked: ClassVar[list[dict[str, object]]] = []

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(question)
        text = question["messages"][-1]["content"]
        known = next((color for thing, color in tuned_elsewhere.COLORS.items() if thing in text), "")
        said = known if question["model"] == "my-model" else "I cannot say."
        data = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def asked(shop: Place) -> Iterator[tuple[Run, str]]:
    """The page's command on a server, which is asked while it runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Colors) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        words = [word.replace(HERE, f"http://127.0.0.1:{server.server_port}") for word in PAGE[-1]]
        yield _proven(shop, "served", *words)
        server.shutdown()


def test_a_model_on_a_server_is_judged_by_its_answers(asked):
    run, out = asked
    test = run.read_split().test
    assert _tuned(run) == [row.gold for row in test] and _scores(run)["exact-match"] == 1.0
    others = {one["name"].partition(" at ")[0]: one for one in run.result["contenders"] if one["kind"] == "prompt"}
    assert others["untuned"]["metrics"]["exact-match"]["value"] == 0.0
    sent = [question["messages"] for question in Colors.asked if question["model"] == "my-model"]
    assert sent == [[{"role": "user", "content": row.fields["instruction"]}] for row in test]
    assert "of which only answers are known" in out


def test_nothing_is_said_of_weights_that_are_not_here(shop, asked):
    run, _ = asked
    assert not run.model.exists() and "kamerton predict" not in (run.path / "report.html").read_text("utf-8")
    assert run.result["forgetting"]["decision"] == "not measured" and run.result["artefact"] is None
    assert "calibration" not in run.result and "perplexity" not in _scores(run)


NEED_WEIGHTS = (
    ("predict", "{}", "What color is snow?"), ("evaluate", "{}", "chats.jsonl"), ("export", "{}", "--to", "merged"),
    ("dial", "{}"), ("serve", "{}", "--port", "0"), ("tune", "chats.jsonl", "--model", "{}"),
)  # fmt: skip


@pytest.mark.parametrize("words", NEED_WEIGHTS, ids=lambda words: words[0])
def test_commands_that_need_weights_say_that_the_model_answers_at_an_address(shop, asked, words):
    run, _ = asked
    ended = shop.call(*(word.format(run.path.name) for word in words))
    assert ended.status == MISTAKE and "it answers at an address" in ended.err, ended.said
    assert "ask it there as 'my-model'" in ended.err and run.recipe.model.tuned_at in ended.err


def test_what_a_server_answered_is_not_asked_again(shop, asked):
    run, _ = asked
    (run.path / "result.json").unlink()
    before = len(Colors.asked)
    ended = shop.call("resume", run.path.name)
    assert ended.status == DONE, ended.said
    assert len(Colors.asked) == before and shop.call("verify", run.path.name).status == DONE


def test_a_server_without_a_base_is_refused(shop):
    said = _refusal(data__path=str(shop.folder / "chats.jsonl"), model__tuned_at=f"{HERE}/v1")
    assert "does not say from which base model" in said and "--base" in said


def test_a_model_is_either_here_or_at_an_address():
    with pytest.raises(KamertonError, match="either in a folder or at an address"):
        resolve(None, {"model.tuned": "x", "model.tuned_at": f"{HERE}/v1"})
    with pytest.raises(KamertonError, match="a server has its own"):
        resolve(None, {"model.tuned_at": f"{HERE}/v1", "model.template": "x.jinja"})


@pytest.fixture(scope="module")
def talked(shop: Place) -> Iterator[tuple[Run, Run]]:
    """Conversations of several answers, asked of weights in a folder, and of `kamerton serve` with the same weights."""
    rows = tuned_elsewhere.conversations(16)
    (shop.folder / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    here, _ = _proven(shop, "talked-here", *SAME, "--tuned", "my-adapter")
    server = Server.start(shop, "tuned=talked-here")
    url = f"{server.address}/v1"
    base = ("--base", url, "--base-model", "decoder")
    yield here, _proven(shop, "talked-there", *SAME, *base, "--tuned", url, "--tuned-model", "tuned")[0]
    assert server.stop().status == DONE


def test_every_answer_of_a_conversation_is_asked_of_a_server_as_of_the_weights(talked):
    here, there = talked
    assert _tuned(there) == _tuned(here) and len(set(_tuned(here))) > 4
    assert all(text.count("\n\n") == 1 for text in _tuned(here))  # two answers each
    untuned = [{one.kind: one for one in run.read_answers()} for run in talked]
    texts = [
        [each.text for each in one[kind].predictions] for one, kind in zip(untuned, ("base", "prompt"), strict=True)
    ]
    assert texts[0] == texts[1]
    assert _scores(there)["chrf"] == _scores(here)["chrf"] > 0


def test_conversations_with_tools_are_not_put_to_a_server(shop, tmp_path):
    path = tmp_path / "tools.jsonl"
    rows = tuned_elsewhere.conversations(12)
    rows[3]["messages"].insert(-1, {"role": "assistant", "content": "", "tool_calls": [{"name": "look"}]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = shop.call(
        "prove", path, "--all-test", "--base", "decoder", "--tuned", f"{HERE}/v1", "--out", "tools", *QUICK
    )
    assert ended.status == MISTAKE
    assert f"in 1 of 12 test rows, such as {path}:4, tools are offered or called" in ended.err


LLAMA_SERVER = """#!{python}
import argparse, time, xllamacpp
parser = argparse.ArgumentParser()
for name in ("model", "ctx-size", "parallel", "host", "port"):
    parser.add_argument("--" + name, required=True)
parser.add_argument("--jinja", action="store_true", required=True)
given, params = parser.parse_args(), xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = given.model, int(given.ctx_size), int(given.parallel)
params.port, params.use_jinja, params.verbosity = int(given.port), True, -1
server = xllamacpp.Server(params)
time.sleep(600)
"""
"""llama.cpp's own program, as far as its flags go."""


@pytest.fixture(scope="module")
def files(shop: Place) -> Place:
    """The adapter merged into its base, and the base, as GGUF files."""
    tokenizer = AutoTokenizer.from_pretrained(shop.folder / "my-adapter")
    merged = AutoPeftModelForCausalLM.from_pretrained(shop.folder / "my-adapter").merge_and_unload()
    write_model(shop.folder / "my.gguf", merged, tokenizer, "f32", "my")
    write_model(shop.folder / "base.gguf", AutoModelForCausalLM.from_pretrained(shop.folder / "decoder"), tokenizer,
                "f32", "base")  # fmt: skip
    return shop


@with_llama_cpp
def test_gguf_files_are_judged_by_the_answers_of_llama_cpp(files, talked):
    run, out = _proven(files, "files", *SAME, "--tuned", "my.gguf", "--base", "base.gguf")
    assert _tuned(run) == _tuned(talked[0])
    assert _scores(run)["chrf"] == _scores(talked[0])["chrf"]
    assert f"tuned elsewhere: the GGUF file {files.folder / 'my.gguf'}, of which only answers are known" in out
    ended = files.call("export", "files", "--to", "merged")
    assert ended.status == MISTAKE and "is a GGUF file, and llama.cpp alone computes it" in ended.err


@with_llama_cpp
def test_a_gguf_file_is_judged_beside_weights_by_llama_cpps_own_program(files, talked, tmp_path, monkeypatch):
    program = tmp_path / "llama-server"
    program.write_text(LLAMA_SERVER.format(python=sys.executable))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run, _ = _proven(files, "program", *SAME, "--tuned", "my.gguf", "--base", "decoder")
    assert _tuned(run) == _tuned(talked[0])
    assert {one["kind"] for one in run.result["contenders"]} == {"base", "tuned"}


@with_llama_cpp
def test_a_file_that_is_no_model_is_refused(files, tmp_path):
    broken = tmp_path / "broken.gguf"
    for data, said in ((b"hello", "this is no GGUF file"), (b"GGUF\3\0\0\0", "llama.cpp cannot serve this file: ")):
        broken.write_bytes(data)
        ended = files.call(
            "prove", *SAME, "--tuned", broken, "--base", "decoder", "--out", tmp_path / str(len(data)), *QUICK
        )
        assert ended.status == MISTAKE and said in ended.err
    ended = files.call("prove", *SAME, "--tuned", "no.gguf", "--base", "decoder", "--out", tmp_path / "no", *QUICK)
    assert ended.status == MISTAKE and "the file cannot be read: No such file" in ended.err


# ── what does not fit is refused ──────────────────────────────────────────────────────────────


def _refusal(**settings: object) -> str:
    """Return what is said of a model before anything is run."""
    with pytest.raises(KamertonError) as caught:
        bind(choose_base(parse_data(resolve(None, {name.replace("__", "."): v for name, v in settings.items()}))))
    return f"{caught.value}"


def test_plain_weights_need_a_base(shop):
    said = _refusal(data__path=str(shop.folder / "reviews.csv"), model__tuned=str(shop.folder / "my-classifier"))
    assert "does not say from which base model it was tuned" in said and "--base" in said


def test_an_adapter_whose_base_is_elsewhere_needs_one(shop, tmp_path):
    shutil.copytree(shop.folder / "my-adapter", tmp_path / "my-adapter")
    path = tmp_path / "my-adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"base_model_name_or_path": "/root/models/x"}))
    said = _refusal(data__path=str(shop.folder / "chats.jsonl"), model__tuned=str(tmp_path / "my-adapter"))
    assert "'/root/models/x'" in said and "--base" in said


def test_a_base_of_another_family_is_refused(shop):
    data, tuned = str(shop.folder / "reviews.csv"), str(shop.folder / "my-classifier")
    said = _refusal(data__path=data, model__tuned=tuned, model__name=str(shop.folder / "decoder"))
    assert "cannot be the base of this model: family llama there, bert here" in said


def test_a_model_without_the_head_of_the_task_is_refused(shop):
    data, base = str(shop.folder / "reviews.csv"), str(shop.folder / "decoder")
    said = _refusal(data__path=data, model__tuned=str(shop.folder / "my-adapter"), model__name=base,
                    task__decoder="classifier")  # fmt: skip
    assert "has no head for the task, which reads AutoModelForSequenceClassification" in said


def test_weights_that_were_not_tuned_are_refused(shop):
    ended = shop.call("prove", "chats.jsonl", "--base", "decoder", "--tuned", "decoder", "--out", "same", *QUICK)
    assert ended.status == MISTAKE and "nothing was tuned" in ended.err


def test_an_adapter_that_changes_nothing_is_refused(shop, decoder_folder):
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(decoder_folder), config)
    model.save_pretrained(shop.folder / "fresh")
    ended = shop.call("prove", "chats.jsonl", "--tuned", "fresh", "--out", "unchanged", *QUICK)
    assert ended.status == MISTAKE and "the adapter changes nothing" in ended.err


def test_an_adapter_over_other_layers_is_refused(shop, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(shop.folder / "decoder", num_hidden_layers=1)
    model.save_pretrained(shop.folder / "shallow")
    AutoTokenizer.from_pretrained(shop.folder / "decoder").save_pretrained(shop.folder / "shallow")
    ended = shop.call("prove", "chats.jsonl", "--base", "shallow", "--tuned", "my-adapter", "--out", "misfit", *QUICK)
    assert ended.status == MISTAKE and "--base" in ended.err, ended.said


ADAPTERS = {
    "over a resized vocabulary": (2, None, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")),
    "over a padded vocabulary": (2, 64, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")),
    "with whole modules": (
        2, None, LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"], task_type="CAUSAL_LM"),
    ),
    "by magnitude and direction": (0, None, LoraConfig(r=4, use_dora=True, use_rslora=True, task_type="CAUSAL_LM")),
    "of factors": (0, None, IA3Config(task_type="CAUSAL_LM")),
    "of prompt tokens": (0, None, PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")),
}  # fmt: skip
"""Kinds of adapters: new tokens, a multiple of the vocabulary's size, the configuration."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_of_peft_is_loaded_whole(kind, decoder_folder, tmp_path):
    added, multiple, config = ADAPTERS[kind]
    tokenizer, model = (one.from_pretrained(decoder_folder) for one in (AutoTokenizer, AutoModelForCausalLM))
    if added:
        tokenizer.add_tokens([f"<{number}>" for number in range(added)])
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple, mean_resizing=False)
    adapted = get_peft_model(model, config).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    form = Instruction().form("decoder", [])
    loaded = load_saved(tmp_path, form, inspect_folder(decoder_folder, "base"), AutoTokenizer.from_pretrained(tmp_path))
    row = torch.tensor([[5, 6, 7, len(tokenizer) - 1]])
    assert unplaced(loaded, tmp_path) == []
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(input_ids=row).logits, adapted(input_ids=row).logits)


# ── labels ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outputs", "labels", "wanted"),
    [
        (("b", "a"), ("a", "b"), ("b", "a")),
        (("NEGATIVE", "Positive"), ("negative", "positive"), ("negative", "positive")),
        (("LABEL_0", "LABEL_1", "LABEL_2"), ("0", "2"), ("0", "LABEL_1", "2")),
        (("not_spam", "spam"), ("not spam", "spam"), ("not spam", "spam")),
        (("1", "0"), ("LABEL_0", "LABEL_1"), ("LABEL_1", "LABEL_0")),
    ],
)
def test_labels_are_matched_by_name(outputs, labels, wanted):
    assert match_labels(outputs, labels, "model")[0] == wanted


@pytest.mark.parametrize("outputs", [("LABEL_0", "LABEL_1"), ("good", "GOOD"), ("good",)])
def test_labels_that_do_not_fit_are_refused_with_both_lists(outputs):
    with pytest.raises(KamertonError) as caught:
        match_labels(outputs, ("bad", "good"), "model")
    shown = f"{len(outputs)}: {', '.join(map(repr, outputs))}"
    assert f"the data have 2: 'bad', 'good'; the model has {shown}" in str(caught.value)
    assert "--labels FIRST,SECOND" in str(caught.value)


@pytest.mark.parametrize("given", [("bad",), ("bad", "bad"), ("bad", "fine")])
def test_a_given_order_must_hold_every_label(given):
    with pytest.raises(KamertonError, match="--labels"):
        check_labels(given, ("LABEL_0", "LABEL_1"), ("bad", "good"))


def test_labels_in_another_order_are_told():
    golds = ["a", "b", "c"] * 10
    examples = [Example(i, At("x", i), str(i), gold) for i, gold in enumerate(golds)]
    turned = [Prediction(i, {"a": "b", "b": "c", "c": "a"}[gold]) for i, gold in enumerate(golds)]
    [found] = diagnose_order(examples, Answers("tuned model", "tuned", tuple(turned), 0.0))
    assert found.name == "labels in another order"
    assert "0 of 30 test rows are answered correctly; 30 would be" in str(found.evidence) and "'b' as 'a'" in str(
        found.evidence
    )
    right = [Prediction(i, gold if i % 4 else "a") for i, gold in enumerate(golds)]
    assert diagnose_order(examples, Answers("tuned model", "tuned", tuple(right), 0.0)) == []


def test_the_wrong_order_of_a_user_is_told_in_the_verdict(shop, tmp_path):
    words = ("mixed.csv", *PAGE[0][1:], "--all-test", "--labels", "bad,good")
    run, out = _proven(shop, "prove-turned", *words)
    assert run.recipe.model.labels == ("bad", "good")
    assert "labels in another order: " in out and "--labels" in out


# ── tokenizer and template ────────────────────────────────────────────────────────────────────


@pytest.fixture
def planted(shop: Place, tmp_path: Path) -> Iterator[Path]:
    """A copy of the adapter, to plant a fault in its tokenizer."""
    shutil.copytree(shop.folder / "my-adapter", tmp_path / "planted")
    yield tmp_path / "planted"


def _told(folder: Path, base: Path) -> dict[str, str]:
    """Return what is told of a model beside its base: severity by sentence."""
    facts, tuned = inspect_folder(base, "base"), inspect_tuned(str(folder))
    own = load_tokenizer(facts, folder)
    found = differences(tuned, own, load_tokenizer(facts), facts, ["The plot is thin", "Тёплый фильм", "a  b"])
    return {str(one.title): one.severity for one in found}


def _change(folder: Path, **settings: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | settings), encoding="utf-8")


def test_a_tokenizer_like_the_bases_is_no_finding(planted, decoder_folder):
    assert set(_told(planted, decoder_folder).values()) == {"note"}  # both double the beginning token


def test_a_swapped_template_is_told(planted, decoder_folder):
    (planted / "chat_template.jinja").write_text(OTHER_TEMPLATE, encoding="utf-8")
    told = _told(planted, decoder_folder)
    assert told["the tuned model's chat template writes requests otherwise than its base's"] == "warning"
    assert any("does not write the end token '<|im_end|>'" in title for title in told)


def test_a_lost_template_is_told(planted, decoder_folder):
    (planted / "chat_template.jinja").unlink()
    told = _told(planted, decoder_folder)
    assert told["the tuned model has no chat template, and its base has one: requests are written plainly"] == "severe"
    assert load_tokenizer(inspect_folder(decoder_folder, ""), planted).chat_template == PLAIN_TEMPLATE


def test_a_missing_generation_prompt_is_told(planted, decoder_folder):
    template = (planted / "chat_template.jinja").read_text("utf-8")
    begun = re.sub(r"\{%-? if add_generation_prompt %\}.*?\{%-? endif %\}", "", template, flags=re.DOTALL)
    assert begun != template
    (planted / "chat_template.jinja").write_text(begun, encoding="utf-8")
    told = _told(planted, decoder_folder)
    [title] = [title for title, severity in told.items() if "the model has to write it" in title]
    assert told[title] == "severe" and "'<|im_start|>assistant'" in title


def test_a_template_of_the_users_takes_the_place_of_a_wrong_one(shop, talked, planted, decoder_folder):
    right = (planted / "chat_template.jinja").read_text("utf-8")
    (shop.folder / "right.jinja").write_text(right, encoding="utf-8")
    (planted / "chat_template.jinja").write_text(OTHER_TEMPLATE, encoding="utf-8")
    run, out = _proven(shop, "mended", *SAME, "--tuned", str(planted), "--template", "right.jinja")
    assert _tuned(run) == _tuned(talked[0]) and "chat template writes" not in out
    assert (run.model / "chat_template.jinja").read_text("utf-8") == right


def test_a_template_is_given_to_an_adapter_without_a_tokenizer(planted, decoder_folder, tmp_path):
    for path in planted.glob("*token*"):
        path.unlink()
    (planted / "chat_template.jinja").unlink()
    (tmp_path / "other.jinja").write_text(OTHER_TEMPLATE, encoding="utf-8")
    both = imported(inspect_tuned(str(planted)), inspect_folder(decoder_folder, "base"), str(tmp_path / "other.jinja"))
    assert both.tokenizer.chat_template == OTHER_TEMPLATE != both.base.chat_template
    (tmp_path / "other.jinja").write_text("{% for", encoding="utf-8")
    with pytest.raises(KamertonError, match="first use of this file failed") as caught:
        read_template(tmp_path / "other.jinja")
    assert "other.jinja" in str(caught.value)
    with pytest.raises(KamertonError, match="the file cannot be read"):
        read_template(tmp_path / "none.jinja")


def test_another_end_token_is_told(planted, decoder_folder):
    _change(planted, eos_token="<|pad|>")
    told = _told(planted, decoder_folder)
    assert told["the tuned model ends answers with '<|pad|>', its base with '<|im_end|>'"] == "warning"
    assert any("padding is the end token '<|pad|>'" in title for title in told)


def test_a_lost_end_token_is_refused(shop, planted):
    _change(planted, eos_token=None)
    said = _refusal(data__path=str(shop.folder / "chats.jsonl"), model__tuned=str(planted))
    assert "no end token" in said and "planted/tokenizer_config.json" in said


def test_a_generation_config_with_another_end_is_told(planted, decoder_folder):
    (planted / "generation_config.json").write_text('{"eos_token_id": [0]}', encoding="utf-8")
    assert any(
        "generation_config.json ends answers with '<|pad|>'" in title for title in _told(planted, decoder_folder)
    )


def test_a_doubled_beginning_token_is_told(planted, decoder_folder):
    template = (planted / "chat_template.jinja").read_text("utf-8")
    (planted / "chat_template.jinja").write_text("{{ bos_token }}" + template, encoding="utf-8")
    told = _told(planted, decoder_folder)
    rule = "the chat template writes '<|begin|>' and the tokenizer adds it: 3 stand at the start of a prompt that is"
    assert next(severity for title, severity in told.items() if title.startswith(rule)) == "warning"


def test_added_and_lost_tokens_are_told(planted, decoder_folder):
    tokenizer = AutoTokenizer.from_pretrained(planted)
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(planted)
    assert _told(planted, decoder_folder)["1 token is new in the tuned model: '<tool>'"] == "note"


def test_lost_tokens_are_told(planted, decoder_folder):
    path = planted / "tokenizer.json"
    settings = json.loads(path.read_text("utf-8"))
    last = max(settings["model"]["vocab"], key=settings["model"]["vocab"].get)
    del settings["model"]["vocab"][last]
    settings["model"]["merges"] = [pair for pair in settings["model"]["merges"] if "".join(pair) != last]
    path.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    told = _told(planted, decoder_folder)
    assert told[f"1 token of the base is missing in the tuned model: '{last}'"] == "severe"


def test_other_tokens_for_the_same_text_are_told(planted, decoder_folder):
    path = planted / "tokenizer.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    assert (
        _told(planted, decoder_folder)["2 of 3 texts have other tokens in the tuned model than in its base"]
        == "warning"
    )
