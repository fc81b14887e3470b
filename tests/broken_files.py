"""Broken data files, made from a seed: what people's tools and mishaps do to tables.

Each is a good file of one of the formats with one to three things done to it. The oracle is the
contract of reading: a table whose rows add up, or a `DataError` that says what, where and how to mend.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = (
    "film", "good", "bad", "dull", "warm", "Тёплый", "смешной", "фильм", "скучно", "вернуть", "«деньги»", "часы",
    "—", "ёлка,", "ещё", "café",
)  # fmt: skip
LABELS = ("good", "bad", "так себе")
ZSTANDARD = pa.Codec("zstd")
Rows = list[dict[str, str]]
Breaker = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class BrokenFile:
    """One file: what was done to it is in its name."""

    name: str
    content: bytes


def good_rows(random_: random.Random, count: int) -> Rows:
    """Make rows of a text and a label, now and then with a line break, a comma or a quote inside."""
    rows = []
    for _ in range(count):
        text = " ".join(random_.choices(WORDS, k=random_.randint(1, 8)))
        text += random_.choice(["", "", "", "\nновая строка", ', "так"', "\t", "; | "])
        rows.append({"text": text, "label": random_.choice(LABELS)})
    return rows


def as_csv(rows: Rows, delimiter: str = ",") -> bytes:
    """Write rows as CSV, UTF-8."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_tsv(rows: Rows) -> bytes:
    """Write rows as TSV, UTF-8."""
    return as_csv(rows, "\t")


def as_jsonl(rows: Rows) -> bytes:
    """Write rows as JSON lines, UTF-8."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_json(rows: Rows) -> bytes:
    """Write rows as one JSON array, UTF-8."""
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def as_parquet(rows: Rows) -> bytes:
    """Write rows as Parquet."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def as_arrow(rows: Rows) -> bytes:
    """Write rows as an Arrow stream, as the library `datasets` does."""
    file, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return file.getvalue()


def as_text(rows: Rows) -> bytes:
    """Write the texts, a blank line after each."""
    return "".join(row["text"] + "\n\n" for row in rows).encode()


def as_conll(rows: Rows) -> bytes:
    """Write each text as a sentence of tokens and tags."""
    sentences = ("".join(f"{word} NN B-X\n" for word in row["text"].split()) for row in rows)
    return ("-DOCSTART- -X- O\n\n" + "\n".join(sentences)).encode()


def as_object(rows: Rows) -> bytes:
    """Write one JSON object that holds the rows in an array."""
    return json.dumps({"version": 1, "data": rows}, ensure_ascii=False).encode()


def as_columns(rows: Rows) -> bytes:
    """Write one JSON object of columns."""
    return json.dumps({key: [row[key] for row in rows] for key in rows[0]}, ensure_ascii=False).encode()


MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OPEN = "urn:oasis:names:tc:opendocument:xmlns"


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """Put files into a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as held:
        for name, content in files.items():
            held.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def tarred(files: Mapping[str, str | bytes], mode: str = "w:gz") -> bytes:
    """Put files into a tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode.replace("gz", "")) as held:  # type: ignore[call-overload]
        for name, content in files.items():
            raw = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            held.addfile(info, io.BytesIO(raw))
    return gzip.compress(file.getvalue(), mtime=0) if mode.endswith("gz") else file.getvalue()


def xlsx(sheets: Mapping[str, str]) -> bytes:
    """Make an .xlsx workbook of sheets whose rows are written as its XML has them."""
    hidden = ' state="hidden"'
    listed = [
        f'<sheet name="{name}" sheetId="{at}" r:id="rId{at}"{hidden * name.startswith("~")}/>'
        for at, name in enumerate(sheets, 1)
    ]
    links = [
        f'<Relationship Id="rId{at}" Type="{RELATED}/worksheet" Target="worksheets/sheet{at}.xml"/>'
        for at in range(1, len(sheets) + 1)
    ]
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
            "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
            f'Type="{RELATED}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATED}"><sheets>{"".join(listed)}</sheets>'
            "</workbook>",
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{"".join(links)}'
            "</Relationships>",
            "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
            "</styleSheet>",
            **{
                f"xl/worksheets/sheet{at}.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
                for at, rows in enumerate(sheets.values(), 1)
            },
        }
    )


def xlsx_rows(rows: Sequence[Sequence[object]]) -> str:
    """Write rows of cells: texts, numbers, truth values; None is an empty cell, a text that begins with # an error."""
    return "".join(f"<row>{''.join(map(_xlsx_cell, row))}</row>" for row in rows)


def _xlsx_cell(value: object) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    if isinstance(value, date):
        return f'<c s="1"><v>{(value - date(1899, 12, 30)).days}</v></c>'
    if str(value).startswith("#"):
        return f'<c t="e"><v>{value}</v></c>'
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(str(value))}</t></is></c>'


