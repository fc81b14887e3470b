"""The contracts of plug-ins. Every file in a plug-in folder is tested against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias

from kamerton.core.messages import Message, Wording
from kamerton.core.records import Encoded, Example, Finding, Place, Prediction, Taught, Turn, Validated
from kamerton.core.weights import Quantization, WeightCounts

if TYPE_CHECKING:
    import numpy as np
    import torch
    import transformers
    from torch import Tensor, nn

PreTrainedModel: TypeAlias = "transformers.PreTrainedModel"
Tokenizer: TypeAlias = "transformers.PreTrainedTokenizerBase"
"""Named as text, so that annotations do not load the library."""
ModelKind = Literal["encoder", "decoder", "seq2seq"]
AnswerKind = Literal["class", "classes", "number", "tags", "span", "text", "likelihood"]
"""What `Example.gold` holds: a label; a JSON list of labels; a number; a JSON list of a tag for each word; a JSON list
of right answers from the text; free text; a text that is scored by its likelihood and never generated."""
TooLong = Literal["cut", "drop", "window", "refuse"]
"""What becomes of a row longer than the model takes: it loses its end (or start), is left out, is read in
overlapping windows, or stops the run."""


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a model folder, read without loading any weights or running any code."""

    name: str
    folder: str
    kind: ModelKind
    family: str
    """`model_type` of its configuration: bert, llama, t5."""
    parameters: int
    """All weights, counted from the headers of the weight files; tied ones once."""
    layers: int
    hidden: int
    vocabulary: int
    context: int
    """The longest sequence in tokens."""
    fingerprint: str
    """sha256 over the configuration, the tokenizer and the weight files."""
    tables: int = 1
    """Matrices of vocabulary times hidden numbers: two where the output head is not tied to the embeddings."""
    published: str = ""
    """The type of most weights in its files, in safetensors' word (BF16); empty if not known."""


@dataclass(frozen=True)
class Advice:
    """A default value with its reason and source."""

    value: float
    reason: Wording


@dataclass(frozen=True)
class Role:
    """A column that a task needs, and its usual names in lower case."""

    name: str
    spellings: tuple[str, ...]
    meaning: Wording
    required: bool = True
    weak: tuple[str, ...] = ()
    """Names that often mean something else: they count only where no other task fits."""
    to_learn: bool = False
    """Whether it is needed to learn from a row, but not to answer one."""
    parts: tuple[str, ...] = ()
    """Words that distinguish columns of otherwise equal names, the same for all roles that have them: languages."""
    leaves_out: bool = False
    """Whether it holds truth values; rows in which it is false are not trained on: people refused the answer."""
    varied: bool = False
    """Whether a column of one value alone does not count."""
    series: tuple[str, ...] = ()
    """Prefixes of the numbers or letters of several columns that form it: option1, option2; an empty one for letters
    alone."""
    letters_of: str = ""
    """The role whose text its offsets count."""
    settings: Callable[[Sequence[Mapping[str, object]]], Sequence[Mapping[str, object]]] | None = None
    """Returns settings by which rows may be read, the usual ones first; those that fit most rows are taken."""


