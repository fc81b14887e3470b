"""Every term that a page explains is explained, in both languages, and so is every metric."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from kamerton.core import registry
from kamerton.core.messages import Message
from kamerton.core.outcomes import ContenderKind
from kamerton.i18n.voice import voice
from kamerton.report.html import environment
from kamerton.report.terms import EXPLAINED, metric_terms

SOURCE = Path(__file__).parent.parent / "src" / "kamerton"
CONTENDER = " contender"


def explained_in(template: Path) -> list[str]:
    """The keys that a template gives to `about` as they are."""
    calls = Environment().parse(template.read_text(encoding="utf-8")).find_all(nodes.Call)
    keys = [call.args[0] for call in calls if isinstance(call.node, nodes.Name) and call.node.name == "about"]
    return [key.value for key in keys if isinstance(key, nodes.Const)]


def test_every_term_of_a_template_has_an_explanation():
    found = {path.name: explained_in(path) for path in SOURCE.rglob("*.j2")}
    assert sum(map(len, found.values())) > 30
    assert {name: [key for key in keys if key not in EXPLAINED] for name, keys in found.items() if keys} == {
        name: [] for name, keys in found.items() if keys
    }
    assert {kind + CONTENDER for kind in ContenderKind.__args__} <= EXPLAINED.keys()


@pytest.mark.parametrize("language", ["en", "ru"])
def test_explanations_are_one_sentence_each(language):
    told = {name: voice(language).render(one.meaning) for name, one in EXPLAINED.items()}
    told |= {name: voice(language).render(one.meaning) for name, one in metric_terms(registry.names("metrics")).items()}
    assert [name for name, text in told.items() if not text.endswith(".") or ". " in text or len(text) > 220] == []


def test_every_metric_says_what_it_means():
    metrics = {word: registry.choose("metrics", word)().meaning for word in registry.names("metrics")}
    assert all(isinstance(meaning, Message) for meaning in metrics.values())
    assert len({str(meaning) for meaning in metrics.values()}) == len(metrics)


def test_a_button_leads_to_its_explanation_and_nothing_is_explained_twice():
    parts = environment("en").get_template("parts.html.j2").module
    button, all_of_them = str(parts.about("p-value")), str(parts.explanations(metric_terms(["chrf", "mae"])))
    assert 'popovertarget="about-p-value" aria-describedby="about-p-value">p-value</button>' in button
    ids = [part.partition('"')[0] for part in all_of_them.split('id="')[1:]]
    assert len(ids) == len(set(ids)) == len(EXPLAINED) + 2 and "about-p-value" in ids
