"""Tables as people's tools write them: signs, quotes, lines before the header, no header, odd columns, odd names."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from kamerton.core.errors import DataError
from kamerton.data.read import read_table
from kamerton.data.table import Options, Table, spelled_as
from kamerton.pipeline.prepare import parse_data
from kamerton.runs.recipe import resolve

SUBJECTS, VERBS = ("lamp", "radio", "garden", "window", "sofa"), ("broke", "worked", "shone", "leaked", "fell")
ENDS = ("never again.", "very pleased.", "a real joy.", "does not work.", "I hate it.")
RUSSIAN = ("Лампа сломалась", "Радио работает", "Сад цветёт", "Окно течёт", "Диван упал")


def texts(count: int = 24) -> list[str]:
    draw = random.Random(7)
    return [
        f"The {draw.choice(SUBJECTS)} {draw.choice(VERBS)} on day {number}, {draw.choice(ENDS)}"
        for number in range(count)
    ]


TEXTS = texts()
LABELS = [("good", "bad", "so-so")[number % 3] for number in range(len(TEXTS))]
PAIRS = list(zip(TEXTS, LABELS, strict=True))


def read(folder: Path, name: str, content: str | bytes, options: Options | None = None) -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, options or Options())


def pairs(table: Table) -> list[tuple[object, ...]]:
    return [tuple(row.values.values()) for row in table.rows]


def refusal(path: Path, **settings: object) -> str:
    with pytest.raises(DataError) as told:
        parse_data(resolve(None, {"data.path": str(path), **settings}))
    return str(told.value)


def rows(pattern: str, between: str = "\n") -> str:
    """Write every pair after a pattern."""
    return "".join(
        pattern.format(text=text, label=label, number=at) + between for at, (text, label) in enumerate(PAIRS)
    )


QUOTED = "text,label\n" + rows('"{text}",{label}')
HEADED = {
    "a line that names the sign": "sep=;\r\ntext;label\r\n" + rows("{text};{label}", "\r\n"),
    "that line in quotes, for a tab": '"sep=\t"\ntext\tlabel\n' + rows("{text}\t{label}"),
    "comments": "# exported 2024-01-01\n# by: a tool, and more\n" + QUOTED,
    "comments among the rows": "# exported\n" + QUOTED.replace("good\n", "good\n# a comment\n", 1),
    "a blank line, then the header": "\n\n" + QUOTED,
    "a title": "Отзывы за 2024 год\n\n" + QUOTED,
    "a title that is filled up with signs": "Отзывы за 2024 год;;\n;;\ntext;label;\n" + rows('"{text}";{label};'),
    "a header behind a comment's sign": "# made by a tool\n#text\tlabel\n" + rows("{text}\t{label}"),
    "a block of other cells": "Report:;on;2024\nDate:;today;\n\ntext;label\n" + rows("{text};{label}"),
    "columns without a name and without cells": "text,label,,,\n" + rows('"{text}",{label},,,'),
    "rows that end early where nothing stands": "text,label,,\n" + rows('"{text}",{label}'),
    "rows that end late where nothing stands": "text,label\n" + rows('"{text}",{label},,'),
    "spaces beside quotes": "text , label\n" + rows('"{text}" , "{label}"'),
    "a space before quotes": "text, label\n" + rows('"{text}", "{label}"'),
    "single quotes": "text,label\n" + rows("'{text}','{label}'"),
    "signs after a backslash": "text,label\n" + "".join(
        f"{text}\\{end},{label}\n" for (text, label) in PAIRS for text, end in [text.split(",")] for end in [f",{end}"]
    ),
    "a bar": "text|label\n" + rows("{text}|{label}"),
}  # fmt: skip


@pytest.mark.parametrize("written", HEADED)
def test_a_table_is_read_however_a_tool_writes_it(written: str, tmp_path: Path) -> None:
    table = read(tmp_path, "rows.csv", HEADED[written])
    assert (table.columns, pairs(table), table.rejected) == (("text", "label"), PAIRS, ())


def test_a_tab_is_found_where_the_header_holds_commas(tmp_path: Path) -> None:
    table = read(tmp_path, "rows.csv", "id, no\ttext, raw, cleaned\tlabel\n" + rows("{number}\t{text}\t{label}"))
    assert table.columns == ("id, no", "text, raw, cleaned", "label") and len(table.rows) == len(PAIRS)
    assert read(tmp_path, "commas.tsv", QUOTED).columns == ("text", "label")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r'"She said \"no\", then left",bad', 'She said "no", then left'),
        (r'"in C:\new\folder, she said \"no\"",bad', r'in C:\new\folder, she said "no"'),
        (r'"a \\ and \"b\"",bad', r'a \ and "b"'),
    ],
)
def test_a_backslash_escapes_quotes_and_stays_elsewhere(written: str, text: str, tmp_path: Path) -> None:
    table = read(tmp_path, "rows.csv", "text,label\n" + (written + "\n") * 5)
    assert pairs(table) == [(text, "bad")] * 5


def test_a_stray_cell_beside_the_named_columns_is_told(tmp_path: Path) -> None:
    content = (
        "v1,v2,,,\n" + 'spam,"Win £10, now", call,GE,\n' + "".join(f'{label},"{text}",,,\n' for text, label in PAIRS)
    )
    table = read(tmp_path, "spam.csv", content.encode("latin-1"))
    assert table.columns == ("v1", "v2", "column 3", "column 4") and len(table.rows) == len(PAIRS) + 1
    assert "1 row has something in a column without a name: 'column 3'" in map(str, table.notes)
    assert dict(table.rows[1].values) == {"v1": LABELS[0], "v2": TEXTS[0]}


def test_quotes_between_tabs_that_swallow_rows_are_letters(tmp_path: Path) -> None:
    lines = [f"{label}\t{text}" for text, label in PAIRS]
    lines[3] = 'good\t"A quote is opened here'
    lines[6] = 'bad\tand closed here"'
    table = read(tmp_path, "rows.tsv", "label\ttext\n" + "\n".join(lines))
    assert len(table.rows) == len(PAIRS) and table.rows[3].values["text"] == '"A quote is opened here'


# ── no header ─────────────────────────────────────────────────────────────────────────────────

NAMELESS = {
    "text, label": ("rows.csv", rows('"{text}",{label}')),
    "label, text behind a tab": ("rows.tsv", rows("{label}\t{text}")),
    "a number, a date, a name and a text": (
        "rows.csv",
        "".join(
            f'"{at % 2}","{146781036 + at}","Mon Apr 06 22:19:{45 + at % 9} PDT 2009","NO_QUERY","user_{at}","{text}"\n'
            for at, text in enumerate(TEXTS)
        ),
    ),
    "text;label in plain text": ("train.txt", rows("{text};{label}")),
    "text, with commas,label in plain text": ("train.txt", rows("{text},{label}")),
    "label, text with commas in plain text": ("train.txt", rows("{label}, {text}")),
    "a class before a space": ("train.txt", "".join(f"{at % 2} {text}\n" for at, text in enumerate(TEXTS))),
    "a tag with a colon before a space": (
        "train.txt",
        "".join(f"{('DESC:def', 'NUM:date', 'HUM:ind')[at % 3]} {text}\n" for at, text in enumerate(TEXTS)),
    ),
    "no ending": ("SMSSpamCollection", rows("{label}\t{text}")),
    "an unusual ending": ("reviews.dat", rows("{label}|{text}")),
    "Russian": (
        "отзывы.txt",
        "".join(f"{RUSSIAN[at % 5]} в {at}-й день.;{('хорошо', 'плохо')[at % 2]}\n" for at in range(24)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("written", NAMELESS)
def test_without_a_header_the_first_row_is_kept_and_the_question_names_the_way_on(written: str, tmp_path: Path) -> None:
    name, content = NAMELESS[written]
    table = read(tmp_path, name, content)
    assert len(table.rows) == 24 and set(table.columns) <= {f"column {number}" for number in range(1, 7)}
    message = refusal(tmp_path / name)
    flags = next(line for line in message.splitlines() if "--columns" in line and "COLUMN" not in line)
    chosen = dict(pair.split("=") for pair in flags.split('"')[1].split(","))
    found = parse_data(
        resolve(None, {"data.path": str(tmp_path / name), "data.task": "text-classification", "data.columns": chosen})
    )
    assert len(found.examples) == 24 and found.recipe.data.task == "text-classification"


def test_what_the_user_says_of_the_header_holds(tmp_path: Path) -> None:
    content = "one,two\n" + rows('"{text}",{label}')
    assert read(tmp_path, "rows.csv", content).columns == ("one", "two")
    said = read(tmp_path, "rows.csv", content, Options(header=False))
    assert (said.columns, len(said.rows)) == (("column 1", "column 2"), len(PAIRS) + 1)
    nameless = rows('"{text}",{label}')
    assert read(tmp_path, "rows.csv", nameless, Options(header=True)).columns == PAIRS[0]


@pytest.mark.parametrize(
    "header",
    [
        "text,label", "Отзыв,Метка", "What do you like best about it?,Why do you like it?", "review body,overall",
        "0,1", "id text,id", "Feedback,Would you buy it?",
    ],
)  # fmt: skip
def test_names_of_columns_are_not_taken_for_a_row(header: str, tmp_path: Path) -> None:
    assert read(tmp_path, "rows.csv", f"{header}\n" + rows('"{text}",{label}')).columns == tuple(header.split(","))


def test_prose_stays_plain_text(tmp_path: Path) -> None:
    prose = [f"On day {at} it rained, and {text[4:]}" for at, text in enumerate(TEXTS)]
    assert read(tmp_path, "prose.txt", "\n".join(prose)).columns == ("text",)
    with pytest.raises(DataError, match="does not say the format"):
        read(tmp_path, "prose", "\n".join(prose))


# ── other formats under odd names ─────────────────────────────────────────────────────────────

SENTENCE = "Anna B-PER\nsings O\nin O\nOslo B-LOC\n\n"


@pytest.mark.parametrize("name", ["rows.csv", "rows.txt", "rows.tsv", "rows", "rows.dat"])
@pytest.mark.parametrize("lines", [True, False])
def test_json_is_read_under_any_name(name: str, lines: bool, tmp_path: Path) -> None:
    objects = [{"text": text, "label": label} for text, label in PAIRS]
    table = read(tmp_path, name, "\n".join(map(json.dumps, objects)) if lines else json.dumps(objects, indent=1))
    assert [dict(row.values) for row in table.rows] == objects


def test_rows_that_begin_like_comments_stay_rows(tmp_path: Path) -> None:
    tagged = rows('"#happy {text}",{label}')
    assert len(read(tmp_path, "rows.csv", tagged).rows) == len(PAIRS)
    assert read(tmp_path, "rows.csv", "text,label\n" + tagged).columns == ("text", "label")


@pytest.mark.parametrize("name", ["eng.train", "eng.testa", "ner.bio", "ner.iob2", "ner", "ner.dat", "ner.csv.test"])
def test_tokens_and_tags_are_read_under_any_name(name: str, tmp_path: Path) -> None:
    table = read(tmp_path, name, SENTENCE * 4)
    assert dict(table.rows[0].values) == {
        "tokens": ["Anna", "sings", "in", "Oslo"],
        "tags": ["B-PER", "O", "O", "B-LOC"],
    }


def test_a_folder_of_parts_by_their_endings_is_split_as_it_stands(tmp_path: Path) -> None:
    for at, name in enumerate(("eng.train", "eng.testa", "eng.testb")):
        (tmp_path / name).write_text("".join(SENTENCE.replace("Anna", f"Anna{n}{at}") for n in range(9)))
    found = parse_data(resolve(None, {"data.path": str(tmp_path)}))
    assert {*found.sides.names.values()} == {"train", "validation", "test"}


def test_a_tag_with_a_space_is_one_tag(tmp_path: Path) -> None:
    content = "-DOCSTART- -X- O\n" + "We -X- _ O\nsell -X- _ O\nbridge -X- _ B-Titre 2\nkits -X- _ I-Titre 2\n\n" * 3
    assert read(tmp_path, "x.conll", content).rows[0].values["tags"] == ["O", "O", "B-Titre 2", "I-Titre 2"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.csv", b"<!DOCTYPE html><html><head><title>Sign in</title>", "an HTML page ('Sign in')"),
        ("rows.csv", b"\xef\xbb\xbf\n<HTML><body>text,label</body>", "an HTML page"),
        ("rows.xlsx", b"<html><table><tr><td>text</td></tr></table>", "an HTML page"),
        ("rows.json", b'<?xml version="1.0"?><rows/>', "XML"),
        *[
            (name, b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n", "git lfs pull")
            for name in ("rows.csv", "rows.parquet", "rows.jsonl", "rows.xlsx", "rows")
        ],
        ("rows.json", b'{"error": "Rate limit", "status": 429}', "a server's error message"),
        ("rows.csv", b"%PDF-1.7\n", "PDF"),
        ("rows.csv", b"SQLite format 3\0" + bytes(90), "an SQLite database"),
        ("rows.jsonl", b"\x80\x04\x95" + bytes(8) + b"]\x94.", "a Python pickle"),
        ("rows.csv", b"\x89PNG\r\n\x1a\n" + bytes(90), "an image"),
        ("rows.parquet", b"text,label\na,b\n", "Parquet file cannot be read"),
        ("rows.csv", b"PAR1" + bytes(90), "let its name end in .parquet"),
    ],
)
def test_what_is_no_data_is_called_what_it_is(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert told in refusal(tmp_path / name)


# ── several files, and letters ────────────────────────────────────────────────────────────────


def test_columns_whose_names_differ_in_case_or_spaces_are_one(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(QUOTED)
    (tmp_path / "test.csv").write_text(
        "Text , LABEL\n" + "".join(f'"{text} Or not.",{label}\n' for text, label in PAIRS[:9])
    )
    found = parse_data(resolve(None, {"data.path": str(tmp_path)}))
    assert found.table.columns == ("text", "label") and len(found.examples) == len(PAIRS) + 9
    assert any("'LABEL' of" in note and "is read as 'label'" in note for note in tuple(map(str, found.table.notes)))


def test_a_table_takes_the_names_that_its_columns_have_elsewhere(tmp_path: Path) -> None:
    table = spelled_as(
        read(tmp_path, "rows.csv", " TEXT ,Label,Other\n" + rows('"{text}",{label},1')), ["text", "label"]
    )
    assert table.columns == ("text", "label", "Other") and table.rows[0].values["text"] == TEXTS[0]


def test_a_file_that_lacks_a_column_of_the_others_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(QUOTED)
    (tmp_path / "test.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS[:5]))
    table = read_table(tmp_path)
    assert (
        f"{tmp_path / 'test.csv'} has no column 'label'" in tuple(map(str, table.notes))
        and len(table.rows) == len(PAIRS) + 5
    )


@pytest.mark.parametrize("encoding", ["mac_cyrillic", "iso8859-5", "cp866", "koi8-r", "cp1251", "utf-16-le"])
def test_russian_is_read_in_other_encodings(encoding: str, tmp_path: Path) -> None:
    content = "текст,метка\n" + "".join(f"{RUSSIAN[at % 5]} в {at}-й раз,Хорошо\n" for at in range(20))
    table = read(tmp_path, "rows.csv", content.encode(encoding))
    assert pairs(table)[2] == ("Сад цветёт в 2-й раз", "Хорошо") and encoding in " ".join(map(str, table.notes))


@pytest.mark.parametrize("other", ["cp1251", "koi8-r"])
@pytest.mark.parametrize("every", [2, 7])
def test_lines_of_two_encodings_are_each_read_in_their_own(other: str, every: int, tmp_path: Path) -> None:
    lines = ["текст,метка", *(f"{RUSSIAN[at % 5]} в {at}-й раз,Хорошо" for at in range(40))]
    content = b"".join((line + "\n").encode(other if at % every == 0 else "utf-8") for at, line in enumerate(lines))
    table = read(tmp_path, "rows.csv", content)
    assert pairs(table) == [tuple(line.split(",")) for line in lines[1:]]
    assert any("lines of two encodings" in str(note) and other in str(note) for note in table.notes)
