"""The verdict and the comparison in a real browser: filters, explanations, remedies; with scripts and without."""

from __future__ import annotations

import pytest

from studio_browser import DESK, PHONE, faults_of_html, needs_browser, overflow, studio, violations, visitor
from synthetic_run import classification_run, generation_run

VERDICT, COMPARISON = "/runs/reviews/verdict?show=better", "/compare?run=reviews&run=longer"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio")
    reviews = classification_run(folder / "runs" / "reviews")
    remedy = {"name": "underfitting", "evidence": "the loss hardly fell", "remedy": "--learning-rate 0.0003"}
    reviews.write_result(reviews.result | {"diagnosis": [remedy | {"changes": [{"train.learning_rate": 0.0003}]}]})
    longer = classification_run(folder / "runs" / "longer")
    longer.write_recipe(longer.recipe.model_copy(update={"seed": 8}))
    generation_run(folder / "runs" / "requests")
    with studio(folder) as started:
        yield started


@pytest.fixture(scope="module")
def plain(browser, server, inside):
    """A browser without scripts."""
    page = inside.page()
    page.click("text=Open the studio in another browser")
    with visitor(browser, server, page.inner_text("code.link"), java_script_enabled=False) as found:
        yield found


@needs_browser
@pytest.mark.parametrize(
    ("path", "language"), [(VERDICT, "en"), (VERDICT, "ru"), (COMPARISON, "en"), (COMPARISON, "ru")]
)
def test_pages_are_accessible_valid_and_ask_nobody_else(path, language, server, inside):
    inside.context.add_cookies([{"name": "kamerton_language", "value": language, "url": server.address}])
    page = inside.page(path)
    looks = [("light", PHONE), ("dark", DESK)] if language == "en" else [("dark", PHONE), ("light", DESK)]
    for scheme, width in looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        assert (violations(page), overflow(page)) == ([], 0), (scheme, width)
    answer = inside.context.request.get(server.address + path)
    assert faults_of_html(answer.text()) == [] and f'<html lang="{language}">' in answer.text()
    assert "style=" not in answer.text()
    assert (inside.foreign(), inside.complaints) == ([], [])
    inside.context.clear_cookies(name="kamerton_language")


@needs_browser
def test_rows_are_filtered_without_scripts(plain):
    page = plain.page("/runs/reviews/verdict")
    page.click("text=Tuned model worse")
    assert page.locator("table.rows tbody tr").count() == 8
    assert page.locator("table.rows .chip.worse").count() == 8
    page.select_option("select[name=label]", label="negative (32)")
    page.select_option("select[name=against]", label="base, no shots")
    page.fill("input[name=search]", "two hours")
    page.click("#rows button:has-text('Show')")
    assert page.locator("select[name=against] option:checked").inner_text() == "base, no shots"
    golds = {cell.inner_text() for cell in page.locator("table.rows td:nth-child(3)").all()}
    assert golds <= {"negative"} and page.url.endswith("#rows")
    assert page.locator(".shows a[aria-current=true]").inner_text().startswith("Tuned model worse")
    assert "On the 16 rows that this filter leaves" in page.inner_text("#rows")


@needs_browser
def test_a_term_is_explained_without_scripts(plain):
    page = plain.page("/runs/reviews/verdict")
    about = page.locator("#about-macro-f1")
    assert about.count() == 1 and not about.is_visible()
    page.locator("#contenders button[popovertarget=about-macro-f1]").first.click()
    assert about.is_visible() and "needs both precision and recall" in about.inner_text()
    page.keyboard.press("Escape")
    assert not about.is_visible()


@needs_browser
def test_runs_are_chosen_and_compared_without_scripts(plain):
    page = plain.page("/")
    for name in ("reviews", "longer"):
        page.check(f"input[name=run][value={name}]")
    page.click("text=Compare the chosen runs")
    assert page.locator("#pairs tbody tr").count() == 1
    assert page.locator("#courses polyline.run-2").count() == 3
    assert sorted(page.inner_text("#settings tbody").split()) == ["7", "8", "seed"]
    plain.page("/compare?run=reviews&run=requests")
    assert "the runs have no metric in common" in plain.context.pages[0].inner_text("main")
    assert "two to 6 runs can be compared" in plain.page("/compare?run=reviews").inner_text("main")
