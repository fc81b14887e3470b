"""The page of a run under way, in a real browser: it follows the run, through any end of the server or the tab."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from kamerton.core.messages import msg
from kamerton.core.records import Started, Stepped, Stopped
from kamerton.runs.finishing import requested_epoch
from kamerton.runs.recipe import MethodSettings
from kamerton.runs.run import RESULT, Run
from kamerton.studio.context import Studio
from kamerton.studio.guard import Session
from kamerton.studio.live import ChartWish, fragments, shown
from kamerton.studio.workspace import Workspace
from studio_browser import (
    DESK,
    PHONE,
    faults_of_html,
    needs_browser,
    overflow,
    start,
    violations,
    visitor,
)
from synthetic_run import REVIEWS, classification_run, steps_until, unfinished_run

pytestmark = needs_browser

HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}'\"&\u202e\x1b[2J"
NAME = "hostile <i>&\"' #?%41 я"
PLACE = "/runs/reviews/live"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    unfinished_run(folder / "runs" / "reviews", 120)
    words = replace(REVIEWS, texts=[HOSTILE] * 6, golds=[HOSTILE, "b"] * 3, file=HOSTILE, remark=HOSTILE)
    unfinished_run(folder / "runs" / NAME, 60, words)
    (folder / ".studio" / "logs").mkdir(parents=True)
    (folder / ".studio" / "logs" / f"{NAME}.log").write_text(HOSTILE * 9)
    started = start(folder)
    yield started
    if started.process.poll() is None:
        assert started.kill(15) == 0


@pytest.fixture
def run(server):
    """The run of the page, as it is now."""
    return Run(server.folder / "runs" / "reviews")


def shows(page, step: int, timeout: float = 30_000) -> None:
    """Wait until a page shows an update."""
    page.wait_for_selector(f"#figures dd:has-text('{step} of 240')", timeout=timeout)


def test_an_event_appears_in_every_tab_soon_after_it_is_written(inside, run):
    pages = [inside.page(PLACE), inside.page(PLACE, beside=True)]
    for page in pages:
        shows(page, 120)
        assert page.locator("#samples article").count() == 3
        assert "negative" in page.inner_text("#samples")
    for event in steps_until(121, first=121):
        run.append(event)
    for page in pages:
        page.bring_to_front()
        shows(page, 121)  # how soon: `make bench-studio`
    assert not inside.foreign() and not inside.complaints


def test_nothing_is_lost_when_the_server_is_killed_and_started_again(server, inside, run):
    page = inside.page(PLACE)
    shows(page, 121)
    port = server.port
    server.kill()
    for event in steps_until(160, first=122):
        run.append(event)
    again = start(server.folder, port)
    server.process, server.link = again.process, again.link
    shows(page, 160, 10_000)
    assert page.locator("#charts circle.validation").count() == 5  # every 30 steps
    inside.complaints.clear()  # of the browser, about the server that was not there


def test_a_run_that_goes_on_from_a_checkpoint_is_shown_as_it_is(inside, run):
    page = inside.page(PLACE)
    shows(page, 160)
    run.record(Started(90, 240, 1, 1, msg("packed")))
    run.append(Stepped(91, 1.5, 0.3, 1e-3, 1.0, 100, 0.1))
    shows(page, 91)
    assert page.locator("#charts circle.validation").count() == 3  # those after the checkpoint are gone


def test_a_run_at_work_can_be_asked_to_end_with_its_epoch(inside, run):
    with run.files.locked():
        page = inside.page(PLACE)
        assert page.inner_text("#state .chip") == "running"
        page.click("text=Stop after this epoch and judge")
        assert "training ends after epoch 2" in page.inner_text("#state")
        assert requested_epoch(run.path) == 2
        run.append(Stopped(91, 90, msg("ended after epoch {epoch}, as was asked", epoch=2), 0.1, asked=True))
        page.wait_for_selector("text=Training is over: ended after epoch 2, as was asked")
        assert page.locator("text=Stop after this epoch").count() == 0
    page.wait_for_selector("#state .chip.stopped")


def test_how_charts_are_drawn_is_part_of_the_address(inside):
    page = inside.page(PLACE + "?axis=log&zoom=half&smoothing=none")
    assert page.locator("#charts polyline.smooth").count() == 0
    assert page.input_value("select[name=axis]") == "log"
    page.select_option("select[name=smoothing]", "strong")
    page.wait_for_selector("#charts polyline.smooth")
    assert "axis=log" in page.url and page.url.endswith("#course-heading")
    assert page.request.get(page.url.replace("axis=log", "axis=%3Cscript%3E")).ok


def test_the_page_reads_without_scripts(browser, server, inside):
    with visitor(browser, server, java_script_enabled=False, storage_state=inside.context.storage_state()) as found:
        page = found.page(PLACE)
        assert "without JavaScript" in page.inner_text("noscript")
        assert page.locator("#charts svg").count() > 2 and page.locator("#stages tbody tr").count() == 2


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_page_is_accessible_and_hostile_words_are_words(browser, server, inside, language):
    path = f"/runs/{quote(NAME)}/live"
    with visitor(browser, server, storage_state=inside.context.storage_state(), locale=language) as found:
        page = found.page(f"/runs/{quote(NAME)}")
        assert page.url == server.address + path
        assert page.locator(".places [aria-current]").count() == 1
        assert page.get_attribute("html", "lang") == language
        assert faults_of_html(page.request.get(server.address + path).text()) == []
        for scheme, width in (("light", PHONE), ("dark", DESK), ("dark", PHONE), ("light", DESK)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 800})
            assert (violations(page), overflow(page)) == ([], 0)
        page.wait_for_timeout(500)  # the stream has sent its parts
        assert page.locator("main :is(img, i)").count() == 0 and page.inner_text("#samples").count("onerror") > 2
        assert found.foreign() == [] and found.complaints == []


def test_the_page_leads_to_the_verdict(inside, server, run, tmp_path):
    done = classification_run(tmp_path / "done")
    page = inside.page(PLACE)
    shows(page, 91)
    run.write_result(done.result)
    page.wait_for_url("**/runs/reviews/verdict")
    assert (run.path / RESULT).exists()


def test_the_page_of_a_run_that_is_deleted_leads_to_the_list(inside, server):
    page = inside.page(f"/runs/{quote(NAME)}/live")
    inside.context.request.post(f"{server.address}/runs/{quote(NAME)}/delete", headers={"Origin": server.address})
    page.wait_for_url(server.address + "/")
    assert NAME not in page.locator("#runs a.name").all_inner_texts()


def test_task_model_and_method_are_sent_as_they_are_decided(tmp_path):
    studio = Studio(Workspace(tmp_path), Session("x" * 64), "en", "http://127.0.0.1:1")
    run = unfinished_run(studio.workspace.runs / "run", 60)

    def lead() -> str:
        return fragments("en", shown(studio, "run", ChartWish()))["lead"]

    before, recipe = lead(), run.recipe
    run.write_recipe(recipe.model_copy(update={"method": MethodSettings(name="ia3")}))
    assert (before.count(" · "), before.replace(f" · {recipe.method.name}", " · ia3")) == (2, lead())
