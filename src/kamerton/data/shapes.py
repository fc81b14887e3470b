"""Rows that tasks can read, out of tables whose rows hold something else: questions, annotations, words, spans."""

from collections.abc import Iterator, Mapping, Sequence

from kamerton.core.errors import Unusable
from kamerton.core.messages import msg
from kamerton.core.records import LedgerEntry, Row
from kamerton.data.annotations import annotated, objects
from kamerton.data.cells import LOOKED_AT
from kamerton.data.shape import Shape, Values, in_order, opened, passed_on, remade, rest
from kamerton.data.shapes_of_chats import CHATS, conversations, judged
from kamerton.data.shapes_of_labels import labelled
from kamerton.data.spelling import called
from kamerton.data.table import Collector, Table
from kamerton.forms.offsets import ENDS, KINDS, STARTS
from kamerton.text.cells import filled, plain

SENTENCES = ("sentence #", "sentence_id", "sentence_idx", "sentence_number", "sent_id", "номер предложения")
WORDS = ("word", "token", "слово", "токен")
TAGS = ("tag", "ner_tag", "ner", "label", "тег", "метка")
WHOLE = ("text", "sentence", "content", "document", "full_text", "текст", "предложение")
PIECE = ("word", "span", "span_text", "surface", "mention", "entity_text", "entity_value", "слово", "фрагмент")
"""Names of the text as a whole, and of what a span cuts out of it."""
SPAN_ROLES = {"text": WHOLE, "start": STARTS, "end": ENDS, "label": KINDS, "word": PIECE}
ASKED = ("question", "query", "answer", "вопрос", "ответ")
"""Columns that make of a start and an end the place of an answer."""
MOST = 0.9
"""Share of the rows whose offsets must lie in their text."""


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
        return _sentences(table, *(columns[0] for columns in found))
    if made := _spans_a_row(table) or conversations(table):
        return made
    shape = judged(table) or labelled(table)
    return opened(table, shape) if shape else table


def _sentences(table: Table, number: str, word: str, tag: str) -> Table:
    rows, sentence, current = Collector(table.file), list[Row | LedgerEntry](), ""
    for row in in_order(table):
        name = plain(row.values.get(number)).strip() if isinstance(row, Row) else ""
        if name and name != current:
            _collect(rows, sentence, word, tag)
            sentence, current = [], name
        sentence.append(row)
    _collect(rows, sentence, word, tag)
    return remade(table, rows, ("tokens", "tags"), msg("words with the same '{column}' are one row", column=number))


def _collect(rows: Collector, sentence: Sequence[Row | LedgerEntry], word: str, tag: str) -> None:
    missing = next((one for one in sentence if isinstance(one, LedgerEntry)), None)
    if missing:
        line, reason = str(missing.place.line), missing.reason
        reason = msg("a word of the sentence is missing: line {line} {reason}", line=line, reason=reason)
        rows.reject(sentence[0].place.line, reason)
    elif sentence:
        words = [one.values for one in sentence if isinstance(one, Row)]
        tokens, tags = ([plain(values.get(column)) for values in words] for column in (word, tag))
        rows.accept(sentence[0].place.line, {"tokens": tokens, "tags": tags})


def _spans_a_row(table: Table) -> Table | None:
    """Return a table with a row for each text and its spans, whose offsets stand beside it; None if there are none."""
    found = {role: called(names, table.columns) for role, names in SPAN_ROLES.items()}
    if any(len(found[role]) != 1 for role in ("text", "start", "end", "label")) or called(ASKED, table.columns):
        return None
    columns = {role: names[0] for role, names in found.items() if len(names) == 1}
    text, start, end = (columns[role] for role in ("text", "start", "end"))
    some = [row.values for row in table.rows[:LOOKED_AT] if filled(row.values.get(start))]
    if not some or sum(_lies(one.get(start), one.get(end), plain(one.get(text))) for one in some) < MOST * len(some):
        return None
    rows, texts = Collector(table.file), dict[str, tuple[int, list[object]]]()
    for row in passed_on(in_order(table), rows):
        _, spans = texts.setdefault(plain(row.values.get(text)), (row.place.line, []))
        if filled(row.values.get(start)):
            cells = {role: row.values.get(name) for role, name in columns.items() if role != "text"}
            spans.append({role: cell if (at := _number(cell)) is None else at for role, cell in cells.items()})
    for whole, (line, spans) in texts.items():
        rows.accept(line, {"text": whole, "entities": spans})
    return remade(table, rows, ("text", "entities"), msg("the spans of the same '{column}' are one row", column=text))


