"""Formats beyond one plain table: packed files, folders, plain text, CoNLL, what `datasets` saves; and encodings."""

import csv
import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from broken_files import WRITERS
from kamerton.core.errors import DataError
from kamerton.data import rows as rows_module
from kamerton.data.read import read_table
from kamerton.data.table import Table

ROWS = [{"text": "Тёплый и смешной фильм", "label": "хорошо"}, {"text": 'a "dull" one,\nsadly', "label": "bad"}]
TAGGED = "EU NNP B-ORG\nrejects VBZ O\n\nПётр NNP B-PER\nПервый NNP I-PER\n. . O\n"


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zstd(raw: bytes) -> bytes:
    packed: bytes = pa.compress(raw, codec="zstd", asbytes=True)
    return packed


def values(table: Table) -> list[dict[str, object]]:
    return [dict(row.values) for row in table.rows]


def fault_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert all(str(fault.rule) and str(fault.place) and str(fault.remedy) for fault in caught.value.faults)
    return str(caught.value)


# ── packed files ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", [".zst", ".ZSTD"])
@pytest.mark.parametrize("suffix", [suffix for suffix in WRITERS if suffix != ".parquet"])
def test_a_file_packed_with_zstandard_reads_like_the_plain_one(tmp_path: Path, suffix: str, ending: str) -> None:
    assert values(read_table(write(tmp_path / f"rows{suffix}{ending}", zstd(WRITERS[suffix](ROWS))))) == ROWS


def test_a_packed_file_that_is_cut_or_damaged_is_refused(tmp_path: Path) -> None:
    packed = zstd(WRITERS[".csv"](ROWS) * 100)
    assert "not a whole Zstandard file" in fault_of(write(tmp_path / "cut.csv.zst", packed[:-5]))
    assert "not a whole Zstandard file" in fault_of(write(tmp_path / "other.csv.zst", b"text,label\na,b\n"))
    assert "this is Zstandard, not the data" in fault_of(write(tmp_path / "rows.csv", packed))


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
def test_a_small_file_that_unpacks_to_very_much_is_refused_before_it_fills_the_memory(
    tmp_path: Path, ending: str, pack: object
) -> None:
    assert callable(pack)
    path = write(tmp_path / f"rows.csv{ending}", pack(b"text,label\n" + b"a" * (80 << 20)))
    tracemalloc.start()
    assert "holds more than" in fault_of(path)
    assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()


# ── several files ─────────────────────────────────────────────────────────────────────────────


def test_a_folder_is_one_table_whose_rows_know_their_files(tmp_path: Path) -> None:
    first = write(tmp_path / "data" / "test.csv", "text,label\na,x\nbroken\nb,y\nc,x\n")
    second = write(tmp_path / "data" / "train" / "part-0.jsonl.gz", gzip.compress(b'{"text": "d", "stars": 5}\n'))
    for name in ("README.md", ".hidden.csv", "_draft.csv", "train/state.json", ".cache/x.csv"):
        write(tmp_path / "data" / name, "text,label\nnever,read\n")
    table = read_table(tmp_path / "data")
    assert [(row.id, str(row.place)) for row in table.rows] == [
        (0, f"{first}:2"),
        (2, f"{first}:4"),
        (3, f"{first}:5"),
        (4, f"{second}:1"),
    ]
    assert [(entry.id, str(entry.place)) for entry in table.rejected] == [(1, f"{first}:3")]
    assert (table.columns, table.rows_read, table.format) == (("text", "label", "stars"), 5, "csv, jsonl")
    assert str(table.notes[0]) == "2 files" and "has no column 'label'" in str(table.notes[1])


