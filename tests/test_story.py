"""The whole story by the command line, in processes of its own: from a data file to a verdict, through any stop."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from children import Child, Ended, Nursery
from kamerton.run import Run

# of a name that PEFT asks for in every model
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

DONE, MISTAKE, USAGE, UNMET, INTERRUPTED = 0, 1, 2, 3, 130
KILLS = 20
GOOD = ("a warm film", "funny and kind", "a delight", "I would watch it again", "тёплый фильм", "чудесно и смешно")
BAD = ("a thin plot", "two hours lost", "dull and cold", "I want it back", "слабый сюжет", "верните мои деньги")
ASKED = ("Name the number {}.", "Назови число {}.", "Which number comes after {}?", "Какое число идёт после {}?")
EMPTY, REPEATED, UNREADABLE = 1, 2, 1


# ── data and processes ────────────────────────────────────────────────────────────────────────


def reviews(count: int) -> list[tuple[str, str]]:
    drawn = random.Random(0)
    rows = []
    for number in range(count):
        label = ("bad", "good")[number % 2]
        rows.append((f"{', '.join(drawn.sample((BAD, GOOD)[number % 2], 3))} – {number}", label))
    return rows


def write_reviews(path: Path) -> None:
    """Write 90 good rows, one without a text, two that are there already, and one with a cell too many."""
    rows = reviews(90)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows([*rows, ("", "good"), rows[4], rows[7], ("a cell", "too", "many")])


def write_answers(path: Path) -> None:
    """Write 64 requests in two languages."""
    asked = [{"instruction": ASKED[n % 4].format(n), "output": str(n + n % 4 // 2)} for n in range(64)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in asked), encoding="utf-8")


@dataclass(frozen=True)
class Place:
    """A folder with data and models, and a nursery for the processes in it."""

    folder: Path
    nursery: Nursery
    told: dict[str, Ended] = field(default_factory=dict)

    def start(self, *arguments: object, stdin: str = "") -> Child:
        return self.nursery.start("children:kamerton", [str(a) for a in arguments], cwd=self.folder, stdin=stdin)

    def call(self, *arguments: object, stdin: str = "") -> Ended:
        return self.start(*arguments, stdin=stdin).wait()

    def run(self, name: str) -> Run:
        """Give one of the runs below; it is told when it is first asked for."""
        if name not in self.told:
            self.told[name] = self.call("tune", *RUNS[name], "--out", name, *QUICK)
        assert self.told[name].status == (UNMET if "--require" in RUNS[name] else DONE), self.told[name].said
        return Run(self.folder / name)


QUICK = ("--set", "evaluate.resamples=200", "--learning-rate", "3e-3")
RUNS: dict[str, tuple[str, ...]] = {
    "head": ("reviews.csv", "--model", "encoder", "--method", "head", "--epochs", "3",
             "--set", "model.max_tokens=1000"),
    "full": ("reviews.csv", "--model", "encoder", "--method", "full", "--epochs", "3", "--set", "train.dropout=0.1"),
    "lora": ("reviews.csv", "--model", "encoder", "--method", "lora", "--epochs", "2", "--set", "method.rank=4"),
    "labels": ("reviews.csv", "--model", "decoder", "--method", "lora", "--epochs", "1", "--require", "ship", "--json"),
    "answers": ("answers.jsonl", "--model", "decoder", "--method", "lora", "--epochs", "2"),
    "answers-full": ("answers.jsonl", "--model", "decoder", "--method", "full", "--epochs", "1",
                     "--set", "evaluate.shots=0"),
}  # fmt: skip
CLASSES = ("head", "full", "lora", "labels")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, decoder_folder: Path, seq2seq_folder: Path):
    folder = tmp_path_factory.mktemp("story")
    for name, model in (("encoder", encoder_folder), ("decoder", decoder_folder), ("seq2seq", seq2seq_folder)):
        (folder / name).symlink_to(model)
    write_reviews(folder / "reviews.csv")
    write_answers(folder / "answers.jsonl")
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield Place(folder, nursery)
    nursery.close()


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest, place: Place) -> Run:
    """Each of the runs."""
    return place.run(request.param)


def weights_of(run: Run | Path) -> str:
    """Hash the weights of the tuned model."""
    folder = run.model if isinstance(run, Run) else run / "model"
    files = sorted(folder.glob("*.safetensors"))
    assert files
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


# ── a run from start to end ───────────────────────────────────────────────────────────────────

FILES = (
    "recipe.yaml", "environment.json", "events.jsonl", "predictions.parquet", "result.json", "report.html",
    "data/train.parquet", "data/validation.parquet", "data/test.parquet", "data/ledger.parquet", "data/audit.json",
    "model/config.json", "model/tokenizer.json", "model/tokenizer_config.json",
)  # fmt: skip
KEYS = {
    "schema", "task", "model", "method", "trainable_parameters", "data", "primary_metric", "contenders", "verdict",
    "forgetting", "diagnosis", "seconds", "peak_memory_bytes",
}  # fmt: skip


def test_a_run_folder_holds_all_that_the_design_promises(run):
    adapter = (run.model / "adapter_config.json").exists()
    wanted = [name for name in FILES if not (adapter and name == "model/config.json")]
    assert [name for name in wanted if not (run.path / name).is_file()] == []
    assert any(run.checkpoints.glob("step-*/MANIFEST.json"))
    assert not [path for path in run.path.rglob("*") if path.suffix in (".pkl", ".pt", ".bin", ".pickle", ".tmp")]


def test_the_result_has_the_keys_that_others_rely_on(run):
    result = json.loads((run.path / "result.json").read_text("utf-8"))
    assert result.keys() >= KEYS
    assert result["schema"] == 1
    assert result["verdict"].keys() == {
        "decision", "against", "difference", "low", "high", "p_value", "minimum_detectable", "reason",
    }  # fmt: skip
    assert result["verdict"]["decision"] in ("ship", "do not ship", "not proven")
    assert {"tuned", "base", "prompt", "classic", "trivial"} >= {item["kind"] for item in result["contenders"]}
    assert {"tuned", "base", "trivial"} <= {item["kind"] for item in result["contenders"]}
    for contender in result["contenders"]:
        for measure in contender["metrics"].values():
            assert measure["low"] <= measure["value"] <= measure["high"]
    assert result["peak_memory_bytes"] > 1e7
    assert set(result["seconds"]) >= {"read", "audit", "split", "train", "verdict"}


def test_every_source_row_has_one_fate(run):
    ledger = run.read_ledger()
    rows = 94 if run.recipe.data.path == "reviews.csv" else 64
    fates = Counter(entry.id for entry in ledger if entry.fate != "cut")
    assert fates == dict.fromkeys(range(rows), 1)
    split = run.read_split()
    for part in ("train", "validation", "test"):
        assert {e.id for e in getattr(split, part)} == {entry.id for entry in ledger if entry.fate == part}
    dropped = [entry for entry in ledger if entry.fate == "dropped"]
    assert all(entry.reason for entry in dropped)
    assert run.result["data"] == {
        "rows": rows,
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "dropped": len(dropped),
    }


def test_the_answers_of_all_contenders_are_kept_for_all_test_rows(run):
    test, answers = run.read_split().test, run.read_answers()
    assert len({item.name for item in answers}) == len(answers) == len(run.result["contenders"])
    for contender in answers:
        assert [prediction.id for prediction in contender.predictions] == [example.id for example in test]


def test_without_shots_there_is_no_prompted_contender(place):
    kinds = [item["kind"] for item in place.run("answers-full").result["contenders"]]
    assert kinds.count("base") == 1
    assert "prompt" not in kinds
    assert "prompt" in [item["kind"] for item in place.run("answers").result["contenders"]]


def test_the_report_is_one_file_that_needs_no_network(run):
    page = (run.path / "report.html").read_text("utf-8")
    assert run.result["verdict"]["reason"].split("(")[0].strip()[:30] in page
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", page)


def test_the_saved_model_loads_with_the_libraries_own_loaders(run, place):
    AutoTokenizer.from_pretrained(run.model)
    text = run.recipe.model.name == "decoder"
    loader = AutoModelForCausalLM if text else AutoModelForSequenceClassification
    if not (run.model / "adapter_config.json").exists():
        assert loader.from_pretrained(run.model).num_parameters() > 0
        return
    base = loader.from_pretrained(place.folder / run.recipe.model.name, **({} if text else {"num_labels": 2}))
    assert PeftModel.from_pretrained(base, run.model).peft_config


def test_the_tuned_model_differs_from_the_base_only_where_its_method_trains(place):
    base = load_file(place.folder / "encoder" / "model.safetensors")
    tuned = {
        name.removeprefix("bert."): value
        for name, value in load_file(place.run("head").model / "model.safetensors").items()
    }
    changed = {name for name, value in base.items() if not value.equal(tuned[name])}
    assert {name.partition(".")[0] for name in changed} == {"pooler"}


def test_the_recipe_says_where_each_value_comes_from(run):
    recipe = yaml.safe_load((run.path / "recipe.yaml").read_text("utf-8"))
    assert recipe["reasons"]["train.learning_rate"]["origin"] == "flag"
    assert recipe["reasons"]["train.batch_size"]["origin"] == "decided"
    assert recipe["reasons"]["train.batch_size"]["reason"]
    assert None not in recipe["train"].values()


def test_knobs_of_the_method_arrive(place):
    config = json.loads((place.run("lora").model / "adapter_config.json").read_text("utf-8"))
    assert config["r"] == 4
    assert place.run("lora").result["method"]["rank"] == 4


# ── again, and on ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["full", "answers"])
def test_the_recipe_repeats_the_run_bit_for_bit(place, name):
    run = place.run(name)
    again = place.call("tune", run.path / "recipe.yaml", "--out", f"{name}-again")
    assert again.status == DONE, again.said
    other = Run(place.folder / f"{name}-again")
    assert weights_of(other) == weights_of(run)
    assert other.read_split() == run.read_split()
    first, second = ([(a.name, [p.text for p in a.predictions]) for a in r.read_answers()] for r in (run, other))
    assert first == second
    assert other.result["verdict"] == run.result["verdict"]


def test_going_on_with_a_finished_run_does_no_harm(place):
    run = place.run("head")
    before, weights = run.result, weights_of(run)
    ended = place.call("resume", "head", "--json")
    assert ended.status == DONE, ended.said
    assert json.loads(ended.out)["verdict"] == before["verdict"]
    assert weights_of(run) == weights
    assert {**run.result, "seconds": 0, "peak_memory_bytes": 0} == {**before, "seconds": 0, "peak_memory_bytes": 0}


def wait_for(child: Child, happened: Callable[[], bool]) -> None:
    """Wait until something has happened, or the child is over."""
    while not happened() and not child.has_ended:
        time.sleep(0.005)


LONG = ("reviews.csv", "--model", "encoder", "--method", "full", "--epochs", "10", *QUICK,
        "--set", "train.dropout=0.1", "--set", "train.patience=1000")  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> str:
    """The weights of a longer run that nothing stops, up to the saved model."""
    return weights_of(place.folder / "undisturbed") if tell_to_the_model(place, "undisturbed") else ""


def tell_to_the_model(place: Place, name: str) -> float:
    """Begin a run, or go on with it, until its model is saved; give the seconds."""
    folder, began = place.folder / name, time.monotonic()
    begun = (folder / "recipe.yaml").exists()
    child = place.start("resume", name) if begun else place.start("tune", *LONG, "--out", name)
    wait_for(child, (folder / "model").exists)
    if child.has_ended:
        raise AssertionError(child.wait().said)
    child.kill()
    child.wait()
    return time.monotonic() - began


def test_any_kill_at_any_moment_ends_with_the_same_weights(place, undisturbed):
    """Kill -9 at random moments, every other run twice, then go on."""
    seconds = tell_to_the_model(place, "timed")
    assert weights_of(place.folder / "timed") == undisturbed
    drawn = random.Random(20)
    stages = Counter()
    for number in range(KILLS):
        name = f"killed-{number}"
        for arguments in (("tune", *LONG, "--out", name), ("resume", name))[: 1 + number % 2]:
            child = place.start(*arguments)
            time.sleep(drawn.uniform(0, seconds))
            child.kill()
            ended = child.wait()
            assert ended.status in (-signal.SIGKILL, MISTAKE), ended.said
            if ended.status == MISTAKE:
                assert "not a run" in ended.err  # it was killed before there was anything
        run = place.folder / name
        stages[
            ("split" if (run / "data" / "ledger.parquet").exists() else "nothing", (run / "checkpoints").exists())
        ] += 1
        tell_to_the_model(place, name)
        assert weights_of(run) == undisturbed, name
    assert stages[("split", True)] > KILLS // 4


def test_a_run_killed_after_its_training_is_judged_when_it_goes_on(place, undisturbed):
    ended = place.call("resume", "undisturbed", "--json")
    assert ended.status == DONE, ended.said
    run = Run(place.folder / "undisturbed")
    assert weights_of(run) == undisturbed
    assert run.result["artefact"]["rows"] > 0
    assert len(run.read_answers()) == len({item.name for item in run.read_answers()})


def test_ctrl_c_keeps_what_was_done(place, undisturbed):
    child = place.start("tune", *LONG, "--out", "stopped")
    run = place.folder / "stopped"
    wait_for(child, lambda: (run / "events.jsonl").exists() and "stepped" in (run / "events.jsonl").read_text("utf-8"))
    child.kill(signal.SIGINT, group=False)
    ended = child.wait()
    assert ended.status == INTERRUPTED, ended.said
    assert "kamerton resume" in ended.err
    assert "Traceback" not in ended.err
    assert any((run / "checkpoints").glob("step-*/MANIFEST.json"))
    tell_to_the_model(place, "stopped")
    assert weights_of(run) == undisturbed


def test_a_run_takes_one_process_at_a_time(place):
    with place.run("head").locked():
        ended = place.call("resume", "head")
    assert ended.status == MISTAKE
    assert "another process is at work" in ended.err


def test_a_checkpoint_of_another_recipe_is_refused_by_name(place):
    tell_to_the_model(place, "edited")
    run = Run(place.folder / "edited")
    (run.path / "model").rename(run.path / "model-away")
    text = (run.path / "recipe.yaml").read_text("utf-8")
    (run.path / "recipe.yaml").write_text(text.replace("epochs: 10", "epochs: 11"), "utf-8")
    ended = place.call("resume", "edited")
    assert ended.status == MISTAKE
    assert "recipe changed" in ended.err


def test_a_base_model_that_changed_is_refused(place):
    name = "changed-base"
    tell_to_the_model(place, name)
    run = Run(place.folder / name)
    environment = run.environment
    environment["model"]["fingerprint"] = "0" * 64
    run.write_environment(environment)
    for arguments in (("resume", name), ("predict", name, "A warm film.")):
        ended = place.call(*arguments)
        assert ended.status == MISTAKE
        assert "is not the one this run began with" in ended.err


# ── exit statuses ─────────────────────────────────────────────────────────────────────────────

ENCODED = ("--model", "encoder", "--method", "head")
MISTAKES = {
    "a file that is not there": (("tune", "nowhere.csv", *ENCODED), "nowhere.csv"),
    "a column that is not there": (("tune", "reviews.csv", *ENCODED, "--columns", "text=review"), "review"),
    "an unknown role": (("tune", "reviews.csv", *ENCODED, "--columns", "txt=text"), "txt"),
    "an unknown model": (("tune", "reviews.csv", "--model", "minilmm"), "minilm"),
    "an unknown method": (("tune", "reviews.csv", "--model", "encoder", "--method", "lorra"), "did you mean 'lora'"),
    "an unknown task": (("tune", "reviews.csv", *ENCODED, "--task", "text-clasification"), "text-classification"),
    "an unknown knob": (("tune", "reviews.csv", *ENCODED, "--set", "method.rank=4"), "rank"),
    "a wrong knob": (("tune", *RUNS["lora"], "--set", "method.rank=0"), "rank"),
    "an unknown setting": (("tune", "reviews.csv", *ENCODED, "--set", "train.epoch=3"), "epochs"),
    "an unknown group": (("tune", "reviews.csv", *ENCODED, "--set", "trian.epochs=3"), "trian"),
    "a group as a value": (("tune", "reviews.csv", *ENCODED, "--set", "train=3"), "train"),
    "a wrong value": (("tune", "reviews.csv", *ENCODED, "--set", "train.epochs=many"), "train.epochs"),
    "a negative rate": (("tune", "reviews.csv", *ENCODED, "--learning-rate", "-1"), "train.learning_rate"),
    "an assignment without =": (("tune", "reviews.csv", *ENCODED, "--set", "train.epochs"), "group.field=value"),
    "an unknown metric": (("tune", "reviews.csv", *ENCODED, "--set", "evaluate.metric=acuracy"), "accuracy"),
    "an encoder that shall write": (("tune", "answers.jsonl", *ENCODED), "decoder"),
    "a kind of model that no task takes": (("tune", *ENCODED, "reviews.csv", "--model", "seq2seq"), "seq2seq"),
    "a folder that is no model": (("tune", "reviews.csv", "--model", "."), "config.json"),
    "a recipe that is not there": (("tune", "recipe.yaml"), "recipe.yaml"),
    "an output under a file": (("tune", "reviews.csv", *ENCODED, "--out", "reviews.csv/run"), "reviews.csv"),
    "an output that is a file": (("tune", "reviews.csv", *ENCODED, "--out", "answers.jsonl"), "answers.jsonl"),
    "rows that are all too long": (
        ("tune", "reviews.csv", *ENCODED, "--set", "model.max_tokens=4", "--set", "data.too_long=refuse"), "too long",
    ),
    "a run that is not there": (("resume", "nowhere"), "nowhere"),
    "no run to predict with": (("predict", "nowhere", "text"), "nowhere"),
    "no run to report": (("report", "nowhere"), "nowhere"),
    "one run to compare": (("compare", "head"), "two or more"),
    "data that is not there": (("evaluate", "head", "nowhere.csv"), "nowhere.csv"),
    "data of another task": (("evaluate", "head", "answers.jsonl"), "text"),
    "an empty text": (("predict", "head", " "), "empty"),
    "an unknown model to get": (("models", "get", "minilmm"), "minilm"),
    "a file to show that is not there": (("show", "nowhere.csv", "--model", "encoder"), "nowhere.csv"),
    "a file to audit that is not there": (("audit", "nowhere.csv"), "nowhere.csv"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_users_mistake_is_told_with_its_remedy_and_no_traceback(place, mistake, tmp_path):
    arguments, told = MISTAKES[mistake]
    if "head" in arguments[:2]:
        place.run("head")
    if arguments[0] == "tune" and "--out" not in arguments:
        arguments = (*arguments, "--out", str(tmp_path / "run"))
    ended = place.call(*arguments)
    assert ended.status == MISTAKE, ended.said
    assert "Traceback" not in ended.err
    assert ended.err.startswith("kamerton: ")
    assert told in ended.err
    assert "→" in ended.err


def test_all_mistakes_are_told_at_once(place, tmp_path):
    wrong = ("--set", "train.epochs=-1", "--set", "train.batch_size=0", "--set", "data.test=2")
    ended = place.call("tune", "reviews.csv", *ENCODED, *wrong, "--out", tmp_path / "run")
    assert ended.status == MISTAKE
    assert all(name in ended.err for name in ("train.epochs", "train.batch_size", "data.test"))


def test_a_mistake_mended_can_be_run_in_the_same_folder(place, tmp_path):
    out = ("--out", tmp_path / "run", "--json", *QUICK)
    wrong = place.call("tune", "reviews.csv", "--model", "encoder", "--method", "headd", *out)
    assert wrong.status == MISTAKE
    right = place.start("tune", "reviews.csv", "--model", "encoder", "--method", "head", "--epochs", "1", *out)
    wait_for(right, (tmp_path / "run" / "model").exists)
    assert not right.has_ended, right.wait().said
    right.kill()
    right.wait()


def test_a_run_is_never_written_over(place):
    before = weights_of(place.run("head"))
    ended = place.call("tune", *RUNS["full"], "--out", "head")
    assert ended.status == MISTAKE
    assert "already holds a run" in ended.err
    assert weights_of(place.run("head")) == before


USAGES = (
    ("tune",),
    ("tune", "reviews.csv", "--epoch", "3"),
    ("tune", "reviews.csv", "--epochs", "three"),
    ("tune", "reviews.csv", "--require", "shipping"),
    ("tune", "reviews.csv", "--columns", "text"),
    ("models", "get"),
    ("models", "fetch", "minilm"),
    ("show", "reviews.csv", "--rows", "0"),
    ("tunes", "reviews.csv"),
)


@pytest.mark.parametrize("arguments", USAGES, ids=" ".join)
def test_wrong_usage_has_its_own_status(place, arguments):
    ended = place.call(*arguments)
    assert ended.status == USAGE, ended.said
    assert "Traceback" not in ended.err


def test_a_demand_that_is_not_met_has_its_own_status(place):
    """The model has learnt nothing in its few updates, and the classic contender nearly all."""
    run = place.run("labels")
    ended = place.told["labels"]
    assert ended.status == UNMET
    assert json.loads(ended.out) == run.result
    assert run.result["verdict"]["decision"] != "ship"


# ── the other commands ────────────────────────────────────────────────────────────────────────


def test_one_text_a_file_and_lines_get_the_same_answers(place, tmp_path):
    run = place.run("full")
    test = run.read_split().test
    texts = [example.text for example in test]
    with (tmp_path / "new.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text",), *((text,) for text in texts)])
    from_file = place.call("predict", "full", tmp_path / "new.csv", "--json")
    from_lines = place.call("predict", "full", "-", "--json", stdin="\n".join(texts) + "\n\n")
    answers = [json.loads(line) for line in from_file.out.splitlines()]
    assert answers == [json.loads(line) for line in from_lines.out.splitlines()]
    tuned = next(item for item in run.read_answers() if item.kind == "tuned")
    assert [answer["prediction"] for answer in answers] == [p.text for p in tuned.predictions]
    assert [answer["score"] for answer in answers] == pytest.approx([p.score for p in tuned.predictions], abs=1e-5)
    assert place.call("predict", "full", texts[0]).out == f"{answers[0]['prediction']}\n"


def test_more_lines_than_are_answered_at_once_keep_their_numbers(place):
    place.run("head")
    ended = place.call("predict", "head", "-", "--json", stdin="A warm film.\n\n" * 1100)
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == list(range(1100))


@pytest.mark.parametrize("text", ["Тёплый и смешной фильм. " * 40, "a\x00b", "-5", "../..", "{}", "[TEXT]"])
def test_any_text_is_answered(place, text):
    place.run("head")
    ended = place.call("predict", "head", "--", text) if text.startswith("-") else place.call("predict", "head", text)
    assert ended.status == DONE, ended.said
    assert ended.out.strip() in ("good", "bad")


def test_requests_are_answered_in_writing(place):
    place.run("answers")
    ended = place.call("predict", "answers", "Назови число 5.", "--json")
    assert ended.status == DONE, ended.said
    assert json.loads(ended.out).keys() == {"id", "prediction", "score"}


def test_other_data_is_scored_by_the_same_metrics(place, tmp_path):
    run = place.run("full")
    with (tmp_path / "other.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(example.text, example.gold) for example in run.read_split().test]
        csv.writer(file).writerows([("text", "label"), *rows])
    ended = place.call("evaluate", "full", tmp_path / "other.csv", "--json")
    assert ended.status == DONE, ended.said
    metrics = json.loads(ended.out)["metrics"]
    [tuned] = [item for item in run.result["contenders"] if item["kind"] == "tuned"]
    assert {name: m["value"] for name, m in metrics.items()} == pytest.approx(
        {name: m["value"] for name, m in tuned["metrics"].items()}
    )
    plain = place.call("evaluate", "full", tmp_path / "other.csv")
    assert "accuracy" in plain.out


def test_runs_on_the_same_rows_are_compared_in_pairs(place):
    for name in ("full", "head", "answers"):
        place.run(name)
    ended = place.call("compare", "full", "head", "--json")
    assert ended.status == DONE, ended.said
    [comparison] = json.loads(ended.out)
    first, second = (
        next(c for c in place.run(name).result["contenders"] if c["kind"] == "tuned")["metrics"]
        for name in ("full", "head")
    )
    name = place.run("full").result["primary_metric"]
    assert comparison["difference"] == pytest.approx(first[name]["value"] - second[name]["value"])
    assert place.call("compare", "full", "head").status == DONE
    other = place.call("compare", "full", "answers")
    assert other.status == MISTAKE
    assert "Traceback" not in other.err


def test_what_the_model_gets_is_shown(place):
    ended = place.call("show", "answers.jsonl", "--model", "decoder", "--rows", "2", "--json")
    assert ended.status == DONE, ended.said
    first, second = json.loads(ended.out)
    trained = "".join(token["token"] for token in first["tokens"] if token["trained"])
    assert trained == "0<|im_end|>"
    assert "Назови" in "".join(token["token"] for token in second["tokens"])
    assert place.call("show", "reviews.csv", "--model", "encoder").status == DONE


def test_the_audit_finds_what_was_put_in(place):
    ended = place.call("audit", "reviews.csv", "--json")
    assert ended.status == DONE, ended.said
    rows = {finding["check"]: set(finding["rows"]) for finding in json.loads(ended.out)}
    assert any({90} <= found for found in rows.values())
    assert any({91, 92} <= found for found in rows.values())
    assert "reviews.csv:95" in place.call("audit", "reviews.csv", "--model", "encoder").out


def test_the_report_can_be_written_anew(place):
    run = place.run("head")
    (run.path / "report.html").unlink()
    ended = place.call("report", "head")
    assert ended.status == DONE, ended.said
    assert (place.folder / ended.out.strip()).is_file()


def test_the_models_are_listed(place):
    ended = place.call("models", "--json")
    assert ended.status == DONE, ended.said
    assert {item["model"]["name"] for item in json.loads(ended.out)} == {"minilm", "smollm2", "e5-small"}


def test_the_module_is_the_command(place):
    """In a process that nothing has prepared."""
    place.run("head")
    command = [sys.executable, "-m", "kamerton", "predict", "head", "A warm film."]
    child = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stderr) == (DONE, "")
    assert child.stdout.strip() in ("good", "bad")


def test_no_output_of_a_pipe_that_closed_is_no_fault(place, tmp_path):
    """As in `kamerton predict RUN FILE | head -1`."""
    place.run("head")
    (tmp_path / "many.txt").write_text("A warm film.\n" * 3000, encoding="utf-8")
    script = f"{sys.executable} -m kamerton predict head - < {tmp_path}/many.txt | head -1; exit ${{PIPESTATUS[0]}}"
    child = subprocess.run(["bash", "-c", script], cwd=place.folder, capture_output=True, text=True, check=False)
    assert child.stdout.strip() in ("good", "bad")
    assert child.stderr == ""
