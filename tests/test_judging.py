from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import html5lib
import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from kamerton.core.errors import DataError, RunError
from kamerton.core.outcomes import Answers, Judging
from kamerton.core.records import Example, Place, Prediction
from kamerton.feedback.judging import Choice, Choices, blind_pairs, judge_choices, read_choices
from kamerton.i18n.voice import voice
from kamerton.report.judging import WORDS, write_judging

EXAMPLES = [Example(i, Place("rows.csv", i + 1), f"запрос {i}", f"ответ {i}") for i in range(200)]


def answers(name: str, texts: list[str]) -> Answers:
    return Answers(name, "tuned", tuple(Prediction(i, text) for i, text in enumerate(texts)), 1.0)


def judging(rows: int = 200, seed: int = 3) -> Judging:
    first = answers("runs/new", [f"new {i}" if i % 4 else "the same" for i in range(200)])
    second = answers("runs/old", [f"old {i}" if i % 4 else "the same " for i in range(200)])
    return blind_pairs(first, second, EXAMPLES, rows=rows, seed=seed)


def chosen(asked: Judging, choices: list[Choice]) -> Choices:
    return Choices(1, asked.first, asked.second, asked.seed, asked.identical, tuple(choices))


def prefer(asked: Judging, name: str, start: int, stop: int) -> list[Choice]:
    """Choose the answers of one contender, wherever they stand."""
    return [Choice(p.id, "left" if p.left.startswith(name) else "right") for p in asked.pairs[start:stop]]


# ── pairs ─────────────────────────────────────────────────────────────────────────────────────


def test_only_rows_that_differ_are_judged_each_once_in_random_order_and_on_random_sides() -> None:
    asked = judging()
    assert (asked.identical, len(asked.pairs)) == (50, 150)
    ids = [pair.id for pair in asked.pairs]
    assert sorted(ids) == [i for i in range(200) if i % 4]
    assert ids != sorted(ids)
    for pair in asked.pairs:
        assert {pair.left, pair.right} == {f"new {pair.id}", f"old {pair.id}"}
        assert (pair.text, pair.reference) == (f"запрос {pair.id}", f"ответ {pair.id}")
    left = sum(pair.left.startswith("new") for pair in asked.pairs)
    assert binomtest(left, 150).pvalue > 0.01
    assert judging() == asked
    assert judging(seed=4) != asked
    assert judging(rows=10).pairs == asked.pairs[:10]


def test_contenders_that_answer_all_alike_cannot_be_judged() -> None:
    one = answers("one", ["x"] * 200)
    with pytest.raises(RunError, match="answer every row alike"):
        blind_pairs(one, replace(one, name="two"), EXAMPLES, rows=10, seed=0)


# ── the page ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_page_is_valid_asks_no_network_and_does_not_tell_whose_answer_is_which(
    tmp_path: Path, language: str
) -> None:
    hostile = "</script><img src=x onerror=alert(1)> \x1b[2J\u202e & <b>"
    asked = judging(rows=20)
    asked = replace(asked, pairs=(replace(asked.pairs[0], left=hostile), *asked.pairs[1:]))
    page = write_judging(asked, tmp_path / "judge.html", language=language, reference=False).read_text("utf-8")
    html5lib.HTMLParser(strict=True).parse(page)
    assert voice(language).render(WORDS["title"]) in page
    assert not re.search(r"https?:|src=(?!x)|@import|url\(", page)
    assert "default-src 'none'" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))
    assert data["about"] == {"schema": 1, "first": "runs/new", "second": "runs/old", "seed": 3, "identical": 50}
    assert data["pairs"][0]["left"] == "</script><img src=x onerror=alert(1)>  & <b>"
    assert {key for pair in data["pairs"] for key in pair} == {"id", "text", "reference", "left", "right"}
    assert {pair["reference"] for pair in data["pairs"]} == {""}


def test_every_word_of_the_page_has_its_russian() -> None:
    assert [text for text in WORDS.values() if voice("ru").render(text) == str(text)] == []


