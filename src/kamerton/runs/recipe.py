"""The recipe: every setting of a run, resolved once, each with its origin and reason.

Precedence, lowest first:
1. the defaults in this file;
2. a recipe file (YAML);
3. flags (`--epochs 5`, `--set train.epochs=5`);
4. open settings (`null`) are decided by the planner from the data, the model and the method.
After that the recipe does not change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from kamerton.core import registry
from kamerton.core.errors import Fault, RecipeError, Unusable, nearest
from kamerton.core.message_json import from_json, message_from_json, message_to_json, to_json
from kamerton.core.messages import Wording, msg
from kamerton.core.readers import LARGEST_YAML, parse_yaml, read_bytes
from kamerton.runs.settings import (
    SERVER,
    VARIABLE,
    AugmentSettings,
    BenchmarkSettings,
    Count,
    DataSettings,
    Group,
    Misfit,
    MixSettings,
    Names,
    NotNegative,
    PromptSettings,
    Share,
    SplitSettings,
    misfit,
)
from kamerton.runs.yaml_text import inline

Settings = TypeVar("Settings", bound=BaseModel)
AUTO = "auto"
"""Instead of remedies' names: those for what training showed. Instead of a rate: the result of the range test."""
TRAINING_GROUPS, TRAINING = ("train.", "augment.", "mix.", "remedy.", "method."), ("seeds", "model.new_tokens")
"""Settings of a training."""
MOST_TOKENS_PER_PASS = 8192
"""Larger passes take more memory and are not faster."""


def _rate(value: float | str) -> float | str:
    if value == AUTO:
        return value
    number = _number(value)  # YAML 1.1 takes 1e-4 for text
    if isinstance(number, float) and 0 < number < 10:
        return number
    usual = msg("give one from 0.00001 to 0.001, as is usual, or let `--learning-rate auto` find one")
    raise Misfit(msg("a learning rate is a number above 0 and below 10, or `auto`"), usual)


Rate = Annotated[Annotated[float, Field(allow_inf_nan=True)] | str, AfterValidator(_rate)]
UNION = re.compile(r"^(str|float)$|\[")
"""What pydantic adds to a setting's path where a value fits none of several types."""
Portion = Annotated[float, Field(ge=0, lt=1)]
NewTokenStart = Literal["pieces", "mean"]


class ModelSettings(Group):
    """The pretrained model that is tuned."""

    name: str | None = Field(None, description="A known name, a folder, or a Hugging Face id.")
    revision: str | None = Field(
        None, pattern="^[0-9a-f]{40}$", description="Commit of the Hugging Face id: 40 hexadecimal digits."
    )
    tuned: str | None = Field(
        None,
        description="A model that was tuned elsewhere, to be judged and not trained (`kamerton prove`): a folder or a "
        "Hugging Face id of plain weights or of a PEFT adapter over `name`.",
    )
    tuned_at: str | None = Field(
        None,
        description="Address of an OpenAI-compatible server where such a model answers, `http://host:8000/v1`, or a "
        "GGUF file, for which llama.cpp's server does: its answers are judged, and nothing else.",
        pattern=SERVER,
    )
    tuned_name: str = Field("default", description="The name of the model on that server.")
    tuned_key: str = Field(
        "OPENAI_API_KEY",
        description="The environment variable with the key for that server; it is sent on the terms of `prompt.key`.",
        pattern=VARIABLE,
    )
    labels: Names | None = Field(
        None,
        description="The labels of the data in the order of the outputs of the model that was tuned elsewhere; found "
        "by the names of its outputs if not given.",
    )
    template: str | None = Field(None, description="The chat template of such a model, a file; its own if not given.")
    device: str = Field(
        "auto",
        pattern=r"^[a-z]+(:\d+)?$",
        description="Where to compute: `auto` (`KAMERTON_DEVICE`, or the accelerator that torch finds, else the CPU), "
        "`cpu`, `cuda`, `cuda:1`, `mps`.",
    )
    max_tokens: Count | None = Field(None, description="Longest sequence in tokens.")
    precision: Literal["fp32", "bf16", "fp16"] | None = Field(
        None,
        description="Compute dtype of the pretrained matrix products in training; what trains, and sums, are fp32. "
        "In fp16 losses are scaled.",
    )
    new_tokens: tuple[str, ...] | str = Field(
        (), description="Words that become one token each: a list, or a file with one a line. Their embeddings train."
    )
    new_tokens_start: NewTokenStart = Field(
        "pieces",
        description="What their embeddings begin as: the mean over a word's tokens so far (Gee et al. 2022), or over "
        "the whole vocabulary (Hewitt 2021).",
    )

    @property
    def is_finished(self) -> bool:
        """Whether a model that was tuned elsewhere is judged, and none is trained."""
        return bool(self.tuned or self.tuned_at)

    @model_validator(mode="after")
    def _agree(self) -> ModelSettings:
        if self.tuned and self.tuned_at:
            raise Misfit(msg("a tuned model is either in a folder or at an address"))
        if self.template and not self.tuned:
            raise Misfit(msg("a chat template is given to a tuned model in a folder; a server has its own"))
        return self


