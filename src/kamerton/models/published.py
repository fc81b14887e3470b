"""The base models that people tune, as data: `published.yaml` has what is known of each, with its sources."""

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kamerton.core.contracts import ModelFacts, ModelKind
from kamerton.core.errors import ModelError
from kamerton.core.messages import msg
from kamerton.core.readers import parse_yaml, read_bytes
from kamerton.models.inspect import stated_sizes

FILE = Path(__file__).with_name("published.yaml")
COMMERCIAL = "commercial"
"""What a licence is asked for."""
KINDS = {"encoder": msg("encoder"), "decoder": msg("decoder"), "seq2seq": msg("encoder-decoder")}
Purpose = Literal[
    "fast", "understand", "long", "sentences", "fast-answer", "answer", "fast-rewrite", "rewrite", "translate"
]
PURPOSES = {
    "fast": msg("classes, tags and spans where speed counts most"),
    "understand": msg("classes, tags, spans and numbers"),
    "long": msg("classes, tags and spans of long texts"),
    "sentences": msg("classes from few rows, and embeddings of sentences"),
    "fast-answer": msg("short answers where speed and memory count most"),
    "answer": msg("instructions, conversations and all that is answered in words"),
    "fast-rewrite": msg("short summaries and rewriting where speed counts most"),
    "rewrite": msg("summaries, rewriting and translation of the pairs that it is tuned on"),
    "translate": msg("translation between the languages that it knows"),
}
"""What a model is good for."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Benchmark(_Frozen):
    """A published comparison that orders the models of some kinds for a language."""

    name: str
    kinds: tuple[ModelKind, ...]
    language: str
    better: Literal["higher", "lower"]
    source: str


class PublishedModel(_Frozen):
    """What is known of a base model; the file says what each field means."""

    name: str
    published: str = ""
    kind: ModelKind
    licence: str
    languages: tuple[str, ...]
    stated: int | None = None
    parameters: Annotated[int, Field(gt=0)]
    purpose: Purpose
    weights: Literal["safetensors", "pickle", "code", "unknown"] = "unknown"
    revision: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|refs/pr/\d+)$")] | None = None
    gated: bool | None = None
    tasks: tuple[str, ...] = ()
    config: Mapping[str, Any] = {}
    scores: Mapping[str, float] = {}
    sources: Annotated[tuple[str, ...], Field(min_length=1)]

    @property
    def loadable(self) -> bool:
        """Whether it can be loaded here, as far as is known: from safetensors, without code of the publisher."""
        return self.weights in ("safetensors", "unknown") and bool(self.config)

    @property
    def facts(self) -> ModelFacts:
        """The facts that an estimate needs, as the configuration states them."""
        sizes = stated_sizes(self.config, str(FILE))
        family = str(self.config["model_type"])
        tables = 2 if self.config.get("tie_word_embeddings") is False else 1
        given = self.name, "", self.kind, family, self.parameters
        layers, hidden, vocabulary, context = (sizes[one] for one in ("layers", "hidden", "vocabulary", "context"))
        return ModelFacts(*given, layers, hidden, vocabulary, context, "", tables)

    @property
    def body(self) -> int:
        """The weights outside of one embedding table."""
        return self.parameters - self.facts.vocabulary * self.facts.hidden


class Catalogue(_Frozen):
    """The whole file."""

    checked: date
    sources: Mapping[str, str]
    licences: Mapping[str, Literal["yes", "conditions", "no"]]
    benchmarks: Mapping[str, Benchmark]
    languages: Mapping[str, tuple[str, ...]]
    models: tuple[PublishedModel, ...]

    def codes(self, model: PublishedModel) -> list[str]:
        """Return the ISO codes of a model's languages."""
        return [code for one in model.languages for code in self.languages.get(one, (one,))]

    def commercial(self, model: PublishedModel) -> str:
        """Return whether the licence allows commercial use: yes, conditions, no, or unknown."""
        return self.licences.get(model.licence, "unknown")

    def allows(self, model: PublishedModel, licence: str) -> bool:
        """Return whether the licence is of this name, or allows what is asked for."""
        if licence == COMMERCIAL:
            return self.commercial(model) in ("yes", "conditions")
        return licence.casefold() == model.licence.casefold()

    def benchmark(self, kind: ModelKind, language: str) -> str | None:
        """Return the benchmark that orders the models of a kind for a language; the one of English if it has none."""
        of = {one.language: name for name, one in self.benchmarks.items() if kind in one.kinds}
        return of.get(language, of.get("en"))


@cache
def catalogue() -> Catalogue:
    """Read the file."""
    return Catalogue.model_validate(parse_yaml(read_bytes(FILE, ModelError), FILE, ModelError))


def by_name() -> Mapping[str, PublishedModel]:
    """Return the models by their names."""
    return {model.name: model for model in catalogue().models}
