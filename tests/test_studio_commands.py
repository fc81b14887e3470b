"""The other commands of a run from the studio's pages: forms, processes that outlive the studio, and downloads."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import time
from dataclasses import asdict
from pathlib import Path

import httpx2
import pytest

from kamerton.studio.processes import Commands, StartedCommand
from stories import Place
from studio_browser import (
    DESK,
    LINK,
    Server,
    chromium,
    faults_of_html,
    needs_browser,
    overflow,
    violations,
    visitor,
)

pytestmark = needs_browser
SCHEMES = [("light", "en", DESK)]
SLOW = 60_000
"""Milliseconds for what loads a model on a machine that is busy."""
ENDED = ".state.done, .state.failed, .state.stopped"


class OutlivingServer:
    """A studio that can be killed and started again at the same port."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder, self.port = place, folder, 0
        self.start()

    def start(self) -> None:
        words = ["studio", str(self.folder), "--port", str(self.port), "--no-browser"]
        self.child = self.place.nursery.start("children:kamerton", words, cwd=self.folder)
        while not (found := LINK.search(self.child.out.read_text("utf-8"))):
            assert not self.child.has_ended, self.child.wait().said
            time.sleep(0.02)
        self.server = Server(self.folder, self.child, found[0].rstrip("."))
        self.port = self.server.port

    def kill(self) -> None:
        self.child.kill(signal.SIGKILL)
        self.child.wait()


