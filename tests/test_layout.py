"""Every layout gives what the model's own padded forward pass gives, or is turned down."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kamerton.core.records import Encoded
from kamerton.engine.halves import attending
from kamerton.engine.layout import Layout, Packed, Padded, SharedRows, Unpadded
from kamerton.engine.packed import packed_attention
from kamerton.engine.verify import prove_equal, prove_layout

PAD = 1
VOCABULARY = 100
LENGTHS = (3, 4, 5, 17, 9, 9, 1)
"""Of the rows; the layout is proven on the first three, as in a run on a few short ones."""
PROVEN_ON = 3
WINDOW = 6
"""Longer than the rows of the proof: what a window changes shows only in the others."""

HEAD, TAGS, TEXT = "SequenceClassification", "TokenClassification", "CausalLM"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
BASE = {**SIZES, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "num_labels": 3, "pad_token_id": PAD}
GROUPED = {**BASE, "num_key_value_heads": 2, "head_dim": 8}
MARKS = {"bos_token_id": 0, "eos_token_id": 2}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
SHARED = {"vocab_size": VOCABULARY, "num_labels": 3, "pad_token_id": PAD}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}


@dataclass(frozen=True)
class Family:
    """A family of models, tiny."""

    name: str
    config: str
    values: dict[str, object]
    heads: tuple[str, ...]
    layout: type[Layout]
    """What it must be given."""
    reads_last: bool = False
    """Whether a class is read at the last token."""

    def build(self, head: str) -> PreTrainedModel:
        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**self.values)
        return getattr(transformers, f"AutoModelFor{head}").from_config(config).eval()

    def rows(self, head: str) -> list[Encoded]:
        drawn = torch.Generator().manual_seed(1)
        rows = []
        for length in LENGTHS:
            tokens = tuple(torch.randint(3, VOCABULARY, (length,), generator=drawn).tolist())
            reads = sorted({0, length // 2, length - 1})
            if head == HEAD:
                reads = [length - 1 if self.reads_last else 0]
            rows.append(Encoded(tokens, tuple(reads), tuple(range(len(reads)))))
        return rows


BOTH = (HEAD, TAGS)
ALL = (HEAD, TAGS, TEXT)
ENCODER_MARKS = {"bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
FAMILIES = (
    Family("bert", "BertConfig", BASE, BOTH, Packed),
    Family("roberta", "RobertaConfig", BASE, BOTH, Packed),
    Family("distilbert", "DistilBertConfig", {**DISTIL, **SHARED, "max_position_embeddings": 64}, BOTH, Packed),
    Family("electra", "ElectraConfig", {**BASE, "embedding_size": 16}, BOTH, Packed),
    Family("llama", "LlamaConfig", GROUPED, ALL, Packed, reads_last=True),
    Family("qwen3", "Qwen3Config", GROUPED, ALL, Packed, reads_last=True),
    Family("gpt2", "GPT2Config", {**GPT, **SHARED, **MARKS}, ALL, Packed, reads_last=True),
    Family("modernbert", "ModernBertConfig", {**BASE, **ENCODER_MARKS, "local_attention": 2 * WINDOW}, BOTH, Packed),
    Family("gemma3", "Gemma3TextConfig", {**GROUPED, "sliding_window": WINDOW}, (HEAD, TEXT), Packed, reads_last=True),
    Family("mistral", "MistralConfig", {**GROUPED, "sliding_window": WINDOW}, (HEAD, TEXT), Packed, reads_last=True),
    Family("phi3", "Phi3Config", {**BASE, **MARKS, "sliding_window": WINDOW}, (TEXT,), Packed, reads_last=True),
    Family("albert", "AlbertConfig", {**BASE, "embedding_size": 16}, (HEAD,), Packed),
    Family("eurobert", "EuroBertConfig", {**GROUPED, **MARKS}, (HEAD,), Packed),
    Family(
        "modernbert-mean", "ModernBertConfig", {**BASE, **ENCODER_MARKS, "classifier_pooling": "mean"}, (HEAD,), Packed
    ),
    Family("deberta", "DebertaV2Config", {**BASE, **DISENTANGLED}, BOTH, SharedRows),
    Family("mpt", "MptConfig", {**SHARED, "d_model": 32, "n_heads": 4, "n_layers": 2}, (TEXT,), SharedRows),
    Family("bloom", "BloomConfig", {**SHARED, **MARKS, "hidden_size": 32, "n_layer": 2, "n_head": 4}, (TEXT,), Padded),
)
POOLING = ("eurobert", "modernbert-mean")
"""Families whose heads pool over all tokens, so that they get whole sequences."""


@dataclass(frozen=True)
class Case:
    """A family with one of its heads, and rows for it."""

    family: Family
    head: str
    model: PreTrainedModel = field(init=False)
    rows: list[Encoded] = field(init=False)

    def __post_init__(self) -> None:
        vars(self).update(model=self.family.build(self.head), rows=self.family.rows(self.head))

    @cached_property
    def proven(self) -> Layout:
        return prove_layout(self.model, lambda way: way.logits(self.model, self.rows[:PROVEN_ON]))


PAIRS = [(family, head) for family in FAMILIES for head in family.heads]


@pytest.fixture(scope="module", params=PAIRS, ids=[f"{family.name}-{head}" for family, head in PAIRS])
def case(request: pytest.FixtureRequest) -> Case:
    """Each family with each of its heads."""
    return Case(*request.param)


def reference(model: PreTrainedModel, rows: list[Encoded]) -> Tensor:
    """Read the model's own padded forward pass where the rows are read."""
    longest = max(len(row.tokens) for row in rows)
    ids = torch.tensor([[*row.tokens, *[PAD] * (longest - len(row.tokens))] for row in rows])
    mask = torch.tensor([[1] * len(row.tokens) + [0] * (longest - len(row.tokens)) for row in rows])
    logits = model(input_ids=ids, attention_mask=mask).logits
    if logits.dim() == 2:
        return logits
    return torch.stack([logits[i, read] for i, row in enumerate(rows) for read in row.output_positions])