def ods(sheets: Mapping[str, str]) -> bytes:
    """Make an .ods workbook of sheets whose rows are written as its XML has them."""
    tables = "".join(f'<table:table table:name="{name}">{rows}</table:table>' for name, rows in sheets.items())
    spaces = " ".join(f'xmlns:{name}="{OPEN}:{name}:1.0"' for name in ("office", "table", "text"))
    body = f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body>"
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{OPEN}:manifest:1.0"/>',
            "content.xml": f"<office:document-content {spaces}>{body}</office:document-content>",
        }
    )


def ods_rows(rows: Sequence[Sequence[object]]) -> str:
    """Write rows of cells, all as texts."""
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    return "".join(
        f"<table:table-row>{''.join(cell.format(escape(str(value))) for value in row)}</table:table-row>"
        for row in rows
    )


def as_xlsx(rows: Rows) -> bytes:
    """Write rows as an .xlsx workbook."""
    return xlsx({"Data": xlsx_rows([list(rows[0]), *(list(row.values()) for row in rows)])})


def as_ods(rows: Rows) -> bytes:
    """Write rows as an .ods workbook."""
    return ods({"Data": ods_rows([list(rows[0]), *(list(row.values()) for row in rows)])})


def as_zip(rows: Rows) -> bytes:
    """Write rows as CSV and JSON lines into a zip archive."""
    return zipped({"__MACOSX/._train.csv": b"\0", "train.csv": as_csv(rows), "test.jsonl": as_jsonl(rows)})


def as_tar(rows: Rows) -> bytes:
    """Write rows as CSV and Parquet into a tar archive."""
    return tarred(
        {"data/train.csv": as_csv(rows), "data/README.txt": b"Read me.", "data/test.parquet": as_parquet(rows)}
    )


def as_nameless(rows: Rows) -> bytes:
    """Write rows without a header."""
    return as_csv(rows, "\t").split(b"\n", 1)[1]


def as_lines(rows: Rows) -> bytes:
    """Write each row as a line of plain text, its label behind a semicolon."""
    return "".join(f"{' '.join(row['text'].split())};{row['label']}\n" for row in rows).encode()


def as_report(rows: Rows) -> bytes:
    """Write rows under a title, a hint for Excel and a comment, with empty columns."""
    return b"sep=;\n# a comment\nA title;;\n\n" + as_csv(rows, ";").replace(b"\n", b";;\n")


def as_printed(rows: Rows) -> bytes:
    """Write lists as Python prints them into cells."""
    return as_csv([{"text": row["text"], "labels": repr([row["label"], "x"])} for row in rows])


def as_pretty(rows: Rows) -> bytes:
    """Write objects over several lines, one after the other."""
    return "\n".join(json.dumps(row, indent=2, ensure_ascii=False) for row in rows).encode()


def as_frame(rows: Rows) -> bytes:
    """Write rows as pandas does if it is not told otherwise."""
    return json.dumps({key: {str(at): row[key] for at, row in enumerate(rows)} for key in rows[0]}).encode()


def as_index(rows: Rows) -> bytes:
    """Write an object with a row a key."""
    return json.dumps({str(at): row for at, row in enumerate(rows)}, indent=1).encode()


def as_talks(rows: Rows) -> bytes:
    """Write lists of messages."""
    return as_jsonl([_turns(row) for row in rows])  # type: ignore[misc]


def as_rendered(rows: Rows) -> bytes:
    """Write conversations as one text each."""
    return as_jsonl([{"text": f"USER: {row['text']} ASSISTANT: {row['label']}</s>"} for row in rows])


def as_scores(rows: Rows) -> bytes:
    """Write labels as spaCy does."""
    return as_jsonl([{"text": row["text"], "cats": {"a": row["label"] == "a", "b": True}} for row in rows])  # type: ignore[dict-item]


def as_tree(rows: Rows) -> bytes:
    """Write OpenAssistant's messages, three of them a tree."""
    return as_jsonl(
        [
            {
                "message_id": str(at),
                "parent_id": str(at - at % 3) if at % 3 else "",
                "text": row["text"],
                "role": "assistant" if at % 3 else "prompter",
                "rank": str(at % 3),
            }
            for at, row in enumerate(rows)
        ]
    )


def as_judged(rows: Rows) -> bytes:
    """Write conversations whose last answer was judged."""
    return as_jsonl([{"messages": _turns(row), "label": row["label"] == "a"} for row in rows])  # type: ignore[dict-item]


def as_two_shapes(rows: Rows) -> bytes:
    """Write requests with answers and conversations in turn."""
    return as_jsonl(
        [
            {"instruction": row["text"], "output": row["label"]} if at % 2 else {"conversations": _turns(row)}  # type: ignore[dict-item]
            for at, row in enumerate(rows)
        ]
    )