class OpenGroup(BaseModel):
    """Settings of a plug-in, whose names it knows itself."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @property
    def knobs(self) -> dict[str, Any]:
        """The plug-in's own settings, not yet checked by it."""
        return dict(self.model_extra or {})


class MethodSettings(OpenGroup):
    """How the model is changed: the method's name, and the method's own settings."""

    name: str | None = Field(
        None, description="How the model is tuned: which of its weights change, or what is added to them."
    )


class TaskSettings(OpenGroup):
    """The task's own settings; which task it is, `data.task` says."""


class TrainSettings(Group):
    """The optimisation."""

    epochs: Annotated[float, Field(gt=0)] | None = Field(None, description="Passes over the training rows.")
    batch_size: Count | None = Field(None, description="Rows per update of the weights.")
    learning_rate: Rate | None = Field(
        None, description="Peak of the schedule; `auto` tries four rates on a part of the training rows."
    )
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="How the rate falls to zero.")
    warmup: Portion = Field(0.06, description="Share of the updates in which the rate rises.")
    optimizer: str | None = Field(None, description="How gradients become updates of the weights.")
    weight_decay: NotNegative = Field(0.01, description="Weight decay of matrices; other weights have none.")
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="Largest norm of a gradient.")
    dropout: Portion = Field(0.0, description="Probability in every dropout layer of the model.")
    patience: Count = Field(5, description="Validations without a new best before training stops.")
    gradient_checkpointing: bool | None = Field(
        None, description="Recompute activations in the backward pass: less memory, more time."
    )
    tokens_per_pass: Count | None = Field(
        None, description="Most tokens in one forward pass: an update of more rows is accumulated over several."
    )
    parallel: Literal["ddp", "fsdp"] | None = Field(
        None,
        description="How several processes train: `ddp`, each with the whole model, or `fsdp`, with the weights divided"
        " among them. Chosen by memory if not given; of one process it says nothing.",
    )
    offload: bool = Field(
        False, description="For `fsdp`: whether weights and optimizer states wait in the host's memory."
    )

    @property
    def pass_tokens(self) -> int:
        """`tokens_per_pass`, or the most that ever pays."""
        return self.tokens_per_pass or MOST_TOKENS_PER_PASS

    @property
    def peak(self) -> float:
        """The learning rate as a number; 0 while it is not decided."""
        return self.learning_rate if isinstance(self.learning_rate, float) else 0.0


class EvaluateSettings(Group):
    """Scoring and proof."""

    metric: str | None = Field(None, description="The metric that selects and decides; the task's first if not given.")
    validations_per_epoch: Count = Field(1, description="How often the validation rows are scored.")
    shots: Annotated[int, Field(ge=0)] = Field(3, description="Solved examples in the few-shot prompt.")
    max_new_tokens: Count | None = Field(None, description="Longest generated answer.")
    temperature: Annotated[float, Field(ge=0, le=5)] = Field(
        0.0,
        description="Of generated answers: 0 takes the most probable token, above 0 tokens are sampled with the seed.",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="Confidence level of every interval.")
    margin: Share = Field(
        0.02, description="How much worse still counts as not worse: in points of a 0-to-1 metric, else as a share."
    )
    resamples: Annotated[int, Field(ge=200)] = Field(10_000, description="Bootstrap resamples.")
    forgetting: Literal["quick", "whole", "off"] = Field(
        "quick",
        description="How much of the probe is asked before and after, to see what tuning made the model forget.",
    )


