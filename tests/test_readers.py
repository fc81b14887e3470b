"""Damaged and hostile small files: each is told with its name and a remedy, or thrown away if it is a cache."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from broken_files import xlsx
from kamerton.core.errors import KamertonError, ModelError, RecipeError
from kamerton.core.figures import Figure
from kamerton.core.files import cached, read_sealed
from kamerton.core.messages import Joined, msg
from kamerton.core.readers import LARGEST, LARGEST_YAML, parse_json, parse_yaml, read_object
from kamerton.core.records import Encoded, Example, Place
from kamerton.data.encoded_cache import kept_rows
from kamerton.data.read import read_table
from kamerton.engine.frozen import ActivationCache
from kamerton.feedback.judging import read_choices
from kamerton.feedback.living import judge_log
from kamerton.kernels.trial import kept_ratio
from kamerton.models import catalog
from kamerton.models.hazards import hazards
from kamerton.models.inspect import inspect_folder
from kamerton.models.naming import origin
from kamerton.models.quantize import CHOSEN, read_quantization
from kamerton.runs.parquet import parse_parquet
from kamerton.runs.recipe import Decision, Recipe, parse_assignment, resolve, to_yaml

Damage = Callable[[bytes, random.Random], bytes]


def flip(raw: bytes, generator: random.Random) -> bytes:
    """Flip one bit."""
    at = generator.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << generator.randrange(8)]) + raw[at + 1 :]


def truncate(raw: bytes, generator: random.Random) -> bytes:
    """Cut the end off."""
    return raw[: generator.randrange(len(raw))]


def null_block(raw: bytes, generator: random.Random) -> bytes:
    """Replace a block by zeros, as a disk does after a crash."""
    at = generator.randrange(len(raw))
    return raw[:at] + bytes(min(512, len(raw) - at)) + raw[at + 512 :]


def numbers(digits: bytes) -> Damage:
    """Replace a value of JSON by a number, or append one."""

    def damage(raw: bytes, generator: random.Random) -> bytes:
        places = [at + 1 for at, sign in enumerate(raw) if sign in b":["]
        at = generator.choice(places or [0])
        ends = [end for end in (raw.find(sign, at) for sign in (b",", b"}", b"]", b"\n")) if end >= 0]
        return raw[:at] + b" " + digits + raw[min(ends, default=at) :]

    return damage


DAMAGES: Mapping[str, tuple[Damage, int]] = {
    "flip": (flip, 25),
    "truncate": (truncate, 10),
    "NUL block": (null_block, 6),
    "empty": (lambda *_: b"", 1),
    "NUL": (lambda raw, _: bytes(len(raw)), 1),
    "blank": (lambda *_: b" \r\n", 1),
    "binary": (lambda raw, generator: generator.randbytes(500), 3),
    "latin": (lambda raw, _: raw + "é".encode("latin-1"), 1),
    "mark": (lambda raw, _: b"\xef\xbb\xbf" + raw, 1),
    "deep list": (lambda *_: b"[" * 100_000, 1),
    "deep object": (lambda *_: b'{"a":' * 100_000, 1),
    "closed": (lambda *_: b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", 1),
    "deep value": (numbers(b"[" * 300 + b"]" * 300), 4),
    "5,000 digits": (numbers(b"9" * 5000), 5),
    "500 digits": (numbers(b"9" * 500), 5),
    "infinite": (numbers(b"1e999"), 5),
    "not a number": (numbers(b"NaN"), 5),
    "text": (numbers(b'"text"'), 5),
    "list": (numbers(b"[]"), 5),
    "object": (numbers(b"{}"), 5),
    "null": (numbers(b"null"), 5),
    "half a character": (numbers(b'"\\ud800"'), 4),
    "wrong type": (lambda *_: b"[]", 1),
    "wrong types": (lambda *_: b"5", 1),
    "alias bomb": (lambda *_: aliases("[{}]"), 1),
    "merge bomb": (lambda *_: aliases("{{<<: [{}]}}"), 1),
    "cycle": (lambda *_: b"a: &a [*a]", 1),
    "HTML": (lambda *_: b"<!DOCTYPE html><html></html>", 1),
}
"""What befalls a file, and how often each kind is tried."""


def aliases(shape: str) -> bytes:
    """Return YAML of some lines that stands for a billion values."""
    letters = "abcdefghij"
    lines = [f"{one}: &{one} {shape.format(', '.join([f'*{before}'] * 10))}" for before, one in pairwise(letters)]
    return "\n".join(["a: &a {k: 1}", *lines]).encode()


# ── what the user and strangers write ─────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Told:
    """A file whose damage must be told."""

    file: str
    content: Callable[[Path], bytes]
    """The good content, given the folder of a tiny model."""
    use: Callable[[Path], object]


CHOICES = {
    "schema": 1, "first": "a", "second": "b", "seed": 0, "identical": 2,
    "choices": [{"id": 4, "choice": "left", "seconds": 2.5}],
}  # fmt: skip
LOG = "".join(f'{{"winner": "{name}", "at": {at}}}\n' for at, name in enumerate(["a", "b", "tie", "b"] * 4))


def rows() -> bytes:
    """Return a table as Parquet."""
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2, 3], "text": ["a", "б", "c"], "parts": [[0.5], [], None]}), file)
    return file.getvalue()


def reasoned() -> Recipe:
    """Return a recipe with a reason of every kind."""
    share = msg("{share} of {parts}", share=Figure(0.5, "share"), parts=Joined(["a", msg("b")]))
    return Recipe().decide({"train.epochs": Decision(3, share), "train.warmup": Decision(0.1, Joined([share, "c"]))})


def in_model(name: str) -> Callable[[Path], bytes]:
    return lambda model: (model / name).read_bytes()


def as_json(value: object) -> Callable[[Path], bytes]:
    return lambda _: json.dumps(value, indent=1).encode()


TOLD: Mapping[str, Told] = {
    "a judge's choices": Told("choices.json", as_json(CHOICES), read_choices),
    "a log of outcomes": Told("log.jsonl", lambda _: LOG.encode(), judge_log),
    "a recipe": Told("mine.yaml", lambda _: b"data: {path: x.csv}\ntrain: {epochs: 3, warmup: 0.1}\n", resolve),
    "a run's recipe": Told("recipe.yaml", lambda _: to_yaml(reasoned()).encode(), lambda path: to_yaml(resolve(path))),
    "a configuration": Told("config.json", in_model("config.json"), lambda path: inspect_folder(path.parent, "m")),
    "a tokenizer's": Told(
        "tokenizer_config.json", in_model("tokenizer_config.json"), lambda path: inspect_folder(path.parent, "m")
    ),
    "an adapter's": Told(
        "adapter_config.json", as_json({"peft_type": "LORA", "r": 2, "target_modules": ["query"]}),
        lambda path: raise_all(hazards(path.parent)),
    ),
    "an index": Told(
        "model.safetensors.index.json", as_json({"weight_map": {"a": "model-1.safetensors"}}),
        lambda path: inspect_folder(without_weights(path.parent), "m"),
    ),
    "how a base was loaded": Told(
        "base_quantization.json", as_json(dict(zip(CHOSEN, ("nf4", True, None), strict=True))),
        lambda path: read_quantization(path.parent),
    ),
    "a merged model's origin": Told("merged.json", as_json({"base": "m"}), lambda path: origin("m", path.parent)),
    "JSON": Told("some.json", as_json(CHOICES), read_object),
    "YAML": Told("some.yaml", lambda _: b"a: [1, 2.5, 2024-01-01]\nb: {c: &x text, d: *x}\n",
                 lambda path: parse_yaml(path.read_bytes(), path)),
    "Parquet": Told("some.parquet", lambda _: rows(), lambda path: parse_parquet(path.read_bytes(), path)),
    "rows of the user": Told("rows.parquet", lambda _: rows(), read_table),
}  # fmt: skip


def raise_all(faults: Iterator[object]) -> None:
    if found := list(faults):
        raise ModelError(found)


def without_weights(folder: Path) -> Path:
    (folder / "model.safetensors").unlink(missing_ok=True)
    shutil.copy(folder / "weights", folder / "model-1.safetensors")
    return folder


@pytest.fixture
def model(encoder_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder."""
    shutil.copytree(encoder_folder, tmp_path / "model")
    shutil.copy(tmp_path / "model" / "model.safetensors", tmp_path / "model" / "weights")
    return tmp_path / "model"


