"""The faster products give PyTorch's own results and gradients, and are counted as products."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from kamerton.core.files import read_sealed, write_sealed
from kamerton.engine import profile as profile_module
from kamerton.kernels import product as product_module
from kamerton.kernels.product import FastLinear, fast_products_pay, product, use_fast_products
from kamerton.models.precision import set_precision

DRAW = torch.Generator().manual_seed(3)


@pytest.fixture
def everywhere(monkeypatch):
    """Take the faster products however small they are and whatever this machine gains by them."""
    for module in (product_module, profile_module):
        monkeypatch.setattr(module, "fast_products_pay", lambda: True)
    monkeypatch.setattr(product_module, "MIN_SIZE", 0)


@pytest.fixture
def calls(monkeypatch):
    """Count how often the operator is called."""
    made = []
    real = product_module.onednn_linear

    def noted(*args):
        made.append(args)
        return real(*args)

    monkeypatch.setattr(product_module, "onednn_linear", noted)
    return made


@pytest.mark.parametrize("shape", [(7,), (1, 1), (2, 5), (3, 1, 4)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("trains", [True, False])
def test_results_and_gradients_are_those_of_a_plain_layer(everywhere, calls, shape, bias, trains):
    plain, fast = nn.Linear(33, 17, bias=bias), nn.Linear(33, 17, bias=bias)
    fast.load_state_dict(plain.state_dict())
    use_fast_products(fast)
    for layer in (plain, fast):
        layer.requires_grad_(trains)
    x = torch.randn(*shape, 33, generator=DRAW, requires_grad=True)
    there = torch.randn(*shape, 17, generator=DRAW)
    wanted, got = plain(x), fast(x)
    torch.testing.assert_close(got, wanted)
    inputs = [x, *plain.parameters()] if trains else [x]
    own = [x, *fast.parameters()] if trains else [x]
    for mine, its in zip(
        torch.autograd.grad((got * there).sum(), own), torch.autograd.grad((wanted * there).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(mine, its)
    assert len(calls) == 2  # forward, and back to the input
    with torch.no_grad():
        torch.testing.assert_close(fast(x), wanted)


def test_weights_are_laid_out_in_any_way(everywhere, calls):
    x, weight = (torch.randn(*shape, generator=DRAW) for shape in ((9, 20), (20, 12)))
    torch.testing.assert_close(product(x, weight.T), x @ weight)
    assert len(calls) == 1
    torch.testing.assert_close(product(x[:, ::2], weight.T[:, ::2]), x[:, ::2] @ weight[::2])
    assert len(calls) == 1, "oneDNN has only its slow reference for weights with gaps"


def test_other_types_and_small_products_are_left_to_pytorch(monkeypatch, calls):
    monkeypatch.setattr(product_module, "fast_products_pay", lambda: True)
    layer = nn.Linear(64, 64)
    use_fast_products(layer)
    assert torch.equal(layer(torch.ones(3, 64)), linear(torch.ones(3, 64), layer.weight, layer.bias))
    monkeypatch.setattr(product_module, "MIN_SIZE", 0)
    double = nn.Linear(64, 64).double()
    use_fast_products(double)
    assert double(torch.ones(3, 64).double()).dtype == torch.float64
    assert not calls


def test_what_is_put_back_to_plain_is(everywhere, calls):
    layer = nn.Linear(8, 8)
    use_fast_products(layer)
    layer.plain = True
    layer(torch.ones(2, 8))
    assert not calls


def test_layers_in_bf16_evaluate_by_the_faster_products(everywhere, calls):
    model = nn.Sequential(nn.Linear(8, 8))
    set_precision(model, "bf16")
    model.train()(torch.ones(2, 8))
    assert not calls
    model.eval()(torch.ones(2, 8))
    assert len(calls) == 1


def test_only_plain_layers_are_changed_and_only_where_it_pays(monkeypatch):
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 4), Own(4, 4), nn.Bilinear(4, 4, 4))
    kinds = [type(module) for module in model]
    monkeypatch.setattr(product_module, "fast_products_pay", lambda: False)
    use_fast_products(model)
    assert [type(module) for module in model] == kinds
    monkeypatch.setattr(product_module, "fast_products_pay", lambda: True)
    use_fast_products(model)
    assert [type(module) for module in model] == [FastLinear, *kinds[1:]]


def test_a_machine_is_tried_once(tmp_path, monkeypatch):
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path))
    fast_products_pay.cache_clear()
    pays = fast_products_pay()
    [path] = tmp_path.glob("fast-products-*.ratio")
    ratio = float(read_sealed(path))
    assert ratio > 0  # right, at least: how fast is the machine's own affair
    assert pays == (ratio >= product_module.WORTH)
    write_sealed(path, b"0.0")
    fast_products_pay.cache_clear()
    assert not fast_products_pay()
    fast_products_pay.cache_clear()


def test_an_operator_that_gives_something_else_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path))
    monkeypatch.setattr(product_module, "onednn_linear", lambda x, weight: linear(x, weight) * 1.001)
    fast_products_pay.cache_clear()
    assert not fast_products_pay()
    fast_products_pay.cache_clear()


def test_the_counter_of_arithmetic_sees_them(everywhere):
    counted = []
    for kind in (nn.Linear, FastLinear):
        layer, x = nn.Linear(16, 8), torch.ones(2, 5, 16, requires_grad=True)
        layer.__class__ = kind
        with FlopCounterMode(display=False, custom_mapping=profile_module.ONEDNN) as counter:
            layer(x).sum().backward()
        counted.append(counter.get_total_flops())
    assert counted == [3 * 2 * 10 * 16 * 8] * 2
