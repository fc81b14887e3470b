"""Tiny models whose token tables no other module holds, rows that use little of them, and trainings of both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from kamerton.core.contracts import Form
from kamerton.core.records import Encoded, Example, Place
from kamerton.engine.layout import Layout, Padded
from kamerton.engine.verify import prove_layout
from kamerton.forms.labels import Labels
from kamerton.forms.running_text import MaskedText, RunningText
from kamerton.forms.writing import Rewriting
from kamerton.kernels.dropout import set_dropout, use_fast_dropout
from kamerton.models.load import load_tokenizer
from kamerton.models.structure import is_encoder_decoder
from kamerton.runs.recipe import TrainSettings
from kamerton.train.dynamics import Dynamics
from kamerton.train.loop import Job, Validation
from kamerton.train.used_rows import tokens_in_use
from tiny_engines import facts_of
from tiny_models import SENTENCES

TEXTS = (SENTENCES[0], SENTENCES[1], SENTENCES[2], SENTENCES[6], SENTENCES[12], SENTENCES[16])
"""So few that most of a tiny vocabulary does not occur."""
EXAMPLES = [
    Example(i, Place("rows.csv", i + 2), text.lower(), text[:9].lower(), {"text": text.lower()})
    for i, text in enumerate(TEXTS)
]
CASES = ("classes", "padded classes", "hidden tokens", "running text", "rewriting")
IDENTITY = {"data": "d"}
STEPS = 6
"""Updates of two rows each: two epochs."""


@dataclass(frozen=True)
class Case:
    """A model whose token table no other module holds, and rows for it."""

    model: PreTrainedModel
    layout: Layout
    form: Form
    rows: list[Encoded]

    @property
    def table(self) -> nn.Embedding:
        return self.model.get_input_embeddings()

    @property
    def unused(self) -> list[int]:
        return sorted(set(range(self.table.num_embeddings)) - tokens_in_use(self.model, self.rows))

    def probe(self) -> list[Encoded]:
        """Make rows of tokens that are in use and others, of uneven lengths."""
        mixed = [self.rows[0].tokens[0], *self.unused[:3], self.rows[1].tokens[1], *self.unused[-4:]]
        if is_encoder_decoder(self.model):
            return [Encoded(tuple(mixed[:end]), tuple(range(3)), tuple(self.unused[:3])) for end in (5, 9)]
        return [Encoded(tuple(mixed[:end]), (0, 2), (0, 0)) for end in (5, 9)]

    @torch.no_grad()
    def read(self, model: nn.Module) -> Tensor:
        return self.layout.logits(model.eval(), self.probe())


def classes(folder: Path) -> tuple[PreTrainedModel, Form]:
    return BertForSequenceClassification(BertConfig.from_pretrained(folder)), Labels(("a", "b"))


def hidden_tokens(folder: Path) -> tuple[PreTrainedModel, Form]:
    return BertForMaskedLM(BertConfig.from_pretrained(folder, tie_word_embeddings=False)), MaskedText()


def running_text(folder: Path) -> tuple[PreTrainedModel, Form]:
    return LlamaForCausalLM(LlamaConfig.from_pretrained(folder, tie_word_embeddings=False)), RunningText()


def rewriting(folder: Path) -> tuple[PreTrainedModel, Form]:
    one = BertConfig.from_pretrained(folder)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(one, copy.deepcopy(one))
    config.decoder_start_token_id, config.pad_token_id = 2, 0
    return EncoderDecoderModel(config), Rewriting(ask=lambda example: example.text, answers=())


BUILDERS = dict(zip(CASES, (classes, classes, hidden_tokens, running_text, rewriting), strict=True))


def labelled(rows: Sequence[Sequence[int]]) -> list[Encoded]:
    return [Encoded(tuple(ids), (0,), (i % 2,)) for i, ids in enumerate(rows)]


def case_of(word: str, folder: Path, dropout: float = 0.0) -> Case:
    """Make a case, each time with the same weights; without dropout unless there is to be some.

    Args:
        word: of `CASES`.
        folder: of a tiny model whose sizes and tokenizer to take.
        dropout: of every layer.
    """
    tokenizer = load_tokenizer(facts_of(folder))
    torch.manual_seed(0)
    model, form = BUILDERS[word](folder)
    set_dropout(model, dropout)
    use_fast_dropout(model)
    if BUILDERS[word] is classes:
        rows = labelled(tokenizer([example.text for example in EXAMPLES])["input_ids"])
    else:
        if tokenizer.eos_token_id is None:
            tokenizer.eos_token = tokenizer.sep_token
        rows = form.encode(EXAMPLES, tokenizer, 64)
    layout = prove_layout(model, lambda way: way.logits(model, rows[:3]))
    return Case(model, Padded("as asked") if word == "padded classes" else layout, form, rows)


def job_of(case: Case, folder: Path, validate: Callable[[], Validation] | None = None, **changed: object) -> Job:
    """Make a job that calls every validation better than the one before, if it does not say otherwise."""
    scores = iter(range(1000))
    values = {"epochs": 2, "batch_size": 2, "learning_rate": 1e-3, "warmup": 0.2, **changed}
    return Job(
        model=case.model,
        layout=case.layout,
        form=case.form,
        rows=case.rows,
        validate=validate or (lambda: Validation(1.0, {}, next(scores))),
        settings=TrainSettings.model_validate(values),
        validations_per_epoch=1,
        seed=3,
        checkpoints=folder,
        identity=IDENTITY,
        dynamics=Dynamics.of(len(case.rows)),
    )
