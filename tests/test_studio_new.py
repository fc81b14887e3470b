"""From a file to a started run: uploads, preparations, the form of all settings, and the way through a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import anyio
import html5lib
import pytest

from kamerton.core.errors import DataError, Fault, KamertonError, RunError
from kamerton.core.messages import Joined, Message
from kamerton.core.preparation import (
    Audited,
    Begun,
    Cleaned,
    CountedRows,
    PreparationRequest,
    Recognized,
    Refused,
    RunChoices,
    ShownRows,
)
from kamerton.models import catalog
from kamerton.planning import preparation
from kamerton.planning.preparation import settings_of
from kamerton.plugins.methods.lora import Lora
from kamerton.plugins.methods.p_tuning import PTuning
from kamerton.plugins.tasks.text_classification import TextClassification
from kamerton.runs.recipe import Recipe, resolve
from kamerton.runs.run import Run
from kamerton.session.new_run import new_run
from kamerton.studio.context import Studio
from kamerton.studio.guard import Session
from kamerton.studio.jobs import Jobs
from kamerton.studio.new import PLANS, STEPS, _delete, _start
from kamerton.studio.prepare import ADAPTERS, Preparations, Prepared
from kamerton.studio.render import render
from kamerton.studio.settings_form import WITHHELD, fields_of, read_settings, setting_fields, words_of
from kamerton.studio.uploads import Uploads, pasted_name, plain_name
from kamerton.studio.workspace import MissingError, Workspace
from stories import Place, write_reviews
from studio_browser import (
    DESK,
    LINK,
    PHONE,
    Server,
    chromium,
    faults_of_html,
    needs_browser,
    overflow,
    violations,
    visitor,
)
from test_studio_jobs import until

HOSTILE = (
    "<script>alert(1)</script>.csv", "a\" onload=\"x.csv", "'; DROP TABLE runs; --.csv", "{{ 7 * 7 }}.csv", "{% raw %}",
    "%2e%2e%2fetc%2fpasswd", "\u202egnp.csv", "a\x00b.csv", "\x1b[2Jb.csv", "CON.csv", "a\r\nSet-Cookie: x", "😀.csv",
    "\ud800.csv", "</textarea><img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "javascript:alert(1)",
    "~/.ssh/id", "$(reboot).csv", "`id`.csv", "-rf.csv", "a" * 300, "отзывы о фильмах (2).csv",
)  # fmt: skip
PLAN = RunChoices(
    (), 0, True, (), "lora",
    {**settings_of("task", TextClassification), "task.unsafe": {"type": "boolean"}},
    {"lora": settings_of("method", Lora), "p-tuning": settings_of("method", PTuning), "full": {}},
)  # fmt: skip
"""A plan of LoRA for a classifier."""
PATIENCE = 300_000
"""Milliseconds: the machine may be busy."""
ID = re.compile(r"/new/[0-9a-f]{16}$")


# ── uploads ───────────────────────────────────────────────────────────────────────────────────


def received(uploads: Uploads, name: str, *blocks: bytes, length: int | None = None) -> str:
    async def come() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    async def receive() -> str:
        return await uploads.receive(name, length, come())

    return anyio.run(receive)


def left(uploads: Uploads) -> list[str]:
    return [path.name for path in uploads.folder.iterdir()]


def test_a_file_comes_whole_and_is_its_owners_alone(tmp_path):
    uploads = Uploads(tmp_path)
    path = uploads.path(received(uploads, "rows.csv", b"text,label\n", b"a,b\n", length=15))
    assert (path.name, path.read_bytes()) == ("rows.csv", b"text,label\na,b\n")
    assert [one.stat().st_mode & 0o777 for one in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    assert uploads.path("0" * 16) is uploads.path("../../etc") is None


@pytest.mark.parametrize(
    ("blocks", "length", "rule"),
    [
        ([b"a" * 60, b"a" * 60], None, "larger than 100 bytes"),
        ([b"a"], 101, "larger than 100 bytes"),
        ([b"abc"], 4, "did not arrive whole"),
        ([], 0, "is empty"),
    ],
)
def test_a_file_that_is_refused_leaves_nothing(tmp_path, blocks, length, rule):
    uploads = Uploads(tmp_path, most_bytes=100)
    with pytest.raises(DataError, match=rule):
        received(uploads, "rows.csv", *blocks, length=length)
    assert left(uploads) == []


def test_a_full_disk_is_told_before_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**10, 10**10, 10**6))
    with pytest.raises(DataError, match="too little room"):
        received(Uploads(tmp_path), "rows.csv", b"a")


def test_a_sender_that_leaves_leaves_nothing(tmp_path):
    uploads = Uploads(tmp_path)

    async def come() -> AsyncIterator[bytes]:
        yield b"a" * 10**6
        raise ConnectionResetError

    async def receive() -> None:
        await uploads.receive("rows.csv", None, come())

    with pytest.raises(ConnectionResetError):
        anyio.run(receive)
    assert left(uploads) == []


@pytest.mark.parametrize("name", [*HOSTILE, "../../x", "a/b\\c", "\0", ".", "..", "", "*.csv", "a" * 9000, "s3://x/y"])
def test_a_name_is_only_a_name(tmp_path, name):
    plain = plain_name(name)
    assert plain == Path(plain).name and not plain.startswith((".", "-")) and plain.isprintable()
    assert not set(plain) & set("*?[]{}:/\\'\"`$<>&|;") and len(plain.encode()) < 200
    (tmp_path / plain).write_text("x")


def test_files_are_listed_and_deleted(tmp_path):
    uploads = Uploads(tmp_path)
    first, second = received(uploads, "a.csv", b"abc"), uploads.write("pasted.txt", "One.")
    os.utime(uploads.place(first), (1, 1))
    assert [(one.name, one.size) for one in uploads.every()] == [("pasted.txt", 4), ("a.csv", 3)]
    uploads.delete(second)
    uploads.delete("0" * 16)
    assert left(uploads) == [first]


def test_a_file_that_a_run_is_still_to_read_is_kept(tmp_path):
    studio = Studio(Workspace(tmp_path), Session("s" * 64), "en", "")
    id = studio.uploads.write("pasted.csv", "text,label\na,b")
    name = _start(studio, studio.uploads.path(id), {})
    with pytest.raises(RunError, match="has not read this file yet"):
        _delete(studio, id)
    studio.workspace.delete(name)
    _delete(studio, id)
    with pytest.raises(MissingError):
        _delete(studio, id)


def test_a_recipe_is_refused_for_it_names_files():
    for name in ("recipe.yaml", "a.YML"):
        with pytest.raises(DataError, match="recipe"):
            plain_name(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"text": "a", "label": "b"}\n{"text": "c", "label": "d"}', "pasted.jsonl"),
        ('[{"text": "a"}]', "pasted.json"),
        ('{\n "rows": []}', "pasted.json"),
        ("text\tlabel\na\tb", "pasted.tsv"),
        ("text;label\na;b", "pasted.csv"),
        ("text,label\n\na,b", "pasted.csv"),
        ("One sentence.\nAnother, with a comma.", "pasted.txt"),
    ],
)
def test_pasted_rows_get_the_ending_of_what_they_look_like(text, name):
    assert pasted_name(text) == name


# ── preparation ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "files" / "reviews.csv"
    path.parent.mkdir()
    write_reviews(path)
    return path


@pytest.fixture(scope="module")
def parts(reviews: Path, encoder_folder: Path) -> dict[type, object]:
    settings = {"model.name": str(encoder_folder), "method.name": "head"}
    found = list(preparation.prepare(PreparationRequest(str(reviews.parent), settings)))
    assert [part.step for part in found if isinstance(part, Begun)] == ["read", "model", "audit", "plan"]
    return {type(part): part for part in found}


def test_a_preparation_tells_what_the_commands_tell(parts, reviews):
    recognized, audited = parts[Recognized], parts[Audited]
    assert (recognized.task, recognized.roles) == (
        "text-classification",
        {"text": "text", "second": "", "label": "label"},
    )
    assert (recognized.rows, recognized.examples, recognized.columns) == (94, 93, ("text", "label"))
    assert [(one.rows, one.places) for one in recognized.left_out] == [(1, ("95",))]
    assert len(parts[ShownRows].views) == 3
    duplicates = next(one for one in audited.concerns if one.check == "exact-duplicates")
    assert [(row.place, row.dropped) for row in duplicates.rows] == [("93", True), ("94", True)]
    assert "first reviews.csv:93" in str(audited.used) and audited.mendable


def test_the_balanced_choice_is_what_tune_decides(parts):
    choices = {one.name: one for one in parts[RunChoices].choices}
    assert choices["balanced"].settings == {}
    assert choices["quick"].settings["train.epochs"] == 1
    assert choices["quick"].seconds < choices["balanced"].seconds < choices["best"].seconds
    assert {one.setting for one in parts[RunChoices].reasons} >= {"model.name", "train.learning_rate"}


def test_parts_come_back_from_their_file_as_they_were(parts, tmp_path):
    folder = tmp_path / ".studio" / "prepared" / "a"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(json.dumps({"folder": "/data", "settings": {"data.task": "x"}}))
    with (folder / "parts.jsonl").open("w") as file:
        for part in parts.values():
            preparation._write(file, part)
        file.write('{"part": "Refused", "fau')
    prepared = Preparations(tmp_path).read("a")
    assert prepared.parts == tuple(parts.values()) and prepared.done and not prepared.lost
    assert prepared.request == PreparationRequest("/data", {"data.task": "x"})
    assert Preparations(tmp_path).read("b") is None
    assert set(ADAPTERS) == {"Begun", "Cleaned", "Recognized", "ShownRows", "Audited", "RunChoices", "Refused"}


def test_a_cleaned_copy_lacks_the_rows_that_were_ticked(reviews, tmp_path, encoder_folder):
    before = reviews.read_bytes()
    request = PreparationRequest(str(tmp_path / "copy"), {}, str(reviews), (0, 1))
    steps = preparation.prepare(request)
    assert next(steps) == Begun("clean")
    cleaned = next(steps)
    assert isinstance(cleaned, Cleaned) and cleaned.dropped == 4 + 2
    copy = next((tmp_path / "copy").iterdir())
    assert len(copy.read_text("utf-8").splitlines()) == 1 + 94 - 6
    assert reviews.read_bytes() == before and [one.name for one in reviews.parent.iterdir()] == ["reviews.csv"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("rows.csv", b"\x00\x01\x02" * 99), ("rows.json", b"[" * 10_000), ("rows.zip", b"PK\x03\x04 no"), ("a.csv", b"a")],
)
def test_a_broken_file_has_the_faults_of_the_terminal(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(KamertonError) as told:
        list(preparation.prepare(PreparationRequest(str(tmp_path))))
    assert all(str(fault.place).startswith(name) for fault in told.value.faults if fault.place)


def hostile(value: object, text: str) -> object:
    """Put a text in the place of every text of a part, but for words that Kamerton chooses."""
    if is_dataclass(value) and not isinstance(value, type):
        names = {one.name for one in fields(value)} - {"check", "severity", "name", "step"}
        return replace(value, **{name: hostile(getattr(value, name), text) for name in names})
    if isinstance(value, tuple):
        return tuple(hostile(one, text) for one in value)
    if isinstance(value, Mapping):
        return {f"{text}{key}": hostile(one, text) for key, one in value.items()}
    return text if isinstance(value, str | Message | Joined) else value


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("language", ["en", "ru"])
def test_strangers_words_are_text_on_the_page(parts, text, language):
    odd = tuple(hostile(part, text) for part in parts.values() if not isinstance(part, Begun))
    refused = Refused((Fault(text, text, text),))
    cleaned = Cleaned(1, 1, 1, (CountedRows(text, 1, (text,)),))
    prepared = Prepared(PreparationRequest(text), (cleaned, *odd), False)
    shared = {"id": "0" * 16, "name": text, "steps": STEPS, "plans": PLANS, "words": words_of(), "chosen": "quick"}
    own = [replace(field, method=text) for field in fields_of(PLAN) if field.method]
    shared |= {"fields": [*setting_fields(), *own], "path": "/new/0", "here": "/new/0"}
    fault = {"train.epochs": [Fault(text, text, text)], "": [Fault(text, text, text)]}
    filled = {field.path: text for field in setting_fields()}
    for one in (prepared, replace(prepared, parts=(refused,)), replace(prepared, parts=(), error=text)):
        page = render(language, "prepared.html.j2", {**shared, "prepared": one, "faults": fault, "filled": filled})
        assert faults_of_html(page) == []
        found = html5lib.parse(page, namespaceHTMLElements=False)
        tags = {element.tag for element in found.iter()}
        assert not tags & {"img", "iframe", "object", "style", "svg"} and len(found.findall(".//script")) == 2
        assert not any(name.startswith("on") for element in found.iter() for name in element.attrib)


# ── all settings ──────────────────────────────────────────────────────────────────────────────


def test_the_form_has_every_setting_but_paths_and_addresses():
    paths = {setting.path for setting in Recipe().settings()}
    assert {field.path for field in setting_fields()} | set(WITHHELD) - {"task.unsafe"} == paths
    assert all(field.description and field.kind for field in setting_fields())
    usual = {field.path: field.usual for field in setting_fields()}
    assert (usual["train.warmup"], usual["train.epochs"], usual["prompt.nearest"]) == ("0.06", "", "true")


def test_what_is_filled_in_is_what_the_command_line_takes():
    filled = {
        "train.epochs": "2.5", "seed": "7", "train.learning_rate": "1e-4", "prompt.nearest": "false",
        "remedy.strengths": "0.9, 0.5", "data.columns": "text=review, label=stars", "method.name": "lora",
        "prompt.text": "Be kind: a, b", "train.batch_size": "", "remedy.names": "auto", "data.path": "/etc/passwd",
    }  # fmt: skip
    given = read_settings({name: [value] for name, value in filled.items()}, "rows.csv", {}, PLAN)
    assert given.faults == {}
    assert given.settings == {
        "train.epochs": 2.5, "seed": 7, "train.learning_rate": "1e-4", "prompt.nearest": False,
        "remedy.strengths": ["0.9", "0.5"], "data.columns": {"text": "review", "label": "stars"},
        "method.name": "lora", "prompt.text": "Be kind: a, b", "remedy.names": ["auto"],
    }  # fmt: skip


def test_all_faults_are_told_beside_their_fields():
    filled = {
        "train.epochs": "0", "train.learning_rate": "12", "method.name": "magic",
        "split.by": "group", "remedy.names": "prayer", "data.sheet": "evil.module:Class", "data.task": "a.b:C",
    }  # fmt: skip
    given = read_settings({name: [value] for name, value in filled.items()}, "rows.csv", {}, PLAN)
    assert set(given.faults) == {
        "train.epochs", "train.learning_rate", "method.name", "", "remedy.names", "data.sheet", "data.task",
    }  # fmt: skip


@pytest.mark.parametrize("text", [*HOSTILE, "nan", "-inf", "1e999", "{a: b}", "&a [*a]", "!!python/object:os.system"])
def test_no_text_in_a_field_is_a_traceback(text):
    given = read_settings({field.path: [text] for field in setting_fields()}, "rows.csv", {}, PLAN)
    assert given.faults


@pytest.mark.parametrize(
    ("filled", "settings", "told"),
    [
        (
            {"lora:method.rank": "8", "lora:method.targets": "query, value"},
            {"method.rank": 8, "method.targets": ["query", "value"]},
            "",
        ),
        ({"lora:method.rank": "2.5"}, {}, "a whole number is wanted"),
        ({"lora:method.rank": "0"}, {}, "a number of at least 1 is wanted"),
        ({"lora:method.dropout": "1"}, {}, "a number below 1 is wanted"),
        ({"lora:method.dropout": "much"}, {}, "a number is wanted"),
        ({"lora:method.init": "random"}, {}, "'random' is none of these"),
        (
            {"lora:method.rank": "8", "method.name": "full"},
            {},
            "this is a setting of 'lora', and another method is chosen",
        ),
        ({"method.rank": "8"}, {}, ""),  # of no method
        ({"p-tuning:method.tokens": "9", "method.name": "p-tuning"}, {"method.tokens": 9}, ""),
        ({"p-tuning:method.tokens": "0", "method.name": "p-tuning"}, {}, "a number of at least 1 is wanted"),
        ({"task.decoder": "classifier", "method.name": "full"}, {"task.decoder": "classifier"}, ""),
        ({"task.unsafe": "true"}, {}, ""),  # only the command line takes it
    ],
)
def test_methods_and_the_task_have_settings_of_their_own(filled, settings, told):
    """What is filled in comes to the run; what does not fit is told at its field."""
    given = read_settings({name: [value] for name, value in filled.items()}, "rows.csv", {}, PLAN)
    faults = [str(fault.rule) for faults in given.faults.values() for fault in faults]
    assert [told in fault for fault in faults] == [True] * bool(told)
    own = {path: value for path, value in given.settings.items() if path.startswith(("task.", "method."))}
    own.pop("method.name", None)
    assert told or own == settings
    assert told or resolve(None, {"data.path": "rows.csv", **given.settings}).method.knobs == {
        path.removeprefix("method."): value for path, value in own.items() if path.startswith("method.")
    }


# ── in a browser ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def cache(tmp_path_factory, encoder_folder) -> Path:
    """A cache folder in which a tiny encoder is each encoder that can be chosen."""
    cache = tmp_path_factory.mktemp("cache")
    for name in ("minilm", "e5-small"):
        folder = cache / "models" / name
        shutil.copytree(encoder_folder, folder)
        (folder / catalog.ORIGIN).write_text(json.dumps(catalog._origin(catalog.find(name))))
    return cache


@contextmanager
def warm_studio(place: Place, folder: Path, cache: Path) -> Iterator[Server]:
    """A studio whose processes start in milliseconds; it is killed at the end."""
    arguments = ["studio", str(folder), "--port", "0", "--no-browser"]
    child = place.nursery.start("children:kamerton_elsewhere", str(cache), arguments, cwd=folder)
    while not (found := LINK.search(child.out.read_text("utf-8"))):
        assert not child.has_ended, child.wait().said
        time.sleep(0.02)
    try:
        yield Server(folder, None, found[0].rstrip("."))
    finally:
        child.kill()
        child.wait()


@needs_browser
def test_a_new_file_becomes_a_run_in_few_clicks(tmp_path, reviews, cache, place: Place):
    """Three clicks and no typing: a run, which ends though the studio is killed."""
    with chromium() as browser, warm_studio(place, tmp_path, cache) as server:
        options = {"locale": "ru", "viewport": {"width": PHONE, "height": 800}}
        with visitor(browser, server, **options) as inside:
            page = inside.page("/new")
            assert violations(page) == [] and overflow(page) == 0
            page.set_input_files("#file", reviews)
            page.wait_for_url(ID)
            page.wait_for_selector(".bar", timeout=PATIENCE)
            page.click("#all-settings > summary")
            assert violations(page) == [] and overflow(page) == 0
            page.set_viewport_size({"width": DESK, "height": 800})
            assert overflow(page) == 0
            assert faults_of_html(page.request.get(page.url).text()) == []
            assert "обучение" in page.inner_text("#plans") and "reviews.csv" in page.inner_text("h1")
            page.check("[value=quick]")
            page.click(".bar button")
            page.wait_for_url("**/runs/reviews/live")
            assert inside.foreign() == [] and inside.complaints == []
    jobs, folder = Jobs(tmp_path), tmp_path / "runs" / "reviews"
    assert jobs.state("reviews") in ("running", "done")  # though the studio was killed
    with chromium() as browser, warm_studio(place, tmp_path, cache) as server, visitor(browser, server) as inside:
        page = inside.page("/runs/reviews")
        page.wait_for_url("**/runs/reviews/verdict", timeout=PATIENCE)
    until(lambda: jobs.state("reviews") != "running")  # the translated report comes after the verdict
    assert jobs.state("reviews") == "done" and (folder / "report.ru.html").exists()
    data = Path(Run(folder).recipe.data.path)
    assert (data.read_bytes(), data.stat().st_mode & 0o777) == (reviews.read_bytes(), 0o600)


@needs_browser
def test_the_settings_of_the_chosen_method_are_shown(tmp_path, reviews, parts, cache, place: Place):
    """Those of the plan's at first, then of the one that is chosen; a wrong one is told at its field."""
    id = "a" * 16
    copy, prepared = tmp_path / ".studio" / "files" / id, tmp_path / ".studio" / "prepared" / id
    copy.mkdir(parents=True)
    prepared.mkdir(parents=True)
    shutil.copy(reviews, copy)
    (prepared / "request.json").write_text(json.dumps({"folder": str(copy)}))
    with (prepared / "parts.jsonl").open("w") as file:
        for part in parts.values():
            preparation._write(file, part)
    with chromium() as browser, warm_studio(place, tmp_path, cache) as server, visitor(browser, server) as inside:
        page = inside.page(f"/new/{id}")
        shown = page.locator("fieldset[data-method]:not([hidden])")
        page.click("#all-settings > summary")
        assert [one.get_attribute("data-method") for one in shown.all()] == ["head"]
        page.select_option("[name='method.name']", "lora")
        assert [one.get_attribute("data-method") for one in shown.all()] == ["lora"]
        assert violations(page) == [] and overflow(page) == 0
        page.fill("[name='lora:method.rank']", "0")
        page.click(".bar button")
        assert "at least 1" in page.inner_text("[id='meaning-lora:method.rank']")
        assert page.input_value("[name='lora:method.rank']") == "0"
        assert [one.get_attribute("data-method") for one in shown.all()] == ["lora"]
        page.fill("[name='lora:method.rank']", "3")
        page.click(".bar button")
        page.wait_for_url("**/runs/reviews/live")
    recipe = Run(tmp_path / "runs" / "reviews").recipe
    assert (recipe.method.name, recipe.method.knobs) == ("lora", {"rank": 3})


def test_a_run_that_is_started_has_the_recipe_of_the_command_line(reviews, tmp_path):
    for choice in (preparation.QUICK, preparation.BEST, {}):
        place = Workspace(tmp_path / str(len(choice)))
        name = _start(Studio(place, Session("s" * 64), "en", ""), reviews, choice)
        again = new_run(reviews, tmp_path / f"again {len(choice)}", choice)
        assert (place.runs / name / "recipe.yaml").read_bytes() == (again.path / "recipe.yaml").read_bytes()