@pytest.mark.parametrize("name", TOLD)
def test_damage_is_told_with_the_file_and_a_remedy(name: str, model: Path) -> None:
    """Each of 120 damaged files is read, or refused with words."""
    told, path = TOLD[name], model / TOLD[name].file
    whole = told.content(model)
    path.write_bytes(whole)
    told.use(path)
    for kind, (damage, times) in DAMAGES.items():
        generator = random.Random(f"{name} {kind}")
        for _ in range(times):
            path.write_bytes(damage(whole, generator))
            began = time.process_time()
            try:
                told.use(path)
            except KamertonError as error:
                for fault in error.faults:
                    assert told.file in f"{fault.place} {fault.rule}" and fault.remedy, (kind, str(fault))
                    assert len(str(fault)) < 1000, kind
            except BaseException as error:  # the content is what the maintainer needs
                raise AssertionError((kind, path.read_bytes()[:300])) from error
            assert time.process_time() - began < 5, kind


@pytest.mark.parametrize("part", [1 / 3, 1 / 2, 0.9, 0.999])
def test_a_recipe_of_a_run_that_was_cut_at_a_line_is_told(part: float, tmp_path: Path) -> None:
    whole, path = to_yaml(reasoned()), tmp_path / "recipe.yaml"
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[: int(part * len(lines))]), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"recipe.yaml:\d+: the file was cut off(?s:.*)→ "):
        resolve(path)
    path.write_text(whole.replace("\n", "\r\n") + "\r\n", encoding="utf-8")
    assert resolve(path).train.epochs == 3


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000, "&a [*a]", "2024-13-45", "\x00", "\udcff", "!!int ''"])
def test_a_value_of_the_command_line_that_is_no_yaml_is_a_text(value: str) -> None:
    assert parse_assignment(f"data.path={value}")[0] == "data.path"