def _turns(row: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["text"]}, {"role": "assistant", "content": row["label"]}]


WRITERS = {
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".jsonl": as_jsonl,
    ".json": as_json,
    ".parquet": as_parquet,
}


FORMATS: tuple[tuple[str, Callable[[Rows], bytes]], ...] = (
    *WRITERS.items(),
    (".arrow", as_arrow),
    (".txt", as_text),
    (".conll", as_conll),
    (".conllu", as_conll),
    (".json", as_object),
    (".json", as_columns),
    (".txt", as_conll),
    (".tsv", as_conll),
    (".csv", lambda rows: as_csv(rows, ";")),
    (".xlsx", as_xlsx),
    (".xlsx", as_xlsx),
    (".ods", as_ods),
    (".csv", as_xlsx),
    (".zip", as_zip),
    (".tar.gz", as_tar),
    (".csv", as_nameless),
    (".txt", as_lines),
    (".train", as_conll),
    ("", as_nameless),
    (".csv", as_report),
    (".csv", as_printed),
    (".jsonl", as_pretty),
    (".json", as_frame),
    (".json", as_index),
    (".jsonl", as_talks),
    (".jsonl", as_rendered),
    (".jsonl", as_scores),
    (".jsonl", as_tree),
    (".jsonl", as_judged),
    (".jsonl", as_two_shapes),
)
"""Ends of names, and what good files that end so hold."""


def _recode(encoding: str) -> Breaker:
    return lambda raw, _: raw.decode("utf-8", "replace").encode(encoding, "replace")


def _insert(what: bytes) -> Breaker:
    def insert(raw: bytes, random_: random.Random) -> bytes:
        at = random_.randrange(len(raw) + 1)
        return raw[:at] + what + raw[at:]

    return insert


def _line(change: Callable[[bytes, random.Random], bytes]) -> Breaker:
    """Change one line."""

    def broken(raw: bytes, random_: random.Random) -> bytes:
        lines = raw.split(b"\n")
        at = random_.randrange(len(lines))
        lines[at] = change(lines[at], random_)
        return b"\n".join(lines)

    return broken


def _flip(raw: bytes, random_: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(random_.randint(1, 5)):
        if changed:
            changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed)


def _swap(raw: bytes, random_: random.Random) -> bytes:
    lines = raw.split(b"\n")
    random_.shuffle(lines)
    return b"\n".join(lines)


def _mixed_ends(raw: bytes, random_: random.Random) -> bytes:
    return b"".join(line + random_.choice([b"\n", b"\r\n", b"\r"]) for line in raw.split(b"\n"))


