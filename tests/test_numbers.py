"""Where nothing is defined no score is shown: data sets that offer too little, by metric and by page."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import f1_score, matthews_corrcoef

from kamerton.core.figures import Figure, Style
from kamerton.core.message_json import from_json, message_from_json, message_to_json, to_json, without_templates
from kamerton.core.messages import between, msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, Place, Prediction, Validated
from kamerton.evaluate.calibration import calibrate, calibration_message
from kamerton.evaluate.score import class_results, measure, score, undefined
from kamerton.i18n.voice import voice
from kamerton.report.card import write_card
from kamerton.report.html import write_report
from kamerton.report.terminal import Screen
from kamerton.runs.run import Run
from synthetic_run import classification_run

ENDLESS = re.compile(r"\b(?:[Nn]a[Nn]|[Ii]nf(?:inity)?|None)\b")
ONCE = {"confidence": 0.95, "resamples": 100, "seed": 0}


def rows(golds: list[str], **fields: object) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 1), f"text {i}", gold, fields) for i, gold in enumerate(golds)]


TABLE = {
    "one class": (["a"] * 12, {}, {"macro-f1", "mcc", "weighted-f1"}, {"accuracy"}),
    "two classes": (["a", "b"] * 6, {}, set(), {"accuracy", "macro-f1", "mcc", "weighted-f1"}),
    "one row": (["a"], {}, {"macro-f1", "mcc"}, {"accuracy"}),
    "no label in any row": (["[]"] * 12, {}, {"micro-label-f1", "macro-label-f1"}, {"sample-f1", "accuracy"}),
    "no span in any row": (['["O", "O"]'] * 12, {}, {"span-f1", "macro-span-f1"}, {"token-accuracy"}),
    "one number": (["3.5"] * 12, {}, {"spearman", "pearson"}, {"mae", "rmse"}),
    "feedback of one kind": (["a", "b"] * 6, {"wanted": True}, {"feedback-auc", "feedback-margin"}, set()),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_metric_without_a_meaning_has_no_score_and_a_reason(name: str) -> None:
    golds, fields, without, defined = TABLE[name]
    examples, names = rows(golds, **fields), [*without, *defined]
    for texts in (golds, ["9"] * len(golds)):
        predictions = tuple(
            Prediction(e.id, text, wanted=fields.get("wanted")) for e, text in zip(examples, texts, strict=True)
        )
        assert set(undefined(examples, names)) == without
        scored = measure(examples, predictions, names)
        assert set(scored) == defined and all(map(math.isfinite, scored.values()))
        [contender] = score(examples, [Answers("tuned", "tuned", predictions, 1.0)], names, **ONCE)
        assert set(contender.metrics) == defined
        for one in undefined(examples, names).values():
            assert voice("ru").render(one) != str(one)


@pytest.mark.filterwarnings("ignore:A single label")
def test_where_we_differ_from_sklearn_it_has_a_number_for_one_class() -> None:
    assert matthews_corrcoef(["a"] * 5, ["a"] * 5) == 0
    assert f1_score(["a"] * 5, ["a"] * 5, average="macro") == 1
    assert undefined(rows(["a"] * 5), ["mcc", "macro-f1"]).keys() == {"mcc", "macro-f1"}


def test_a_class_without_rows_has_neither_recall_nor_f1_and_one_never_given_no_precision() -> None:
    examples = rows(["a", "a", "b"])
    found = {one.name: one for one in class_results(examples, [Prediction(i, t) for i, t in enumerate("aac")], "class")}
    assert (found["a"].precision, found["a"].recall, found["a"].f1) == (1, 1, 1)
    assert math.isnan(found["b"].precision) and (found["b"].recall, found["b"].f1) == (0, 0)
    assert found["c"].precision == 0 and math.isnan(found["c"].recall) and math.isnan(found["c"].f1)
    assert json.loads(json.dumps(to_json(found["c"]), allow_nan=False))["recall"] is None


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -1e300])
def test_no_style_of_numbers_writes_what_is_not_finite(language: str, value: float) -> None:
    for style in Style.__args__:
        written = voice(language).write(Figure(value, style))
        assert not ENDLESS.search(written) and len(written) < 20
    assert not ENDLESS.search(voice(language).interval(value, value))
    assert not ENDLESS.search(voice(language).interval(math.nan, 1.0))


def test_an_interval_without_a_width_is_told_in_words() -> None:
    assert voice("en").interval(2.0, 2.0) == "no width: equal in all resamples"
    assert voice("ru").interval(2.0, 2.0) == "нулевой: одинаково во всех выборках"
    assert str(between(1.0, 2.0)) == "1.000 to 2.000"


def test_json_has_null_for_what_is_not_finite_and_messages_come_back() -> None:
    text = json.dumps(
        to_json({"a": math.nan, "b": [math.inf], "c": Validated(1, 1.0, math.nan, {}, False)}), allow_nan=False
    )
    assert json.loads(text)["a"] is None
    message = msg("loss {loss} of {other}", loss=Figure(math.nan), other=math.inf)
    again = message_from_json(json.loads(json.dumps(message_to_json(message), allow_nan=False)))
    assert str(again) == "loss – of –"
    assert from_json({"a": None}) == {"a": None}


def drawn(seed: int, count: int, heat: float) -> tuple[list[str], list[Prediction]]:
    chance = np.random.default_rng(seed)
    logits = chance.normal(0, 1.5, (count, 3))
    true, said = (np.exp(t * logits) / np.exp(t * logits).sum(axis=1, keepdims=True) for t in (1.0, heat))
    golds = [int(chance.choice(3, p=row)) for row in true]
    return ["abc"[gold] for gold in golds], [
        Prediction(i, "abc"[row.argmax()], float(row.max()), -math.log(row[gold]), 1, probabilities=tuple(row.tolist()))
        for i, (row, gold) in enumerate(zip(said, golds, strict=True))
    ]


def test_a_temperature_that_may_be_chance_is_not_kept() -> None:
    kept = []
    for seed in range(60):
        _, validation = drawn(seed, 60, heat=1.0)
        golds, test = drawn(seed + 1000, 60, heat=1.0)
        found = calibrate(validation, rows(golds), test, **ONCE)
        assert found is not None
        kept.append(found.temperature != 1)
        if not kept[-1]:
            assert found.before == found.after and calibration_message(found) is None
    assert sum(kept) <= 8  # 5% by chance
    _, validation = drawn(0, 60, heat=4.0)
    found = calibrate(validation, rows(golds), test, **ONCE)
    assert found is not None and found.temperature > 1.5
    broken = [replace(one, loss=math.nan) for one in validation]
    found = calibrate(broken, rows(golds), test, **ONCE)
    assert found is not None and found.temperature == 1


def degenerate(folder: Path) -> Run:
    """Make a finished run with an undefined metric, one that has overflown, a null and an interval without a width."""
    run = classification_run(folder)
    result = json.loads(json.dumps(run.result))
    why = msg("{metric} is undefined on the test rows: {reason}", metric="mcc", reason=msg("all rows are of one class"))
    result.pop("said", None)
    result["warnings"] = [why]
    for at, one in enumerate(result["contenders"]):
        one["metrics"].pop("mcc", None)
        one["metrics"]["perplexity"] = (
            {"value": 1e304, "low": 1e304, "high": 1e304} if at else dict.fromkeys(("value", "low", "high"))
        )
    result["verdict"] |= {"low": result["verdict"]["difference"], "high": result["verdict"]["difference"]}
    result["verdict"]["minimum_detectable"] = 0.0
    result["calibration"]["temperature"] = 1.0
    run.write_result(result)
    for event in run.events()[-1:]:
        run.append(Validated(event.step, 4.0, math.nan, {"accuracy": math.nan}, False))
    return run


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_page_shows_a_score_where_none_is_defined(tmp_path: Path, language: str) -> None:
    run = degenerate(tmp_path / "run")
    file = io.StringIO()
    screen = Screen(Console(file=file, width=200), voice(language))
    screen.show_verdict(run)
    for event in run.events():
        if isinstance(event, Validated):
            screen.show(event)
    pages = {
        "terminal": file.getvalue(),
        "report": re.sub(r"<style>.*?</style>|<pre.*?</pre>", "", write_report(run, language).read_text(), flags=re.S),
        "card": write_card(run, language).read_text().partition("```python")[0],
        "json": json.dumps(without_templates(run.result), allow_nan=False),
    }
    said = {
        "en": "mcc is undefined on the test rows: all rows are of one class",
        "ru": "метрика mcc не определена на тестовых строках: все строки одного класса",
    }[language]
    for name, text in pages.items():
        assert not ENDLESS.findall(re.sub(r"<[^>]*>|`[^`]*`", "", text)), name
        assert (said if name != "json" else "mcc is undefined") in text, name
    assert "10¹⁵" in pages["report"] and "10¹⁵" in pages["card"]
    assert not re.search(r"\d{30}", pages["report"] + pages["card"] + pages["terminal"])
    alike = {"en": "no width: equal in all resamples", "ru": "нулевой: одинаково во всех выборках"}[language]
    assert all(alike in pages[name] for name in ("terminal", "report", "card"))
    helps = {"en": "No temperature surely helps", "ru": "ни одна температура не помогает"}[language]
    assert helps in pages["report"]
    not_finite = {"en": "the loss is not finite", "ru": "потери не выражаются числом"}[language]
    assert not_finite in pages["terminal"]
