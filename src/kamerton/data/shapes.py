"""Rows that tasks can read, out of tables whose rows hold something else: questions, annotations, single words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kamerton.core.errors import Unusable
from kamerton.core.messages import msg
from kamerton.core.records import LedgerEntry, Row
from kamerton.data.annotations import annotated, objects
from kamerton.data.cells import LOOKED_AT
from kamerton.data.shape import Shape, Values, in_order, opened
from kamerton.data.shapes_of_chats import CHATS, conversations, judged
from kamerton.data.shapes_of_labels import labelled
from kamerton.data.shapes_of_spans import spans_a_row
from kamerton.data.spelling import called
from kamerton.data.table import Collector, Table
from kamerton.text.cells import filled, plain

SENTENCES = ("sentence #", "sentence_id", "sentence_idx", "sentence_number", "sent_id", "номер предложения")
WORDS = ("word", "token", "слово", "токен")
TAGS = ("tag", "ner_tag", "ner", "label", "тег", "метка")


def reshaped(table: Table) -> Table:
    """Return a table of the rows that a table's rows hold, each at its old place; any other table unchanged.

    Raises:
        DataError: most rows do not hold what the others do.
    """
    if shape := annotated(table):
        return opened(table, shape)
    for shape in (*SHAPES, *CHATS):
        if shape.columns <= {*table.columns} and any(shape.holds(row.values) for row in table.rows[:LOOKED_AT]):
            return opened(table, shape)
    found = [called(names, table.columns) for names in (SENTENCES, WORDS, TAGS)]
    if all(len(columns) == 1 for columns in found):
        return _joined(table, *(columns[0] for columns in found))
    if marked := spans_a_row(table):
        return marked
    if talks := conversations(table):
        return talks
    shape = judged(table) or labelled(table)
    return opened(table, shape) if shape else table


# ── a word a row ──────────────────────────────────────────────────────────────────────────────


def _joined(table: Table, number: str, word: str, tag: str) -> Table:
    rows, sentence, current = Collector(table.file), list[Row | LedgerEntry](), ""
    for row in in_order(table):
        name = plain(row.values.get(number)).strip() if isinstance(row, Row) else ""
        if name and name != current:
            _collect(rows, sentence, word, tag)
            sentence, current = [], name
        sentence.append(row)
    _collect(rows, sentence, word, tag)
    note = msg("words with the same '{column}' are one row", column=number)
    return replace(rows.table(("tokens", "tags"), table.format, table.encoding, [*table.notes, note]), reshaped=True)


def _collect(rows: Collector, sentence: Sequence[Row | LedgerEntry], word: str, tag: str) -> None:
    if not sentence:
        return
    bad = [one for one in sentence if isinstance(one, LedgerEntry)]
    words = [one.values for one in sentence if isinstance(one, Row)]
    line = sentence[0].place.line
    if bad:
        missing = bad[0]
        reason = msg(
            "a word of the sentence is missing: line {line} {reason}",
            line=str(missing.place.line),
            reason=missing.reason,
        )
        rows.reject(line, reason)
    else:
        rows.accept(line, {"tokens": [plain(v.get(word)) for v in words], "tags": [plain(v.get(tag)) for v in words]})


# ── a row that holds others ───────────────────────────────────────────────────────────────────


def _has(value: object, key: str) -> bool:
    return isinstance(value, list) and any(isinstance(one, Mapping) and key in one for one in value)


def _questions(values: Values) -> Iterator[Values]:
    """Read an article of SQuAD (Rajpurkar et al. 2016 and 2018): paragraphs, each with its questions."""
    kept = {name: cell for name, cell in values.items() if name != "paragraphs"}
    for paragraph in objects(values.get("paragraphs"), "paragraphs"):
        for asked in objects(paragraph.get("qas"), "qas"):
            if not filled(paragraph.get("context")) or not filled(asked.get("question")):
                raise Unusable(msg("a paragraph has no context, or a question no text"))
            known = {name: asked[name] for name in ("id", "answers") if name in asked}
            if asked.get("is_impossible") is True:
                known["answers"] = []
            yield {**kept, "context": paragraph["context"], "question": asked["question"], **known}


def _programs(values: Values) -> Iterator[Values]:
    """Read a task of MBPP (Austin et al. 2021): as there, the request and the tests stand before the program."""
    tests, setup = ([plain(line) for line in _lines(values.get(name))] for name in ("test_list", "test_imports"))
    request = plain(values.get("text")) or plain(values.get("prompt"))
    asked = "".join(f"# {line}\n" for part in (request, *tests) for line in part.splitlines())
    used = ("text", "prompt", "code", "test_list", "test_imports", "test_setup_code")
    yield {
        **{name: cell for name, cell in values.items() if name not in used},
        "prompt": asked,
        "completion": "\n".join(plain(values.get("code")).splitlines()),
        "tests": "\n".join(filter(None, (*setup, plain(values.get("test_setup_code")), *tests))),
    }


def _lines(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _comparison(first: str, second: str, better: str, means_first: str) -> Shape:

    def rows(values: Values) -> Iterator[Values]:
        choice = plain(values.get(better))
        if choice not in ("0", "1"):
            raise Unusable(msg("'{column}' is neither 0 nor 1", column=better))
        chosen, rejected = (first, second) if choice == means_first else (second, first)
        kept = {name: cell for name, cell in values.items() if name not in (first, second, better)}
        yield {**kept, "chosen": values.get(chosen), "rejected": values.get(rejected)}

    note = msg("'{column}' says which answer is chosen", column=better)
    return Shape(frozenset({first, second, better}), lambda values: filled(values.get(first)), rows, note)


SHAPES = (
    Shape(
        frozenset({"paragraphs"}),
        lambda values: _has(values.get("paragraphs"), "qas"),
        _questions,
        msg("each question about a paragraph is a row"),
    ),
    Shape(
        frozenset({"code", "test_list"}),
        lambda values: bool(_lines(values.get("test_list"))) and isinstance(values.get("code"), str),
        _programs,
        msg("the request and its tests stand as comments before the program"),
    ),
    _comparison("human_ref_A", "human_ref_B", "labels", means_first="1"),  # SHP (Ethayarajh et al. 2022)
    _comparison("response_0", "response_1", "better_response_id", means_first="0"),  # SafeRLHF (Dai et al. 2023)
)
