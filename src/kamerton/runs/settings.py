"""The settings of the data, and of the contenders: which rows, how they are split, and whom tuning must beat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from kamerton.core.errors import Fault, RunError, Unusable, reason_of
from kamerton.core.message_json import from_json
from kamerton.core.messages import Wording, msg
from kamerton.core.readers import RESTORE, Kind

Held = TypeVar("Held")
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
SplitBy = Literal["random", "group", "time", "given", "test"]

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: [*map(str.strip, value.split(","))] if isinstance(value, str) else value),
]
"""A list of names, or a text of them with commas between."""
ADDRESS = r"^(?i:https?)://([\w.-]+|\[[0-9a-fA-F:.]+\])(:[1-6]?\d{1,4})?(/[^\s?#@\\]*)?$"
"""A server's address, up to and including /v1."""
SERVER = rf"{ADDRESS}|^[^\n]+\.(?i:gguf)$"
"""The same, or a file that llama.cpp's server answers for."""
VARIABLE = r"^([A-Za-z_][A-Za-z_0-9]*)?$"
NotNegative = Annotated[float, Field(ge=0)]
SHOWN = 200
"""Signs of a value that is told."""
SELF = "self"
"""In place of a file to mix in: the base model's own answers."""
WANTED = {
    "greater_than": msg("a number above {gt}"),
    "greater_than_equal": msg("a number of at least {ge}"),
    "less_than": msg("a number below {lt}"),
    "less_than_equal": msg("a number of at most {le}"),
    "finite_number": msg("a finite number"),
    "literal_error": msg("one of {expected}"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), msg("a whole number")),
    **dict.fromkeys(("float_type", "float_parsing"), msg("a number")),
    **dict.fromkeys(("bool_type", "bool_parsing"), msg("true or false")),
    "string_type": msg("a text"),
    **dict.fromkeys(("list_type", "tuple_type", "too_short", "iterable_type"), msg("a list")),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "dataclass_type"), msg("a mapping of names to values")),
}
"""What is expected, by pydantic's type of error."""
UNSHOWN = {
    "against": msg("an address like `http://host:8000/v1`, without a password, `?` or `#`, or a GGUF file"),
    "key": msg("the name of the environment variable with the key, never the key itself"),
    "tuned_at": msg("an address like `http://host:8000/v1`, without a password, `?` or `#`, or a GGUF file"),
    "tuned_key": msg("the name of the environment variable with the key, never the key itself"),
    "device": msg("`auto`, or the name of a device such as `cpu`, `cuda:1` or `mps`"),
    "revision": msg("a commit of 40 hexadecimal digits"),
}
"""What is expected, by settings with a pattern: what does not match may hold a key, and is not shown."""


