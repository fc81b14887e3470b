"""The learning curve: what is measured is honest, what is continued comes true, and what is too far is refused."""

from __future__ import annotations

import json
from pathlib import Path

import html5lib
import numpy as np
import pytest
from scipy.optimize import nnls

from kamerton.core import registry
from kamerton.core.errors import DataError
from kamerton.core.outcomes import Curve, Growth
from kamerton.core.records import Example, Prediction
from kamerton.core.records import Place as Line
from kamerton.planning.growth import LAWS, Counted, _fit, choose_sizes, count_heads, grow
from kamerton.report.curve import advice, gain_sentence, growth_chart, write_curve
from stories import DONE, MISTAKE, Place, reviews

ACCURACY = registry.choose("metrics", "accuracy")()
SIZES = np.array([100, 200, 400, 800, 1600])


def examples_of(golds: list[str]) -> list[Example]:
    return [Example(i, Line("rows.csv", i + 2), f"text {i}", gold) for i, gold in enumerate(golds)]


def simulated(seed: int, rows: int = 2000, a: float = 1.5, b: float = 0.4, c: float = 0.1) -> Counted:
    """Draw right and wrong answers whose rate follows a power law; hard rows are hard at every size."""
    random = np.random.default_rng(seed)
    hard = random.random(rows)
    wrong = np.stack([hard + random.normal(0, 0.05, (3, rows)) < a * n**-b + c for n in SIZES])
    golds = ["a"] * rows
    statistics = [[ACCURACY.statistics(golds, predictions(row)) for row in size] for size in wrong]
    return Counted(SIZES, np.array(statistics))


def predictions(wrong: np.ndarray) -> list[Prediction]:
    return [Prediction(i, "b" if no else "a") for i, no in enumerate(wrong)]


def continued(counted: Counted, target: int = 4000) -> Growth:
    return grow(counted, "accuracy", ACCURACY, rows=2000, target=target, confidence=0.95, seed=0)


# ── measuring ─────────────────────────────────────────────────────────────────────────────────


def heads(features: np.ndarray, golds: list[str], alike: list[int]) -> Counted:
    sizes = choose_sizes(len(golds), len(golds), "")
    *_, counted = count_heads(features, examples_of(golds), alike, ACCURACY, sizes, seed=0)
    assert isinstance(counted, Counted)
    return counted