@pytest.fixture(scope="module")
def outliving(place: Place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    shutil.copytree(place.run("head").path, folder / "runs" / "head")
    for name in ("encoder", "reviews.csv"):
        (folder / name).symlink_to(place.folder / name)
    started = OutlivingServer(place, folder)
    yield started
    started.child.kill(signal.SIGTERM, group=False)
    ended = started.child.wait()
    assert ended.status == 0 and "Traceback" not in ended.said, ended.said


@pytest.fixture(scope="module")
def inside(outliving):
    with chromium() as browser, visitor(browser, outliving.server) as found:
        yield found
    assert found.foreign() == []


def run_to_its_end(page, title: str) -> str:
    page.goto(re.sub(r"(/commands).*", r"\1", page.url))
    page.click(f"button:has-text('Start: {title}')")
    page.wait_for_selector(ENDED, timeout=SLOW)
    return page.inner_text("#command")


def test_formats_are_listed_with_what_refuses_and_an_export_is_proven(outliving, inside):
    page = inside.page("/runs/head/commands")
    page.click("text=See which formats can take it")
    page.click("text=To the formats", timeout=SLOW)
    refused = page.inner_text(".refused")
    assert "gguf" in refused and "llama.cpp serves decoders that write" in refused
    assert "Export as onnx" in page.inner_text("main") and "Export as gguf" not in page.inner_text("main")
    page.click("text=Export as merged")
    page.wait_for_selector(ENDED, timeout=SLOW)
    assert "Export: merged done" in page.inner_text("#command").replace("\n", " ")
    assert "its logits for 8 test rows are the run's" in page.inner_text("#command")
    assert (outliving.folder / "runs" / "head" / "exported" / "merged" / "config.json").is_file()


def test_a_server_gets_its_key_once_and_outlives_the_studio(outliving, inside):
    page = inside.page("/runs/head/commands")
    page.fill("[name=port]", "0")
    assert not page.eval_on_selector("[name=port]", "one => one.checkValidity()")
    port = free_port()
    page.fill("[name=port]", str(port))
    page.click("button:has-text('Start: Serve')")
    key, models = page.inner_text("#key"), f"http://127.0.0.1:{port}/v1/models"
    page.wait_for_selector("#log:has-text('ready')", timeout=SLOW)
    assert httpx2.get(models).status_code == 401
    assert httpx2.get(models, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    outliving.kill()
    outliving.start()  # the browser is let in still
    page.goto(outliving.server.address + "/runs/head/commands")
    page.click("a:has-text('Serve')")
    assert "running" in page.inner_text("h2") and key not in page.content()
    assert httpx2.get(models).status_code == 401  # it is there all the time
    page.click("button:has-text('Stop')")
    page.wait_for_selector(ENDED, timeout=SLOW)
    assert "stopped" in page.inner_text("#log")
    with pytest.raises(httpx2.TransportError):
        httpx2.get(models)
    kept = [path for path in (outliving.folder / ".studio").rglob("*") if path.is_file()]
    assert not any(key.encode() in path.read_bytes() for path in kept)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_dialled_run_a_score_and_a_page_are_made(outliving, inside):
    page = inside.page("/runs/head/commands")
    rows = (outliving.folder / "reviews.csv").read_bytes()
    page.set_input_files("[data-send]", {"name": "../other.csv", "mimeType": "text/csv", "buffer": rows})
    page.wait_for_selector("option:has-text('other.csv')", state="attached")
    told = run_to_its_end(page, "Evaluate")
    assert "accuracy" in told and "95% interval" in told and "rows have a text that this run was trained on" in told
    page.goto(outliving.server.address + "/runs/head/commands")
    page.fill("[name=strength]", "0.5")
    page.select_option("[name=out]", "yes")
    page.click("button:has-text('Start: Dial')")
    page.click("text=To the new run", timeout=SLOW)
    assert page.inner_text("h1") == "head-dialled"


def test_a_page_that_a_command_made_has_its_look_and_no_script(outliving, inside):
    place = outliving.folder / ".studio" / "commands" / "0-curve"
    place.mkdir()
    made = StartedCommand("0-curve", "head", "curve", ("kamerton", "curve"), 0.0, {"page": "curve.html"})
    (place / "command.json").write_text(json.dumps(asdict(made)))
    (place / "end.json").write_text('{"status": 0}')
    (place / "curve.html").write_text(
        "<!doctype html><title>c</title><style>h1 { color: rgb(1, 2, 3) }</style><h1>Curve</h1>"
        "<script>document.querySelector('h1').textContent = 'run'</script>"
    )
    page = inside.page("/runs/head/commands/0-curve")
    page.click("text=Open the page that it made")
    assert page.inner_text("h1") == "Curve"
    assert page.eval_on_selector("h1", "one => getComputedStyle(one).color") == "rgb(1, 2, 3)"


def test_what_fails_says_so_and_is_remembered(outliving, inside):
    shutil.copytree(outliving.folder / "runs" / "head", outliving.folder / "runs" / "damaged <b>")
    (outliving.folder / "runs" / "damaged <b>" / "model" / "README.md").write_text("changed")
    page = inside.page("/runs/damaged%20%3Cb%3E/commands")
    told = run_to_its_end(page, "Verify")
    assert "failed" in told and "README.md" in told and "Traceback" not in told
    page.click("text=All commands of the run")
    assert page.inner_text(".started .state") == "failed"


@pytest.mark.parametrize(
    "form",
    [
        {"command": "serve", "port": "80", "host": "127.0.0.1"},
        {"command": "serve", "port": "8001", "host": "evil.example"},
        {"command": "evaluate", "file": "../../../etc/passwd"},
        {"command": "export", "to": "gguf"},
        {"command": "export", "to": "merged --out=/tmp"},
        {"command": "dial", "strength": "--out=/tmp/x", "out": ""},
        {"command": "tune"},
    ],
)
def test_what_a_form_does_not_offer_is_refused(outliving, inside, form):
    commands = Commands(outliving.folder)
    before = len(commands.all("head"))
    post = inside.page("/").request.post
    answer = post(
        outliving.server.address + "/runs/head/commands", form=form, headers={"Origin": outliving.server.address}
    )
    assert answer.status in (400, 422) and len(commands.all("head")) == before


def test_files_are_downloaded_by_name(outliving, inside):
    page = inside.page("/runs/head/commands")
    with page.expect_download() as download:
        page.click("a:has-text('the model card')")
    assert download.value.suggested_filename == "head-README.md"
    card = outliving.folder / "runs" / "head" / "model" / "README.md"
    assert Path(download.value.path()).read_bytes() == card.read_bytes()
    for name in ("environment.json", "..%2f..%2freviews.csv", "data/train.parquet"):
        assert page.request.get(outliving.server.address + f"/runs/head/files/{name}").status == 404


@pytest.mark.parametrize(("scheme", "language", "width"), SCHEMES)
def test_pages_are_accessible(outliving, inside, scheme, language, width):
    [last, *_] = Commands(outliving.folder).all("head")
    link = inside.page().request.post(outliving.server.address + "/link", headers={"Origin": outliving.server.address})
    address = link.text().partition('class="link">')[2].partition("<")[0]
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "locale": language}
    with visitor(inside.context.browser, outliving.server, address, **options) as found:
        for path in ("/runs/head/commands", f"/runs/head/commands/{last.id}"):
            page = found.page(path)
            assert page.get_attribute("html", "lang") == language
            assert violations(page) == []
            assert faults_of_html(page.request.get(outliving.server.address + path).text()) == []
            assert overflow(page) == 0
        assert found.complaints == []


def test_records_of_other_runs_and_damaged_ones_are_not_shown(outliving):
    commands = Commands(outliving.folder)
    assert commands.find("somebody", commands.all("head")[0].id) is None
    assert commands.find("head", "..") is None
    broken = outliving.folder / ".studio" / "commands" / "0-broken"
    broken.mkdir()
    (broken / "command.json").write_text(json.dumps({"id": "0-broken", "run": "head"}))
    assert commands.find("head", "0-broken") is None
