"""The rows of a verdict: filters and scores, by counting again; and strangers' words on the pages about runs."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import anyio
import html5lib
import httpx2
import pytest
from sacrebleu.metrics import CHRF

from kamerton.core import registry
from kamerton.core.errors import RecipeError, RunError
from kamerton.core.message_json import to_json
from kamerton.core.outcomes import Comparison
from kamerton.core.records import Started, Stepped
from kamerton.evaluate.diagnosis import diagnose
from kamerton.report.outcome import read_outcome
from kamerton.runs.columns import RunTables
from kamerton.runs.run import Run
from kamerton.statistics.comparison import paired_share_interval
from kamerton.statistics.intervals import wilson_interval
from kamerton.studio.again import begin, key_of, offers, recipe_with
from kamerton.studio.app import make_app
from kamerton.studio.comparing import beside, differing
from kamerton.studio.context import Studio
from kamerton.studio.guard import Session
from kamerton.studio.kept import Kept
from kamerton.studio.queue import Queue
from kamerton.studio.render import render
from kamerton.studio.rows import PAGE, Asked, RowTable
from kamerton.studio.verdict import shown
from kamerton.studio.workspace import Workspace
from kamerton.text.safe import safe_text
from synthetic_run import REVIEWS, classification_run, generation_run
from test_report import PAYLOADS, shape, spiked, words


def table_of(run: Run) -> RowTable:
    return RowTable(RunTables(run), read_outcome(run), 0.95, 0)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> RowTable:
    return table_of(classification_run(tmp_path_factory.mktemp("runs") / "reviews"))


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> RowTable:
    return table_of(generation_run(tmp_path_factory.mktemp("runs") / "requests"))


def right(table: RowTable, asked: Asked, at: int) -> list[tuple[bool, bool]]:
    """Whether the tuned model and another contender are right, on the rows of a label."""
    other = table.view(Asked(against=at)).against
    rows = zip(table.golds, table.tuned.predictions, other.predictions, strict=True)
    wanted = None if asked.label is None else table.labels[asked.label].name
    return [(p.text == gold, q.text == gold) for gold, p, q in rows if wanted in (None, gold)]


@pytest.mark.parametrize("asked", [Asked(), Asked(against=0), Asked(label=1), Asked(label=0, against=2)])
def test_counts_and_scores_are_those_of_the_rows_that_are_left(asked, reviews):
    view = reviews.view(asked)
    pairs = right(reviews, asked, reviews.usual if asked.against is None else asked.against)
    better, worse = pairs.count((True, False)), pairs.count((False, True))
    counts = {"all": len(pairs), "better": better, "worse": worse, "wrong": pairs.count((False, False))}
    assert view.of.counts == counts
    assert view.of.tuned == wilson_interval(sum(one for one, _ in pairs), len(pairs), 0.95)
    assert view.of.other == wilson_interval(sum(other for _, other in pairs), len(pairs), 0.95)
    found, wanted = view.of.difference, paired_share_interval(better, worse, len(pairs), 0.95)
    assert isinstance(found, Comparison)
    assert (found.difference, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))


def test_rows_chosen_by_how_they_were_answered_do_not_change_the_scores(reviews):
    every, better = reviews.view(Asked(label=2)), reviews.view(Asked(show="better", label=2))
    assert better.of == every.of
    assert len(better.rows) == better.of.counts["better"] > 0
    assert all(row.right == (True, False) and row.change == 1 for row in better.rows)


def test_filters_by_length_language_and_words_leave_what_they_say(reviews):
    for at, choice in enumerate(reviews.lengths):
        rows = reviews.view(Asked(length=at)).of.counts["all"]
        assert rows == choice.rows > 0
    assert sum(choice.rows for choice in reviews.lengths) == len(reviews.texts)
    named = {str(choice.name): at for at, choice in enumerate(reviews.languages)}
    shown = reviews.view(Asked(language=named["Russian"])).rows
    assert shown and all("фильм" in row.text.lower() or "Сюжет" in row.text for row in shown)
    assert {row.text for row in reviews.view(Asked.of({"search": "those TWO  hours"})).rows} == {
        "I want those two hours back."
    }
    nothing = reviews.view(Asked(search="no row has this"))
    assert (nothing.rows, nothing.pages, nothing.of.tuned) == ((), 1, None)


def test_answers_that_are_written_are_nearer_by_the_deciding_metric(requests):
    view = requests.view(Asked(show="better"))
    assert (requests.metric_name, requests.labels) == ("chrf", ())
    assert view.rows and [row.change for row in view.rows] == sorted((row.change for row in view.rows), reverse=True)
    row = view.rows[0]
    for text, found in zip((row.tuned, row.other), row.scores, strict=True):
        assert found == pytest.approx(CHRF().sentence_score(text, [row.gold]).score / 100)


def test_every_row_is_on_one_page(reviews):
    pages = [reviews.view(Asked(page=number)) for number in (1, 2, 99)]
    assert [len(one.rows) for one in pages] == [PAGE, len(reviews.texts) - PAGE, len(reviews.texts) - PAGE]
    assert pages[2].asked.page == pages[0].pages == 2
    assert [row.text for one in pages[:2] for row in one.rows] == reviews.texts


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"show": "secret", "against": "-1", "label": "²", "length": "9" * 99, "page": "0"},
        {
            "show": "worse",
            "against": "99999",
            "label": "99999",
            "language": "7",
            "search": "  a \n b ",
            "page": "99999",
        },
    ],
)
def test_any_query_is_answered_and_links_ask_for_the_same(query, reviews):
    asked = Asked.of(query)
    reviews.view(asked)
    pairs = dict(pair.split("=") for pair in asked.link(page=asked.page)[1:].split("&") if pair)
    assert Asked.of({name: value.replace("+", " ") for name, value in pairs.items()}) == asked


def test_what_is_kept_is_made_once_for_each_state_of_a_run(tmp_path):
    run, made = classification_run(tmp_path / "run"), list[int]()
    kept: Kept[int] = Kept(1)

    def make() -> int:
        made.append(len(made))
        return made[-1]

    assert [kept.of([run], make), kept.of([run], make)] == [0, 0]
    run.write_result(run.result | {"warnings": ["another"]})
    assert kept.of([run], make) == 1
    assert [kept.of([run], make, "other"), kept.of([run], make)] == [2, 3]  # one is kept at most


# ── pages ─────────────────────────────────────────────────────────────────────────────────────


TOGETHER = 4
"""Payloads of one run: each of its labels is one, each of its texts all of them."""


def studio_of(folder: Path) -> Studio:
    return Studio(Workspace(folder), Session("x" * 64), "en", "http://127.0.0.1:1")


def verdict_page(studio: Studio, name: str, asked: Asked) -> str:
    values = shown(studio, studio.workspace.run(name), asked)
    path = f"/runs/{name}/verdict"
    return render("en", "verdict.html.j2", {"path": path, "here": quote(path), **values})


def comparison_page(studio: Studio, names: list[str]) -> str:
    runs = [studio.workspace.run(name) for name in names]
    values = {"runs": {str(run.path): run.path.name for run in runs}, "of": beside(runs, "accuracy")}
    return render("en", "compare.html.j2", {"path": "/compare", "here": "/compare", **values})


def parsed(page: str):
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


def pages_about(folder: Path, payloads: list[str], name: str, other: Path) -> list[str]:
    """All pages about a run whose every text is a stranger's, its name included; it is compared with another one."""
    studio = studio_of(folder)
    spiked(studio.workspace.runs / name, payloads)
    shutil.copytree(other, studio.workspace.runs / "other")
    return [verdict_page(studio, name, Asked()), comparison_page(studio, [name, "other"])]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classification_run(tmp_path_factory.mktemp("other") / "other").path


