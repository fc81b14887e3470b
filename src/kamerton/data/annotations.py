"""Exports of annotation tools: each annotated task becomes a row with a column for each question.

Where an export answers several questions, each is a column and the user is asked which one to learn. Of several
annotations of a task the one that most annotators agree on is used, and a note counts the tasks that differ.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from kamerton.core.errors import Unusable
from kamerton.core.messages import Joined, msg
from kamerton.data.cells import LOOKED_AT, cells_of
from kamerton.data.shape import Shape, Values
from kamerton.data.table import Table
from kamerton.text.cells import filled, plain

CANCELLED = "was_cancelled"
"""The column that marks tasks an annotator refused; rows in which it is true are left out."""
HIERARCHY = " / "
"""Separates the levels of a taxonomy's label."""
VERDICTS = {"accept", "reject", "ignore"}
"""Prodigy's answers."""
Answers = Mapping[str, object]
"""Answers by their question: a list of spans, a list of labels, a text or a number."""
Read = Callable[[Values], "Annotated | None"]
"""Parse a row; None if it has another format. Raises `Unusable` if it is malformed."""


@dataclass(frozen=True)
class Annotated:
    """One task with its annotations."""

    data: Values
    given: tuple[Answers, ...] = ()
    """The valid annotations, the one that counts most first."""
    cancelled: bool = False
    """Whether an annotator refused the task."""
    unread: tuple[str, ...] = ()
    """Kinds of answers that are not read."""

    @property
    def answers(self) -> Answers:
        """The annotation that most annotators agree on, the first one of equals."""
        votes = Counter(map(_written, self.given))
        return max(self.given, key=lambda one: votes[_written(one)], default={})


@dataclass
class _SeenTasks:
    questions: dict[str, str] = field(default_factory=dict)
    """By question, the usual name of a column with such answers."""
    several: set[str] = field(default_factory=set)
    """Questions whose answers are not always one label."""
    differing: int = 0
    cancelled: int = 0
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, task: Annotated) -> None:
        """Count the questions and answers of one task."""
        for answers in task.given:
            for question, answer in answers.items():
                if answer != [] or question not in self.questions:
                    self.questions[question] = _usual_name(answer) or self.questions.get(question, "")
                if not (isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], str)):
                    self.several.add(question)
        self.differing += len(set(map(_written, task.given))) > 1
        self.cancelled += task.cancelled and not task.given
        self.unread.update(task.unread)

    def columns(self, data: Sequence[str]) -> dict[str, str]:
        """Return the column of each question: the usual name where there is one question, else its own."""
        if len(self.questions) == 1:
            return {question: usual or "label" for question, usual in self.questions.items()}
        return {question: f"annotated {question}" if question in data else question for question in self.questions}

    def note(self, columns: Mapping[str, str]) -> Joined:
        """Return what a reader should know of the annotations."""
        parts = [msg("each row is a task with its annotation")]
        if len(columns) > 1:
            parts.append(msg("the annotations answer several questions: {names}", names=", ".join(columns.values())))
        if self.differing:
            parts.append(msg("tasks whose annotations differ: {count} (the commonest is used)", count=self.differing))
        if self.unread:
            parts.append(msg("kinds of annotations that are not read: {kinds}", kinds=", ".join(self.unread)))
        return Joined(parts)


def annotated(table: Table) -> Shape | None:
    """Return the shape of a table that an annotation tool wrote; None if none did, or its rows need no opening."""
    for needed, read in TOOLS:
        if needed <= {*table.columns} and any(_try(read, row.values) for row in table.rows[:LOOKED_AT]):
            seen, data = _SeenTasks(), dict[str, None]()
            for task in filter(None, (_try(read, row.values) for row in table.rows)):
                seen.add(task)
                data.update(dict.fromkeys(task.data))
            columns = seen.columns(list(data))
            rows = partial(_rows, read, seen, columns)
            return Shape(needed, lambda values: True, rows, seen.note(columns), tuple(columns.values()))
    return _prodigy(table)


def _rows(read: Read, seen: _SeenTasks, columns: Mapping[str, str], values: Values) -> Iterator[Values]:
    task = read(values)
    if task is None:
        raise Unusable(msg("the row is not an annotated task like the others"))
    given = dict(task.answers)
    for question, usual in seen.questions.items():
        if usual == "entities" and task.given:
            given.setdefault(question, [])
        elif question not in seen.several and isinstance(answer := given.get(question), list):
            given[question] = answer[0]
    marked = {CANCELLED: task.cancelled and not task.given} if seen.cancelled else {}
    yield {**task.data, **{columns[question]: answer for question, answer in given.items()}, **marked}


