"""Any other configuration of the PEFT library, by its class name and its own knobs."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Self

import peft
import torch
from pydantic import ConfigDict, Field, model_validator
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice
from kamerton.core.errors import Fault, ModelError, RecipeError, nearest
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.models.adapters import merged
from kamerton.models.heads import REFUSALS
from kamerton.models.structure import linear_layers
from kamerton.plugins.methods._peft import adapt, task_type, token_refusal
from kamerton.plugins.methods._prompt_tokens import PromptTokens
from kamerton.plugins.methods._shared import LOW_RANK, Knobs

TABLE = "target_module_mapping"
"""Where PEFT's tuners keep their choice of layers for each family."""
TOKENS = "method.num_virtual_tokens"
COMMON = (peft.PeftConfig, peft.PromptLearningConfig)
"""Bases of the configurations, which are none themselves."""
CONFIGS: Mapping[str, type[peft.PeftConfig]] = {
    name: value
    for name, value in vars(peft).items()
    if inspect.isclass(value) and issubclass(value, peft.PeftConfig) and value not in COMMON
}
ALLOCATING: Mapping[str, str] = {"AdaLoraConfig": "", "AdamssConfig": "use_asa"}
"""Configurations that change ranks while they train, and the setting that turns this on, if it can be off."""


class Peft(Knobs):
    """Train what a configuration of PEFT adds; its own fields are knobs beside `config`."""

    model_config = ConfigDict(frozen=True, extra="allow")
    suits: ClassVar = Advice(0.0, msg("for a configuration that you choose yourself"))
    rates: ClassVar = LOW_RANK  # most of PEFT's methods are related to low-rank updates
    batch: ClassVar = Advice(16, msg("as for low-rank updates (Schulman 2025)"))

    config: str = Field("LoKrConfig", description="Class name in PEFT: `LoHaConfig`, `OFTConfig`, `VeraConfig`, ...")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if self.config not in CONFIGS:
            rule = msg("PEFT has no configuration '{name}'", name=self.config)
            raise RecipeError(Fault(rule, remedy=nearest(self.config, CONFIGS)))
        unknown = [name for name in self.knobs if name not in self._fields]
        if unknown:
            rules = {name: msg("{config} has no setting '{name}'", config=self.config, name=name) for name in unknown}
            raise RecipeError([Fault(rule, remedy=nearest(name, self._fields)) for name, rule in rules.items()])
        switch = ALLOCATING.get(self.config)
        if switch == "" or (switch and self.knobs.get(switch)):
            allocates = "{config} changes ranks after every update, from sums that no checkpoint holds"
            place = f"method.{switch or 'config'}"
            remedy = msg("remove {setting}", setting=place) if switch else msg("choose low-rank updates of one rank")
            raise RecipeError(Fault(msg(allocates, config=self.config), place, remedy))
        return self

    @property
    def knobs(self) -> dict[str, Any]:
        """The configuration's own settings."""
        return dict(self.model_extra or {})

    @property
    def added_tokens(self) -> int:
        """Return the number of prompt tokens in the configuration; each uses a position of the context."""
        return int(self.knobs.get("num_virtual_tokens") or 0)

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse what PEFT refuses, by applying the configuration to a copy of the structure."""
        config = self._config(model, ())
        if config.is_prompt_learning:
            return PromptTokens(tokens=self.added_tokens).refuses(model)
        try:
            with torch.device("meta"):
                peft.get_peft_model(copy.deepcopy(model), copy.deepcopy(config))
        except REFUSALS as error:
            return "" if "meta" in str(error) else str(error)  # what needs weights is found out with weights
        return ""

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse where PEFT trains no single rows of the tables."""
        return token_refusal(model, type(self._config(model, ())))

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Apply the configuration to its own targets, else to PEFT's for the family, else to every linear map.

        Raises `ModelError` if it does not fit the model, or lacks a setting.
        """
        return adapt(model, self._config(model, fresh), tokens, self._remedy)

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Merge what PEFT can merge."""
        return merged(model)

    def _config(self, model: PreTrainedModel, fresh: Sequence[str]) -> peft.PeftConfig:
        ours = {"task_type": task_type(model), "modules_to_save": list(fresh) or None}
        given = {name: value for name, value in ours.items() if name in self._fields} | self.knobs
        try:
            config = CONFIGS[self.config](**given)
        except REFUSALS as error:
            rule = msg("{config} cannot be made: {reason}", config=self.config, reason=str(error))
            raise ModelError(Fault(rule, model.name_or_path, self._remedy)) from error
        if config.is_prompt_learning and not self.added_tokens:
            rule = msg("{config} needs a number of prompt tokens", config=self.config)
            raise ModelError(Fault(rule, TOKENS, msg("set {setting}=20", setting=TOKENS)))
        if "target_modules" in self._fields and not self._has_targets(config, model):
            config.target_modules = set(linear_layers(model))
        return config

    @property
    def _remedy(self) -> Message:
        """What to do, with the configuration's own settings that have no value yet, not even a default."""
        common = {field.name for field in fields(peft.PeftConfig)} | {"modules_to_save"}
        unset = [field.name for field in fields(CONFIGS[self.config]) if field.default in (None, MISSING)]
        unset = [name for name in unset if name not in common and self.knobs.get(name) is None]
        listed = Joined(unset, ", ")
        return msg("change its settings (open: {settings}), or choose another configuration", settings=listed)

    def _has_targets(self, config: peft.PeftConfig, model: PreTrainedModel) -> bool:
        """Return whether targets are named, or left to PEFT: for a family that it knows, or where it has no table."""
        tuner = peft.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
        tables = [vars(part)[TABLE] for part in tuner.__mro__ if TABLE in vars(part)]
        return bool(config.target_modules) or not tables or model.config.model_type in tables[0]

    @property
    def _fields(self) -> list[str]:
        return [field.name for field in fields(CONFIGS[self.config])]
