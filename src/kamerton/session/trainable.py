"""A model prepared for training, as training, the learning-rate range test and the cost estimate use it."""

from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example
from kamerton.data.balance import class_weights, oversampled
from kamerton.engine.checkpointing import recompute_layers
from kamerton.engine.engine import TorchEngine
from kamerton.engine.verify import prove_fused, reads_ahead
from kamerton.forgetting.probe import known_languages
from kamerton.kernels.device import name_of, within_memory
from kamerton.models.load import Loaded
from kamerton.models.quantize import cost
from kamerton.models.structure import device_of
from kamerton.runs.settings import SELF
from kamerton.session.engines import attach_method, engine_of, load_base, untuned_engine
from kamerton.session.setup import Setup, make_method
from kamerton.train.replay import replay_rows

NOT_OURS = -1
"""The id of rows without a source."""
REPLAYED_TOKENS = 48
LOOKED_AT = 16
"""Last tokens of a sample that tell whether a model reads ahead."""


@dataclass(frozen=True)
class TrainableModel:
    """A model with its method attached, an engine around it, and the rows it will be trained on."""

    model: nn.Module
    engine: TorchEngine
    rows: list[Encoded]
    """The split's rows, in its order, then those replayed against forgetting."""
    ids: list[int]
    """The source row of each."""
    note: Wording = ""
    """A remark on how the model is computed."""
    quantized: Wording = ""
    """What quantization has cost; empty if the base is not quantized."""


def make_trainable(setup: Setup) -> TrainableModel:
    """Load the recipe's base model, and attach its method.

    Raises:
        ModelError: the model is to write, but reads the tokens that follow.
        TrainingError: the memory does not suffice.
    """
    method = make_method(setup.recipe)
    loaded = load_base(setup, method)
    quantized = cost(loaded.model, setup.facts) if method.quantization else ""
    return replace(attach(setup, loaded), quantized=quantized)


def attach(setup: Setup, loaded: Loaded) -> TrainableModel:
    """Attach the recipe's method to a loaded base model, and encode the training rows for it.

    Raises:
        ModelError: the model is to write, but reads the tokens that follow.
        TrainingError: the memory does not suffice.
    """
    device = name_of(device_of(loaded.model))
    with within_memory(msg("the memory of {device} does not suffice to try a few rows", device=device)):
        if setup.facts.kind == "decoder" and loaded.model.get_output_embeddings() is not None:
            _require_causal(loaded.model, setup)
        model = attach_method(setup, loaded)
        own = _balanced(setup)
        rows = [*(row for _, row in own), *replayed(setup)]
        engine = engine_of(setup, model, rows)
        note = prove_fused(model, engine.layout, setup.samples[:1]) or ""
        if setup.recipe.train.gradient_checkpointing:
            recompute_layers(model, engine.layout, setup.samples)
    ids = [example.id for example, _ in own]
    ids += [NOT_OURS] * (len(rows) - len(ids))
    return TrainableModel(model, engine, setup.form.with_reference(engine, rows), ids, note)


def _require_causal(model: PreTrainedModel, setup: Setup) -> None:
    sample = setup.samples[0]
    if reads_ahead(model, replace(sample, tokens=sample.tokens[-LOOKED_AT:])):
        rule = msg("{kind} models read the tokens that follow: they would see the answers", kind=type(model).__name__)
        raise ModelError(Fault(rule, setup.facts.folder, msg("choose another model, or another task for this one")))


def _balanced(setup: Setup) -> list[tuple[Example, Encoded]]:
    """Encode the training rows, and even out their classes as the recipe says."""
    examples = [*setup.split.train, *setup.split.added]
    golds, rows = [example.gold for example in examples], setup.encode(examples)
    match setup.recipe.data.balance:
        case "weights":
            rows = [replace(row, weight=weight) for row, weight in zip(rows, class_weights(golds), strict=True)]
        case "oversample":
            chosen = oversampled(golds, setup.recipe.seed)
            return [(examples[i], rows[i]) for i in chosen]
    return list(zip(examples, rows, strict=True))


def replayed(setup: Setup) -> list[Encoded]:
    """Generate the rows to replay with the base model."""
    mix, share = setup.recipe.mix, setup.recipe.remedy.replay
    count = round((share or (mix.share if mix.source == SELF else 0.0)) * len(setup.split.train))
    if not count:
        return []
    base = replace(untuned_engine(setup), max_new_tokens=REPLAYED_TOKENS, temperature=0.0)
    return replay_rows(base, count, known_languages(setup.tokenizer), setup.recipe.seed)