def test_a_pattern_names_files_and_a_folder_that_it_names_is_gone_into(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "deep/c.csv", "deep/d.tsv"):
        write(tmp_path / name, f"text\tlabel\n{name}\tx\n")
    found = {
        pattern: [Path(row.place.file).name for row in read_table(tmp_path / pattern).rows]
        for pattern in ("?.csv", "**/*.csv", "dee*", "[ab].csv")
    }
    assert found == {
        "?.csv": ["a.csv", "b.csv"],
        "**/*.csv": ["a.csv", "b.csv", "c.csv"],
        "dee*": ["c.csv", "d.tsv"],
        "[ab].csv": ["a.csv", "b.csv"],
    }
    assert "no file matches the pattern" in fault_of(tmp_path / "*.jsonl")
    assert read_table(write(tmp_path / "odd[1].csv", "text,label\na,b\n")).rows_read == 1


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "")
    write(tmp_path / "b.csv", "text,label\na,b\n")
    write(tmp_path / "c.parquet", "no")
    message = fault_of(tmp_path)
    assert "a.csv: the file is empty" in message and "c.parquet: the Parquet file" in message
    assert "holds no data file" in fault_of(write(tmp_path / "none" / "x.bin", "").parent)


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_what_datasets_saves_on_disk_is_read_with_the_names_of_its_classes(tmp_path: Path, kind: str) -> None:
    names = {"_type": "ClassLabel", "names": ["плохо", "хорошо"]}
    features = {"label": names, "tags": {"_type": "List", "feature": names}, "text": {"_type": "Value"}}
    schema = pa.schema(
        [("text", pa.string()), ("label", pa.int64()), ("tags", pa.list_(pa.int64()))],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    write(tmp_path / "dataset_dict.json", '{"splits": ["train", "test"]}')
    for part, label in (("train", 1), ("test", -1)):
        file = tmp_path / part / "data-00000-of-00001.arrow"
        write(file.with_name("state.json"), "{}")
        write(file.with_name("dataset_info.json"), "{}")
        opened = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with opened(file, schema) as writer:
            writer.write_table(pa.table([[part] * 1500, [label] * 1500, [[0, 1]] * 1500], schema=schema))
    table = read_table(tmp_path)
    assert len(table.rows) == 3000
    assert values(table)[0] == {"text": "test", "label": None, "tags": ["плохо", "хорошо"]}
    assert values(table)[-1] == {"text": "train", "label": "хорошо", "tags": ["плохо", "хорошо"]}
    assert table.rows[-1].place.line == 1500
    assert "'label' are read as its classes: плохо, хорошо" in str(table.notes[1])


def test_a_damaged_arrow_file_is_refused(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("text", pa.string())])) as writer:
        writer.write_table(pa.table({"text": ["a", "b"] * 50}))
    assert "Arrow file" in fault_of(write(tmp_path / "a.arrow", sink.getvalue()[:150]))
    assert "Arrow file" in fault_of(write(tmp_path / "b.arrow", b"ARROW1\0\0 and no more"))


# ── text, and tokens with tags ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "expected", "note"),
    [
        ("one\n\nдва \r\n\n three", [(1, "one"), (3, "два"), (5, " three")], "each line is a row"),
        ("one\ntwo\n", [(1, "one"), (2, "two")], "each line is a row"),
        ("a\nb\n\n\nc\nd\n\ne", [(1, "a\nb"), (5, "c\nd"), (8, "e")], "each paragraph is a row"),
        ("\n".join(map(str, range(50))) + "\n\nlast", None, "each line is a row"),
    ],
)
def test_plain_text_is_read_by_lines_or_where_blank_lines_part_them_by_paragraphs(
    tmp_path: Path, content: str, expected: list[tuple[int, str]] | None, note: str
) -> None:
    table = read_table(write(tmp_path / "rows.txt", content))
    assert table.columns == ("text",) and tuple(map(str, table.notes)) == (note,)
    if expected is not None:
        assert [(row.place.line, row.values["text"]) for row in table.rows] == expected


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv", "a.bio", "a.iob.gz"])
@pytest.mark.parametrize("separator", [" ", "\t"])
def test_tokens_and_tags_are_read_by_sentences(tmp_path: Path, name: str, separator: str) -> None:
    content = ("-DOCSTART- -X- O\n\n" + TAGGED).replace(" ", separator).encode()
    table = read_table(write(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content))
    assert values(table) == [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": ["Пётр", "Первый", "."], "tags": ["B-PER", "I-PER", "O"]},
    ]
    assert [row.place.line for row in table.rows] == [3, 6]
    assert (table.format, table.columns) == ("conll", ("tokens", "tags"))


