"""All settings as a form, made from the recipe's schema: what each means, what it may be, and what is wrong with it.

Settings that name a file, a server or code are not in it: no page may make the studio read what the user did not send.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from kamerton.core import registry
from kamerton.core.errors import Fault, RecipeError
from kamerton.core.messages import msg
from kamerton.core.preparation import RunChoices
from kamerton.models.catalog import names
from kamerton.runs.recipe import AUTO, Recipe, checked, resolve
from kamerton.runs.settings import SELF

WITHHELD = (
    "data.path", "data.fetched", "split.test_path", "split.train_path", "model.revision", "model.tuned",
    "model.tuned_at", "model.tuned_name", "model.tuned_key", "model.labels", "model.template", "prompt.against",
    "prompt.model", "prompt.key", "prompt.price_in", "prompt.price_out", "benchmarks.tasks", "benchmarks.rows",
    "task.unsafe",
)  # fmt: skip
"""Settings that are given on the command line alone: paths, addresses, keys, code, and what only these need."""
YES, NO = "true", "false"
LONGEST = 4000
"""Letters of a value."""
NUMBERS = {"integer": int, "number": float}
LIMITS = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
"""JSON schema's words for types and limits of numbers, and pydantic's."""


@dataclass(frozen=True)
class SettingField:
    """A setting in the form."""

    path: str
    description: str
    """In English; pages translate it."""
    kind: Literal["choice", "words", "number", "text"]
    usual: str
    """The value if none is given; empty if it is decided by the data and the model."""
    choices: tuple[str, ...] = ()
    method: str = ""
    """The method whose own it is; empty for settings of the recipe and of the task."""

    @property
    def name(self) -> str:
        """What it is called in the form, where each method has its own."""
        return f"{self.method}:{self.path}" if self.method else self.path

    @property
    def group(self) -> str:
        """The group of the recipe that it belongs to; empty for the recipe's own."""
        return self.path.rpartition(".")[0]

    @property
    def section(self) -> str:
        """The group, and within it the method whose own it is."""
        return f"{self.group} {self.method}".strip()


@dataclass(frozen=True)
class Given:
    """What was filled in: the settings, and what is wrong by field; `""` for what concerns several."""

    settings: Mapping[str, Any]
    faults: Mapping[str, Sequence[Fault]]


@cache
def setting_fields() -> tuple[SettingField, ...]:
    """Return the fields of all settings that a page may change, in the recipe's order."""
    schema = Recipe.model_json_schema()
    found = list[SettingField]()
    for name, about in schema["properties"].items():
        group = schema["$defs"].get(about.get("$ref", "").rpartition("/")[2])
        members = group["properties"] if group else {}
        found += [_field(f"{name}.{inner}", one, words_of()) for inner, one in members.items()]
        if not group and name != "reasons":
            found.append(_field(name, about, {}))
    return tuple(field for field in found if field.path not in WITHHELD)


def fields_of(choices: RunChoices) -> tuple[SettingField, ...]:
    """Return the fields of the recipe, of the task, and of each method."""
    own = [_field(path, about, {}) for path, about in choices.of_task.items() if path not in WITHHELD]
    for method, settings in choices.of_methods.items():
        own += [replace(_field(path, about, {}), method=method) for path, about in settings.items()]
    return (*setting_fields(), *own)


def words_of() -> dict[str, tuple[str, ...]]:
    """Return the words that settings may have which name a plug-in or a model."""
    folders = {
        "data.task": "tasks", "method.name": "methods", "train.optimizer": "optimizers", "evaluate.metric": "metrics",
    }  # fmt: skip
    words = {path: tuple(registry.names(folder)) for path, folder in folders.items()}
    return {**words, "model.name": tuple(names()), "mix.source": (SELF,)}


def _field(path: str, about: Mapping[str, Any], words: Mapping[str, tuple[str, ...]]) -> SettingField:
    kinds = about.get("anyOf", [about])
    usual, description = about.get("default"), about.get("description", "")
    choices = words.get(path) or tuple(word for kind in kinds for word in kind.get("enum", ()))
    types = {kind.get("type") for kind in kinds}
    if "boolean" in types:
        return SettingField(path, description, "choice", _written(usual), (YES, NO))
    if choices:
        return SettingField(path, description, "choice", _written(usual), choices)
    if types & {"array", "object"}:
        return SettingField(path, description, "words", _written(usual))
    kind: Literal["number", "text"] = "number" if types & {"number", "integer"} and "string" not in types else "text"
    return SettingField(path, description, kind, _written(usual))