def test_no_row_is_answered_by_a_head_that_saw_its_near_duplicate() -> None:
    random = np.random.default_rng(0)
    unlike = random.normal(size=(200, 300))
    features = np.repeat(unlike / np.linalg.norm(unlike, axis=1, keepdims=True), 2, axis=0)
    golds = np.repeat(random.choice(["a", "b"], 200), 2).tolist()
    bound = heads(features, golds, [i // 2 for i in range(400)])
    apart = heads(features, golds, list(range(400)))
    scores = [ACCURACY.value(counted.statistics[-1].sum(axis=(0, 1))) for counted in (bound, apart)]
    assert scores[0] < 0.62, "labels drawn at random cannot be known"
    assert scores[1] > 0.75, "but a copy gives them away"


def test_a_size_that_holds_one_class_only_is_answered_by_it() -> None:
    golds = ["a"] * 220 + ["b"] * 10
    features = np.random.default_rng(1).normal(size=(230, 4))
    counted = heads(features, golds, list(range(230)))
    assert ACCURACY.value(counted.statistics[0].sum(axis=(0, 1))) > 0.9


def test_sizes_double_and_too_few_rows_are_refused() -> None:
    assert choose_sizes(2000, 4000, "").tolist() == [99, 199, 399, 799, 1599]
    assert choose_sizes(202, 202, "")[0] == 10
    with pytest.raises(DataError, match="it takes 202"):
        choose_sizes(201, 201, "rows.csv")


@pytest.mark.parametrize(("target", "refused"), [(6396, False), (6397, True)])
def test_beyond_four_times_the_measured_rows_nothing_is_said(target: int, refused: bool) -> None:
    if not refused:
        assert choose_sizes(2000, target, "")[-1] == 1599
        return
    with pytest.raises(DataError, match="more than 4 times the 1,599") as caught:
        choose_sizes(2000, target, "")
    assert "6,396" in str(caught.value.faults[0].remedy)


# ── continuing ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("law", LAWS)
def test_fits_agree_with_non_negative_least_squares(law) -> None:
    random = np.random.default_rng(2)
    shapes, weights = law(SIZES / SIZES[-1]), random.random(5) + 0.1
    errors = np.abs(random.normal(0.2, 0.2, (40, 5)))
    best, factor, rest = _fit(shapes, weights, errors)
    root = np.sqrt(weights)
    for draw, error in enumerate(errors):
        off = []
        for shape in shapes.T:
            design = np.stack((shape, np.ones(5)), axis=1)
            off.append(nnls(design * root[:, None], error * root)[1])
        found = factor[draw] * shapes[:, best[draw]] + rest[draw]
        assert factor[draw] >= 0 and rest[draw] >= 0
        assert np.linalg.norm((found - error) * root) == pytest.approx(min(off), abs=1e-6)


def test_the_band_holds_what_the_law_of_the_answers_gives() -> None:
    held = gains = 0
    for seed in range(20):
        growth = continued(simulated(seed))
        truth = {n: 1 - (1.5 * n**-0.4 + 0.1) for n in (2000, 4000)}
        held += growth.target.score.low <= truth[4000] <= growth.target.score.high
        gains += growth.gain.low <= truth[4000] - truth[2000] <= growth.gain.high
    assert held >= 18 and gains >= 18


def test_farther_is_less_certain_and_never_worse() -> None:
    growth = continued(simulated(0), target=6000)
    values = [reach.score.value for reach in growth.line]
    assert values == sorted(values)
    width = {reach.rows: reach.score.high - reach.score.low for reach in growth.line}
    assert width[6000] > width[2000]
    assert growth.gain.low >= 0


def test_a_flat_curve_says_that_more_rows_hardly_help() -> None:
    growth = continued(simulated(0, a=0.0, c=0.3))
    assert growth.gain.high < 0.02
    assert "not at all" in str(advice(growth))


# ── the page and the command ──────────────────────────────────────────────────────────────────


def test_the_page_is_valid_and_asks_for_nothing(tmp_path: Path) -> None:
    growth = continued(simulated(3))
    page = write_curve(Curve("<b>.csv", "text-classification", "minilm", growth), tmp_path / "curve.html")
    html = page.read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(html)
    assert "<script" not in html and "<b>.csv" not in html
    assert str(gain_sentence(growth)) in html
    chart = growth_chart(growth)
    corners = [tuple(map(float, corner.split(","))) for corner in chart.band.split()]
    assert len(corners) == 2 * len(growth.line)
    assert all(-0.01 <= x <= 100.01 and -0.01 <= y <= 100.01 for x, y in corners)


def test_the_command_draws_the_curve(place: Place) -> None:
    rows = "".join(f'"{text}",{label}\n' for text, label in reviews(260))
    (place.folder / "many.csv").write_text("text,label\n" + rows, encoding="utf-8")
    ended = place.call("curve", "many.csv", "--model", "encoder", "--json", "--out", "many.html")
    assert ended.status == DONE, ended.said
    curve = json.loads(ended.out)
    assert curve["growth"]["target"]["rows"] == 2 * curve["growth"]["now"]["rows"] == 520
    assert len(curve["growth"]["measured"]) == 5
    assert (place.folder / "many.html").exists()


def test_the_command_says_why_it_cannot(place: Place) -> None:
    few = place.call("curve", "reviews.csv", "--model", "encoder")
    assert few.status == MISTAKE and "too few for a curve" in few.err
    written = place.call("curve", "answers.jsonl", "--model", "decoder")
    assert written.status == MISTAKE and "--max-rows" in written.err
