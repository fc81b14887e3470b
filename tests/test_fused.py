"""Pairs beside frozen matrices, computed in one node, are PEFT's own: outputs, gradients, files."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, PeftModel
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.verify import prove_fused, prove_layout
from kamerton.kernels.product import Fused
from kamerton.models.load import load_model
from kamerton.models.precision import set_precision
from kamerton.plugins.methods._paired import PairedLinear
from kamerton.plugins.methods._peft import adapt
from tiny_engines import HEAD, TEXT

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

KINDS = {"encoder": HEAD, "decoder": TEXT, "seq2seq": "AutoModelForSeq2SeqLM"}
TARGETS = {
    "encoder": ["query", "key", "value", "dense"],
    "decoder": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "seq2seq": ["q", "k", "v", "o", "wi", "wo"],
}
IN_GROUPS = {"encoder": 2 * 3, "decoder": 2 * 5, "seq2seq": 4 * 3 + 2 * 2}


def rows(kind: str) -> list[Encoded]:
    generator = torch.Generator().manual_seed(0)
    texts = [tuple(torch.randint(10, 300, (length,), generator=generator).tolist()) for length in (12, 30, 20)]
    if kind == "seq2seq":
        return [Encoded(text, (0, 1, 2), text[:3]) for text in texts]
    return [Encoded(text, (0 if kind == "encoder" else len(text) - 1,), (1,)) for text in texts]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def adapted(kind, request):
    """Give a function that puts pairs with values of their own on a fresh tiny model."""
    folder = request.getfixturevalue(f"{kind}_folder")

    def make(**knobs: object) -> nn.Module:
        loaded = load_model(folder, KINDS[kind], {"num_labels": 2} if kind == "encoder" else {}, seed=0)
        set_precision(loaded.model, str(knobs.pop("precision", "fp32")))
        torch.manual_seed(1)
        config = LoraConfig(r=4, target_modules=TARGETS[kind], **{"init_lora_weights": False, **knobs})
        return adapt(loaded.model, config)

    return make


def backward(model: nn.Module, kind: str) -> tuple[Tensor, Tensor, int]:
    """Give logits, gradients, and the bytes kept between them, without dropout."""
    items, kept = rows(kind), {}
    model.eval()

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = prove_layout(model, lambda way: way.logits(model, items)).logits(model, items)
    logits.square().sum().backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return logits.detach(), gradients, sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def both(model: nn.Module, kind: str):
    fused = backward(model, kind)
    set_plain(model)
    return fused, backward(model, kind)


def set_plain(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, Fused):
            module.plain = True


def nodes(tensor: Tensor) -> set[str]:
    """Name the nodes of a graph."""
    names, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in names:
            names.add(node)
            todo += [before for before, _ in node.next_functions]
    return {node.name() for node in names}


@pytest.mark.parametrize(
    "knobs", [{}, {"use_rslora": True, "lora_alpha": 1}, {"lora_alpha": 3}], ids=["plain", "rslora", "alpha"]
)
def test_logits_and_gradients_are_those_of_pefts_own_layers_and_less_is_kept(adapted, kind, knobs):
    fused, plain = both(adapted(**knobs), kind)
    torch.testing.assert_close(fused[0], plain[0], rtol=1e-5, atol=1e-5)
    assert (fused[1] - plain[1]).norm() <= 1e-5 * plain[1].norm()
    assert fused[2] <= plain[2]


def test_peft_itself_agrees_layer_by_layer(adapted, kind):
    model = adapted()
    layer = next(module for module in model.modules() if isinstance(module, PairedLinear))
    x = torch.randn(2, 3, layer.in_features, requires_grad=True)
    weights = [layer.lora_A["default"].weight, layer.lora_B["default"].weight, x]
    fused, [plain] = layer(x), [super(PairedLinear, layer).forward(x)]
    torch.testing.assert_close(fused, plain, rtol=1e-6, atol=1e-6)
    weight = torch.randn_like(fused)
    wanted = torch.autograd.grad((plain * weight).sum(), weights)
    got = torch.autograd.grad((fused * weight).sum(), weights)
    for one, other in zip(got, wanted, strict=True):
        assert (one - other).norm() <= 1e-6 * other.norm()


def test_in_bf16_the_products_of_the_matrices_are_rounded_as_without_the_node(adapted, kind):
    model = adapted(precision="bf16").train()
    layer = next(module for module in model.modules() if isinstance(module, PairedLinear))
    x = torch.randn(5, layer.in_features)
    exact = layer.eval()(x)
    torch.testing.assert_close(exact, super(PairedLinear, layer).forward(x), rtol=1e-6, atol=1e-6)
    rounded = layer.train()(x)
    torch.testing.assert_close(rounded, super(PairedLinear, layer).forward(x), rtol=1e-6, atol=1e-6)
    assert (rounded - exact).norm() > 1e-5 * exact.norm()


def test_layers_of_a_block_that_read_alike_are_computed_together(adapted, kind):
    model = adapted()
    grouped = [m for m in model.modules() if isinstance(m, PairedLinear) and m.group]
    assert len(grouped) == IN_GROUPS[kind]
    assert all(layer in layer.group.layers for layer in grouped)


@pytest.mark.parametrize(
    "knobs", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}], ids=["dropout", "dora", "bias"]
)
def test_what_is_more_than_a_pair_is_left_to_peft(adapted, kind, knobs):
    if knobs == {"lora_bias": True} and kind != "encoder":
        pytest.skip("its maps have no bias that a pair's could be merged into")
    model = adapted(**knobs)
    layer = next(module for module in model.modules() if isinstance(module, PairedLinear))
    assert "_PairsBackward" not in nodes(layer(torch.randn(2, layer.in_features)))


def test_adapters_that_are_off_or_merged_are_not_added(adapted, kind):
    model = adapted()
    layer = next(module for module in model.modules() if isinstance(module, PairedLinear))
    x = torch.randn(2, layer.in_features)
    added = layer(x)
    with model.disable_adapter():
        torch.testing.assert_close(layer(x), layer.base_layer(x))
    layer.merge()
    torch.testing.assert_close(layer(x), added, rtol=1e-5, atol=1e-5)


def test_what_is_saved_is_pefts_own(adapted, kind, tmp_path, request):
    model = adapted()
    model.save_pretrained(tmp_path / "adapter")
    folder = request.getfixturevalue(f"{kind}_folder")
    base = load_model(folder, KINDS[kind], {"num_labels": 2} if kind == "encoder" else {}, seed=0).model
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert not any(isinstance(module, PairedLinear) for module in loaded.modules())
    own, theirs = model.eval().state_dict(), loaded.eval().state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_the_proof_finds_a_wrong_gradient_and_puts_peft_back(adapted, kind, monkeypatch):
    model, items = adapted(init_lora_weights=True), rows(kind)
    layout = prove_layout(model, lambda way: way.logits(model, items))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert prove_fused(model, layout, items) is None
    monkeypatch.setattr(PairedLinear, "pair", property(lambda layer: wrong(layer)))
    assert "differ by" in str(prove_fused(model, layout, items))
    assert all(module.plain for module in model.modules() if isinstance(module, Fused))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def wrong(layer: PairedLinear):
    pair = PairedLinear.right.fget(layer)
    return replace(pair, scale=1.01 * pair.scale)


PairedLinear.right = PairedLinear.pair