@pytest.fixture(scope="module")
def benign(tmp_path_factory: pytest.TempPathFactory, other: Path) -> list[object]:
    folder = tmp_path_factory.mktemp("benign")
    return [shape(parsed(page)) for page in pages_about(folder, ["benign"] * TOGETHER, "run", other)]


@pytest.mark.parametrize("at", range(0, len(PAYLOADS), TOGETHER))
def test_strangers_words_add_no_element_and_no_attribute(at, benign, other, tmp_path):
    payloads = PAYLOADS[at : at + TOGETHER]
    name = payloads[0].replace("/", "∕").replace("\0", "")[:60].strip(". ") or "run"
    found = [parsed(page) for page in pages_about(tmp_path, payloads, name, other)]
    assert [shape(page) for page in found] == benign
    for payload in payloads:
        assert " ".join(safe_text(payload).split()) in words(found[0])


def test_words_that_were_searched_for_are_shown_as_text(tmp_path):
    studio = studio_of(tmp_path)
    run = classification_run(studio.workspace.runs / "run")

    def rows(search: str) -> Counter[str]:
        values = shown(studio, run, Asked.of({"search": f"no row has {search}", "show": "wrong"}))
        text = render("en", "rows.html.j2", {"path": "/runs/run/verdict", **values})
        return shape(html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parseFragment(text))

    usual = rows("benign")
    assert len(PAYLOADS) >= 60 and [payload for payload in PAYLOADS if rows(payload) != usual] == []