class RemedySettings(Group):
    """What is tried against what training showed, and what was found to help."""

    names: tuple[str, ...] = Field(
        (), description="Files in remedies/ to try after training, or `auto`: those against what it showed."
    )
    trainings: NotNegative = Field(
        3.0, description="Most time for remedies, in multiples of the first training; the cheapest are tried first."
    )
    strength: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="How much of the way from the first to the trained weights is kept; new heads keep all of it."
    )
    strengths: tuple[Share, ...] = Field(
        (0.85, 0.7, 0.5, 0.35, 0.25, 0.1), description="Strengths that the dial tries beside 1."
    )
    replay: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="Rows of the base model's own answers to train on beside the task's, as a share of these."
    )
    last_step: Count | None = Field(None, description="End the training after this update, whatever the schedule says.")


def _dumped(reason: Wording, info: FieldSerializationInfo) -> Any:
    return str(reason) if info.mode == "json" else message_to_json(reason)


Because = Annotated[Wording, PlainValidator(message_from_json), PlainSerializer(_dumped)]
"""A reason; programs read its English text."""


class Reason(Group):
    """Where a value came from and why it has this value."""

    origin: Literal["default", "recipe", "flag", "decided"]
    reason: Because = ""
    value: Any = None
    """The value that is explained: after an edit by hand, a reason for another value is ignored."""


class Recipe(Group):
    """All settings of a run."""

    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    mix: MixSettings = MixSettings()
    augment: AugmentSettings = AugmentSettings()
    task: TaskSettings = TaskSettings()
    model: ModelSettings = ModelSettings()
    method: MethodSettings = MethodSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    prompt: PromptSettings = PromptSettings()
    remedy: RemedySettings = RemedySettings()
    benchmarks: BenchmarkSettings = BenchmarkSettings()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Seed of all random numbers.")
    seeds: Count = Field(1, description="Trainings on the same split, with seed, seed + 1, …; the first one is kept.")
    reasons: dict[str, Reason] = Field({}, description="Origin and reason by setting; written by Kamerton.")

    def settings(self) -> Iterator[Setting]:
        """Yield every setting with its value and reason, in the order of the file."""
        for path, value in _flat(self.model_dump(exclude={"reasons"})):
            yield Setting(path, value, self.reasons.get(path, Reason(origin="default")))

    def decide(self, decisions: Mapping[str, Decision]) -> Recipe:
        """Return the recipe with open settings (`None`) filled in, each with its reason.

        A setting that has a value keeps it: the user's choice wins.
        """
        values = self.model_dump()
        still_open = (path for path in decisions if values[path.partition(".")[0]].get(path.partition(".")[2]) is None)
        return self.settle({path: decisions[path] for path in still_open})

    def settle(self, decisions: Mapping[str, Decision]) -> Recipe:
        """Return the recipe with settings replaced, each with its reason."""
        values = self.model_dump()
        for path, decision in decisions.items():
            group, _, name = path.partition(".")
            values[group][name] = decision.value
            values["reasons"][path] = {"origin": "decided", "reason": decision.reason, "value": decision.value}
        return Recipe.model_validate(values)


@dataclass(frozen=True)
class Setting:
    """One setting, for printing: its dotted path, value, and reason."""

    path: str
    value: object
    reason: Reason


def of_training(setting: Setting) -> bool:
    """Return whether a setting is of a training: it means nothing where a model was tuned elsewhere."""
    return setting.path.startswith(TRAINING_GROUPS) or setting.path in TRAINING


@dataclass(frozen=True)
class Decision:
    """A value for a setting that was left open."""

    value: object
    reason: Wording


def resolve(file: Path | None = None, flags: Mapping[str, object] | None = None) -> Recipe:
    """Resolve a recipe from defaults, a recipe file and flags.

    Args:
        file: a YAML file in the recipe's own form, or None.
        flags: values by dotted path, `{"train.epochs": 5}`; they overrule the file.

    Raises:
        RecipeError: all faults at once, each with its place.
    """
    registry.allow(*(flags or {}).values())
    values: dict[str, Any] = _read(file) if file else {}
    explained = _explained(values.pop("reasons", {}), str(file))
    reasons = {path: _origin(explained.get(path), value, file) for path, value in _flat(values)}
    for path, value in (flags or {}).items():
        group, _, name = path.partition(".")
        fields = values.setdefault(group, {}) if name else values
        if isinstance(fields, dict):  # else the file is wrong there, which is reported below
            fields[name or group] = value
        reasons[path] = {"origin": "flag", "value": value}
    return checked(Recipe, {**values, "reasons": reasons}, str(file or ""))


