"""Attention of long causal sequences in large products is torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from kamerton.engine import packed
from kamerton.engine.packed import attend_causally, is_fast


def states(heads: int, length: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(2, heads, length, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (4, 4), (3, 1)])
@pytest.mark.parametrize(("length", "ahead"), [(300, 0), (513, 40), (260, 700), (1, 5)])
def test_it_is_torchs_own_with_all_that_stands_ahead(heads, groups, length, ahead, monkeypatch):
    monkeypatch.setattr(packed, "ROWS", 100)
    query, key, value = (
        states(heads, length, 32, 1),
        states(groups, ahead + length, 32, 2),
        states(groups, ahead + length, 32, 3),
    )
    seen = torch.ones(length, ahead + length, dtype=torch.bool).tril(ahead)
    wanted = scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=0.3, enable_gqa=True)
    with torch.no_grad():
        torch.testing.assert_close(attend_causally(query, key, value, 0.3), wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("fast", [True, False])
def test_a_flat_row_of_long_and_short_sequences_attends_as_each_alone(fast, monkeypatch):
    monkeypatch.setattr(packed, "fast_products_pay", lambda: fast)
    lengths = [400, 400, 30, 700]
    query, key, value = (states(heads, sum(lengths), 32, heads)[:1] for heads in (6, 2, 2))
    got = packed.attend_within(query, key, value, lengths, None)
    parts = zip(*(x.split(lengths, dim=2) for x in (query, key, value)), strict=True)
    alone = [scaled_dot_product_attention(*part, is_causal=True, enable_gqa=True)[0].transpose(0, 1) for part in parts]
    torch.testing.assert_close(got, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_what_needs_a_gradient_or_is_short_goes_another_way(monkeypatch):
    monkeypatch.setattr(packed, "fast_products_pay", lambda: True)
    assert not is_fast(states(2, 300, 32, 0))
    with torch.no_grad():
        assert is_fast(states(2, 300, 32, 0))
        assert not is_fast(states(2, 200, 32, 0)) and not is_fast(states(2, 300, 8, 0))
        assert not is_fast(states(2, 300, 32, 0).bfloat16())