def gradient(model: nn.Module, logits: Tensor, rows: list[Encoded]) -> Tensor:
    """Give the gradient of the summed cross-entropy, all weights in one row."""
    model.zero_grad()
    cross_entropy(logits, torch.tensor([t for row in rows for t in row.targets]), reduction="sum").backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([part.flatten() for part in parts])


def test_logits_equal_the_models_own_padded_forward_pass(case):
    with torch.no_grad():
        got, wanted = case.proven.logits(case.model, case.rows), reference(case.model, case.rows)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_gradients_equal_those_of_the_models_own_padded_forward_pass(case):
    got = gradient(case.model, case.proven.logits(case.model, case.rows), case.rows)
    wanted = gradient(case.model, reference(case.model, case.rows), case.rows)
    assert wanted.norm() > 0
    assert (got - wanted).norm() <= 1e-4 * wanted.norm()


def test_each_family_gets_the_best_layout_that_it_can_take(case):
    assert type(case.proven) is case.family.layout
    assert getattr(case.proven, "whole", False) == (case.family.name in POOLING)


def test_a_row_alone_gives_what_it_gives_among_others(case):
    layout = case.proven
    with torch.no_grad():
        together = layout.logits(case.model, case.rows)
        alone = torch.cat([layout.logits(case.model, [row]) for row in case.rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_no_attention_is_left_changed(case, tmp_path):
    before = case.model.config._attn_implementation
    case.proven.logits(case.model, case.rows)
    assert case.model.config._attn_implementation == before
    case.model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert not any("attn_implementation" in name for name in saved)
    assert "kamerton" not in json.dumps(saved)


def test_a_model_keeps_whether_it_trains_through_the_proof():
    case = Case(FAMILIES[0], HEAD)
    case.model.train()
    assert type(case.proven) is Packed
    assert case.model.training


ELSEWISE = ("gpt2", "albert", *POOLING)
SELECTIVE = [family for family in FAMILIES if family.layout is Packed and family.name not in ELSEWISE]


@pytest.mark.parametrize("family", SELECTIVE, ids=lambda family: family.name)
def test_the_last_layer_runs_only_where_it_is_read_and_the_others_for_every_token(family):
    case, widths = Case(family, HEAD), []
    case.proven.logits(case.model, case.rows[:PROVEN_ON])
    hooks = [
        module.register_forward_hook(lambda _module, _args, output: widths.append(output.shape[1]))
        for module in case.model.modules()
        if isinstance(module, nn.Linear | Conv1D) and module.weight.numel() in (32 * 64, 32 * 128)
    ]
    case.proven.logits(case.model, case.rows)
    for hook in hooks:
        hook.remove()
    reads, tokens = sum(len(row.output_positions) for row in case.rows), sum(len(row.tokens) for row in case.rows)
    assert len(widths) in (4, 6)  # two or three maps of the feed-forward part in each of two layers
    assert widths == [tokens] * (len(widths) // 2) + [reads] * (len(widths) // 2)


@pytest.mark.parametrize("family", [FAMILIES[0], FAMILIES[4]], ids=lambda family: family.name)
def test_last_layer_selection_is_turned_down_where_another_module_is_taken_for_the_one_before_attention(family):
    case = Case(family, HEAD)
    right = case.proven.last_layer
    for module in right.layer.modules():
        if isinstance(module, nn.Linear) and module is not right.behind:
            wrong = Packed(case.proven.offset, replace(right, before=module))
            assert not prove_equal(
                case.model,
                lambda way=wrong: way.logits(case.model, case.rows),
                lambda: Unpadded().logits(case.model, case.rows),
            )


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.layout is not Packed], ids=lambda family: family.name)
def test_packed_rows_are_turned_down_where_they_give_other_results_or_none(family):
    case = Case(family, family.heads[0])
    with torch.no_grad():
        wanted = reference(case.model, case.rows)
        try:
            difference = (Packed().logits(case.model, case.rows) - wanted).abs().max()
        except (TypeError, IndexError):
            return  # it refuses, so it is never used
    assert difference > 1e-4 * wanted.abs().max()


def test_hidden_states_equal_the_models_own():
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(transformers.BertConfig(**BASE)).eval()
    rows = FAMILIES[0].rows(TAGS)
    with torch.no_grad():
        layout = prove_layout(model, lambda way: way.hidden(model, rows[:PROVEN_ON]))
        got = layout.hidden(model, rows)
        alone = [model(input_ids=torch.tensor([row.tokens])).last_hidden_state[0] for row in rows]
    wanted = torch.stack(
        [states[read] for states, row in zip(alone, rows, strict=True) for read in row.output_positions]
    )
    assert type(layout) is Packed
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_the_attention_comes_back_after_a_failure():
    model = FAMILIES[0].build(HEAD)
    before = model.config._attn_implementation
    with pytest.raises(RuntimeError, match="on purpose"), attending(model, "eager"):
        assert model.config._attn_implementation == "eager"
        raise RuntimeError("on purpose")
    assert model.config._attn_implementation == before


def test_packed_attention_refuses_a_mask():
    states = torch.zeros(1, 2, 4, 8)
    arguments = {"attention_mask": torch.ones(1), "kamerton_lengths": (4,), "is_causal": True}
    with pytest.raises(TypeError, match="packed attention"):
        packed_attention(nn.Identity(), states, states, states, **arguments)


def test_an_excerpt_stands_around_the_first_read_and_keeps_the_reads_that_it_holds():
    row = Encoded(tuple(range(100, 140)), (20, 21, 30), (7, 8, 9), segments=(0,) * 21 + (1,) * 19)
    part = row.excerpt(8)
    assert part.tokens == tuple(range(116, 124))
    assert [part.tokens[read] for read in part.output_positions] == [120, 121]
    assert (part.targets, part.segments) == ((7, 8), (0,) * 5 + (1,) * 3)


@pytest.mark.parametrize("read", [0, 9])
def test_an_excerpt_of_a_row_read_at_an_end_holds_that_read(read):
    row = Encoded(tuple(range(10)), (read,), (1,), extra=(Encoded((1,), (0,), (0,)),))
    part = row.excerpt(4)
    assert [part.tokens[at] for at in part.output_positions] == [read]
    assert part.extra == ()
    assert row.excerpt(100) == Encoded(row.tokens, row.output_positions, row.targets)


def test_an_excerpt_of_a_row_without_reads_is_its_beginning():
    assert Encoded((5, 6, 7), (), ()).excerpt(2) == Encoded((5, 6), (), ())
