"""Trying a run beside its base, feedback that `ab` and a training read, and blind judging, in a browser."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.requests import Request

from kamerton.core.errors import RunError
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize
from kamerton.feedback.judging import read_choices
from kamerton.feedback.living import judge_log
from kamerton.plugins.tasks.preference import Preference
from kamerton.plugins.tasks.text_classification import TextClassification
from kamerton.runs.run import Run
from kamerton.studio import trying
from kamerton.studio.ratings import PreferredAnswer, RightAnswer, file_name, rating_files, record
from kamerton.studio.serving import ModelServer
from kamerton.studio.workspace import Workspace
from stories import Place
from studio_browser import (
    LINK,
    PHONE,
    Server,
    faults_of_html,
    needs_browser,
    overflow,
    violations,
    visitor,
)
from synthetic_run import REVIEWS, classification_run, generation_run

SLOW = 60_000
"""Milliseconds for what loads a model on a machine that is busy."""
SCHEMES = [("dark", "ru", PHONE)]
HOSTILE = "</textarea><img src=x onerror=alert(1)> \u202e {{ 7*7 }} \"'"


# ── the file of feedback ──────────────────────────────────────────────────────────────────────


def prefer(choice: str, at: int = 0) -> PreferredAnswer:
    return PreferredAnswer(prompt=f"Назови число {at}.", answers=(f"{at}", "I do not know."), choice=choice)


def test_preferences_are_a_log_of_outcomes_and_data_of_pairs(tmp_path: Path):
    choices = ["left"] * 40 + ["tie"] * 5 + ["right"] * 3
    for at, choice in enumerate(choices):
        kept = record(tmp_path, "answers", "decoder", prefer(choice, at))
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which?"}]
    record(tmp_path, "answers", "decoder", PreferredAnswer(prompt=turns, answers=("this", "that"), choice="left"))
    assert (kept.lines, [one.lines for one in rating_files(tmp_path)]) == (48, [49])
    verdict = judge_log(kept.path, first="answers")
    assert (verdict.wins, verdict.losses, verdict.ties, verdict.decision) == (41, 3, 5, "first is better")
    table = read_table(kept.path)
    found = recognize(table, None, {})
    assert (found.task, found.columns["chosen"], found.columns["rejected"]) == ("preference", "chosen", "rejected")
    examples = [one for one in make_examples(table, found, Preference()).examples if one.gold]
    assert len(examples) == 44  # a tie teaches nothing
    assert (examples[0].text, examples[0].gold) == ("Назови число 0.", "0")
    assert (examples[-1].fields["prompt"], examples[-1].gold) == (turns, "this")


def test_right_answers_are_scores_of_both_and_rows_with_labels(tmp_path: Path):
    for at in range(60):
        answers = ["bad", "good"] if at % 6 else ["good", "good"]
        said = RightAnswer(row={"text": f"скучно {at}"}, role="label", kind="class", answers=answers, right="bad")
        kept = record(tmp_path, "reviews", "TF-IDF + logistic regression", said)
        said = RightAnswer(
            row={"text": f"тепло {at}"}, role="label", kind="class", answers=["good", "good"], right="good"
        )
        record(tmp_path, "reviews", "TF-IDF + logistic regression", said)
    verdict = judge_log(kept.path, first="reviews")
    assert (verdict.wins, verdict.losses, verdict.ties) == (50, 0, 70)
    table = read_table(kept.path)
    found = recognize(table, None, {})
    assert (found.task, found.columns) == ("text-classification", {"text": "text", "label": "label"})
    made = make_examples(table, found, TextClassification())
    assert [(one.text, one.gold) for one in made.examples[:2]] == [("скучно 0", "bad"), ("тепло 0", "good")]

    alone = RightAnswer(row={"text": "x"}, role="label", kind="class", answers=["good"], right="bad")
    for at in range(40):
        answers = {"row": {"text": f"{at}"}, "right": ("bad", "good")[at % 2]}
        kept = record(tmp_path, "reviews", "", alone.model_copy(update=answers))
    assert recognize(read_table(kept.path), None, {}).columns == {"text": "text", "label": "label"}


def test_an_answer_alone_and_lists_of_labels_are_kept(tmp_path: Path):
    said = RightAnswer(row={"text": "a"}, role="labels", kind="classes", answers=['["x"]'], right='["x", "y"]')
    kept = record(tmp_path, "topics", "", said)
    [line] = map(json.loads, kept.path.read_text("utf-8").splitlines())
    assert (kept.name, line["arm"], line["outcome"], line["labels"]) == ("alone.jsonl", "topics", 0.0, ["x", "y"])


def test_names_of_arms_never_meet(tmp_path: Path):
    names = ["base", "base, 3 shots", "base. 3 shots", "../../x", "a/b", "a-b", "отзывы"]
    assert len({file_name(name) for name in names}) == len(names)
    assert not any("/" in file_name(name) or file_name(name).startswith(".") for name in names)
    kept = record(tmp_path, "tie", "tie", prefer("left"))
    record(tmp_path, "tie", "tie", prefer("right"))
    verdict = judge_log(kept.path)
    assert (verdict.wins, verdict.losses, verdict.ties) == (1, 1, 0)


# ── the models' process ───────────────────────────────────────────────────────────────────────

STUB = """
import http.server, json, os, sys, threading, time
from pathlib import Path
notes = Path(__file__).with_name("notes")
def note(what):
    with notes.open("a") as file:
        file.write(what + "\\n")
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_POST(self):
        assert self.headers["Authorization"] == "Bearer " + os.environ["KAMERTON_STUDIO_KEY"]
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"data: {}\\n\\n")
                time.sleep(0.01)
        except OSError:
            note("left")