def test_a_place_is_a_line_and_a_column() -> None:
    for parse, data, place in (
        (parse_json, b'{"a":\n  \xff', ":2:3"),
        (parse_json, b'{"a":\n  nul', ":2:3"),
        (parse_json, b'{"a":\n  ' + b"7" * 1000, ":2:3"),
        (parse_yaml, b"a:\n  \xff", ":2:3"),
        (parse_yaml, b"a:\n  ]", ":2:3"),
        (parse_yaml, b"a:\n  " + b"7" * 1000, ":2:3"),
        (parse_yaml, b"a: {b:\n  [!!timestamp x]}", ":2:4"),
        (partial(parse_json, line=7), b"nul", ":7:1"),
        (partial(parse_json, line=7), b"[" * 5000, ":7"),
    ):
        with pytest.raises(KamertonError) as caught:
            parse(data, "file")  # type: ignore[operator]
        assert caught.value.faults[0].place == f"file{place}"


# ── what unpacks to more than it is ───────────────────────────────────────────────────────────


def parquet(folder: Path, columns: dict[str, object], **settings: object) -> Path:
    path = folder / "bomb.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", **settings)
    return path


def repeated(count: int, text: str) -> pa.Array:
    """Return one text many times, which is a few bytes of Parquet."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def nested(count: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), pa.array(np.zeros(count, np.int8)))


def understated(path: Path) -> Path:
    """Let a file's metadata state that its pages unpack to 40 bytes."""
    size, raw = pq.ParquetFile(path).metadata.row_group(0).total_byte_size, path.read_bytes()
    whole = raw.replace(varint(2 * size), b"\xd0" + b"\x80" * (len(varint(2 * size)) - 2) + b"\0")
    path.write_bytes(whole)
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size == 40
    return path


def varint(number: int) -> bytes:
    """Return a number as Thrift writes it: seven bits a byte."""
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


