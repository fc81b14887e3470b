"""The studio's frame: who is let in, the list of runs, notes, the bin; in a real browser and without one."""

from __future__ import annotations

import httpx2
import pytest

from studio_browser import (
    DESK,
    PHONE,
    faults_of_html,
    needs_browser,
    overflow,
    studio,
    violations,
    visitor,
)
from synthetic_run import classification_run, generation_run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio")
    classification_run(folder / "runs" / "reviews")
    generation_run(folder / "runs" / "docstrings <b>")
    with studio(folder) as started:
        yield started


def test_nobody_is_let_in_without_the_link(server):
    answer = httpx2.get(server.address)
    assert answer.status_code == 401 and "kamerton studio" in answer.text
    assert httpx2.get(server.address + "/enter?token=guess").status_code == 401


@needs_browser
def test_the_link_lets_one_browser_in(browser, server, inside):
    assert httpx2.get(server.link).status_code == 401  # it was used
    page = inside.page()
    page.click("text=Open the studio in another browser")
    link = page.inner_text("code.link")
    with visitor(browser, server, link) as other:
        assert other.page().inner_text("h1") == "Runs"
    assert httpx2.get(link).status_code == 401


@needs_browser
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_sites_can_change_nothing(server, inside, headers, status):
    cookies = {one["name"]: one["value"] for one in inside.context.cookies()}
    answer = httpx2.post(server.address + "/runs/reviews/delete", headers=headers, cookies=cookies)
    assert answer.status_code == status
    assert (server.folder / "runs" / "reviews").is_dir()


@needs_browser
@pytest.mark.parametrize(
    ("language", "width", "scheme"), [("en", PHONE, "dark"), ("ru", PHONE, "light"), ("ru", DESK, "dark")]
)
def test_pages_are_accessible(browser, server, inside, language, width, scheme):
    link = inside.page().request.post(server.address + "/link", headers={"Origin": server.address})
    address = link.text().partition('class="link">')[2].partition("<")[0]
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "locale": language}
    with visitor(browser, server, address, **options) as found:
        for path in ("/", "/bin", "/nowhere"):
            page = found.page(path)
            assert page.get_attribute("html", "lang") == language
            assert violations(page) == []
            assert faults_of_html(page.request.get(server.address + path).text()) == []
            assert overflow(page) == 0
        assert found.foreign() == []
        assert [told for told in found.complaints if "404" not in told] == []


@needs_browser
def test_the_list_follows_the_folder(server, inside):
    page = inside.page("/?q=later")
    assert page.inner_text("#runs") == "No run is like that."
    classification_run(server.folder / "runs" / "later")
    page.wait_for_selector("#runs .score:has-text('0.8')")  # it appears before it has its result


@needs_browser
def test_a_deleted_run_can_be_taken_back(server, inside):
    origin = {"Origin": server.address}
    page = inside.page()
    page.request.post(server.address + "/runs/reviews/delete", headers=origin)
    page.goto(server.address)
    assert page.locator("#runs a.name").all_inner_texts().count("reviews") == 0
    page.click("text=Bin")
    page.click("button:has-text('Take back')")
    assert "reviews" in page.locator("#runs a.name").all_inner_texts()


@needs_browser
def test_notes_and_tags_are_kept_and_found(server, inside):
    form = {"note": "<b>first</b>\r\nsecond", "tags": "urgent, <i>, urgent"}
    page = inside.page()
    page.request.post(server.address + "/runs/reviews/notes", headers={"Origin": server.address}, form=form)
    page.goto(server.address + "/?tag=urgent&q=SECOND")
    assert page.locator("#runs a.name").all_inner_texts() == ["reviews"]
    assert page.locator("#runs .tag").all_inner_texts() == ["urgent", "<i>"]
    assert page.inner_text("#runs .note") == "<b>first</b> second"


@needs_browser
def test_names_of_runs_are_no_paths(server, inside):
    page = inside.page()
    for path in ("/runs/..%2f..", "/runs/%2e%2e/notes", "/runs/.studio"):
        assert page.request.get(server.address + path, max_redirects=0).status == 404