def _try(read: Read, values: Values) -> Annotated | None:
    try:
        return read(values)
    except Unusable:
        return None


def _usual_name(answer: object) -> str:
    """Return the name by which tasks know a column of such answers; empty for an empty answer."""
    if isinstance(answer, list):
        return "" if not answer else "entities" if isinstance(answer[0], Mapping) else "label"
    return "response" if isinstance(answer, str) else "score"


def _written(answers: Answers) -> str:
    return json.dumps(answers, sort_keys=True, ensure_ascii=False, default=str)


def objects(value: object, name: str) -> list[Values]:
    """Return the objects of a list; raise `Unusable` if the value is anything else."""
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise Unusable(msg("'{name}' is not a list of objects", name=name))
    return value


def _object(value: object) -> Values:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


REGIONS = ("labels", "hypertextlabels")
"""Types of results that are spans."""


def _label_studio(key: str, values: Values) -> Annotated | None:
    """Parse a task: its data, and of the annotations that were not cancelled the ground truth or all."""
    data, given = values.get("data"), values.get(key)
    if not isinstance(data, Mapping) or not isinstance(given, list):
        return None
    kept = {"id": values["id"], **data} if "id" in values else dict(data)
    made = objects(given, key)
    standing = [one for one in made if not (one.get("was_cancelled") or one.get("skipped"))]
    truths = [one for one in standing if one.get("ground_truth")] or standing
    results = [objects(one.get("result"), "result") for one in truths]
    unread = [plain(one.get("type")) for result in results for one in result if _answer(one) is None]
    return Annotated(kept, tuple(map(_answers, results)), len(standing) < len(made), tuple(unread))


def _answers(result: Sequence[Values]) -> Answers:
    found: dict[str, object] = {}
    for one in result:
        answer = _answer(one)
        question = plain(one.get("from_name")) or plain(one.get("type")) or "label"
        before = found.get(question)
        if answer is not None:
            several = isinstance(before, list) and isinstance(answer, list)
            found[question] = [*_list(before), *_list(answer)] if several else answer
    return found


def _answer(one: Values) -> object:
    """Parse one result: a list of one span or of labels, a text or a number; None if it is of another kind."""
    value, kind = _object(one.get("value")), plain(one.get("type"))
    if any(region in value for region in REGIONS):
        return [value]
    if "taxonomy" in value:
        return [HIERARCHY.join(map(plain, _list(path))) for path in _list(value["taxonomy"])]
    if "choices" in value:
        return list(map(plain, _list(value["choices"])))
    if "text" in value and kind == "textarea":
        return "\n".join(map(plain, _list(value["text"]))) or plain(value["text"])
    return next((value[name] for name in ("rating", "number", "selected") if filled(value.get(name))), None)


def _labelbox(values: Values) -> Annotated | None:
    """Parse a data row with the labels of its projects; its spans end at their last letter."""
    row, projects = _object(values.get("data_row")), _object(values.get("projects"))
    if "row_data" not in row:
        return None
    labels = [one for project in projects.values() for one in _list(_object(project).get("labels"))]
    given = tuple(_of_labelbox(_object(_object(one).get("annotations"))) for one in labels)
    return Annotated({"id": row.get("id"), "text": row["row_data"]}, given)


def _of_labelbox(annotations: Values) -> Answers:
    found: dict[str, object] = {}
    for one in map(_object, _list(annotations.get("classifications"))):
        picked = [one.get("radio_answer"), *_list(one.get("checklist_answers"))]
        found[plain(one.get("name"))] = [plain(_object(pick).get("name")) for pick in picked if pick]
    spans: list[object] = []
    for one in map(_object, _list(annotations.get("objects"))):
        place = _object(one.get("location"))
        end = place.get("end")
        behind = end + 1 if isinstance(end, int) else end
        spans.append({"start": place.get("start"), "end": behind, "label": one.get("name")})
    return {**found, "entities": spans} if spans or not found else found


def _ground_truth(values: Values) -> Annotated | None:
    """Parse a line of a SageMaker Ground Truth manifest: `source`, and each job's answer beside its metadata."""
    jobs = [name for name in values if isinstance(values.get(f"{name}-metadata"), Mapping)]
    if "source" not in values or not jobs:
        return None
    answers: dict[str, object] = {}
    for job in jobs:
        metadata, found = _object(values[f"{job}-metadata"]), _object(_object(values[job]).get("annotations"))
        several = _object(metadata.get("class-map"))
        if "entities" in found:
            answers[job] = _list(found["entities"])
        elif several:
            answers[job] = [plain(several.get(plain(one), one)) for one in _list(values[job])]
        else:
            answers[job] = [plain(metadata.get("class-name", values[job]))]
    return Annotated({"text": values["source"]}, (answers,))