def test_old_runs_without_other_answers_have_a_verdict_without_rows(tmp_path):
    studio = studio_of(tmp_path)
    run = classification_run(studio.workspace.runs / "run")
    run.write_answers(run.read_split().test, [one for one in run.read_answers() if one.kind == "tuned"])
    page = parsed(verdict_page(studio, "run", Asked()))
    ids = [element.get("id") for element in page.iter("section")]
    assert "rows" not in ids and ids[:2] == ["verdict", "contenders"]


def test_runs_that_cannot_be_compared_show_their_courses_and_recipes(tmp_path):
    studio = studio_of(tmp_path)
    first = classification_run(studio.workspace.runs / "one")
    classification_run(studio.workspace.runs / "two", replace(REVIEWS, golds=REVIEWS.golds[::-1]))
    generation_run(studio.workspace.runs / "three")
    first.write_recipe(first.recipe.model_copy(update={"seed": 8}))
    text = comparison_page(studio, ["one", "two"])
    assert "only 0 are common to 96 of the first run and 96 of the second" in text and 'id="courses"' in text
    assert "seed 8 7" in {words(row) for row in parsed(text).iter("tr")}
    other = comparison_page(studio, ["one", "three"])
    assert "the runs have no metric in common" in other
    assert "method.name lora full" in {words(row) for row in parsed(other).iter("tr")}


# ── remedies ──────────────────────────────────────────────────────────────────────────────────


def with_remedies(run: Run) -> Run:
    steps = [Stepped(step, step / 50, 0.69, 1e-3, 1.0, 9, 0.1) for step in range(1, 201)]
    run.write_result(run.result | {"diagnosis": to_json(diagnose([Started(0, 200, 1, 1, ""), *steps]))})
    return run


def test_a_diagnosis_keeps_the_settings_of_its_remedy_and_the_page_offers_each(tmp_path):
    studio = studio_of(tmp_path)
    run = with_remedies(classification_run(studio.workspace.runs / "run"))
    [diagnosis] = read_outcome(run).diagnosis
    assert diagnosis.changes == ({"train.learning_rate": 0.003}, {"train.epochs": 8.0})
    page = parsed(verdict_page(studio, "run", Asked()))
    shown = {button.get("value"): words(button) for button in page.iter("button") if button.get("name") == "offer"}
    assert shown[key_of(diagnosis.changes[0])] == "Train again with train.learning_rate=0.003"
    assert shown[key_of({"remedy.names": ["auto"]})] == "Train again with remedy.names=auto"  # it forgot a little
    assert {form.get("action") for form in page.iter("form") if form.get("class") == "offers"} == {"/runs/run/again"}