class Engine(Protocol):
    """A model with its tokenizer, ready for inference; all models are run through it."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""

    @property
    def max_tokens(self) -> int:
        """Longest sequence to use, in tokens: the model's own context or what the recipe says."""

    @property
    def max_new_tokens(self) -> int:
        """Longest answer to generate, in tokens."""

    def read(self, items: Sequence[Encoded]) -> list[np.ndarray]:
        """Return the logits at each item's output positions: arrays `[outputs, classes]`, float32."""

    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return each item's negative log-likelihood, summed over its targets: `[items]`, nats."""

    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        """Continue each prompt greedily until the end token or `max_new_tokens`; return the new text."""

    def answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[np.ndarray, list[str]]:
        """Return the losses of `items` and the continuations of `prompts`; shared prefixes are computed once."""

    def embed(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return the mean of the last hidden states of each item, unit length: `[items, hidden]`."""


class ModelHead(Protocol):
    """Which model a task needs."""

    @property
    def model_class(self) -> str:
        """The transformers auto class that is tuned and saved: `AutoModelForSequenceClassification`."""

    @property
    def untuned_class(self) -> str:
        """The auto class that the untuned contenders use."""

    @property
    def config(self) -> Mapping[str, object]:
        """What the tuned model's configuration must carry: `num_labels`, `id2label`, `label2id`."""

    def with_outputs(self, labels: Sequence[str]) -> Self:
        """Return the form whose outputs stand for these labels, in this order; itself if outputs have no labels."""

    def start(self, model: PreTrainedModel, fresh: Sequence[str]) -> None:
        """Prepare a loaded model for training; the modules in `fresh` have no pretrained weights."""


class RowEncoder(Protocol):
    """How examples become tokens."""

    @property
    def ends(self) -> bool:
        """Whether it teaches answers to end, for which the tokenizer must have an end token."""

    @property
    def too_long(self) -> tuple[TooLong, ...]:
        """What it can do with rows that are too long, the default first."""

    def with_too_long(self, too_long: TooLong) -> Self:
        """Return the form that treats too long rows in one of these ways."""

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Encode examples with their targets, each cut to `max_tokens` (and the cut counted).

        A row that cannot be written for the model has no tokens, but a fault.
        """

    def prompts(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return the tokens that serving sends for these examples, without any answer.

        Where a row teaches several answers, `extra` holds the prompts of the ones before the last.
        """


class RowInspector(Protocol):
    """What an encoded row teaches, for the gate and for a reader."""

    def supervised(self, item: Encoded) -> int:
        """Count what an item teaches; 0 if nothing is known."""

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> Wording:
        """Return what is wrong with a row's supervision, beside its serving `prompt`; an empty string if nothing."""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return which tokens of a row are trained on, and what is taught there."""

    def sequence_name(self, at: int, count: int) -> Wording:
        """Name the sequence `at` of a row that has several (`Encoded.sequences`)."""


class Objective(Protocol):
    """What is optimized."""

    def supervised(self, item: Encoded) -> int:
        """Count what an item teaches: the loss of an update is the mean over these counts."""

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute each item's loss, summed over what it teaches: `[items]`, with gradients.

        `logits` are those at the output positions of all sequences of all items, in order: `[outputs, classes]`.
        """

    def with_reference(self, engine: Engine, items: Sequence[Encoded]) -> list[Encoded]:
        """Add to each item what the loss needs of the model as it is before training."""


class Answerer(Protocol):
    """How the tuned model answers."""

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the classes or labels, in the order of a prediction's probabilities; none where answers are free."""

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Return how many tokens to allow a generated answer, from the training ones; 0 if none is generated."""

    def validation_subset(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Choose the validation rows to answer at every validation. If not all, the loss selects."""

    def predict(self, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Answer examples with the tuned model (`engine` holds `model_class`)."""


class UntunedAnswerer(Protocol):
    """How the base model answers as it is (`engine` holds `untuned_class`)."""

    def with_instruction(self, text: str) -> Self | None:
        """Return the form that puts an instruction before each request; None if requests are no prompts."""

    def shots(self, examples: Sequence[Example], count: int, seed: int) -> list[Example]:
        """Draw solved examples to show: about `count`, or `count` of each class."""

    def predict_untuned(
        self, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
    ) -> list[Prediction]:
        """Answer examples after `shots` solved ones."""

    def predict_shown(
        self, engine: Engine, examples: Sequence[Example], shown: Sequence[Sequence[Example]]
    ) -> list[Prediction]:
        """Answer each example after solved ones of its own."""


class ChatRequests(Protocol):
    """How a model on the network is asked."""

    def requests(self, example: Example, shots: Sequence[Example]) -> Sequence[Sequence[Turn]]:
        """Return the conversations whose next turns answer an example; none if it cannot be put in words."""

    def parse(self, text: str) -> str:
        """Return the answer that such a model's reply gives; several are joined by `BETWEEN`."""


class Form(ModelHead, RowEncoder, RowInspector, Objective, Answerer, UntunedAnswerer, ChatRequests, Protocol):
    """How a task's examples look to one kind of model. Callers take the narrow protocol that they need."""


class Task(Protocol):
    """One kind of job: which columns it needs, how an example is made of them, how it is put to a model.

    A frozen pydantic model of its own settings (`--set task.NAME=VALUE`).
    """

    roles: ClassVar[tuple[Role, ...]]
    kinds: ClassVar[tuple[ModelKind, ...]]
    """The kinds of model it can be put to, the usual one first."""
    answers: ClassVar[AnswerKind]
    """What `gold` holds: it decides which simple contenders can answer, and whether splits keep shares of classes."""

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Return why these columns (role name to its first values) look like this task; an empty string if not."""

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example of one row's values by role. Raises `Unusable` with the reason if it cannot."""

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return the form for a kind of model, with what it takes from the training examples (labels, lengths)."""

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return the metrics for these training examples; the first one selects the checkpoint and decides."""

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few valid source rows, for documentation and the contract tests."""


class MethodAdvice(Protocol):
    """What the planner asks of a method."""

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Return how well it suits a model and a number of rows, 0 to 1, and why; the planner takes the best one."""

    def count_weights(self, facts: ModelFacts) -> WeightCounts:
        """Return what it holds of a model and of its own, about: what follows is an estimate of memory."""

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return default training settings (`learning_rate`, `epochs`, `batch_size`), each with its source."""


class Method(MethodAdvice, Protocol):
    """One way to change a pretrained model. A frozen pydantic model of its own settings."""

    brings_type: ClassVar[bool]
    """Whether PEFT knows its adapters' type only once the method's module is imported."""

    @property
    def added_tokens(self) -> int:
        """Positions of the context that it uses before every row; rows are cut to the rest."""

    @property
    def quantization(self) -> Quantization | None:
        """How the base model's matrices are loaded; in full precision if None."""

    @property
    def keeps_matrices(self) -> bool:
        """Whether the pretrained matrices stay as they are, so that they may be held in 16 bits."""

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Return why it cannot be put on a model, an empty string if it can, from the structure alone.

        The model is of the class that is tuned, on torch's meta device: it has no weights yet.
        """

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Return why embeddings of new tokens cannot be learned, as `refuses` does; an empty string if they can."""

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert what is new and leave `requires_grad` on exactly what trains.

        Args:
            model: as it was loaded.
            fresh: names of its modules that have no pretrained weights (a new head): they always train.
            tokens: ids that are new in its vocabulary: their embeddings and outputs always train.

        Returns:
            A module whose `save_pretrained` writes transformers' or PEFT's own format.
        """

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Fold what was added into plain weights. Raises `ValueError("cannot merge, because ...")`."""


@dataclass(frozen=True)
class Trainable:
    """The weights that train."""

    decaying: Sequence[nn.Parameter]
    """Matrices."""
    others: Sequence[nn.Parameter]
    """Norms, biases and embeddings, which never decay."""
    weight_decay: float

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups that are not empty as torch's."""
        groups = ((self.decaying, self.weight_decay), (self.others, 0.0))
        return [{"params": list(weights), "weight_decay": decay} for weights, decay in groups if weights]


class Optimizer(Protocol):
    """One way to turn gradients into updates."""

    suitability: ClassVar[Advice]
    """How well it suits, 0 to 1, and why; the most suitable one is taken where the user names none."""
    leaves_untouched: ClassVar[bool]
    """Whether embedding rows whose gradient was always zero keep their values and do not influence other weights: then
    rows of tokens that do not occur are left out."""

    def make(self, weights: Trainable, learning_rate: float) -> torch.optim.Optimizer:
        """Return torch's optimizer. The loop sets `lr` of every group at each update."""


class Metric(Protocol):
    """A metric as sufficient statistics: rows add up, so that resampling needs no recount.

    `value(statistics(...).sum(axis=0))` is the score of the whole set; a bootstrap sums resampled rows.
    """

    higher_is_better: ClassVar[bool]
    unit_interval: ClassVar[bool]
    """Whether values lie in 0 to 1 and read well as per cent."""
    per_row_binary: ClassVar[bool]
    """Whether each row is simply right or wrong, so that exact tests for proportions apply."""
    signature: ClassVar[str]
    """How it was computed, where there are several ways: tokenizer, normalizer, version; else empty."""
    meaning: ClassVar[Message]
    """One sentence that explains it to somebody who has never met it."""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, k]` float64."""

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed statistics `[..., k]` into scores `[...]`."""


class Audit(Protocol):
    """One check of the data."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Check all examples; return what was found, or None."""


@dataclass(frozen=True)
class AuditContext:
    """What checks know beside the examples."""

    stratified: bool
    """Whether `gold` is a class."""
    lengths: Sequence[int] | None
    """Tokens of each example as the model would get it, in order; None while no model is chosen."""
    max_tokens: int | None
    """The longest sequence that the model takes."""
    test_share: float = 0.1
    """Share of the rows that will be tested on."""
    tested: int | None = None
    """How many rows the split will test on, where that is known; else `test_share` applies."""
    share_metric: str = ""
    """The deciding metric, if it is the share of right answers; else empty."""
    answers: AnswerKind | None = None
    """What `gold` holds, where the task is known."""
    model: ModelFacts | None = None
    tokenizer: Tokenizer | None = None
    embed: Callable[[Sequence[Example]], np.ndarray] | None = None
    """Frozen embeddings of the chosen encoder, cached: `[examples, hidden]`, unit length."""
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)
    """Columns of the source that play no role, by name: their values in the order of the examples."""
    golds: Sequence[str] | None = None
    """The right answers in the order of the examples, where they are known without them."""
    texts: Sequence[str] | None = None
    """The texts in the order of the examples, where they are known without them."""
    labels: Sequence[str] = ()
    """Labels with a column of their own in the source, whether any row has them or not."""
    learned_from: Sequence[str] = ()
    """Roles that a row needs for training beside its text and its answer: a rejected answer."""
    parts: Sequence[str] | None = None
    """The part of a split given by the user that each example is in: `train`, `validation`, `test`."""

    @property
    def free(self) -> bool:
        """Whether answers are free text, not labels, numbers or spans."""
        return self.answers == "text" if self.answers else not self.stratified


@dataclass(frozen=True)
class Situation:
    """What remedies know."""

    learning_rate: float
    epochs: float
    dropout: float
    weight_decay: float
    validations: tuple[Validated, ...]
    """Of the diagnosed training, in order."""
    knobs: Mapping[str, object]
    """The method's own settings."""
    other_methods: tuple[str, ...]
    """Words of the other methods, the most suitable first."""
    strengths: tuple[float, ...]
    """How much of the training to keep, where that is tried."""
    writes: bool
    """Whether rows are trained as requests and written answers."""
    rows: int
    """Training rows."""
    varies: bool
    """Whether variants of the rows keep their answers, and none are trained on yet."""


Changes = Sequence[Mapping[str, object]]
"""Recipe settings by dotted path, one mapping for each attempt."""


class Remedy(Protocol):
    """A change of the recipe against what a diagnosis found."""

    treats: ClassVar[tuple[str, ...]]
    """Names of diagnoses, or `forgetting`."""
    trainings: ClassVar[float]
    """What it costs, in trainings like the first; 0 if nothing is trained. The cheapest is tried first."""

    def changes(self, situation: Situation) -> Changes:
        """Return the attempts, none if it does not apply; a value of None is decided anew by the planner."""