BREAKERS: dict[str, Breaker] = {
    "cp1251": _recode("cp1251"),
    "koi8-r": _recode("koi8-r"),
    "latin-1": _recode("latin-1"),
    "utf-16": _recode("utf-16"),
    "utf-16-without-mark": _recode("utf-16-be"),
    "utf-32": _recode("utf-32"),
    "bom": lambda raw, _: b"\xef\xbb\xbf" + raw,
    "two-boms": lambda raw, _: b"\xef\xbb\xbf\xef\xbb\xbf" + raw,
    "false-bom": lambda raw, _: b"\xff\xfe" + raw,
    "cut": lambda raw, r: raw[: r.randrange(len(raw) + 1)],
    "cut-from-the-left": lambda raw, r: raw[r.randrange(len(raw) + 1) :],
    "empty": lambda raw, _: b"",
    "blank": lambda raw, _: b" \r\n\n\t\n",
    "only-the-first-line": lambda raw, _: raw.split(b"\n")[0] + b"\n",
    "without-the-first-line": lambda raw, _: b"\n".join(raw.split(b"\n")[1:]),
    "binary": lambda raw, r: r.randbytes(r.randint(1, 3000)),
    "flipped-bytes": _flip,
    "nul": _insert(b"\0"),
    "many-nuls": lambda raw, _: raw + b"\0" * 2000,
    "bad-byte": _insert(b"\xff"),
    "encoded-surrogate": _insert(b"\xed\xa0\x80"),
    "escaped-surrogate": _insert(b'{"text": "\\ud83d", "label": "good"}\n'),
    "stray-quote": _insert(b'"'),
    "stray-bracket": _insert(b"]"),
    "ragged": _line(lambda line, _: line + b",,more,\t,;cells"),
    "half-a-line": _line(lambda line, _: line[: len(line) // 2]),
    "not-an-object": _line(lambda line, _: b'["a list", 1]'),
    "infinite": _line(lambda line, _: b'{"text": Infinity, "label": NaN}'),
    "huge-number": _line(lambda line, _: b'{"text": ' + b"9" * 5000 + b', "label": 1e999}'),
    "repeated-key": _line(lambda line, _: b'{"text": "a", "text": "b", "label": "c"}'),
    "deep": _line(lambda line, r: b'{"text": ' + b"[" * r.choice([70, 900, 100_000])),
    "deep-and-closed": _line(lambda line, r: b'{"text": ' + b"[" * 300 + b"]" * 300 + b"}"),
    "long-cell": _line(lambda line, _: line + b"x" * 300_000),
    "mixed-line-ends": _mixed_ends,
    "twice": lambda raw, _: raw + raw,
    "gzip-of-it": lambda raw, _: gzip.compress(raw, mtime=0),
    "line-separators": _insert("\u2028\x0b\x0c\x85".encode()),
    "renamed-column": lambda raw, _: raw.replace(b"label", b""),
    "same-columns": lambda raw, _: raw.replace(b"label", b"text"),
    "one-class": lambda raw, _: raw.replace(b"good", b"bad").replace("так себе".encode(), b"bad"),
    "zstandard-of-it": lambda raw, _: ZSTANDARD.compress(raw, asbytes=True),
    "doubled-quotes": lambda raw, _: raw.replace(b'"', b'""'),
    "curly-quotes": lambda raw, _: raw.replace(b'"', "“".encode()),
    "semicolons": lambda raw, _: raw.replace(b",", b";"),
    "swapped-lines": _swap,
    "lost-line-ends": lambda raw, _: raw.replace(b"\n", b"", 3),
    "old-mac": lambda raw, _: raw.replace(b"\n", b"\r"),
    "html": lambda raw, _: b"<!DOCTYPE html><html><body>403 Forbidden</body></html>\n" + raw,
    "merge-conflict": _insert(b"\n<<<<<<< HEAD\n=======\n>>>>>>> other\n"),
    "comments": _insert(b"\n# a comment\n// another\n"),
    "trailing-comma": lambda raw, _: raw.replace(b"}", b",}"),
    "single-quotes": lambda raw, _: raw.replace(b'"', b"'"),
    "python-words": lambda raw, _: raw.replace(b'"good"', b"None"),
    "many-columns": _line(lambda line, _: line + b",x" * 5000),
    "emoji-and-marks": _insert("👩‍👩‍👧 e\u0301 \u202e \ufeff".encode()),
    "a-long-line": lambda raw, r: raw + b"word " * r.choice([1000, 400_000]),
    "inside": lambda raw, r: inside(raw, r),
    "far-cell": lambda raw, _: raw and xlsx({"Data": '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'}),
    "title": lambda raw, _: "Отчёт за 2024 год\n\n".encode() + raw,
    "hash-lines": lambda raw, _: b"# one, two\n# three\n" + raw,
    "backslash-quotes": lambda raw, _: raw.replace(b'""', b'\\"'),
    "spaced": lambda raw, _: raw.replace(b",", b" , "),
    "mixed-encodings": lambda raw, _: b"\n".join(
        line.decode("utf-8", "replace").encode("cp1251" if at % 2 else "utf-8", "replace")
        for at, line in enumerate(raw.split(b"\n"))
    ),
    "trailing-columns": lambda raw, _: raw.replace(b"\n", b",,,\n"),
    "nothing": lambda raw, _: raw,
}


def inside(raw: bytes, random_: random.Random) -> bytes:
    """Break one file within a zip archive, or a workbook's part, and pack it again."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as held:
            files = {name: held.read(name) for name in held.namelist()}
    except (zipfile.BadZipFile, OSError, zlib.error, NotImplementedError, RuntimeError, EOFError):
        return raw
    name = random_.choice(list(files))
    breaker = random_.choice([name for name in BREAKERS if name not in ("inside", "nothing", "far-cell")])
    return zipped({**files, name: BREAKERS[breaker](files[name], random_)})


PACKERS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    (".gz", lambda raw: gzip.compress(raw, mtime=0)),
    (".zst", lambda raw: ZSTANDARD.compress(raw, asbytes=True)),
    (".zst", lambda raw: gzip.compress(raw, mtime=0)),
)


def broken_files(seed: int, count: int) -> Iterator[BrokenFile]:
    """Make `count` broken files; the same seed makes the same ones. Each breaker is used in turn."""
    random_ = random.Random(seed)
    names = list(BREAKERS)
    for number in range(count):
        suffix, writer = random_.choice(FORMATS)
        content = writer(good_rows(random_, random_.randint(1, 30)))
        chosen = [names[number % len(names)], *random_.sample(names, random_.choice([0, 0, 1, 2]))]
        for name in chosen:
            content = BREAKERS[name](content, random_)
        if random_.random() < 0.15:
            ending, pack = random_.choice(PACKERS)
            suffix += ending
            content = pack(content)[: random_.choice([None, None, None, 25, -4])]
        yield BrokenFile(f"{number:05d}-{'-then-'.join(chosen)}{suffix}", content)