def _explained(written: object, file: str) -> Mapping[str, Reason]:
    """Parse a file's reasons, each with its template."""
    try:
        reasons = from_json(written)
    except Unusable as error:
        remedy = msg("remove `reasons:` and all below it, but not a last line `{end}`", end=END)
        raise RecipeError(Fault(error.message, file, remedy)) from None
    return checked(Recipe, {"reasons": reasons}, file).reasons


def checked(model: type[Settings], values: Mapping[str, object], place: str) -> Settings:
    """Build a pydantic model from a user's values by field name; messages name their place.

    Raises:
        RecipeError: with every value that does not fit.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError([_fault(item, place, model) for item in error.errors()]) from None


def parse_assignment(text: str) -> tuple[str, object]:
    """Split `group.field=value`, the value read as YAML.

    >>> parse_assignment("train.epochs=5")
    ('train.epochs', 5)

    Raises:
        RecipeError: there is no `=`, or the value is not YAML.
    """
    path, equals, value = text.partition("=")
    if not equals:
        rule = msg("--set takes group.field=value, got '{text}'", text=text)
        raise RecipeError(Fault(rule, remedy=msg("for example --set train.epochs=5")))
    try:
        parsed = parse_yaml(os.fsencode(value), "--set")
    except RecipeError:
        parsed = value
    return path.strip(), _number(parsed)


def to_yaml(recipe: Recipe) -> str:
    """Format a recipe as YAML, with origins and reasons as comments, and once more for programs."""
    lines, group = [HEAD], ""
    reasons = ["reasons:"]
    for setting in recipe.settings():
        head, _, name = setting.path.partition(".")
        if name and head != group:
            group = head
            lines.append(f"{head}:")
        because = ", ".join(str(part) for part in (setting.reason.origin, setting.reason.reason) if part)
        because = "".join(letter if letter.isprintable() else " " for letter in because)  # a comment is one line
        lines.append(f"{'  ' if name else ''}{name or head}: {inline(setting.value)}  # {because}")
        reason = {"origin": setting.reason.origin, "reason": setting.reason.reason, "value": setting.value}
        reasons.append(f"  {setting.path}: {inline(to_json(reason))}")
    return "\n".join([*lines, *reasons, END]) + "\n"


END = "..."
"""The mark of YAML for the end of a document."""
HEAD = f"# The resolved recipe of this run, whole with its last line `{END}`; `kamerton tune` on this file repeats it."


def _read(file: Path) -> dict[str, Any]:
    data = read_bytes(file, RecipeError, LARGEST_YAML)
    if data.startswith(HEAD.encode()) and not data.rstrip().endswith(f"\n{END}".encode()):
        rule, remedy = (
            msg("the file was cut off: its last line, `{end}`, is missing", end=END),
            msg("copy it again; if you shortened it, delete its first line"),
        )
        raise RecipeError(Fault(rule, f"{file}:{len(data.splitlines())}", remedy))
    return deepcopy(_values(data, file))


@lru_cache(maxsize=8)
def _values(data: bytes, file: Path) -> dict[str, Any]:
    """Parse a file once: a run reads its recipe at every stage, and PyYAML takes some 25 ms for it."""
    values = parse_yaml(data, file)
    if not isinstance(values, dict):
        rule, remedy = msg("a recipe is a YAML mapping of groups"), msg("start with `data:` and `path:`")
        raise RecipeError(Fault(rule, str(file), remedy))
    return {key: value for key, value in values.items() if value is not None}


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for group, fields in values.items():
        if isinstance(fields, dict):
            yield from ((f"{group}.{name}", value) for name, value in fields.items())
        else:
            yield group, fields


def _origin(explained: Reason | None, value: object, file: Path | None) -> Mapping[str, Any]:
    if explained and explained.value == value:
        return explained.model_dump()
    return {"origin": "recipe", "reason": str(file), "value": value}


def _number(value: object) -> object:
    """Parse `1e-4`, which is text in YAML 1.1, as a number."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _fault(item: ErrorDetails, place: str, model: type[BaseModel]) -> Fault:
    path = ".".join(str(part) for part in item["loc"] if not UNION.search(str(part)))
    where = " ".join(part for part in (place, path) if part)
    if item["type"] == "extra_forbidden":
        remedy = nearest(str(item["loc"][-1]), _names(model, item["loc"]))
        return Fault(msg("there is no setting '{path}'", path=path), where, remedy)
    return misfit(item, where)


def _names(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the known names at the place of a wrong one."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))  # none for what stands in a mapping
        annotation = field.annotation if field else Reason
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return [name for name in model.model_fields if name != "reasons"]
