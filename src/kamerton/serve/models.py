"""The models of a server: runs, the base below their adapters, and how each answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from kamerton.core import registry
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import msg
from kamerton.deliver.export import inputs_of
from kamerton.deliver.predictor import Predictor
from kamerton.engine.engine import TorchEngine
from kamerton.engine.halves import head_output
from kamerton.runs.run import Run
from kamerton.serve.lane import Lane

NAMED = re.compile(r"([\w.-]{1,64})=(.+)", re.DOTALL)
"""A run with the name that clients use."""
NOTHING = 1e-7
"""An adapter that moves logits by less, relative to the largest, changes nothing."""


@dataclass(frozen=True)
class ServedModel:
    """A model as clients name it."""

    name: str
    predictor: Predictor
    lane: Lane | None
    """Where it writes; None if it only classifies, or its decoding is not proven."""
    adapter: str
    """Its adapter over the lane's base; empty for the base itself, and for a model of its own weights."""
    is_base: bool = False

    @property
    def tuned_to_write(self) -> bool:
        """Whether it was tuned to answer in free text."""
        return self.predictor.setup.form.answer_tokens(self.predictor.setup.tokenizer) > 0

    @property
    def chats(self) -> bool:
        """Whether it answers conversations, or at least one message."""
        writes = self.lane is not None and (self.is_base or self.tuned_to_write)
        return writes and (self.reads_rows or self.has_template)

    @property
    def reads_rows(self) -> bool:
        """Whether a prompt is a row as `kamerton predict` takes it, not the beginning of what is written."""
        return self.predictor.setup.facts.kind == "seq2seq"

    def room_behind(self, prompt: int) -> int:
        """Return the most tokens of an answer to a prompt of so many tokens; below 0 if the prompt is too long."""
        most = self.predictor.setup.max_tokens
        return most if self.reads_rows and prompt <= most else most - prompt

    @property
    def has_template(self) -> bool:
        """Whether its tokenizer has a chat template."""
        return bool(self.predictor.setup.tokenizer.chat_template)

    @property
    def embeds(self) -> bool:
        """Whether it is an encoder."""
        return self.predictor.setup.facts.kind == "encoder"

    def parse(self, text: str) -> str:
        """Return what `kamerton predict` prints of a generated text."""
        return text if self.is_base else self.predictor.setup.form.parse(text)


def open_models(runs: Sequence[str], device: str | None, with_bases: bool = False) -> dict[str, ServedModel]:
    """Load runs, given as `RUN` or `NAME=RUN`; adapters of one base share it, and it is served, too.

    With `with_bases`, other runs that write have their base loaded beside them.

    Raises:
        RunError: a run is not finished or damaged, two have one name, or an adapter changes nothing.
    """
    models, lanes, opened = dict[str, ServedModel](), dict[int, Lane](), list[Predictor]()
    for word in runs:
        found = NAMED.fullmatch(word)
        path = Path(found[2] if found and not Path(word).exists() else word)
        name = found[1] if found and not Path(word).exists() else path.resolve().name
        if name in models:
            rule = msg("two models would have the name '{name}'", name=name)
            raise RunError(Fault(rule, str(path), msg("name one of them: OTHER={run}", run=str(path))))
        predictor = _predictor(Run(path, device=device), opened)
        opened.append(predictor)
        _require_change(predictor)
        lane = _lane_of(predictor.engine, lanes)
        models[name] = ServedModel(name, predictor, lane, predictor.engine.adapter)
    for model in [*models.values()]:
        name = Path(model.predictor.setup.facts.name).name
        if model.lane is None or name in models:
            continue
        if model.lane.mixed:
            models[name] = ServedModel(name, model.predictor, model.lane, "", is_base=True)
        elif with_bases and model.tuned_to_write:
            base = model.predictor.untuned()
            models[name] = ServedModel(name, base, _lane_of(base.engine, lanes), "", is_base=True)
    return models


def _predictor(run: Run, opened: Sequence[Predictor]) -> Predictor:
    """Load a run, beside one that has the same base if there is any."""
    for other in opened:
        if other.engine.adapter:
            try:
                return Predictor(run, beside=other)
            except RunError:
                continue  # another base, another head, or weights of its own: loaded alone, which raises what is wrong
    return Predictor(run)


def _lane_of(engine: TorchEngine, lanes: dict[int, Lane]) -> Lane | None:
    """Return the lane of an engine, which plain LoRA adapters over one base share."""
    if (batch := engine.continuous_batch()) is None:
        return None
    if not engine.adapter or not batch.by_token:
        return Lane(engine, batch)
    # PEFT takes seconds to import: only where there is an adapter
    if not registry.load("kamerton.engine.mixed_adapters:mixable")(engine.model, engine.adapter):
        return Lane(engine, batch)
    if id(engine.model) not in lanes:
        mixed = registry.load("kamerton.engine.mixed_adapters:MixedAdapters")(engine.model)
        lanes[id(engine.model)] = Lane(engine, batch, mixed)
    return lanes[id(engine.model)]


@torch.no_grad()
def _require_change(predictor: Predictor) -> None:
    """Raise a RunError if a run's adapter leaves the logits of its base as they are."""
    engine = predictor.engine
    if not engine.adapter:
        return
    model = cast(Any, engine.model).eval()
    model.set_adapter(engine.adapter)
    inputs = inputs_of(model, predictor.setup.samples)
    tuned = [head_output(model(**one)).reshape(-1) for one in inputs]
    with model.disable_adapter():
        base = [head_output(model(**one)).reshape(-1) for one in inputs]
    # prompt tokens may have logits of their own before the row's
    pairs = [(one[-len(other) :], other) for one, other in zip(tuned, base, strict=True)]
    if all(bool((one - other).abs().max() <= NOTHING * other.abs().max()) for one, other in pairs):
        rule = msg("the adapter changes nothing: its logits are those of the base")
        remedy = msg("tune it again, or serve the base model itself")
        raise RunError(Fault(rule, str(predictor.run.path), remedy))
