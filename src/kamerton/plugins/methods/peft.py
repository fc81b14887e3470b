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
from kamerton.core.messages import Wording
from kamerton.models.adapters import REFUSALS, merged
from kamerton.models.structure import linear_layers
from kamerton.plugins.methods._peft import adapt, structural_refusal, task_type, token_refusal
from kamerton.plugins.methods._shared import Knobs, adapter_epochs, low_rank_rate
from kamerton.plugins.methods._virtual import VirtualTokens

if TYPE_CHECKING:
    from typing import Self

    from transformers import PreTrainedModel

BATCH = 16
TABLE = "target_module_mapping"
"""Where PEFT's tuners keep their choice of layers for each family."""
VIRTUAL = "method.num_virtual_tokens"
COMMON = (peft.PeftConfig, peft.PromptLearningConfig)
"""What configurations have in common; none by themselves."""
CONFIGS: Mapping[str, type[peft.PeftConfig]] = {
    name: value
    for name, value in vars(peft).items()
    if inspect.isclass(value) and issubclass(value, peft.PeftConfig) and value not in COMMON
}
ALLOCATING: Mapping[str, str] = {"AdaLoraConfig": "", "AdamssConfig": "use_asa"}
"""Configurations that give and take ranks while they train, and the setting that turns this on, if it can be off."""


class Peft(Knobs):
    """Train what a configuration of PEFT adds; its own fields are knobs beside `config`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    config: str = Field("LoKrConfig", description="Class name in PEFT: `LoHaConfig`, `OFTConfig`, `VeraConfig`, ...")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if self.config not in CONFIGS:
            raise RecipeError(Fault(f"PEFT has no configuration '{self.config}'", remedy=nearest(self.config, CONFIGS)))
        unknown = [name for name in self.knobs if name not in self._fields]
        if unknown:
            rule = f"{self.config} has no setting "
            raise RecipeError([Fault(f"{rule}'{name}'", remedy=nearest(name, self._fields)) for name in unknown])
        switch = ALLOCATING.get(self.config)
        if switch == "" or (switch and self.knobs.get(switch)):
            rule = f"{self.config} gives and takes ranks after every update, from sums that no checkpoint would hold"
            remedy = f"leave out method.{switch}" if switch else "choose low-rank updates of one rank"
            raise RecipeError(Fault(rule, f"method.{switch or 'config'}", remedy))
        return self

    @property
    def knobs(self) -> dict[str, Any]:
        """The configuration's own settings."""
        return dict(self.model_extra or {})

    @property
    def added_tokens(self) -> int:
        """Take what the configuration's virtual tokens take."""
        return int(self.knobs.get("num_virtual_tokens") or 0)

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit those who know what they want."""
        return Advice(0.0, "for a configuration that you choose yourself")

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Give the defaults of low-rank updates: most of PEFT's methods are kin to them."""
        return {
            "learning_rate": low_rank_rate(facts),
            "epochs": adapter_epochs(facts, rows, BATCH),
            "batch_size": Advice(BATCH, "as for low-rank updates (Schulman 2025)"),
        }

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse what PEFT does, by putting the configuration on a copy of the structure."""
        config = self._config(model, ())
        if config.is_prompt_learning:
            return VirtualTokens(tokens=self.added_tokens).refuses(model)
        return structural_refusal(model, config)

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse where PEFT trains no single rows of the tables."""
        return token_refusal(model, type(self._config(model, ())))

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Put the configuration on: where it says, else where PEFT puts it for the family, else on every linear map.

        Raises:
            ModelError: the configuration does not fit the model, or wants what Kamerton does not give it.
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
            raise ModelError(
                Fault(f"{self.config} cannot be made: {error}", model.name_or_path, self._remedy)
            ) from error
        if config.is_prompt_learning and not self.added_tokens:
            raise ModelError(Fault(f"{self.config} needs a number of virtual tokens", VIRTUAL, f"set {VIRTUAL}=20"))
        if "target_modules" in self._fields and not self._has_targets(config, model):
            config.target_modules = set(linear_layers(model))
        return config

    @property
    def _remedy(self) -> str:
        return f"change its settings (it leaves open: {', '.join(self._open)}), or choose another configuration"

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Merge if PEFT can."""
        return merged(model)

    def _has_targets(self, config: peft.PeftConfig, model: PreTrainedModel) -> bool:
        """Say whether targets are named, or left to PEFT: for a family that it knows, or where it has no table."""
        tuner = peft.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
        tables = [vars(part)[TABLE] for part in tuner.__mro__ if TABLE in vars(part)]
        return bool(config.target_modules) or not tables or model.config.model_type in tables[0]

    @property
    def _open(self) -> list[str]:
        """Name the configuration's own settings that have no value yet, not even a default."""
        common = {field.name for field in fields(peft.PeftConfig)} | {"modules_to_save"}
        unset = [field.name for field in fields(CONFIGS[self.config]) if field.default in (None, MISSING)]
        return [name for name in unset if name not in common and self.knobs.get(name) is None]

    @property
    def _fields(self) -> list[str]:
        return [field.name for field in fields(CONFIGS[self.config])]
