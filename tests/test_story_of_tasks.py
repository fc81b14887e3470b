"""Every task whose answers are written or weighed, from a file without a flag to a verdict, on the tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from kamerton.core.records import Validated
from kamerton.models.load import load_tokenizer
from kamerton.runs.run import Run
from stories import DONE, Place
from tiny_engines import facts_of

# of a name that PEFT asks for in every model
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ROWS = 24
THINGS = ("a clock", "a radio", "the window", "an old bicycle", "a short answer")
WORDS = (
    "apple", "bridge", "candle", "desert", "engine", "forest", "garden", "hammer", "island", "jacket", "kettle",
    "ladder", "market", "needle", "orange", "pencil", "quarry", "ribbon", "saddle", "tunnel", "umbrella", "valley",
    "window", "yellow", "zebra", "anchor", "basket", "cotton", "dagger",
)  # fmt: skip
ВЕЩИ = ("часы", "радио", "окно", "старый велосипед", "короткий ответ")
FLAGS = ("--set", "evaluate.resamples=200", "--set", 'evaluate.forgetting="off"', "--learning-rate", "1e-2",
         "--epochs", "2", "--set", "train.batch_size=8")  # fmt: skip


def chat(n: int) -> dict[str, object]:
    return {
        "conversations": [
            {"from": "human", "value": f"Name {THINGS[n % 5]} {n}."},
            {"from": "gpt", "value": f"It is {THINGS[n % 5]}."},
            {"from": "human", "value": f"Назови {ВЕЩИ[n % 5]}."},
            {"from": "gpt", "value": f"Это {ВЕЩИ[n % 5]}."},
        ]
    }


def preference(n: int) -> dict[str, object]:
    thing = THINGS[n % 5]
    return {"prompt": f"Name the thing {n}, {thing}.", "chosen": f"It is {thing}, yes.", "rejected": f"{n} no no."}


def feedback(n: int) -> dict[str, object]:
    thing, wanted = THINGS[n % 5], n % 3 > 0
    said = f"It is {thing}, yes." if wanted else f"{n} no no."
    asked = " ".join(WORDS[n * step % 29] for step in (1, 2, 5))
    return {"prompt": f"{asked}, {thing}?", "completion": said, "label": wanted}


def plain_text(n: int) -> dict[str, object]:
    return {"text": f"She opened {THINGS[n % 5]} and listened to {ВЕЩИ[n % 5]} for {n} hours."}


def translation(n: int) -> dict[str, object]:
    return {"en": f"{n} times {THINGS[n % 5]}", "ru": f"{ВЕЩИ[n % 5]}, {n} раз"}


def preference_within(n: int) -> dict[str, object]:
    row, asked = preference(n), {"role": "user", "content": f"Name the thing {n}."}
    return {side: [asked, {"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}


def genres_in_columns(n: int) -> dict[str, object]:
    own = genres(n)
    return {"text": own["text"], **{name: int(name in own["genres"]) for name in ("war", "love", "космос")}}


def quiz(n: int) -> dict[str, object]:
    return {"question": f"Which thing has number {n % 5}?", "choices": THINGS[:5], "answer": n % 5}


def genres(n: int) -> dict[str, object]:
    own = [label for bit, label in enumerate(("war", "love", "космос")) if (n + 1) >> bit & 1]
    return {"text": f"Film {n}: {' and '.join(own) or 'nothing'}.", "genres": own}


def code(n: int) -> dict[str, object]:
    return {
        "prompt": f"def f{n}(x):\n    y = x + {n}\n",
        "completion": "    return y",
        "tests": f"assert f{n}(1) == {n + 1}",
    }


CASES: dict[str, tuple[Callable[[int], dict[str, object]], str, tuple[str, ...]]] = {
    "chat": (chat, "decoder", ("--set", "evaluate.shots=0")),
    "preference": (preference, "decoder", ()),
    "feedback": (feedback, "decoder", ()),
    "language-modeling": (plain_text, "decoder", ("--set", "model.max_tokens=16")),
    "language-modeling masked": (plain_text, "masked", ()),
    "preference within": (preference_within, "decoder", ()),
    "multi-label": (genres, "encoder", ()),
    "multi-label in-columns": (genres_in_columns, "encoder", ()),
    "multiple-choice": (quiz, "decoder", ("--set", "evaluate.shots=0")),
    "translation seq2seq": (translation, "seq2seq", ("--set", "evaluate.shots=0")),
    "code-completion": (code, "decoder", ("--set", "task.run_tests=true", "--set", "evaluate.shots=0")),
}
LEARNT = {"preference", "feedback", "language-modeling", "language-modeling masked", "code-completion", "chat"}
"""What so few updates of so small a model can show."""


@pytest.fixture(scope="module")
def masked(place: Place, encoder_folder: Path) -> None:
    """A tiny BERT with a head for hidden tokens, beside the other models."""
    folder = place.folder / "masked"
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig.from_pretrained(encoder_folder)).save_pretrained(folder)
    load_tokenizer(facts_of(encoder_folder)).save_pretrained(folder)


def test_a_metric_without_a_value_on_validation_rows_leaves_the_choice_to_the_loss(place):
    data, out = place.folder / "partly-tried.jsonl", "partly-tried-run"
    rows = [code(n) for n in range(ROWS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    flags = ("--model", "decoder", "--method", "full", *CASES["code-completion"][2], *FLAGS)
    assert place.call("tune", data.name, "--out", f"{out}-1", *flags).status == DONE
    held = {example.id for example in Run(place.folder / f"{out}-1").read_split().validation}
    for id in held:
        del rows[id]["tests"]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = place.call("tune", data.name, "--out", out, *flags)
    assert ended.status == DONE, ended.said
    validated = [event for event in Run(place.folder / out).events() if isinstance(event, Validated)]
    assert all("pass-at-k" not in event.metrics for event in validated)
    assert [event.step for event in validated if event.best][-1] == min(validated, key=lambda e: e.loss).step


@pytest.mark.parametrize("name", CASES)
def test_a_file_without_a_flag_becomes_a_verdict(place, masked, name):
    make, model, flags = CASES[name]
    data = place.folder / f"{name.replace(' ', '-')}.jsonl"
    data.write_text("".join(json.dumps(make(n), ensure_ascii=False) + "\n" for n in range(ROWS)), encoding="utf-8")
    out = f"{data.stem}-run"
    ended = place.call("tune", data.name, "--model", model, "--method", "full", "--out", out, *flags, *FLAGS)
    assert ended.status == DONE, ended.said
    run = Run(place.folder / out)
    assert run.recipe.data.task == name.split()[0]
    result = json.loads((run.path / "result.json").read_text("utf-8"))
    scores = {one["name"]: one["metrics"] for one in result["contenders"]}
    labels = {one["name"] for one in result.get("per_class", [])}
    assert bool(labels) == name.startswith("multi-label")
    assert labels <= {"war", "love", "космос"}
    primary = result["primary_metric"]
    assert primary in scores["tuned model"]
    assert scores["base model"].keys() >= {primary}
    if name in LEARNT:
        losses = {
            answers.kind: sum(prediction.loss for prediction in answers.predictions)
            for answers in run.read_answers()
            if answers.kind in ("tuned", "base")
        }
        assert losses["tuned"] < losses["base"]
    if name.startswith(("preference", "feedback")):
        asking = place.folder / f"{data.stem}-prompts.jsonl"
        asking.write_text('{"prompt": "Name a thing."}\n{"prompt": "Назови вещь."}\n', encoding="utf-8")
        answered = place.call("predict", out, asking.name, "--json")
        assert answered.status == DONE, answered.said
        assert [json.loads(line)["score"] for line in answered.out.splitlines()] == [None, None]