def _argilla(values: Values) -> Annotated | None:
    """Parse a record of Argilla 1 or 2: its fields, and the responses of its annotators."""
    fields, responses = values.get("fields"), values.get("responses")
    if not isinstance(fields, Mapping) or not isinstance(responses, list | Mapping):
        return None
    given, discarded = [], False
    by_user: dict[str, dict[str, object]] = {}
    for question, answers in _object(responses).items():  # Argilla 2: answers of all by question
        for at, one in enumerate(map(_object, _list(answers))):
            user = by_user.setdefault(plain(one.get("user_id")) or str(at), {"status": one.get("status")})
            user[question] = one.get("value")
    flat = [{**_object(one.get("values")), "status": one.get("status")} for one in map(_object, _list(responses))]
    for one in (*by_user.values(), *flat):  # Argilla 1: all answers of one annotator
        discarded |= plain(one.get("status")) == "discarded"
        if plain(one.get("status")) in ("", "submitted"):
            answered = {name: _value(answer) for name, answer in one.items() if name != "status"}
            given.append({name: answer for name, answer in answered.items() if filled(answer)})
    return Annotated(dict(fields), tuple(given), discarded)


def _value(answer: object) -> object:
    value = answer["value"] if isinstance(answer, Mapping) and "value" in answer else answer
    return [value] if isinstance(value, str) else value


TOOLS: Sequence[tuple[frozenset[str], Read]] = (
    (frozenset({"data", "annotations"}), partial(_label_studio, "annotations")),
    (frozenset({"data", "completions"}), partial(_label_studio, "completions")),
    (frozenset({"data_row", "projects"}), _labelbox),
    (frozenset({"fields", "responses"}), _argilla),
    (frozenset({"source"}), _ground_truth),
)
"""The columns of each export, and how its rows are read."""


# ── Prodigy: choices by their ids, one label with accept or reject, spans beside their tokens ─


def _prodigy(table: Table) -> Shape | None:
    names = {*table.columns}
    if {"options", "accept"} <= names and any(_is_choice(row.values) for row in table.rows[:LOOKED_AT]):
        accepted = msg("each row's label is what was accepted")
        return Shape(frozenset({"options", "accept"}), _is_choice, _choice, accepted)
    if "answer" not in names or not {plain(cell) for cell in cells_of(table, "answer")} <= VERDICTS:
        return None
    if {"spans", "tokens"} <= names:
        return Shape(frozenset({"spans", "tokens"}), _has_tokens, _spans, "")
    labels = {plain(row.values["label"]) for row in table.rows if filled(row.values.get("label"))}
    if "spans" not in names and len(labels) == 1 and any(row.values.get("answer") == "reject" for row in table.rows):
        only = msg("rows that reject the only label are read as '{label}'", label=f"not {labels.pop()}")
        return Shape(frozenset({"label", "answer"}), lambda values: True, _yes_or_no, only)
    return None


def _is_choice(values: Values) -> bool:
    options = values.get("options")
    return isinstance(options, list) and bool(options) and all(isinstance(o, Mapping) and "id" in o for o in options)


def _choice(values: Values) -> Iterator[Values]:
    accepted = values.get("accept")
    kept = {name: cell for name, cell in values.items() if name not in ("options", "accept", "config")}
    yield {**kept, "label": [plain(one) for one in accepted] if isinstance(accepted, list) else accepted}


def _yes_or_no(values: Values) -> Iterator[Values]:
    """Read a rejected label as another one; an ignored row keeps its mark."""
    refused = values.get("answer") == "reject"
    label = f"not {plain(values.get('label'))}" if refused else values.get("label")
    yield {**values, "label": label, "answer": "accept" if refused else values.get("answer")}


def _has_tokens(values: Values) -> bool:
    tokens = values.get("tokens")
    return isinstance(tokens, list) and all(isinstance(token, Mapping) and "text" in token for token in tokens)


def _spans(values: Values) -> Iterator[Values]:
    """Write into each span the text of its tokens, by which its offsets are checked."""
    spans, tokens = values.get("spans"), values.get("tokens")
    kept = {name: cell for name, cell in values.items() if name != "tokens"}
    if _has_tokens(values) and isinstance(spans, list) and isinstance(tokens, list):
        words = [plain(token["text"]) for token in tokens]
        kept["spans"] = [{**_own_text(span, words), **span} if isinstance(span, Mapping) else span for span in spans]
    yield kept


def _own_text(span: Values, words: list[str]) -> Values:
    first, last = span.get("token_start"), span.get("token_end")
    if isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < len(words):
        return {"text": " ".join(words[first : last + 1])}
    return {}
