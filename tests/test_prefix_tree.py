"""Shared prefixes are computed once, and values and gradients are those of each row by itself."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kamerton.core.records import Encoded
from kamerton.engine.checkpointing import recompute_layers
from kamerton.engine.engine import ENDING, make_engine
from kamerton.engine.frozen import FrozenLayers
from kamerton.engine.layout import Layout, Packed
from kamerton.engine.passes import passes_of
from kamerton.engine.prefix_tree import MIN_SHARED, join
from kamerton.engine.shared_prefix import PackedTree, join_rows
from kamerton.engine.verify import prove_layout, windows_below
from kamerton.kernels import attention
from kamerton.kernels.attention import attend
from kamerton.kernels.buckets import PackedRow
from kamerton.kernels.dropout import set_dropout
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.structure import outer_model, train_above
from test_layout import FAMILIES, HEAD, TEXT, Case, Family, gradient
from tiny_engines import facts_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PACKED = [family for family in FAMILIES if family.layout is Packed and TEXT in family.heads]
CAUSAL = [family for family in PACKED if "sliding_window" not in family.values]
TREE = PackedRow((5, 3, 7, 7, 2, 4), (-1, 0, 0, 1, 1, -1))
TOKENS = st.lists(st.integers(1, 3), max_size=5).map(tuple)


def states(heads: int, tokens: int, width: int = 8) -> Tensor:
    return torch.randn(1, tokens, heads * width).view(1, tokens, heads, width).transpose(1, 2)


def branch_by_branch(query: Tensor, key: Tensor, value: Tensor, row: PackedRow) -> Tensor:
    """Attend as the definition says: each part by itself, its keys behind those it continues."""
    found = []
    for start, length, before in zip(row.starts, row.lengths, row.before, strict=True):
        seen = torch.tensor([*before, *range(start, start + length)])
        mask = torch.ones(length, len(seen), dtype=torch.bool).tril(len(before))
        q, k, v = query[:, :, start : start + length], key[:, :, seen], value[:, :, seen]
        found.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)[0].transpose(0, 1))
    return torch.cat(found)


def drawn_tree(seed: int) -> PackedRow:
    draw = random.Random(seed)
    lengths = [draw.choice([1, 2, 8, 9, 30, 120]) for _ in range(draw.randint(1, 10))]
    return PackedRow(
        tuple(lengths), tuple(draw.randrange(-1, i) if draw.random() < 0.8 else -1 for i in range(len(lengths)))
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("key_heads", [4, 2])
def test_parts_attend_to_what_they_continue_and_gradients_add_up_in_it(key_heads, seed):
    torch.manual_seed(seed)
    row = drawn_tree(seed)
    inputs = tuple(states(heads, sum(row.lengths)).requires_grad_() for heads in (4, key_heads, key_heads))
    got, wanted = attend(*inputs, row, None, causal=True), branch_by_branch(*inputs, row)
    torch.testing.assert_close(got, wanted)
    towards = torch.randn_like(got)
    pairs = [torch.autograd.grad((out * towards).sum(), inputs) for out in (wanted, got)]
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", [attention.PART, 2])
@pytest.mark.parametrize("at_once", [attention.AT_ONCE, 1])
@pytest.mark.parametrize("kept", [0, 1000])
def test_gradients_of_a_tree_are_those_of_its_values_however_the_work_is_cut(kept, at_once, part, monkeypatch):
    for name, value in (("PART", part), ("AT_ONCE", at_once), ("KEPT", kept)):
        monkeypatch.setattr(attention, name, value)
    attention.blocks.cache_clear()
    torch.manual_seed(0)
    row = PackedRow((2, 3, 1, 2), (-1, 0, 0, 1))
    inputs = tuple(states(2, sum(row.lengths), 2).double().requires_grad_() for _ in range(3))
    assert torch.autograd.gradcheck(lambda *parts: attend(*parts, row, None, causal=True), inputs)
    attention.blocks.cache_clear()


@settings(max_examples=200, deadline=None)
@given(
    beginnings=st.lists(TOKENS, min_size=1, max_size=3), ends=st.lists(TOKENS, min_size=2, max_size=6), data=st.data()
)
def test_every_item_is_found_whole_behind_its_parents(beginnings, ends, data):
    items = []
    for end in ends:
        tokens = (*data.draw(st.sampled_from(beginnings)) * MIN_SHARED, *end, 9)
        reads = sorted(data.draw(st.sets(st.integers(0, len(tokens) - 1), max_size=3)))
        items.append(Encoded(tokens, tuple(reads), ()))
    tree = join(items)
    if tree is None:
        return
    row, positions, places = tree.encoded(), tree.positions(), tree.places()
    assert len(row.tokens) == len(positions) == sum(tree.row.lengths)
    before = dict(zip(tree.row.starts, tree.row.before, strict=True))
    seen: dict[int, tuple[int, ...]] = {}
    for start, length in zip(tree.row.starts, tree.row.lengths, strict=True):
        for at in range(start, start + length):
            seen[at] = (*before[start], *range(start, at + 1))
    reads = iter(row.output_positions)
    for item, own in zip(items, places, strict=True):
        assert own == [] or seen[own[-1]] == tuple(own)
        assert tuple(row.tokens[at] for at in own) == item.tokens[: max(item.output_positions, default=-1) + 1]
        assert [positions[at] for at in own] == list(range(len(own)))
        assert [own[read] for read in item.output_positions] == [next(reads) for _ in item.output_positions]


def test_short_or_rare_beginnings_and_token_types_are_left_alone():
    assert join([Encoded((*range(MIN_SHARED - 1), last), (MIN_SHARED - 1,), ()) for last in (20, 30)]) is None
    rows = [Encoded((*range(10), last), (10,), ()) for last in (20, 30)]
    assert join(rows) is not None
    assert join(rows[:1]) is None
    assert join([*rows, *(Encoded(tuple(range(i, i + 90)), (89,), ()) for i in range(100, 500, 100))]) is None
    assert join([replace(row, segments=(0,) * 11) for row in rows]) is None


def alike(last: int = 3) -> list[Encoded]:
    """Rows with one instruction, of which some have a question in common, too; one is read in that already."""
    instruction, question = tuple(range(10, 30)), tuple(range(30, 40))
    texts = [instruction + question + end for end in ((1, 2), (1, 2, 3, 4), (5,))]
    texts += [(*instruction, 7, 8), (*instruction, 9, 8, 7, 6, 5), (*instruction, 7, 8, 9)]
    rows = [Encoded((*text, last), (len(text) - 2, len(text) - 1), (1, 2)) for text in texts]
    return [*rows, replace(rows[0], output_positions=(22, *rows[0].output_positions), targets=(0, 1, 2))]


def model_gradients(model: nn.Module, layout: Layout, rows: list[Encoded]) -> Tensor:
    return gradient(model, layout.logits(model, rows), rows)


@pytest.mark.parametrize("family", [one for one in PACKED if one not in CAUSAL], ids=lambda family: family.name)
def test_rows_longer_than_a_models_window_are_not_joined(family: Family):
    case, rows = Case(family, TEXT), alike()
    assert windows_below(case.model, max(len(row.tokens) for row in rows))
    assert join_rows(case.proven, case.model, rows, rows) == case.proven


@pytest.mark.parametrize("family", CAUSAL, ids=lambda family: family.name)
def test_logits_and_gradients_are_those_of_a_flat_row(family: Family):
    case, rows = Case(family, TEXT), alike()
    set_dropout(case.model, 0.0)
    packed = case.proven
    short = [replace(row, tokens=row.tokens[-ENDING:]) for row in rows]  # some have few positions
    tree_layout = join_rows(packed, case.model, short, rows)
    assert tree_layout == PackedTree(packed)
    torch.testing.assert_close(
        tree_layout.logits(case.model, rows), packed.logits(case.model, rows), rtol=1e-4, atol=1e-5
    )
    wanted, got = (model_gradients(case.model, layout, rows) for layout in (packed, tree_layout))
    assert (got - wanted).norm() <= 1e-5 * wanted.norm()


def load_tiny(folder):
    return load_model(folder, "AutoModelForCausalLM", {}, seed=0)


def tokens_run(model: nn.Module, layout: Layout, rows: list[Encoded]) -> int:
    widths: list[int] = []
    table = outer_model(model).get_input_embeddings()
    hook = table.register_forward_hook(lambda _module, _args, output: widths.append(output.shape[1]))
    layout.logits(model, rows)
    hook.remove()
    return sum(widths)


def test_common_tokens_and_those_behind_the_last_read_are_not_run_again(decoder_folder):
    model, rows = load_tiny(decoder_folder).model, alike()
    packed = prove_layout(model, lambda way: way.logits(model, rows))
    assert tokens_run(model, packed, rows) == sum(len(row.tokens) for row in rows)
    # an instruction, a question, and the ends of four rows with it and three without
    assert tokens_run(model, PackedTree(packed), rows) == 20 + 10 + (2 + 4 + 1 + 2) + (2 + 5 + 3)


def test_rows_are_not_joined_where_each_drops_its_own(decoder_folder):
    model, rows = load_tiny(decoder_folder).model, alike()
    packed = prove_layout(model, lambda way: way.logits(model, rows))
    assert isinstance(join_rows(packed, model, rows, rows), PackedTree)
    set_dropout(model, 0.1)
    assert join_rows(packed, model, rows, rows) is packed
    set_dropout(model, 0.0)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.1, target_modules=["q_proj"]))
    assert join_rows(packed, adapted, rows, rows) is packed


def test_rows_that_do_not_begin_alike_are_laid_as_they_were(decoder_folder):
    model, rows = load_tiny(decoder_folder).model, alike()
    packed = prove_layout(model, lambda way: way.logits(model, rows))
    others = [Encoded(tuple(range(start, start + 30)), (29,), (1,)) for start in range(0, 300, 30)]
    assert join_rows(packed, model, rows, others) is packed


@pytest.mark.parametrize("layers", [0, 1])
def test_frozen_layers_run_once_below_joined_rows(decoder_folder, layers):
    loaded, rows = load_tiny(decoder_folder), alike()
    model = loaded.model
    train_above(model, layers, loaded.fresh, ())
    facts = facts_of(decoder_folder)
    engine = make_engine(
        model, load_tokenizer(facts), facts, rows, max_tokens=64, max_new_tokens=1, tokens_per_pass=512, rows=rows
    )
    assert isinstance(engine.layout, FrozenLayers)
    assert isinstance(engine.layout.inner, PackedTree)
    packed = engine.layout.inner.packed
    for some in (rows, rows[2:], alike(last=4)):
        wanted, got = (model_gradients(model, layout, some) for layout in (packed, engine.layout))
        assert (got - wanted).norm() <= 1e-5 * wanted.norm()


def test_layers_that_are_computed_again_attend_as_before(decoder_folder):
    model, rows = load_tiny(decoder_folder).model, alike()
    packed = prove_layout(model, lambda way: way.logits(model, rows))
    wanted = model_gradients(model.train(), PackedTree(packed), rows)
    recompute_layers(model, PackedTree(packed), rows)
    got = model_gradients(model.train(), PackedTree(packed), rows)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_a_pass_holds_more_rows_where_their_beginning_counts_once(decoder_folder):
    model, rows = load_tiny(decoder_folder).model, alike()
    packed = prove_layout(model, lambda way: way.logits(model, rows))
    tokens = 20 + sum(len(row.tokens) - 20 for row in rows)
    assert passes_of(PackedTree(packed), rows, tokens, 100) == [sorted(range(7), key=lambda i: len(rows[i].tokens))]
    assert len(passes_of(PackedTree(packed), rows, tokens - 1, 100)) == 2
    assert len(passes_of(packed, rows, tokens, 100)) == 3
    assert len(passes_of(PackedTree(packed), rows, 1, 100)) == 7


def test_hidden_states_are_those_of_a_flat_row(decoder_folder):
    model, rows = load_model(decoder_folder, "AutoModel", {}, seed=0).model, alike()
    packed = prove_layout(model, lambda way: way.hidden(model, rows))
    with torch.no_grad():
        torch.testing.assert_close(
            PackedTree(packed).hidden(model, rows), packed.hidden(model, rows), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("family", [family for family in CAUSAL if HEAD in family.heads], ids=lambda one: one.name)
def test_a_head_that_reads_the_last_token_reads_each_rows_own(family: Family):
    case = Case(family, HEAD)
    set_dropout(case.model, 0.0)
    rows = [replace(row, output_positions=(len(row.tokens) - 1,), targets=(i % 3,)) for i, row in enumerate(alike())]
    short = [replace(row, tokens=row.tokens[-ENDING:], output_positions=(ENDING - 1,)) for row in rows]
    tree_layout = join_rows(case.proven, case.model, short, rows)
    assert tree_layout == PackedTree(case.proven)
    wanted, got = (model_gradients(case.model, layout, rows) for layout in (case.proven, tree_layout))
    assert (got - wanted).norm() <= 1e-5 * wanted.norm()


def test_tokens_of_half_precision_add_up_too():
    torch.manual_seed(0)
    inputs = tuple(states(2, sum(TREE.lengths)).bfloat16().requires_grad_() for _ in range(3))
    got, wanted = attend(*inputs, TREE, None, causal=True), branch_by_branch(*inputs, TREE)
    torch.testing.assert_close(got, wanted, rtol=2e-2, atol=2e-2)
    pairs = [torch.autograd.grad(out.float().square().sum(), inputs) for out in (wanted, got)]
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(other, one, rtol=0.1, atol=0.1)