class Misfit(Unusable):
    """A value that a validator refuses, with a remedy if there is a better one than another value."""

    def __init__(self, message: Wording, remedy: Wording = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def misfit(item: ErrorDetails, place: Wording, remedy: Wording = "") -> Fault:
    """Return the fault of a value that pydantic refused, with a remedy if there is a better one than another value."""
    value, context = repr(item["input"]), item.get("ctx", {})
    value = value if len(value) <= SHOWN else f"{value[:SHOWN]}…"
    if item["type"] == "missing":
        return Fault(msg("this is missing"), place, remedy or msg("add it"))
    if item["type"] == "string_pattern_mismatch":
        form = UNSHOWN[str(item["loc"][-1])]
        return Fault(msg("{wanted} is wanted", wanted=form), place, msg("give {wanted}", wanted=form))
    if wanted := WANTED.get(item["type"]):
        whole = {name: int(bound) for name, bound in context.items() if isinstance(bound, float) and bound.is_integer()}
        wanted = replace(wanted, values={**context, **whole})
        expected = msg("{wanted} is wanted, got {value}", wanted=wanted, value=value)
        return Fault(expected, place, remedy or msg("give {wanted}", wanted=wanted))
    error = context.get("error")
    rule = reason_of(error) if error else item["msg"]
    remedy = remedy or (error.remedy if isinstance(error, Misfit) else "")
    if isinstance(item["input"], dict | BaseModel):  # its parts contradict each other
        return Fault(rule, place, remedy or msg("change one of them"))
    return Fault(msg("{rule}, got {value}", rule=rule, value=value), place, remedy or msg("give another value"))


def validated(
    adapter: TypeAdapter[Held], value: object, place: Path | str, kind: Kind = RunError, remedy: Wording = RESTORE
) -> Held:
    """Return what `to_json` wrote as values of a type; raise an error of a kind with all that does not fit."""
    try:
        return adapter.validate_python(from_json(value))
    except ValidationError as error:
        faults = [misfit(one, f"{place} {'.'.join(map(str, one['loc']))}".strip(), remedy) for one in error.errors()]
    except Unusable as error:
        faults = [Fault(error.message, str(place), remedy)]
    raise kind(faults)


class Group(BaseModel):
    """A group of settings: frozen, no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class DataSettings(Group):
    """Which rows, parsed how."""

    path: str = Field(
        "",
        description="The data: a file, a folder, a pattern like data/*.csv, an address of one of these "
        "(s3://bucket/rows.csv), or a Hugging Face id.",
    )
    fetched: Literal["kept", "removed"] = Field(
        "kept", description="What becomes of the private copies of data at an address when a run has its split."
    )
    task: str | None = Field(None, description="The task; inferred from the columns if not given.")
    columns: dict[str, str] | None = Field(
        None, description="Which column plays which role: {text: review, label: stars}."
    )
    header: bool | None = Field(
        None,
        description="Whether the first line of a table names its columns; found from the lines if not given. Without "
        "names, columns are called `column 1`, `column 2`.",
    )
    sheet: str | None = Field(
        None, description="Which sheet of a workbook holds the rows; the only one with a table if not given."
    )
    max_rows: Count | None = Field(None, description="Use at most this many rows, chosen at random with the seed.")
    too_long: Literal["cut", "drop", "window", "refuse"] | None = Field(
        None, description="What happens to rows longer than the model takes; every one cut or dropped is in the ledger."
    )
    placeholders: Literal["drop", "keep"] = Field(
        "drop",
        description="Rows whose label only holds a place (`nan`, `NULL`, `#N/A`, `-` beside words, `None` beside "
        "numbers): they are left out, or have a class like the others.",
    )
    balance: Literal["none", "weights", "oversample"] = Field(
        "none", description="How class imbalance is treated in training: by weights in the loss, or by oversampling."
    )


class SplitSettings(Group):
    """Which rows train, which select the checkpoint, and which prove."""

    by: SplitBy | None = Field(
        None,
        description="`random`; `group`: rows of one value in `column` stay together; `time`: the last rows by `column` "
        "are tested on; `given`: by `column`, or by files named train, validation, test; `test`: every row is tested "
        "on, for a model that was tuned elsewhere.",
    )
    column: str | None = Field(None, description="The column for `by`.")
    validation: Share = Field(0.1, description="Share of the rows that selects the checkpoint.")
    test: Share = Field(0.1, description="Share of the rows for the verdict, which uses them once.")
    test_path: str | None = Field(None, description="A separate file with the test rows, with the same columns.")
    train_path: str | None = Field(
        None,
        description="A file with the rows that a model was trained on elsewhere: all other rows are tested on, but for "
        "those that say the same.",
    )
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Number of folds: one is tested on, and runs over all of them are a cross-validation."
    )
    fold: Annotated[int, Field(ge=0)] = Field(0, description="The fold to test on, from 0.")

    @model_validator(mode="after")
    def _agree(self) -> SplitSettings:
        if self.by in ("group", "time") and not self.column:
            raise Misfit(msg("by: {by} needs a column", by=self.by))
        if self.column and self.by == "random":
            raise Misfit(msg("by: random uses no column"))
        if self.column and not self.by and self.test_path:
            raise Misfit(msg("column and test_path exclude each other"))
        if self.test_path and self.by not in (None, "given"):
            raise Misfit(msg("the test rows are either those of test_path, or chosen by {by}", by=str(self.by)))
        if self.by == "test" and (self.column or self.test_path):
            raise Misfit(msg("every row is tested on, or those of a column or a file"))
        if self.train_path and (self.test_path or self.folds or self.by not in (None, "given", "test")):
            raise Misfit(msg("with train_path, every other row is tested on"))
        if self.folds and (self.by in ("time", "given") or self.test_path):
            raise Misfit(msg("folds are drawn at random or by group, not by time and not as given"))
        if self.folds and self.fold >= self.folds:
            raise Misfit(msg("fold counts from 0 to {last}", last=self.folds - 1))
        return self

    @property
    def tested(self) -> float:
        """The share of the rows that is tested on."""
        return 1 / self.folds if self.folds else self.test


class MixSettings(Group):
    """General data that is trained on beside the task's, against forgetting."""

    source: str | None = Field(
        None, description="A data file of the same task, or `self`: the base model's own answers."
    )
    share: Share = Field(0.1, description="How many rows, as a share of the training rows.")


class AugmentSettings(Group):
    """Variants of the training rows of small classification data; kept only if they help on the validation rows."""

    by: Literal["none", "deletion", "swap", "masked", "paraphrase"] = Field(
        "none",
        description="Words left out, put in other places, guessed anew by a masked language model, or all said anew.",
    )
    share: Share = Field(0.1, description="Share of the words that change.")


class BenchmarkSettings(Group):
    """Tasks of the Language Model Evaluation Harness, asked before and after; they need `kamerton[benchmarks]`."""

    tasks: tuple[str, ...] = Field(
        (), description="Names of tasks, groups or tags, or task files of its own form, such as `mine.yaml`."
    )
    rows: Count = Field(200, description="Most rows of each task: its first ones.")


class PromptSettings(Group):
    """How the untuned model is asked, and another one on the network: the contenders that tuning must beat."""

    text: str | None = Field(None, description="A prompt of your own, put before each request.")
    draws: Count = Field(3, description="Random sets of few-shot examples; the best on validation rows is used.")
    nearest: bool = Field(True, description="Also show each row its most similar training examples.")
    search: bool = Field(True, description="Also add the best of some instructions, chosen on validation rows.")
    budget: Count = Field(
        20_000,
        description="Most tokens read to choose examples, and as many to choose an instruction, where answers are "
        "written: the loss of the true answers to validation rows chooses.",
    )
    against: str | None = Field(
        None,
        description="Address of an OpenAI-compatible server, `http://host:8000/v1`, or a GGUF file: a contender, too.",
        pattern=SERVER,
    )
    model: str = Field("default", description="The name of the model on that server.")
    key: str = Field(
        "OPENAI_API_KEY",
        description="The environment variable with its API key, if it needs one. A key is sent only if the command "
        "line names the server (--against) or this variable; `~/.config/kamerton/keys` remembers both.",
        pattern=VARIABLE,
    )
    price_in: NotNegative = Field(0.0, description="Its price of a million prompt tokens.")
    price_out: NotNegative = Field(0.0, description="Its price of a million answer tokens.")
    price_hour: NotNegative | None = Field(
        None,
        description="The price of an hour of your machine, in the same currency; several usual prices if not given.",
    )