LONG = "a" * (90 << 20)
BOMBS: Mapping[str, Callable[[Path], Path]] = {
    "plain": lambda folder: parquet(folder, {"text": np.zeros(7 << 22)}, use_dictionary=False),
    "understated": lambda folder: understated(parquet(folder, {"text": [LONG] * 3}, use_dictionary=False)),
    "a long value, often": lambda folder: parquet(
        folder, {"text": repeated(100_000, "a" * (1 << 20))}, store_schema=False
    ),
    "references": lambda folder: parquet(folder, {"text": repeated(100_000, "a" * (1 << 20))}),
    "prefixes": lambda folder: parquet(
        folder, {"text": [f"{'a' * 10000}{n}" for n in range(30_000)]},
        use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"},
    ),
    "one long list": lambda folder: parquet(folder, {"text": nested(30_000_000)}),
    "many rows": lambda folder: parquet(folder, {"text": np.zeros(40_000_000, np.int8)}),
    "a workbook": lambda folder: written(
        folder / "bomb.xlsx", xlsx({"Data": "<row><c><v>1</v></c></row>" + " " * (300 << 20)})
    ),
    "lists": lambda folder: written(folder / "bomb.json", b"[" + b"[]," * (20 << 20) + b"[]]"),
    "as many as may be": lambda folder: written(folder / "ok.json", b"[" + b'{"a":0},' * 1_900_000 + b"0]"),
    "large": lambda folder: written(folder / "bomb.json", b" " * (LARGEST + 1)),
    "a large recipe": lambda folder: written(folder / "bomb.yaml", b"a" * (LARGEST_YAML + 1)),
    "nodes": lambda folder: written(folder / "bomb.yaml", b"a: [" + b"[]," * (LARGEST_YAML // 3 - 9) + b"]"),
    "levels": lambda folder: written(folder / "bomb.yaml", b"[" * LARGEST_YAML),
    "mappings": lambda folder: written(folder / "bomb.yaml", b"{" * LARGEST_YAML),
    "a long line": lambda folder: written(folder / "bomb.jsonl", b"[" * (64 << 20)),
    "many lines": lambda folder: written(folder / "bomb.jsonl", b"x\n" * (16 << 20)),
}  # fmt: skip
READERS: Mapping[str, Callable[[Path], object]] = {
    ".parquet": read_table,
    ".xlsx": read_table,
    ".json": lambda path: parse_json(path.read_bytes(), path),
    ".yaml": resolve,
    ".jsonl": judge_log,
}
GROWTH, SECONDS = 1200 << 20, 5


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_neither_time_nor_memory(name: str, tmp_path: Path) -> None:
    """A process that reads one is done in 5 s of processor time with at most 1.2 GB."""
    path, told = BOMBS[name](tmp_path), tmp_path / "told"
    child = os.fork()
    if not child:
        status = 1
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_DATA, (pages + GROWTH, resource.RLIM_INFINITY))
            began = time.process_time()
            try:
                READERS[path.suffix](path)
            except KamertonError as error:
                told.write_text(str(error), encoding="utf-8")
            status = 0 if time.process_time() - began < SECONDS else 2
        except BaseException as error:  # noqa: BLE001  a fork must never go on with the parent's tests
            told.write_text(repr(error), encoding="utf-8")
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    said = told.read_text(encoding="utf-8") if told.exists() else ""
    assert os.waitstatus_to_exitcode(status) == 0, said
    assert path.name == "ok.json" or (path.name in said and "→" in said), said


# ── what only costs time if it is lost ────────────────────────────────────────────────────────


def kept_states(folder: Path) -> object:
    key, place = ((1, 2), (), ()), folder / "kept.states"
    found = ActivationCache()
    if not found.restore(place, [key]):
        found.add(key, torch.arange(6.0).view(3, 2))
        found.store(place, [key])
    return found.states[key].tolist()


def rows_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr("kamerton.data.encoded_cache.WORTHWHILE", 1)
    examples = [Example(0, Place("rows.csv", 2), "a text", "good", {"text": "a text"})]
    return kept_rows(folder, "", examples, lambda: [Encoded((1, 2, 3), (0,), (1,))])


def ratio(folder: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("KAMERTON_CACHE", str(folder))
    monkeypatch.setattr("kamerton.kernels.trial._ratio", lambda *_: 2.5)
    return kept_ratio("some", lambda: torch.ones(1), lambda: torch.ones(1))


KEPT: Mapping[str, Callable[[Path, pytest.MonkeyPatch], object]] = {
    "anything": lambda folder, _: cached(folder / "file", lambda: b"computed"),
    "encoded rows": rows_of,
    "states": lambda folder, _: kept_states(folder),
    "a ratio": ratio,
}


@pytest.mark.parametrize("name", KEPT)
def test_a_damaged_cache_is_thrown_away_and_made_anew(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = KEPT[name](tmp_path, monkeypatch)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for kind, (damage, times) in DAMAGES.items():
            generator = random.Random(f"{name} {kind}")
            for _ in range(times):
                path.write_bytes(damage(whole, generator))
                assert KEPT[name](tmp_path, monkeypatch) == value, kind
                assert path.read_bytes() == whole, kind


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cached(tmp_path / "file" / "cache", lambda: b"computed") == b"computed"
    assert read_sealed(tmp_path) is None


def test_a_model_whose_origin_is_damaged_counts_as_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path))
    model = catalog.known()[0]
    folder = catalog.folder_of(model)
    folder.mkdir(parents=True)
    for content in (b"", b"[" * 5000, b"[]", bytes(9), b"{}"):
        (folder / catalog.ORIGIN).write_bytes(content)
        assert not catalog.is_fetched(model)