def test_conll_u_gives_forms_and_parts_of_speech(tmp_path: Path) -> None:
    lines = [
        "# text = a",
        "1\tМы\tмы\tPRON" + "\t_" * 6,
        "2-3\tdu\t_\t_" + "\t_" * 6,
        "2\tidём\tидти\tVERB" + "\t_" * 6,
    ]
    table = read_table(write(tmp_path / "a.conllu", "\n".join(lines)))
    assert values(table) == [{"tokens": ["Мы", "idём"], "tags": ["PRON", "VERB"]}]


def test_a_sentence_with_a_line_that_does_not_fit_is_rejected_whole(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "a.conll", TAGGED + "\nalone\nfine NN O\n\nlast NN O\n"))
    [entry] = table.rejected
    assert (entry.place.line, str(entry.reason)) == (8, "line 8 has 1 column, the first has 3")
    assert len(table.rows) == 3


def test_prose_and_tables_are_not_taken_for_tokens_and_tags(tmp_path: Path) -> None:
    prose = write(tmp_path / "a.txt", "I saw\nO captain\n\nmy captain\n")
    assert read_table(prose).format == "txt"
    assert read_table(write(tmp_path / "a.tsv", "text\tlabel\n\nO\tO\n\nx\tB-x\n")).format == "tsv"


# ── encodings, memory ─────────────────────────────────────────────────────────────────────────

RUSSIAN = [
    "Верните мне эти два часа жизни", "Тёплый и смешной фильм, рекомендую всем", "МОСКВА СЛЕЗАМ НЕ ВЕРИТ",
    "Заказ пришёл на третий день, коробка помята", "Не включается; поддержка молчит уже неделю",
    "Whisper понимает русскую речь лучше, чем раньше", "Объём подъезда 12 метров, съёмка в цеху", "да нет наверное",
]  # fmt: skip
WESTERN = [
    "Das Mädchen fährt über die Brücke", "Où est passé le garçon naïf ?", "El niño comió piñones ayer",
    "Não há razão para preocupação", "Ærø ligger øst for Als", "Räksmörgås är gott på våren",
    "Café à la crème, s'il vous plaît", "¿Cuándo llegará el camión de Málaga?",
]  # fmt: skip
ENCODED = [
    *((text, encoding) for text in RUSSIAN for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1251", "koi8-r")),
    *((text, encoding) for text in WESTERN for encoding in ("latin-1", "utf-8")),
]


@pytest.mark.parametrize(("text", "encoding"), ENCODED)
def test_the_encoding_of_a_short_file_is_found_and_said(tmp_path: Path, text: str, encoding: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([["text", "label"], [text, "a"]])
    table = read_table(write(tmp_path / "rows.csv", file.getvalue().encode(encoding)))
    assert table.rows[0].values["text"] == text
    named = {"latin-1": "cp1252"}.get(encoding, encoding)
    assert table.encoding == named
    assert encoding.startswith("utf-8") or named in str(table.notes[0])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt"])
def test_the_memory_of_reading_does_not_grow_with_the_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "IN_MEMORY", 1 << 20)
    line = {".csv": f"{'слово ' * 300},x\n", ".jsonl": json.dumps({"text": "word " * 700}) + "\n"}
    content = "text,label\n" * (suffix == ".csv") + line.get(suffix, "word " * 700 + "\n") * 8000
    path = write(tmp_path / f"rows{suffix}", content)
    del content
    tracemalloc.start()
    assert len(read_table(path).rows) == 8000
    assert tracemalloc.get_traced_memory()[1] < 12 << 20 < path.stat().st_size // 2
    tracemalloc.stop()


def test_a_data_set_of_the_hub_that_cannot_be_had_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    message = fault_of(Path("no-such-org/no-such-data"))
    assert "cannot be downloaded as a data set of the Hugging Face hub" in message
    assert "without a network" in message
    assert "there is no such file" in fault_of(Path("no-such-org/rows.csv"))
