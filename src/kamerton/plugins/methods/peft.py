"""Any other configuration of the PEFT library, by its class name and its own knobs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import peft
from pydantic import ConfigDict, Field, model_validator
from torch import nn

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.errors import Fault, ModelError, RecipeError, nearest
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.models.adapters import REFUSALS
from kamerton.models.structure import linear_layers
from kamerton.plugins.methods._peft import PeftMethod, adapt, structural_refusal, task_type, token_refusal
from kamerton.plugins.methods._shared import adapter_epochs, low_rank_rate
from kamerton.plugins.methods._virtual import VirtualTokens

if TYPE_CHECKING:
    from typing import Self

    from transformers import PreTrainedModel

BATCH = 16
TABLE = "target_module_mapping"
"""Where PEFT's tuners keep their choice of layers for each family."""
VIRTUAL = "method.num_virtual_tokens"
COMMON = (peft.PeftConfig, peft.PromptLearningConfig)
"""Bases of the configurations, which are none themselves."""
CONFIGS: Mapping[str, type[peft.PeftConfig]] = {
    name: value
    for name, value in vars(peft).items()
    if inspect.isclass(value) and issubclass(value, peft.PeftConfig) and value not in COMMON
}
ALLOCATING: Mapping[str, str] = {"AdaLoraConfig": "", "AdamssConfig": "use_asa"}
"""Configurations that change ranks while they train, and the setting that turns this on, if it can be off."""


class Peft(PeftMethod):
    """Train what a configuration of PEFT adds; its own fields are knobs beside `config`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    config: str = Field("LoKrConfig", description="Class name in PEFT: `LoHaConfig`, `OFTConfig`, `VeraConfig`, ...")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if self.config not in CONFIGS:
            rule = msg("PEFT has no configuration '{name}'", name=self.config)
            raise RecipeError(Fault(rule, remedy=nearest(self.config, CONFIGS)))
        unknown = [name for name in self.knobs if name not in self._fields]
        if unknown:
            rules = [msg("{config} has no setting '{name}'", config=self.config, name=name) for name in unknown]
            remedies = [nearest(name, self._fields) for name in unknown]
            raise RecipeError([Fault(rule, remedy=one) for rule, one in zip(rules, remedies, strict=True)])
        switch = ALLOCATING.get(self.config)
        if switch == "" or (switch and self.knobs.get(switch)):
            rule = msg(
                "{config} changes ranks after every update, from sums that no checkpoint holds", config=self.config
            )
            place = f"method.{switch or 'config'}"
            remedy = msg("remove {setting}", setting=place) if switch else msg("choose low-rank updates of one rank")
            raise RecipeError(Fault(rule, place, remedy))
        return self

    @property
    def knobs(self) -> dict[str, Any]:
        """The configuration's own settings."""
        return dict(self.model_extra or {})

    @property
    def added_tokens(self) -> int:
        """Take a position of the context for each virtual token of the configuration."""
        return int(self.knobs.get("num_virtual_tokens") or 0)

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit users who know what they want."""
        return Advice(0.0, msg("for a configuration that you choose yourself"))

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return the defaults of low-rank updates, to which most of PEFT's methods are related."""
        return {
            "learning_rate": low_rank_rate(facts),
            "epochs": adapter_epochs(facts, rows, BATCH),
            "batch_size": Advice(BATCH, msg("as for low-rank updates (Schulman 2025)")),
        }

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse what PEFT refuses, by applying the configuration to a copy of the structure."""
        config = self._config(model, ())
        if config.is_prompt_learning:
            return VirtualTokens(tokens=self.added_tokens).refuses(model)
        return structural_refusal(model, config)

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse where PEFT trains no single rows of the tables."""
        return token_refusal(model, type(self._config(model, ())))

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Apply the configuration to its own targets, else to PEFT's for the family, else to every linear map.

        Raises:
            ModelError: the configuration does not fit the model, or lacks a setting.
        """
        return adapt(model, self._config(model, fresh), tokens, self._remedy)

    def _config(self, model: PreTrainedModel, fresh: Sequence[str]) -> peft.PeftConfig:
        """Make the configuration for a model.

        Raises:
            ModelError: it cannot be made.
        """
        ours = {"task_type": task_type(model), "modules_to_save": list(fresh) or None}
        given = {name: value for name, value in ours.items() if name in self._fields} | self.knobs
        try:
            config = CONFIGS[self.config](**given)
        except REFUSALS as error:
            rule = msg("{config} cannot be made: {reason}", config=self.config, reason=str(error))
            raise ModelError(Fault(rule, model.name_or_path, self._remedy)) from error
        if config.is_prompt_learning and not self.added_tokens:
            rule = msg("{config} needs a number of virtual tokens", config=self.config)
            raise ModelError(Fault(rule, VIRTUAL, msg("set {setting}=20", setting=VIRTUAL)))
        if "target_modules" in self._fields and not self._has_targets(config, model):
            config.target_modules = set(linear_layers(model))
        return config

    @property
    def _remedy(self) -> Message:
        unset = Joined(tuple(self._open), ", ")
        return msg("change its settings (open: {settings}), or choose another configuration", settings=unset)

    def _has_targets(self, config: peft.PeftConfig, model: PreTrainedModel) -> bool:
        """Return whether targets are named, or left to PEFT: for a family that it knows, or where it has no table."""
        tuner = peft.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
        tables = [vars(part)[TABLE] for part in tuner.__mro__ if TABLE in vars(part)]
        return bool(config.target_modules) or not tables or model.config.model_type in tables[0]

    @property
    def _open(self) -> list[str]:
        """The configuration's own settings that have no value yet, not even a default."""
        common = {field.name for field in fields(peft.PeftConfig)} | {"modules_to_save"}
        unset = [field.name for field in fields(CONFIGS[self.config]) if field.default in (None, MISSING)]
        return [name for name in unset if name not in common and self.knobs.get(name) is None]

    @property
    def _fields(self) -> list[str]:
        return [field.name for field in fields(CONFIGS[self.config])]
