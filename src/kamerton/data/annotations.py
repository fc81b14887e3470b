"""Exports of annotation tools: each annotated task becomes a row with a column for each question.

Where an export answers several questions, each is a column and the user is asked which one to learn. Of several
annotations of a task the one that most annotators agree on is used, and a note counts the tasks that differ.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from kamerton.core.errors import Unusable
from kamerton.core.messages import Joined, msg
from kamerton.data.cells import LOOKED_AT
from kamerton.data.shape import Shape, Values
from kamerton.data.table import Table
from kamerton.text.cells import filled, plain

CANCELLED = "was_cancelled"
"""The column that marks tasks an annotator refused; rows in which it is true are left out."""
HIERARCHY = " / "
"""Separates the levels of a taxonomy's label."""
Answers = Mapping[str, object]
"""Answers by their question: a list of spans, a list of labels, a text or a number."""


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

    @property
    def differ(self) -> bool:
        """Whether its annotations are not all equal."""
        return len(set(map(_written, self.given))) > 1


@dataclass(frozen=True)
class Tool:
    """An annotation tool's export format."""

    columns: frozenset[str]
    read: Callable[[Values], Annotated | None]
    """Parse a row; None if it has another format. Raises `Unusable` if it is malformed."""


@dataclass
class _SeenTasks:
    """What was seen in the tasks of an export."""

    questions: dict[str, str] = field(default_factory=dict)
    """By question, the usual name of a column with such answers."""
    several: set[str] = field(default_factory=set)
    """Questions whose answers are not always one label."""
    differing: int = 0
    cancelled: int = 0
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, task: Annotated) -> None:
        for answers in task.given:
            for question, answer in answers.items():
                if answer != [] or question not in self.questions:
                    self.questions[question] = _usual_name(answer) or self.questions.get(question, "")
                if not (isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], str)):
                    self.several.add(question)
        self.differing += task.differ
        self.cancelled += task.cancelled and not task.given
        self.unread.update(task.unread)

    def columns(self, data: Sequence[str]) -> dict[str, str]:
        """Return the column of each question: the usual name where there is one question, else its own."""
        if len(self.questions) == 1:
            return {question: usual or "label" for question, usual in self.questions.items()}
        return {question: f"annotated {question}" if question in data else question for question in self.questions}

    def note(self, columns: Mapping[str, str]) -> Joined:
        parts = [msg("each row is a task with its annotation")]
        if len(columns) > 1:
            parts.append(msg("the annotations answer several questions: {names}", names=", ".join(columns.values())))
        if self.differing:
            parts.append(msg("tasks whose annotations differ: {count} (the commonest is used)", count=self.differing))
        if self.unread:
            parts.append(msg("kinds of annotations that are not read: {kinds}", kinds=", ".join(self.unread)))
        return Joined(parts)


def annotated(table: Table) -> Shape | None:
    """Return the shape of a table that one of `TOOLS` wrote; None if none did."""
    for tool in TOOLS:
        if tool.columns <= {*table.columns} and any(_try(tool, row.values) for row in table.rows[:LOOKED_AT]):
            return _shape(table, tool)
    return None


def _shape(table: Table, tool: Tool) -> Shape:
    seen, data = _SeenTasks(), dict[str, None]()
    for row in table.rows:
        if task := _try(tool, row.values):
            seen.add(task)
            data.update(dict.fromkeys(task.data))
    columns = seen.columns(list(data))
    rows = partial(_rows, tool, seen, columns)
    return Shape(tool.columns, lambda values: True, rows, seen.note(columns), tuple(columns.values()))


def _rows(tool: Tool, seen: _SeenTasks, columns: Mapping[str, str], values: Values) -> Iterator[Values]:
    task = tool.read(values)
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


def _try(tool: Tool, values: Values) -> Annotated | None:
    try:
        return tool.read(values)
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
    """Return the objects of a list.

    Raises:
        Unusable: the value is anything else.
    """
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise Unusable(msg("'{name}' is not a list of objects", name=name))
    return value


def _object(value: object) -> Values:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


# ── Label Studio ──────────────────────────────────────────────────────────────────────────────

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


# ── Labelbox, Ground Truth, Argilla ───────────────────────────────────────────────────────────


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
    """Return the value of an answer; one label is a list of one."""
    value = answer["value"] if isinstance(answer, Mapping) and "value" in answer else answer
    return [value] if isinstance(value, str) else value


TOOLS = (
    Tool(frozenset({"data", "annotations"}), partial(_label_studio, "annotations")),
    Tool(frozenset({"data", "completions"}), partial(_label_studio, "completions")),
    Tool(frozenset({"data_row", "projects"}), _labelbox),
    Tool(frozenset({"fields", "responses"}), _argilla),
    Tool(frozenset({"source"}), _ground_truth),
)