def _written(value: object) -> str:
    if isinstance(value, bool):
        return YES if value else NO
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def read_settings(
    form: Mapping[str, Sequence[str]], data: str, others: Mapping[str, Any], choices: RunChoices
) -> Given:
    """Read what was filled in, and check it with all other settings of the run.

    Args:
        form: the values of each field; fields that are empty or not in the form are left out.
        data: the path of the data.
        others: settings that the plan gives; what was filled in takes their place.
        choices: the plan.
    """
    texts = {field: " ".join(form.get(field.name, [""])).strip()[:LONGEST] for field in fields_of(choices)}
    given = {field: text for field, text in texts.items() if text}
    method = " ".join(form.get("method.name", [])).strip() or choices.method
    schemas = {**choices.of_task, **choices.of_methods.get(method, {})}
    faults = {
        field.name: found for field, text in given.items() if (found := [*_faults_of(field, text, method, schemas)])
    }
    settings = {field.path: _value(field, text) for field, text in given.items() if field.name not in faults}
    names = {field.path: field.name for field in texts if field.method in ("", method)}
    for fault in _refused(data, {**others, **settings}):
        faults.setdefault(names.get(str(fault.place), ""), []).append(fault)
    return Given(settings, faults)


def _faults_of(
    field: SettingField, text: str, method: str, schemas: Mapping[str, Mapping[str, Any]]
) -> Iterator[Fault]:
    """Yield what is wrong with the text of a field by itself."""
    if fault := _unfit(field, text):
        yield fault
    elif field.method not in ("", method):
        rule = msg("this is a setting of '{method}', and another method is chosen", method=field.method)
        yield Fault(rule, field.path, msg("leave it empty"))
    elif field.path in schemas:
        yield from _misfits(field.path, schemas[field.path], _value(field, text))


def _misfits(path: str, about: Mapping[str, Any], value: object) -> Iterator[Fault]:
    """Yield the faults of a number that a JSON schema does not allow."""
    kind = next((one for one in about.get("anyOf", [about]) if one.get("type") in NUMBERS), None)
    if kind is None:
        return
    limits: dict[str, Any] = {word: kind[name] for name, word in LIMITS.items() if name in kind}
    wanted: Any = (NUMBERS[kind["type"]], Field(**limits))
    model: type[BaseModel] = create_model("Setting", value=wanted)
    try:
        checked(model, {"value": value}, path)
    except RecipeError as error:
        yield from (Fault(fault.rule, path, fault.remedy) for fault in error.faults)


def _unfit(field: SettingField, text: str) -> Fault | None:
    """Return the fault of a text that is none of the choices, or names code, which only a command line may do."""
    if field.kind == "choice" and text and text not in field.choices:
        rule = msg("'{value}' is none of these: {choices}", value=text, choices=", ".join(field.choices))
        return Fault(rule, field.path)
    if any(registry.CODE.fullmatch(part.strip()) for part in (text, *text.split(","))):
        return Fault(msg("'{value}' names code or a file: only the command line takes that", value=text), field.path)
    return None


def _value(field: SettingField, text: str) -> object:
    match field.kind:
        case "words":
            pairs = [part.partition("=") for part in text.split(",") if part.strip()]
            if all(equals for _, equals, _ in pairs):
                return {name.strip(): value.strip() for name, _, value in pairs}
            return ["".join(pair).strip() for pair in pairs]
        case "number":
            return int(text) if text.isdecimal() else _number(text)
        case _:
            return {YES: True, NO: False}.get(text, text) if field.kind == "choice" else text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _refused(data: str, settings: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of settings that do not fit, each with its path as the place, and of remedies nobody knows."""
    try:
        resolve(None, {"data.path": data, **settings})
    except RecipeError as error:
        yield from error.faults
    for word in settings.get("remedy.names", ()):
        fault = registry.unknown("remedies", str(word)) if word != AUTO else None
        if fault:
            yield Fault(fault.rule, "remedy.names", fault.remedy)