def test_an_offer_begins_a_run_with_the_same_recipe_and_its_change(tmp_path):
    studio = studio_of(tmp_path)
    run = with_remedies(classification_run(studio.workspace.runs / "run"))
    key = key_of({"train.epochs": 8.0})
    assert [begin(studio, run, key), begin(studio, run, key)] == ["run-2", "run-3"]
    before, after = (dict(differing([run, studio.workspace.run("run-2")])), studio.workspace.run("run-2"))
    assert before == {"train.epochs": [4, 8.0]}
    assert not after.has_split and str(after.recipe.reasons["train.epochs"].reason) == "chosen from the verdict of run"
    with pytest.raises(RunError, match="not offered any more"):
        begin(studio, run, "0" * 16)


def test_another_model_opens_what_was_decided_for_the_old_one(tmp_path):
    recipe = classification_run(tmp_path / "run").recipe
    changed = recipe_with(recipe, {"model.name": "e5-small"}, "run")
    assert (changed.model.name, changed.train.learning_rate, changed.method.name) == ("e5-small", None, None)
    assert (changed.train.epochs, changed.seed) == (4, 7)  # the user's own


def test_a_result_from_elsewhere_cannot_have_its_code_run_or_leave_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv(registry.ALLOWED, "")
    run = classification_run(tmp_path / "run")
    evil = [{"method.name": "evil.module:Class"}, {"nowhere.name": 1}, {"reasons.x": 1}, {"train.epochs": "many"}]
    diagnosis = [{"name": "x", "evidence": "y", "remedy": "z", "changes": evil}]
    run.write_result(run.result | {"diagnosis": diagnosis})
    outcome, recipe = read_outcome(run), run.recipe
    offered = [*offers(outcome, [], recipe).values()]
    assert offered[:2] == [evil[0], evil[3]]
    recipe_with(recipe, evil[0], "run")
    assert registry.refused("evil.module:Class")
    with pytest.raises(RecipeError, match="a number is wanted, got 'many'"):
        recipe_with(recipe, evil[3], "run")


def test_a_remedy_begins_a_run_that_waits_in_the_queue(tmp_path, monkeypatch):
    monkeypatch.setattr(Queue, "start_worker", lambda _: None)
    shared = Studio(Workspace(tmp_path), Session("x" * 64), "en", "http://127.0.0.1")
    run = with_remedies(classification_run(shared.workspace.runs / "my run?"))

    async def ask() -> tuple[str, httpx2.Response, httpx2.Response]:
        transport = httpx2.ASGITransport(make_app(shared))
        cookies, headers = {shared.session.cookie: "x" * 56}, {"Origin": "http://127.0.0.1"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", cookies=cookies) as client:
            page = (await client.get("/runs/my%20run%3F/verdict")).text
            offer = page.partition('name="offer" value="')[2].partition('"')[0]
            again = "/runs/my%20run%3F/again"
            begun = await client.post(again, data={"offer": offer}, headers=headers)
            return page, begun, await client.post(again, data={"offer": "0" * 16}, headers=headers)

    page, begun, refused = anyio.run(ask)
    assert 'action="/runs/my%20run%3F/again"' in page
    assert (begun.status_code, begun.headers["location"]) == (303, "/runs/my%20run%3F-2/live")
    assert refused.status_code == 422 and "not offered any more" in refused.text
    assert shared.jobs.state("my run?-2") == "waiting"
    new = shared.workspace.run("my run?-2").recipe
    assert new.remedy.names == ("auto",)  # the first offer: the run forgot a little
    assert new.data.path == run.recipe.data.path


def test_runs_beside_each_other_are_compared_in_pairs(tmp_path):
    studio = studio_of(tmp_path)
    runs = [classification_run(studio.workspace.runs / name) for name in ("one", "two")]
    found = beside(runs, "accuracy")
    assert found.compared and [len(found.compared.scores), len(found.compared.pairs)] == [2, 1]
    assert found.metric == "accuracy" and found.settings == []
    assert found.courses.loss and [line.title for line in found.courses.loss.lines] == ["one", "two"]