def _lies(start: object, end: object, text: str) -> bool:
    first, last = _number(start), _number(end)
    return first is not None and last is not None and first < last <= len(text) + 1


def _number(cell: object) -> int | None:
    written = plain(cell).strip()
    return int(written) if written.isdecimal() else None


def _has_questions(values: Values) -> bool:
    paragraphs = values.get("paragraphs")
    return isinstance(paragraphs, list) and any(isinstance(one, Mapping) and "qas" in one for one in paragraphs)


def _questions(values: Values) -> Iterator[Values]:
    """Read an article of SQuAD (Rajpurkar et al. 2016 and 2018): paragraphs, each with its questions."""
    for paragraph in objects(values.get("paragraphs"), "paragraphs"):
        for asked in objects(paragraph.get("qas"), "qas"):
            if not filled(paragraph.get("context")) or not filled(asked.get("question")):
                raise Unusable(msg("a paragraph has no context, or a question no text"))
            known = {name: asked[name] for name in ("id", "answers") if name in asked}
            if asked.get("is_impossible") is True:
                known["answers"] = []
            shared = {**rest(values, "paragraphs"), "context": paragraph["context"]}
            yield {**shared, "question": asked["question"], **known}


def _programs(values: Values) -> Iterator[Values]:
    """Read a task of MBPP (Austin et al. 2021): as there, the request and the tests stand before the program."""
    tests, setup = ([plain(line) for line in _lines(values.get(name))] for name in ("test_list", "test_imports"))
    request = plain(values.get("text")) or plain(values.get("prompt"))
    yield {
        **rest(values, "text", "prompt", "code", "test_list", "test_imports", "test_setup_code"),
        "prompt": "".join(f"# {line}\n" for part in (request, *tests) for line in part.splitlines()),
        "completion": "\n".join(plain(values.get("code")).splitlines()),
        "tests": "\n".join(filter(None, (*setup, plain(values.get("test_setup_code")), *tests))),
    }


def _lines(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _comparison(first: str, second: str, better: str, means_first: str) -> Shape:
    def rows(values: Values) -> Iterator[Values]:
        """Yield the row with its chosen and its rejected answer."""
        choice = plain(values.get(better))
        if choice not in ("0", "1"):
            raise Unusable(msg("'{column}' is neither 0 nor 1", column=better))
        chosen, rejected = (first, second) if choice == means_first else (second, first)
        others = rest(values, first, second, better)
        yield {**others, "chosen": values.get(chosen), "rejected": values.get(rejected)}

    note = msg("'{column}' says which answer is chosen", column=better)
    return Shape(frozenset({first, second, better}), lambda values: filled(values.get(first)), rows, note)


SHAPES = (
    Shape(frozenset({"paragraphs"}), _has_questions, _questions, msg("each question about a paragraph is a row")),
    Shape(
        frozenset({"code", "test_list"}),
        lambda values: bool(_lines(values.get("test_list"))) and isinstance(values.get("code"), str),
        _programs,
        msg("the request and its tests stand as comments before the program"),
    ),
    _comparison("human_ref_A", "human_ref_B", "labels", means_first="1"),  # SHP (Ethayarajh et al. 2022)
    _comparison("response_0", "response_1", "better_response_id", means_first="0"),  # SafeRLHF (Dai et al. 2023)
)