if "tuned=broken" in sys.argv:
    sys.exit("kamerton: runs/broken: its model is damaged")
note(" ".join(sys.argv[1:]))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"event": "ready", "address": f"http://127.0.0.1:{server.server_port}"}), file=sys.stderr, flush=True)
sys.stdin.read()
note("ended")
"""


@pytest.fixture
def models(tmp_path: Path) -> ModelServer:
    (tmp_path / "stub.py").write_text(STUB)
    return ModelServer(tmp_path, (sys.executable, "-S", str(tmp_path / "stub.py")), idle=0.3)


def notes(models: ModelServer) -> list[str]:
    return (models.folder / "notes").read_text().splitlines()


def test_one_child_at_a_time_until_it_is_idle(models):
    async def use() -> None:
        first = await models.ready(("tuned=a", "--base"))
        assert await models.ready(("tuned=a", "--base")) is first
        assert (models.state(("tuned=a", "--base")), models.state(("tuned=b",))) == ("ready", "stopped")
        second = await models.ready(("tuned=b",))
        assert first.ended and not second.ended and first.key != second.key
        async with second.in_use():
            await asyncio.sleep(0.5)
            assert not second.ended  # it is busy, not idle
        async with asyncio.timeout(10):
            await second.process.wait()
        assert models.state(("tuned=b",)) == "stopped"

    asyncio.run(use())
    arguments = [line for line in notes(models) if line != "ended"]
    key = "--port 0 --key-env KAMERTON_STUDIO_KEY"
    assert arguments == [f"serve tuned=a --base {key}", f"serve tuned=b {key}"] and notes(models).count("ended") == 2


def test_why_a_child_cannot_serve_is_told(models):
    async def use() -> None:
        with pytest.raises(RunError, match="cannot be loaded: runs/broken: its model is damaged"):
            await models.ready(("tuned=broken",))

    asyncio.run(use())


def test_a_page_that_is_left_stops_the_answer(models):
    workspace = Workspace(models.folder)
    classification_run(workspace.runs / "reviews")
    studio = SimpleNamespace(workspace=workspace, models=models, language="en")
    sent = list[dict]()

    async def send(message: dict) -> None:
        sent.append(message)

    async def use() -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [],
            "path_params": {"name": "reviews", "path": "completions"},
            "app": SimpleNamespace(state=SimpleNamespace(studio=studio)),
        }  # fmt: skip
        asked = False

        async def first() -> dict:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"{}"}
            return await asyncio.Event().wait()

        answer = await trying.ask(Request(scope, first))
        await answer(scope, receive, send)
        async with asyncio.timeout(10):
            while "left" not in notes(models):
                await asyncio.sleep(0.02)
        await models.stop()

    async def receive() -> dict:
        while len(sent) < 5:
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    asyncio.run(use())
    assert len(sent) < 900


def test_the_process_ends_with_whoever_started_it():
    code = (
        "import runpy, time; from kamerton.studio import until_closed as one; "
        "runpy.run_module = lambda *_, **__: time.sleep(60); one.main()"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE) as process:
        process.stdin.close()
        assert process.wait(20) == -signal.SIGTERM


# ── pages ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trying")
    for name in ("answers", "head"):
        shutil.copytree(place.run(name).path, folder / "runs" / name)
    for model in ("encoder", "decoder"):
        (folder / model).symlink_to(place.folder / model)
    classification_run(folder / "runs" / "reviews", replace(REVIEWS, texts=[f"{HOSTILE} {at}" for at in range(6)]))
    generation_run(folder / "runs" / "requests <b>")
    words = ["studio", str(folder), "--port", "0", "--no-browser"]
    child = place.nursery.start("children:kamerton", words, cwd=folder)
    while not (found := LINK.search(child.out.read_text("utf-8"))):
        assert not child.has_ended, child.wait().said
        time.sleep(0.02)
    yield Server(folder, child, found[0].rstrip("."))
    child.kill(signal.SIGTERM, group=False)
    ended = child.wait()
    assert ended.status == 0 and "Traceback" not in ended.said, ended.said


@needs_browser
def test_a_model_is_tried_beside_its_base_on_a_test_row_and_rated_with_one_key(server, inside):
    page = inside.page("/runs/answers/try")
    page.click("text=Surprise me with a test row")
    id = int(page.url.rpartition("=")[2])
    [row] = [one for one in Run(server.folder / "runs" / "answers").read_split().test if one.id == id]
    assert page.input_value("#text") == row.text and page.inner_text("#gold") == row.gold
    recorded = {one.name: one for one in Run(server.folder / "runs" / "answers").read_answers()}
    assert page.locator("tbody tr").count() == len(recorded)
    page.click("#go")
    assert "being loaded" in page.inner_text("#told")
    page.wait_for_selector("#rate-pair:visible", timeout=SLOW)
    tuned = next(one for one in recorded.values() if one.kind == "tuned")
    said = next(one.text for one in tuned.predictions if one.id == id)
    assert page.inner_text("#left").strip() == said.strip()
    assert page.inner_text("#beside-name") == "decoder"
    page.keyboard.press("2")
    page.wait_for_selector("#told:not(:empty)")
    assert page.inner_text("#told") == "kept in decoder.jsonl: 1 judgment"
    [line] = (server.folder / "runs" / "answers" / "ratings" / "decoder.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["winner"] == "decoder" and json.loads(line)["prompt"] == row.text
    page.click("text=What they show so far")
    assert "not decided between answers and decoder" in page.inner_text("main")
    page.click("text=Rate on")
    with page.expect_download() as download:
        page.click("#kept a")
    assert Path(download.value.path()).read_text("utf-8") == line + "\n"
    page.click("text=Prepare a run that learns from it")
    [upload] = (server.folder / ".studio" / "files").iterdir()
    assert page.url == f"{server.address}/new/{upload.name}"
    assert (upload / "answers-decoder.jsonl").read_text("utf-8") == line + "\n"


@needs_browser
def test_a_classifier_shows_probabilities_and_takes_the_right_label(server, inside):
    page = inside.page("/runs/head/try")
    page.fill("#text", HOSTILE)
    page.click("#go")
    page.wait_for_selector("#rate-label:visible", timeout=SLOW)
    shares = page.locator("#left meter").evaluate_all("all => all.map(one => one.value)")
    assert len(shares) == 2 and abs(sum(shares) - 1) < 1e-4 and shares == sorted(shares, reverse=True)
    assert "no trained head" in page.inner_text("#right")
    label = page.inner_text("#left p.text")
    page.keyboard.press("0")  # it is wrong, and there is one other label
    page.wait_for_selector("#told:not(:empty)")
    [line] = (server.folder / "runs" / "head" / "ratings" / "alone.jsonl").read_text("utf-8").splitlines()
    kept = json.loads(line)
    assert (kept["text"], kept["outcome"], {label, kept["label"]}) == (HOSTILE, 0.0, {"good", "bad"})
    page.goto(server.address + "/runs/head/try/surprise")
    page.wait_for_selector("#rate-label:visible", timeout=SLOW)  # the model is loaded: the row is asked at once
    page.keyboard.press("1")
    page.wait_for_selector("#told:not(:empty)")
    [file] = [one for one in rating_files(server.folder / "runs" / "head") if one.name != "alone.jsonl"]
    assert {"winner", "text", "label"} <= json.loads(file.path.read_text("utf-8")).keys()


@needs_browser
def test_a_run_that_cannot_be_loaded_is_told_plainly_and_recorded_answers_stay(server, inside):
    page = inside.page("/runs/reviews/try?row=540")
    page.click("#go")
    page.wait_for_selector(".told.wrong", timeout=SLOW)
    assert "cannot be loaded" in page.inner_text("#told") and "Traceback" not in page.inner_text("#told")
    assert page.inner_text("#gold") in ("positive", "negative", "neutral")


@needs_browser
def test_what_a_page_may_not_ask_is_refused(server, inside):
    page, origin = inside.page("/"), {"Origin": server.address}
    for path, status in (
        ("/runs/answers/v1/outcomes", 404),
        ("/runs/nobody/v1/classify", 404),
        ("/runs/answers/ratings", 400),
        ("/runs/answers/try/load?beside=..", 404),
        ("/judge?run=answers&judge=x", 400),
    ):
        assert page.request.post(server.address + path, headers=origin, data="{}").status == status, path
    assert page.request.get(server.address + "/runs/answers/ratings/..%2fresult.json").status == 404
    assert page.request.get(server.address + "/runs/answers/try?row=100000").status == 404
    text = page.request.get(server.address + "/runs/answers/try").text()
    assert "Bearer" not in text and "KEY" not in text


@needs_browser
def test_judges_choose_blindly_with_keys_go_back_and_see_the_statistics(server, inside):
    page = inside.page("/judge?run=reviews")
    page.fill("[name=judge]", "Анна")
    page.click("button.main")
    page.wait_for_url("**judge=**")  # and its script
    for key in ("1", "1", "Backspace", "2", "ArrowDown", "x"):
        before = page.url
        page.keyboard.press(key)
        if key != "x":
            page.wait_for_url(lambda url, before=before: url != before)
    page.click("text=What the choices show so far")
    assert "3 rows, 1 judge" in page.inner_text("main")
    with page.expect_download() as download:
        page.click("text=Save the choices")
    choices = read_choices(Path(download.value.path())).choices
    assert [one.choice for one in choices] == ["left", "right", "tie"]
    other = inside.page("/judge?run=reviews&judge=Bob")
    other.keyboard.press("1")
    other.wait_for_url("**at=1**")
    other.goto(server.address + "/judge/result?run=reviews")
    assert "2 judges" in other.inner_text("main") and "agree on" in other.inner_text("main")


@needs_browser
def test_judging_works_without_scripts(browser, server, inside):
    link = inside.page().request.post(server.address + "/link", headers={"Origin": server.address})
    address = link.text().partition('class="link">')[2].partition("<")[0]
    with visitor(browser, server, address, java_script_enabled=False) as plain:
        page = plain.page("/judge?run=requests%20%3Cb%3E&judge=C&reference=yes")
        page.click("button[value=right]")
        assert "2 of" in page.inner_text("main") and "Right answer" in page.inner_text("main")
        assert page.inner_text("h1") == "Which answer is better?"


@needs_browser
@pytest.mark.parametrize(("scheme", "language", "width"), SCHEMES)
def test_pages_are_accessible(browser, server, inside, scheme, language, width):
    page = inside.page("/judge?run=reviews&judge=Z")
    page.click("button[value=tie]")  # so that there is a result
    link = inside.page().request.post(server.address + "/link", headers={"Origin": server.address})
    address = link.text().partition('class="link">')[2].partition("<")[0]
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "locale": language}
    with visitor(browser, server, address, **options) as found:
        for path in (
            "/runs/requests%20%3Cb%3E/try?row=541&beside=reviews",
            "/runs/reviews/try?row=540",
            "/judge?run=reviews",
            "/judge?run=reviews&judge=D%3Cimg src=x%3E&reference=yes",
            "/judge/result?run=reviews",
        ):
            page = found.page(path)
            assert page.get_attribute("html", "lang") == language
            assert violations(page) == []
            assert faults_of_html(page.request.get(server.address + path).text()) == []
            assert overflow(page) == 0
            assert page.locator("img").count() == 0
        assert found.complaints == []
