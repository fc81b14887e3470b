"""Every pattern of the source takes linear time on its worst texts, and finds what its plain form finds."""

from __future__ import annotations

import json
import math
import random
import re
import signal
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import regex

import kamerton
from kamerton.data.json_scan import MISTAKES
from kamerton.forms import rendered
from kamerton.plugins.tasks import _label_lists
from kamerton.plugins.tasks._shared import tried
from kamerton.text import pii, repair
from worst_texts import Known, Parts, known_patterns, scan, worst_texts

LENGTH = 4000
SUSPICIOUS = 0.0005
"""Seconds of a processor for that many characters from which on the growth is looked at: linear ones take a tenth."""
GROWTH = 8
"""Four times the text takes 4 times as long if the time is linear, and 16 times if it is quadratic."""
LIMIT = 0.2
"""Seconds for a scan of the longer text."""
SIGNS = (",", ";", r"\t", r"\|")
LOCAL = {
    "kamerton.data.kinds._text": (),
    "kamerton.data.kinds._binary": (),
    "kamerton.forms.rendered._headed": (),
    "kamerton.data.json_scan.mistake.search": [earlier for earlier, *_ in MISTAKES],
    "kamerton.data.json_scan.mistake.match": [here for _, here, *_ in MISTAKES],
    "kamerton.data.read_csv._mended": [
        pattern for sign in SIGNS for pattern in (rf"\\([\"'\\{sign}\r\n]?)", rf'(?<!")" +(?={sign}|\r?\n|\Z)')
    ],
    "kamerton.data.read_csv._other_ways.search": [
        pattern for sign in SIGNS for pattern in (rf'(?m)(?:^|{sign}) +"|[^"]" +(?:{sign}|$)', rf"(?m)(?:^|{sign})'")
    ],
    "kamerton.forms.turns._apart": ["(<s>|<\\|end\\|>|aaa)"],
    "kamerton.forms.turns._any_of": ["<s>|</s>|aaab|aa"],
    "kamerton.plugins.audits.label_in_text.find": [r"(?<!\w)(?:aaab|aaa|aa\ aa|aa)(?!\w)"],
    "kamerton.plugins.launchers._shared.formed.fullmatch": [
        r"([A-Za-z0-9][\w.-]*:)?[1-9]\d*",
        r"(\d+-)?\d+(:\d\d){0,2}",
        r"\d+\+?",
    ],
    "kamerton.text.repair._misread": [repair._misread(codec).pattern for codec in (repair.WESTERN, *repair.CYRILLIC)],
}
"""Patterns that are made of local names, by the function that makes them; none where a constant holds them."""
PLAIN: dict[str, tuple[str, str]] = {
    "kamerton.text.printed.SURE": (
        "match",
        r"\s*(?:\[\s*\{?\s*['\"]|\{\s*['\"]|\(\s*(?:\{\s*['\"]|'[^']*'\s*,|\"[^\"]*\"\s*,)|array\(\["
        r"|\[\s*\]\s*$|\{\s*\}\s*$)",
    ),
    "kamerton.text.label_values.BETWEEN": ("finditer", r"(?<=\w)\s*[-\s]\s*(?=\w)"),
    "kamerton.plugins.tasks.text_classification.FRACTION": ("fullmatch", r"[+-]?\d*[.,]\d*[1-9]\d*"),
    "kamerton.core.messages.HOLE": ("finditer", r"\{(\w+)(?::([^{}]*))?\}"),
    "kamerton.plugins.audits.mixed_languages.DISGUISED": (
        "search",
        "(?<![А-яЁёA-Za-z])(?=[А-яЁёABCEHKMOPTXaceopxy]*[А-яЁё]{2})[А-яЁёABCEHKMOPTXaceopxy]*"
        "(?:[А-яЁё][ABCEHKMOPTXaceopxy][А-яЁё])[А-яЁёABCEHKMOPTXaceopxy]*(?![A-Za-z])"
        "|(?<![А-яЁёA-Za-z])[A-Za-z]*[a-z][АВСЕНКМОРТХасеорху][a-z][A-Za-z]*(?![А-яЁё])",
    ),
    "kamerton.text.pii.KEY": (
        "finditer",
        pii.KEY.pattern.replace(r"(?:(?!-----BEGIN [A-Z ]*PRIVATE)[\s\S]){0,8000}?", r"[\s\S]{0,8000}?").replace(
            r"\beyJ(?=[\w-]{10})(?:(?!\beyJ)[\w-])*+\.eyJ[\w-]{10,}+", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}"
        ),
    ),
    "kamerton.text.pii.PASSWORD": ("finditer", pii.PASSWORD.pattern.replace("{0,200}", "*")),
}
"""Patterns whose linear forms are hard to read: how they are used, and the plain forms."""


@pytest.fixture(autouse=True)
def _alarm() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.signal(signal.SIGVTALRM, before)


@pytest.fixture(scope="module")
def known() -> list[Known]:
    return known_patterns(LOCAL)


