"""The report in Russian, the model card, and the page that compares runs."""

from __future__ import annotations

import html5lib
import pytest
from huggingface_hub import ModelCard

from kamerton.evaluate.compare import compare_as_first
from kamerton.report.card import write_card
from kamerton.report.html import write_comparison, write_report
from kamerton.report.outcome import read_outcome
from synthetic_run import classification_run, generation_run


@pytest.mark.parametrize("make", [classification_run, generation_run])
def test_a_russian_report_is_valid_and_says_so(make, tmp_path):
    path = write_report(make(tmp_path / "run"), "ru")
    text = path.read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(text)
    assert path.name == "report.ru.html" and '<html lang="ru">' in text
    assert "тестовых строках" in text and "Динамика обучения" in text
    assert "650 строк" in text and "1\u00a0мин 34\u00a0с" in text


def test_the_model_card_is_read_by_the_hubs_library(tmp_path):
    run = classification_run(tmp_path / "run")
    card = ModelCard.load(write_card(run))
    tuned = read_outcome(run).tuned
    front = card.data.to_dict()
    assert (front["library_name"], front["license"]) == ("peft", "apache-2.0")
    assert {r.metric_type: r.metric_value for r in card.data.eval_results} == {
        name: round(measure.value, 6) for name, measure in tuned.metrics.items()
    }
    assert all(contender.name in card.text for contender in read_outcome(run).contenders)
    assert "was computed as" not in card.text


def test_the_model_card_says_how_metrics_were_computed(tmp_path):
    text = write_card(generation_run(tmp_path / "run")).read_text(encoding="utf-8")
    warned = "|\n\n- Two test rows nearly repeat training rows.\n"
    assert f"{warned}- chrf was computed as `nrefs:1|case:mixed|version:2`\n\n##" in text


def test_several_runs_are_compared_on_one_valid_page(tmp_path):
    runs = [classification_run(tmp_path / name) for name in ("<b>one", "two")]
    outcomes = {str(run.path): read_outcome(run) for run in runs}
    page = write_comparison(compare_as_first(runs, metric="accuracy"), outcomes, tmp_path / "c.html", "ru")
    text = page.read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(text)
    assert "<b>" not in text and "Разница в парах" in text