# ── choices ───────────────────────────────────────────────────────────────────────────────────


def test_choices_are_counted_for_whoever_stood_there() -> None:
    asked = judging()
    ties = [Choice(pair.id, "tie") for pair in asked.pairs[60:70]]
    choices = [*prefer(asked, "new", 0, 40), *prefer(asked, "old", 40, 60), *ties]
    judged = judge_choices([chosen(asked, random.Random(0).sample(choices, 70))])
    assert (judged.wins, judged.losses, judged.ties, judged.rows, judged.identical) == (40, 20, 10, 70, 50)
    assert judged.p_value == pytest.approx(binomtest(40, 60).pvalue)
    wilson = binomtest(40, 60).proportion_ci(method="wilson")
    assert (judged.preferred.low, judged.preferred.high) == pytest.approx(tuple(wilson))
    assert judged.difference.value == pytest.approx(20 / 70)
    assert judged.position_p > 0.05
    assert judged.p_value < judged.anytime_p < 1
    assert (judged.agreement, judged.kappa) == (None, None)


def test_a_judge_who_always_takes_one_side_is_seen_and_prefers_nobody() -> None:
    asked = judging()
    judged = judge_choices([chosen(asked, [Choice(pair.id, "left") for pair in asked.pairs])])
    assert judged.position_p < 1e-6
    assert judged.p_value > 0.01


def test_two_judges_are_counted_by_majority_and_their_agreement_told() -> None:
    asked = judging()
    first = prefer(asked, "new", 0, 60)
    second = [*prefer(asked, "new", 0, 45), *prefer(asked, "old", 45, 60)]
    judged = judge_choices([chosen(asked, first), chosen(asked, second)])
    assert (judged.wins, judged.losses, judged.ties) == (45, 0, 15)
    assert judged.agreement == pytest.approx(45 / 60)
    mixed = [*prefer(asked, "old", 0, 5), *first[5:]]
    judged = judge_choices([chosen(asked, mixed), chosen(asked, second)])
    votes = [[-1] * 5 + [1] * 55, [1] * 45 + [-1] * 15]
    assert judged.kappa == pytest.approx(cohen_kappa_score(*votes))


def test_what_the_page_saves_is_read_and_what_it_does_not_is_refused(tmp_path: Path) -> None:
    saved = {"schema": 1, "first": "a", "second": "b", "seed": 0, "identical": 2,
             "choices": [{"id": 4, "choice": "left", "seconds": 2.5}]}  # fmt: skip
    path = tmp_path / "choices.json"
    path.write_text(json.dumps(saved), encoding="utf-8")
    assert read_choices(path) == Choices(1, "a", "b", 0, 2, (Choice(4, "left", 2.5),))
    wrong = {**saved, "schema": 2, "choices": [{"id": "x", "choice": "both"}]}
    path.write_text(json.dumps(wrong), encoding="utf-8")
    with pytest.raises(DataError) as refused:
        read_choices(path)
    assert len(refused.value.faults) == 3
    for text, told in (("{", "not JSON"), (json.dumps({**saved, "choices": []}), "no choice was made")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=told):
            read_choices(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_choices(tmp_path / "none.json")


def test_choices_between_others_are_not_put_together() -> None:
    asked = judging()
    one = chosen(asked, prefer(asked, "new", 0, 5))
    with pytest.raises(DataError, match="another one is not"):
        judge_choices([one, replace(one, second="runs/third")])


def test_judges_without_a_preference_are_called_so_in_95_of_100() -> None:
    asked, generator = judging(), np.random.default_rng(0)
    trials = [
        judge_choices([chosen(asked, [Choice(p.id, generator.choice(["left", "right"])) for p in asked.pairs[:60]])])
        for _ in range(300)
    ]
    assert np.mean([one.p_value < 0.05 for one in trials]) <= 0.06
    assert np.mean([one.anytime_p < 0.05 for one in trials]) <= 0.05