def _seconds(one: Known, text: str) -> float:
    """Return the processor's time of a scan; of one that takes very long, endless time."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
    begun = time.thread_time()
    try:
        scan(one, text)
        return time.thread_time() - begun
    except TimeoutError:
        return math.inf
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _is_slow(one: Known) -> str:
    """Return the text on which a pattern is not linear; an empty one if there is none."""
    for text, longer in zip(worst_texts(one.pattern, LENGTH), worst_texts(one.pattern, 4 * LENGTH), strict=True):
        tries = range(10)  # another process may disturb some
        if (seconds := _seconds(one, text)) > SUSPICIOUS and all(
            _seconds(one, longer) > GROWTH * min(seconds, _seconds(one, text), LIMIT / GROWTH) for _ in tries
        ):
            return text
    return ""


def test_every_pattern_takes_linear_time(known: list[Known]) -> None:
    assert len(known) > 150
    assert {one.place: text[:60] for one in known if (text := _is_slow(one))} == {}


QUADRATIC = (
    r"\s*[;|]\s*", r"\s*\[\s*\{?\s*['\"]", r"[%{:][^%{}]*\d{5,}", r"\{(\w+)(?::([^}]*))?\}",
    r"<title[^>]*>\s*([^<]{1,80})", r"\bpassword\s*[:=](?=[^\s]*\d)[^\s,;]{8,}",
)  # fmt: skip


@pytest.mark.parametrize("pattern", QUADRATIC)
def test_a_pattern_of_more_than_linear_time_is_noticed(pattern: str) -> None:
    assert _is_slow(Known("", re.compile(pattern), anchored=False))


def _texts(*patterns: re.Pattern[Any], count: int, seed: int = 0) -> Iterator[str]:
    """Yield random texts of the parts of patterns, then lines of the probes that the program brings along."""
    draw = random.Random(seed)
    parts = [*"aя0 -\n.,", *(part for one in patterns for part in (*Parts(one).signs, *Parts(one).beginnings))]
    for _ in range(count):
        yield "".join(draw.choices(parts, k=draw.randrange(1, 12)))
    for probe in sorted(Path(kamerton.__path__[0], "forgetting/probe").glob("*.jsonl")):
        yield from map(str, (value for line in probe.read_text().splitlines() for value in json.loads(line).values()))


def _found(pattern: re.Pattern[str], way: str, text: str) -> object:
    if way == "finditer":
        return [found.span() for found in pattern.finditer(text)]
    return bool(getattr(pattern, way)(text))


@pytest.mark.parametrize("name", PLAIN)
def test_a_linear_pattern_finds_what_its_plain_form_finds(name: str) -> None:
    module, _, constant = name.rpartition(".")
    linear, (way, text) = getattr(import_module(module), constant), PLAIN[name]
    plain = (regex if isinstance(linear, regex.Pattern) else re).compile(text, linear.flags)
    assert plain.pattern != linear.pattern
    differing = [
        one for one in _texts(linear, plain, count=4000) if _found(linear, way, one) != _found(plain, way, one)
    ]
    # two headers of keys in a row: the plain form takes both as one
    assert [one for one in differing if one.count("-----BEGIN") < 2] == []


def test_lists_of_labels_are_read_as_by_the_plain_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(_texts(_label_lists.ITEM, re.compile("[;|,'\"]"), count=6000))
    texts += [f"[{text}]" for text in texts]
    linear = [tried(_label_lists.labels_in, text) for text in texts]
    monkeypatch.setattr(_label_lists, "SURE", re.compile(r"\s*[;|]\s*"))
    monkeypatch.setattr(_label_lists, "COMMA", re.compile(r"\s*[,،、]\s*"))
    item = r"""\s*(?:'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>[^,'"\[\]{}]+))\s*(?:,|$)"""
    monkeypatch.setattr(_label_lists, "ITEM", re.compile(item))
    assert linear == [tried(_label_lists.labels_in, text) for text in texts]


def test_turns_end_as_by_the_plain_form() -> None:
    plain = re.compile(rendered.ENDS.pattern.removesuffix("++") + "+$", re.IGNORECASE)
    parts = re.compile(r"[ \n#<]|</s>|<s>|<eos>|<\|im_end\|>|<\|eot_id\|>|### End|##|<\|x\|>|End")
    for text in _texts(parts, count=8000):
        assert rendered._ended(text) == plain.sub("", text).strip()


def test_named_turns_are_read_as_by_the_plain_form() -> None:
    plain = rf"(?:^|\n|<s>)\s*(?:\*\*)?(?i:({rendered.NAMES}))(?:\*\*)?:(?:\*\*)? ?"
    linear = next(read for name, _, read in rendered.TEMPLATES if name == "names of the speakers")
    parts = re.compile(r"[ \n]|<s>|\*\*|User:|Bot: |System|:|\n\n")
    for text in _texts(parts, count=6000):
        assert list(linear(text)) == list(rendered._headed(plain)(text))


def test_a_text_full_of_private_data_is_masked_in_linear_time() -> None:
    text = "ann@example.org sk-aaaaaaaaaaaaaaaaaaaaaaaa " * 4000
    begun = time.thread_time()
    masked = pii.mask(text)
    assert masked == "an•••••• sk•••••• " * 4000
    assert time.thread_time() - begun < 5
