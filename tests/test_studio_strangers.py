"""No word of a stranger is markup on any page of the studio: of data, answers, notes, logs, names of files and runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import anyio
import html5lib
import httpx2
import pytest

from kamerton.studio.app import make_app
from kamerton.studio.context import Studio
from kamerton.studio.guard import Session
from kamerton.studio.workspace import Workspace
from kamerton.text.safe import safe_text
from synthetic_run import unfinished_run
from test_report import PAYLOADS, hostile, shape, spiked, words

TOGETHER = 6
"""Payloads of one run."""
DONE, UNDERWAY, DELETED = "done", "under way", "deleted"


def pages(folder: Path, payloads: Sequence[str], label: str) -> list[str]:
    """Return every page about runs whose texts and names are a stranger's; in `label` is what a name can hold of it."""
    studio = Studio(Workspace(folder), Session("x" * 64), "en", "http://127.0.0.1:1")
    names = {state: f"{label} {state}" for state in (DONE, UNDERWAY, DELETED)}
    runs = studio.workspace.runs
    spiked(runs / names[DONE], payloads)
    unfinished_run(runs / names[UNDERWAY], 60, hostile(payloads))
    spiked(runs / names[DELETED], payloads)
    word = " ".join(payloads)
    log = studio.jobs.log(names[UNDERWAY])
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(word, "utf-8", "surrogatepass")
    done, underway = (f"/runs/{quote(names[state], safe='')}" for state in (DONE, UNDERWAY))
    judged = urlencode({"run": names[DONE], "judge": word, "reference": "yes"})
    gets = [
        "/", f"/?{urlencode({'q': 'reviews', 'tag': word})}", f"/?{urlencode({'q': word})}", "/bin", f"{underway}/live",
        f"{done}/try", f"{done}/commands", f"/judge?{judged}", f"/judge?{urlencode({'run': names[DONE]})}",
        f"/runs/{quote(word[:80], safe='')}/verdict",
    ]  # fmt: skip

    async def ask() -> list[str]:
        transport = httpx2.ASGITransport(make_app(studio))
        cookies, headers = {studio.session.cookie: "x" * 56}, {"Origin": "http://127.0.0.1"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", cookies=cookies) as client:
            noted = await client.post(
                f"{done}/notes", data={"note": word, "tags": word.replace(",", "")}, headers=headers
            )
            gone = await client.post(f"/runs/{quote(names[DELETED], safe='')}/delete", data={}, headers=headers)
            assert (noted.status_code, gone.status_code) == (303, 303)
            found = [await client.get(path) for path in gets]
            assert [page.status_code for page in found] == [*[200] * (len(gets) - 1), 404]
            return [page.text for page in found]

    return anyio.run(ask)


def parsed(page: str):
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


@pytest.fixture(scope="module")
def benign(tmp_path_factory: pytest.TempPathFactory) -> list[Counter[str]]:
    found = pages(tmp_path_factory.mktemp("benign"), ["benign"] * TOGETHER, "benign")
    return [shape(parsed(page)) for page in found]


@pytest.mark.parametrize("at", range(0, len(PAYLOADS), TOGETHER))
def test_strangers_words_add_no_element_and_no_attribute(at, benign, tmp_path):
    payloads = PAYLOADS[at : at + TOGETHER]
    label = payloads[0].replace("/", "∕").replace("\0", "")[:60].strip(". ") or "run"
    found = [parsed(page) for page in pages(tmp_path, payloads, label)]
    assert [shape(page) - usual for page, usual in zip(found, benign, strict=True)] == [Counter()] * len(found)
    for payload in payloads:
        assert " ".join(safe_text(payload).split()) in words(found[0])
