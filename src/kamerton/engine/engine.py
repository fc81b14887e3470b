"""The engine: a model with its tokenizer and proven layouts; all inference goes through it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from kamerton.core.contracts import ModelFacts
from kamerton.core.records import Encoded, Example
from kamerton.engine.continuous import ContinuousBatch
from kamerton.engine.dealing import AnswerSettings, dealt_out
from kamerton.engine.decode import Decoding, answer_all, can_decode, greedy, sampling
from kamerton.engine.encoder_decoder import EncoderDecoderBatch
from kamerton.engine.frozen import run_frozen_once
from kamerton.engine.hf_generate import EncodedOnce, can_cache, can_encode_once, continue_all
from kamerton.engine.layout import EncoderDecoder, Layout
from kamerton.engine.passes import token_batches
from kamerton.engine.prefill import Budget
from kamerton.engine.prompt_tokens import PromptDecoder, prove_prompt_tokens
from kamerton.engine.shared_prefix import PackedTree, Pass, SharedPrefix, join_rows, prove_shared_prefix, worth_sharing
from kamerton.engine.verify import prove_layout, windows_below, with_long_row
from kamerton.forms.supervision import target_losses
from kamerton.kernels.device import AUTO, own_random_states
from kamerton.kernels.product import use_fast_products
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.precision import choose_precision
from kamerton.models.structure import backbone_of, device_of, is_encoder_decoder, outer_model

LOGITS_PER_PASS = 32_000_000
"""Most logits in one forward pass: 128 MB in fp32, and three times that in training."""
KEPT_BYTES = 1 << 30
"""Most memory for cached keys and values of prompts and their answers: more at once take less time each."""
ENDING = 24
"""Last tokens of each sample, of which rows with shared prefixes are made for proofs: many from a few."""
TRIED_TOKENS = 16
"""Most tokens of an answer on which a way to write is tried."""
LONGEST_EMBEDDED = 128
"""Tokens of a text that are embedded: enough to know its topic."""
EMBEDDED_PER_PASS = 8192


@dataclass(frozen=True)
class TorchEngine:
    """A torch model with its tokenizer and the layout that is proven for it."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    facts: ModelFacts
    layout: Layout
    max_tokens: int
    max_new_tokens: int
    tokens_per_pass: int
    shared: SharedPrefix | None = None
    """For inference behind shared prefixes, if it is proven for the model."""
    temperature: float = 0.0
    """0 decodes the most probable token; above, tokens are drawn."""
    seed: int = 0
    prompt_decoder: PromptDecoder | None = None
    """For decoding behind prompt tokens, if the model has any and it is proven for it."""
    adapter: str = ""
    """The active one of several adapters over one base; the only one if empty."""
    samples: Sequence[Encoded] = ()
    """A few encoded rows, for what is proven when it is first needed."""
    number: int = 0
    """Its number in all processes, if all hold it and its weights are the same; 0 if only this one does."""

    @property
    def limits(self) -> AnswerSettings:
        """What `replace` may have changed without another model."""
        sizes = self.max_tokens, self.max_new_tokens, self.tokens_per_pass
        return AnswerSettings(*sizes, self.temperature, self.seed, self.adapter)

    def activate(self) -> None:
        """Set evaluation mode and the adapter, whatever the model was used for before."""
        self.model.eval()
        model = cast(Any, self.model)
        if self.adapter and model.active_adapter != self.adapter:
            model.set_adapter(self.adapter)

    def read(self, items: Sequence[Encoded]) -> list[np.ndarray]:
        """Return the logits at each item's output positions: arrays `[outputs, classes]`, float32."""
        [results] = dealt_out(TorchEngine._read, self, items)
        return results

    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return each item's negative log-likelihood, summed over its output positions: `[items]`, nats."""
        [results] = dealt_out(TorchEngine._losses, self, items)
        return np.array(results, dtype=float)

    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        """Continue each prompt until the end token or `max_new_tokens`; return the new text."""
        return self.answer((), prompts)[1]

    def answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[np.ndarray, list[str]]:
        """Return the losses of `items` and the continuations of `prompts`; what both begin with is run once."""
        losses, answers = dealt_out(TorchEngine._answer, self, items, prompts)
        return np.array(losses, dtype=float), [self.tokenizer.decode(row, skip_special_tokens=True) for row in answers]

    def embed(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return the mean of the last hidden states of each item, unit length: `[items, hidden]`."""
        [results] = dealt_out(TorchEngine._embed, self, items)
        return np.array(results, dtype=np.float32).reshape(len(items), self.facts.hidden)

    @torch.no_grad()
    def _read(self, items: Sequence[Encoded]) -> tuple[list[np.ndarray]]:
        results: list[np.ndarray] = [np.empty(0)] * len(items)
        for indices, logits in self._passes(items):
            parts = logits.float().cpu().split([len(items[i].output_positions) for i in indices])
            for i, part in zip(indices, parts, strict=True):
                results[i] = part.numpy()
        return (results,)

    @torch.no_grad()
    def _losses(self, items: Sequence[Encoded]) -> tuple[list[float]]:
        results = np.zeros(len(items))
        for indices, logits in self._passes(items):
            results[indices] = target_losses(logits.float(), [items[i] for i in indices]).cpu().numpy()
        return (results.tolist(),)

    @torch.no_grad()
    def _answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[list[float], list[list[int]]]:
        self.activate()
        if self.prompt_decoder:
            losses, answers = self.prompt_decoder.answer_all(self.model, items, prompts, self._decoding, self._budget)
        elif self.shared and self._decodes:
            losses, answers = answer_all(self.model, self.shared, items, prompts, self._decoding, self._budget)
        else:
            with own_random_states(device_of(self.model)):
                torch.manual_seed(self.seed)
                if self._encoded_once:
                    losses, answers = self._encoded_once.answer_all(items, prompts)
                else:
                    [losses] = self._losses(items)
                    answers = continue_all(self.model, prompts, self._generation, self.tokens_per_pass // 2)
        return list(losses), list(answers)

    @torch.no_grad()
    def continuous_batch(self) -> ContinuousBatch | EncoderDecoderBatch | None:
        """Return an empty batch for decoding; None if our decoding is not proven for the model."""
        self.activate()
        outer = outer_model(self.model)
        if is_encoder_decoder(outer):
            batch = EncoderDecoderBatch(self.model, self.tokens_per_pass)
            return batch if self._encoded_once and self._writes_alike(batch) else None
        if self.prompt_decoder:
            ahead = self.prompt_decoder.prefix(self.model)
            return ContinuousBatch(outer, self.prompt_decoder.shared, self._budget, ahead)
        if self.shared is None or outer.get_output_embeddings() is None or not self._decodes:
            return None
        return ContinuousBatch(self.model, self.shared, self._budget)

    def _writes_alike(self, batch: EncoderDecoderBatch) -> bool:
        """Return whether a batch writes what the model's own `generate` does; it may penalize or force tokens."""
        sources = [replace(one, output_positions=(), targets=()) for one in self.samples]
        wanted = replace(self, temperature=0.0, max_new_tokens=TRIED_TOKENS).generate(sources)
        rows = batch.write([one.tokens for one in sources], TRIED_TOKENS, self._decoding.ends)
        return [self.tokenizer.decode(row, skip_special_tokens=True) for row in rows] == wanted

    @cached_property
    def _encoded_once(self) -> EncodedOnce | None:
        """How an encoder-decoder encodes each source once, if that is proven equal; tried once."""
        pad, outputs = int(self.tokenizer.pad_token_id), LOGITS_PER_PASS // classes_of(self.model)
        if not isinstance(self.layout, EncoderDecoder) or not can_encode_once(
            self.model, self.layout, pad, self.samples
        ):
            return None
        return EncodedOnce(self.model, self.layout, self._generation, self.tokens_per_pass // 2, outputs)

    @property
    def _decoding(self) -> Decoding:
        ends = () if self.tokenizer.eos_token_id is None else (int(self.tokenizer.eos_token_id),)
        choose = sampling(self.temperature, self.seed) if self.temperature else greedy
        return Decoding(self.max_new_tokens, ends, choose)

    @cached_property
    def _budget(self) -> Budget:
        shared = self.prompt_decoder.shared if self.prompt_decoder else cast(SharedPrefix, self.shared)
        one = shared.run_prefix(outer_model(self.model), (1,))
        token_bytes = sum(states.nbytes for table in (one.keys, one.values) for states in table.values())
        return Budget(self.tokens_per_pass, LOGITS_PER_PASS // classes_of(self.model), KEPT_BYTES // token_bytes)

    @cached_property
    def _decodes(self) -> bool:
        """Whether our decoding is proven for the model; tried once, since tuning changes no layout."""
        return self.shared is not None and can_decode(self.model, self.shared, self.samples)

    @property
    def _generation(self) -> GenerationConfig:
        """The same settings for the model's own `generate`."""
        drawn = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=is_encoder_decoder(self.model) or can_cache(self.model, int(self.tokenizer.pad_token_id)),
            **drawn,
        )

    @torch.no_grad()
    def _embed(self, items: Sequence[Encoded]) -> tuple[list[np.ndarray]]:
        self.activate()
        whole = [replace(item, output_positions=tuple(range(len(item.tokens)))) for item in items]
        results = np.zeros((len(items), self.facts.hidden), dtype=np.float32)
        below = self.model if is_encoder_decoder(self.model) else backbone_of(self.model)
        for batch in self._batches([replace(item, output_positions=(0,)) for item in items]):
            chosen = [whole[i] for i in batch]
            hidden = self.layout.hidden(below, chosen).float().cpu()
            for i, part in zip(batch, hidden.split([len(item.tokens) for item in chosen]), strict=True):
                results[i] = part.mean(dim=0).numpy()
        return (list(results / (np.linalg.norm(results, axis=1, keepdims=True) + 1e-12)),)

    def _passes(self, items: Sequence[Encoded]) -> Iterator[Pass]:
        """Run items through the model, as many at once as the budgets of tokens and logits allow."""
        self.activate()
        known = [i for i, item in enumerate(items) if item.output_positions]
        chosen = [items[i] for i in known]
        shared = self.shared
        if shared and self.layout in (shared.packed, PackedTree(shared.packed)) and worth_sharing(chosen):
            outputs = LOGITS_PER_PASS // classes_of(self.model)
            passes: Iterator[Pass] = shared.passes(self.model, chosen, self.tokens_per_pass, outputs)
        else:
            batches = self._batches(chosen)
            passes = ((batch, self.layout.logits(self.model, [chosen[i] for i in batch])) for batch in batches)
        yield from (([known[i] for i in indices], logits) for indices, logits in passes)

    def _batches(self, items: Sequence[Encoded]) -> Iterator[list[int]]:
        """Group items of like length, as many as the budgets of tokens and logits allow."""
        outputs = max((len(item.output_positions) for item in items), default=1)
        at_once = max(1, LOGITS_PER_PASS // (classes_of(self.model) * max(1, outputs)))
        return token_batches([len(item.tokens) for item in items], self.tokens_per_pass, at_once)


def make_engine(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    facts: ModelFacts,
    samples: Sequence[Encoded],
    *,
    max_tokens: int,
    max_new_tokens: int,
    tokens_per_pass: int,
    rows: Sequence[Encoded] = (),
    cache: Path | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> TorchEngine:
    """Build an engine with the best layout that gives the model's own results on `samples`.

    Of a model with a head, logits are compared; of a bare one, hidden states. The shorter the few encoded `samples`,
    the cheaper. The frozen layers of the `rows` to train on are run at once; their activations are kept in the folder
    `cache`. The limits are those of a sequence, of an answer, and of a forward pass; `temperature` and `seed` are of
    drawn answers, and a temperature of 0 decodes the most probable ones.
    """
    use_fast_products(model)
    outer = outer_model(model)
    shared = prompt_decoder = None
    endings = [replace(item, tokens=item.tokens[-ENDING:]) for item in samples]
    samples = with_long_row(model, samples, max_tokens)
    if backbone_of(model) is outer and not is_encoder_decoder(model):
        layout = prove_layout(model, lambda way: way.hidden(model, samples))
    else:
        sequences = [sequence for row in rows for sequence in row.sequences]
        batches = token_batches([len(row.tokens) for row in sequences], tokens_per_pass, len(sequences))
        passes = [[sequences[i] for i in batch] for batch in batches]
        layout = prove_layout(model, lambda way: way.logits(model, samples))
        if not windows_below(model, max_tokens):  # what continues a prefix knows no window
            layout, prompt_decoder = prove_prompt_tokens(model, layout, samples, endings, rows)
            shared = prove_shared_prefix(model, layout, endings)
            layout = join_rows(layout, model, endings, rows)
        layout = run_frozen_once(layout, model, samples, passes, cache)
    limits = max_tokens, max_new_tokens, tokens_per_pass
    return TorchEngine(
        model, tokenizer, facts, layout, *limits, shared, temperature, seed, prompt_decoder, samples=endings
    )


def classes_of(model: nn.Module) -> int:
    """Return how many logits the model's head has for one output position."""
    outer = outer_model(model)
    generates = outer.get_output_embeddings() is not None
    return int(outer.config.get_text_config().vocab_size if generates else outer.config.num_labels)


@dataclass
class Embedder:
    """Embeds examples' texts with an untuned base model, which is loaded at the first call."""

    facts: ModelFacts
    precision: str | None = None
    """Of its matrix products; the fast one on this machine if not given."""
    device: str = AUTO
    _known: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def __call__(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the mean of the last hidden states of each text, unit length: `[examples, hidden]` float32."""
        new = {example.key: example.text for example in examples if example.key not in self._known}
        if new:
            vectors = self._engine.embed([self._encode(text) for text in new.values()])
            self._known.update(zip(new, vectors, strict=True))
        return np.stack([self._known[example.key] for example in examples])

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's own."""
        return load_tokenizer(self.facts)

    @cached_property
    def _engine(self) -> TorchEngine:
        model = load_model(self.facts.folder, "AutoModel", {}, seed=0, device=self.device).model
        rows = [self._encode(text) for text in ("one", "one and two, and then three more")]
        samples = [replace(row, output_positions=tuple(range(len(row.tokens)))) for row in rows]
        engine = make_engine(
            model,
            self.tokenizer,
            self.facts,
            samples,
            max_tokens=min(LONGEST_EMBEDDED, self.facts.context),
            max_new_tokens=1,
            tokens_per_pass=EMBEDDED_PER_PASS,
        )
        if (self.precision or choose_precision(device_of(model)).value) == "bf16":
            model.to(torch.bfloat16)  # once the layout is proven: topics do not depend on the last digits
        return engine

    def _encode(self, text: str) -> Encoded:
        longest = min(LONGEST_EMBEDDED, self.facts.context)
        tokens = self.tokenizer(text, truncation=True, max_length=longest)["input_ids"]
        return Encoded(tuple(tokens), (), ())
