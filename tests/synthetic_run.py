"""A finished run made without training, by the run folder's own methods: for everything that reads runs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kamerton.core.files import json_text
from kamerton.core.outcomes import Answers, ContenderKind
from kamerton.core.records import (
    Event,
    Example,
    Finding,
    LedgerEntry,
    Place,
    Prediction,
    RowDynamics,
    SampleAnswer,
    Saved,
    Split,
    Stage,
    Started,
    Stepped,
    Stopped,
    Validated,
)
from kamerton.runs.logs import write_lines
from kamerton.runs.recipe import Decision, resolve
from kamerton.runs.run import LOG, MODEL, PREDICTIONS, RESULT, Run, record_of
from kamerton.runs.state import State
from kamerton.runs.underway import CONTENDERS, DATA, TRAINING, UnderwayFile

STEPS = 240


@dataclass(frozen=True)
class Words:
    """Everything in a run that a stranger may have written."""

    texts: Sequence[str]
    golds: Sequence[str]
    file: str = "reviews.csv"
    remark: str = "reviews.csv:17: The plot is a knot that nobody unties."
    answers: Sequence[str] = ()
    """What the tuned model writes, by row; if empty, mostly the right answers."""


@dataclass(frozen=True)
class Shape:
    """What differs between kinds of run."""

    task: str
    method: str
    metrics: tuple[str, ...]
    task_type: str


CLASSIFICATION = Shape("text-classification", "lora", ("macro-f1", "accuracy", "mcc"), "SEQ_CLS")
GENERATION = Shape("instruction", "full", ("chrf", "exact-match", "perplexity"), "CAUSAL_LM")

REVIEWS = Words(
    [
        "A warm and funny film, and the cast is having the time of its life.",
        "I want those two hours back.",
        "Тёплый и смешной фильм, пересматриваю каждую зиму.",
        "Сюжет рассыпается на второй половине, а финал и вовсе скомкан.",
        "It is a film. It has a beginning and an end.",
        "Обычный фильм, ничего особенного.",
    ],
    ["positive", "negative", "positive", "negative", "neutral", "neutral"],
)
REQUESTS = Words(
    [
        "Name the capital of France.",
        "Переведи на русский.\n\ngood morning",
        "Make it polite.\n\nGive me that.",
        "Summarise the text in one sentence.\n\n" + "The river rises in the hills and falls slowly to the sea. " * 12,
    ],
    ["Paris", "доброе утро", "Could you give me that, please?", "It describes how a river runs to the sea. " * 9],
    "requests.jsonl",
    "requests.jsonl:17: the answer is empty",
)


def classification_run(folder: Path, words: Words = REVIEWS) -> Run:
    """Make a run that chose among labels and is shipped."""
    return _run(folder, CLASSIFICATION, words)


def unfinished_run(folder: Path, steps: int = STEPS, words: Words = REVIEWS) -> Run:
    """Make a run that was stopped after so many of twice the steps: split, contenders, and a part of the training."""
    run = classification_run(folder, words)
    with run.changing() as change:
        for name in (RESULT, MODEL, LOG, PREDICTIONS):
            change.remove(name)
    events: list[Event] = [Started(0, 2 * steps, 739_586, 22_713_216, "packed"), *steps_until(steps, words)]
    write_lines(run.path / LOG, [record_of(event) for event in events], 0o600)
    with run.changing():
        pass
    progress = UnderwayFile(run.path, 0o600)
    progress.begin(DATA)
    progress.note(Stage("read", words.remark, 0.41))
    progress.begin(CONTENDERS)
    progress.note(Stage("baselines", words.file, 2.3))
    progress.begin(TRAINING)
    progress.note(events[0])
    return run


def steps_until(steps: int, words: Words = REVIEWS, first: int = 1) -> list[Event]:
    """Make the events of a training from one step to another, with a validation every 30."""
    chance, found = random.Random(first), list[Event]()
    for step in range(first, steps + 1):
        loss = 0.18 + 0.9 * math.exp(-step / 45) + chance.gauss(0, 0.07)
        found.append(Stepped(step, step / 60, abs(loss), 5e-4, 1.4 + chance.random(), 1100, 0.11))
        if step % 30 == 0:
            score = 0.9 - 0.45 * math.exp(-step / 50)
            shown = [
                SampleAnswer(480 + i, words.texts[i], words.golds[i], words.golds[step > 30], 0.75) for i in (0, 1, 4)
            ]
            metrics = {"macro-f1": score, "accuracy": score}
            found.append(Validated(step, step / 60, 1.2 - score, metrics, step <= 180, tuple(shown)))
    return found


def generation_run(folder: Path, words: Words = REQUESTS) -> Run:
    """Make a run that wrote free text and proved nothing."""
    distinct = [f"{gold} ({i})" for i in range(STEPS) for gold in words.golds]
    run = _run(folder, GENERATION, replace(words, golds=distinct, texts=list(words.texts) * STEPS))
    result = run.result
    result["verdict"] |= {
        "decision": "not proven",
        "reason": "The difference to the prompted base model may be chance: more test rows would tell.",
        "difference": 0.0213,
        "low": -0.0184,
        "high": 0.0611,
        "p_value": 0.2871,
    }
    run.write_result(result)
    return run


def _run(folder: Path, shape: Shape, words: Words) -> Run:
    run = Run.create(folder, resolve(None, {"data.path": words.file, "train.epochs": 4, "seed": 7}))
    run.write_recipe(
        run.recipe.decide(
            {
                "data.task": Decision(shape.task, "'label' repeats 3 short values"),
                "model.name": Decision("minilm", "the smallest one that reads English"),
                "method.name": Decision(shape.method, "reaches what full training reaches, with a small file to keep"),
                "train.batch_size": Decision(16, "as the published sweeps use"),
                "train.learning_rate": Decision(5e-4, "lora, encoders: 4e-4 to 5e-4 (Hu et al. 2022, table 9)"),
            }
        )
    )
    libraries = {"torch": "2.13.0", "peft": "0.21.2"}
    run.write_state(State("0.1.0", "3.11.2", "Linux", 2, "cpu", libraries, seconds={"train": 81.7}))
    split = _split(words)
    run.write_data(split, _findings(words), _ledger(split, words))
    for event in _events(shape.metrics):
        run.append(event)
    run.write_dynamics(_dynamics(split))
    answers = _answers(split.test, words)
    run.write_answers(split.test, answers)
    name = "model/adapter_config.json" if shape is CLASSIFICATION else "model/config.json"
    with run.changing() as change:
        change.write(name, json_text({"task_type": shape.task_type, "architectures": ["LlamaForCausalLM"]}).encode())
    run.write_result(_result(shape, split, answers))
    return run


def _split(words: Words) -> Split:
    def part(first: int, rows: int) -> tuple[Example, ...]:
        return tuple(
            Example(i, Place(words.file, i + 2), words.texts[i % len(words.texts)], words.golds[i % len(words.golds)])
            for i in range(first, first + rows)
        )

    return Split(part(0, 480), part(480, 60), part(540, 96))


def _findings(words: Words) -> list[Finding]:
    return [
        Finding(
            "conflicts",
            "severe",
            "14 rows have the same text and different labels",
            "decide which label is right and mend the rows; they are dropped until then",
            tuple(range(636, 650)),
            tuple(range(636, 650)),
            (words.remark, words.remark * 8),
        ),
        Finding("length", "note", "3 rows are longer than the model takes", "raise model.max_tokens", (1, 2, 3)),
    ]


def _ledger(split: Split, words: Words) -> list[LedgerEntry]:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    kept = [LedgerEntry(e.id, e.place, fate, "drawn") for fate, part in parts.items() for e in part]  # type: ignore[arg-type]
    dropped = [LedgerEntry(i, Place(words.file, i + 2), "dropped", "same text, other label") for i in range(636, 650)]
    cut = [LedgerEntry(i, Place(words.file, i + 2), "cut", f"longer than 128 tokens: {words.file}") for i in (1, 2, 3)]
    return [*kept, *dropped, *cut]


def _events(metrics: Sequence[str]) -> list[Event]:
    chance = random.Random(3)
    events: list[Event] = [Started(0, STEPS, 739_586, 22_713_216, "flat, because the attention kernel allows it")]
    for step in range(1, STEPS + 1):
        rate = 5e-4 * min(step / 15, (STEPS - step) / (STEPS - 15))
        loss = 0.18 + 0.9 * math.exp(-step / 45) + chance.gauss(0, 0.07)
        events.append(Stepped(step, step / 60, abs(loss), rate, 1.4 + chance.random(), 1100, 0.11))
        if step % 30 == 0:
            score = 0.9 - 0.45 * math.exp(-step / 50) - 0.0002 * max(0, step - 180)
            loss = 0.31 + 0.8 * math.exp(-step / 40) + 0.0006 * max(0, step - 150)
            events.append(Validated(step, step / 60, loss, dict.fromkeys(metrics, score), step <= 180))
            events.append(Saved(step, 0.2))
    return [*events, Stopped(STEPS, 180, "all epochs done", 0.0412)]


def _dynamics(split: Split) -> list[RowDynamics]:
    chance = random.Random(11)
    rows = []
    for example in split.train:
        mean = min(0.99, max(0.02, chance.gauss(0.85, 0.2)))
        correctness = 1.0 if mean > 0.75 else 0.0 if mean < 0.3 else 0.5
        rows.append(RowDynamics(example.id, 4, mean, 0.6 * mean * (1 - mean) + 0.05 * chance.random(), correctness))
    return rows


def _answers(test: Sequence[Example], words: Words) -> list[Answers]:
    chance = random.Random(5)
    wrong = [*words.golds[1:], words.golds[0]]

    def answers(name: str, kind: ContenderKind, right: float, seconds: float) -> Answers:
        texts = [
            words.answers[i % len(words.answers)]
            if kind == "tuned" and words.answers
            else example.gold
            if chance.random() < right
            else wrong[words.golds.index(example.gold)]
            for i, example in enumerate(test)
        ]
        predictions = [Prediction(e.id, text, 0.9, 0.4, 1) for e, text in zip(test, texts, strict=True)]
        return Answers(name, kind, tuple(predictions), seconds)

    return [
        answers("lora on minilm", "tuned", 0.9, 1.9),
        answers("base, 3 shots", "prompt", 0.6, 4.1),
        answers("base, no shots", "base", 0.48, 1.7),
        answers("TF-IDF and logistic regression", "classic", 0.78, 0.3),
        answers("the commonest answer", "trivial", 0.33, 0.0),
    ]


def _result(shape: Shape, split: Split, answers: Sequence[Answers]) -> dict[str, Any]:
    golds = [example.gold for example in split.test]
    return {
        "schema": 1,
        "task": shape.task,
        "model": {"name": "minilm", "parameters": 22_713_216},
        "method": {"name": shape.method, "rank": 16},
        "trainable_parameters": 739_586,
        "data": {"rows": 650, "train": 480, "validation": 60, "test": 96, "dropped": 14},
        "primary_metric": shape.metrics[0],
        "metrics": list(shape.metrics),
        "signatures": {"chrf": "nrefs:1|case:mixed|version:2"} if "chrf" in shape.metrics else {},
        "lower_is_better": ["perplexity"],
        "contenders": [_contender(shape, golds, contender) for contender in answers],
        "verdict": {
            "decision": "ship",
            "against": "TF-IDF and logistic regression",
            "difference": 0.1146,
            "low": 0.0417,
            "high": 0.1875,
            "p_value": 0.0013,
            "minimum_detectable": 0.0892,
            "standing": "better",
            "margin": 0.02,
            "comparisons": [_against(other.name, 0.1146 + 0.1 * i) for i, other in enumerate(answers[1:])],
            "seeds": {"scores": [0.9, 0.88, 0.91], "mean": 0.897, "deviation": 0.015}
            | {"difference": 0.109, "low": 0.036, "high": 0.182},
            "reason": "The tuned model answers 11 more of 100 rows rightly than the best other way to do it.",
        },
        "forgetting": {
            "decision": "mild",
            "reason": "It lost a little of its general English.",
            "measured": [
                {"name": "English prose, nats a token", "base": 3.112, "tuned": 3.164, "change": 0.052}
                | {"low": 0.031, "high": 0.074}
            ],
        },
        "diagnosis": [
            {
                "name": "late overfitting",
                "evidence": "Validation loss rose from step 150 on while the training loss fell.",
                "remedy": "stop earlier (--epochs 3), or add rows",
            }
        ],
        **({"calibration": _calibration()} if shape is CLASSIFICATION else {}),
        "forecast": {
            "estimated": {"seconds": 95.0, "peak_bytes": 1_400_000_000, "updates": 300},
            "measured": {"seconds": 81.7, "peak_bytes": 1_288_490_188, "updates": 300},
        },
        "artefact": {"rows": 96, "largest_difference": 0.0},
        "warnings": ["Two test rows nearly repeat training rows."],
        "seconds": {"read": 0.41, "audit": 1.2, "contenders": 6.3, "train": 81.7, "evaluate": 4.6},
        "peak_memory_bytes": 1_288_490_188,
    }


def _against(name: str, difference: float) -> dict[str, Any]:
    ends = {"difference": difference, "low": difference - 0.07, "high": difference + 0.07}
    return {"name": name, "comparison": {**ends, "p_value": 0.0013, "minimum_detectable": 0.09}, "adjusted_p": 0.0052}


def _calibration() -> dict[str, Any]:
    def measures(scale: float) -> dict[str, Any]:
        values = {"ece": 0.08, "brier": 0.2, "nll": 0.4}
        return {n: {"value": v * scale, "low": v * scale - 0.02, "high": v * scale + 0.03} for n, v in values.items()}

    bins = [(0.45, 0.4), (0.62, 0.5), (0.78, 0.7), (0.91, 0.8), (0.98, 0.95)]
    right = [{"value": r, "low": r - 0.15, "high": min(1.0, r + 0.14)} for _, r in bins]
    reliability = [{"rows": 19, "score": s, "right": r} for (s, _), r in zip(bins, right, strict=True)]
    fitted = {"temperature": 1.42, "rows": 60, "before": measures(1.0), "after": measures(0.8), "chance": 0.061}
    return {**fitted, "reliability": reliability}


def _contender(shape: Shape, golds: Sequence[str], answers: Answers) -> dict[str, Any]:
    right = [prediction.text == gold for prediction, gold in zip(answers.predictions, golds, strict=True)]
    rate = sum(right) / len(right)
    half = 1.96 * math.sqrt(rate * (1 - rate) / len(right))
    measures = {
        name: {"value": rate - 0.013 * i, "low": rate - 0.013 * i - half, "high": rate - 0.013 * i + half}
        for i, name in enumerate(shape.metrics)
    }
    if answers.kind == "trivial" and "perplexity" in measures:
        del measures["perplexity"]
    return {"name": answers.name, "kind": answers.kind, "seconds": answers.seconds, "metrics": measures}
