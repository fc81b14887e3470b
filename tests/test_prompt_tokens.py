"""Prompt tokens in a packed row and before decoding: what PEFT computes for each sequence alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig

from kamerton.core import registry
from kamerton.core.records import Encoded
from kamerton.engine.checkpointing import recompute_layers
from kamerton.engine.decode import Decoding, greedy
from kamerton.engine.layout import Layout, Plain
from kamerton.engine.prefill import Budget
from kamerton.engine.prompt_tokens import PackedPrompts, TreeBehindPrefix, prove_prompt_tokens
from kamerton.engine.verify import prove_layout
from kamerton.forms.supervision import target_losses
from kamerton.models.load import load_model
from tiny_engines import HEAD, TEXT

METHODS = ("prompt-tuning", "prefix-tuning", "p-tuning")
LENGTHS = (3, 9, 4, 9, 6)
NEW, END = 6, 2
GREEDY = Decoding(NEW, (END,), greedy)


def prompts(lengths: tuple[int, ...]) -> list[Encoded]:
    generator = torch.Generator().manual_seed(7)
    return [Encoded(tuple(torch.randint(5, 60, (n,), generator=generator).tolist()), (n - 2,), (1,)) for n in lengths]


def adapted(base: torch.nn.Module, word: str, fresh: tuple[str, ...] = ()) -> torch.nn.Module:
    """Put prompt tokens before a model, and move them far from where they begin."""
    model = registry.choose("methods", word)(tokens=5).attach(base, fresh)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.5)
    return model.eval()


def alone(model: torch.nn.Module, prompt: Encoded) -> list[int]:
    """Let PEFT write decoder one prompt, without any padding."""
    config = GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=END, pad_token_id=0)
    ids = torch.tensor([prompt.tokens])
    written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    tokens = written[0, len(prompt.tokens) :].tolist()
    return tokens[: tokens.index(END)] if END in tokens else tokens


def slopes(model: torch.nn.Module, way: Layout, rows: list[Encoded]) -> tuple[Tensor, Tensor]:
    """Give logits, and the gradient of all that trains in one vector."""
    model.zero_grad()
    logits = way.logits(model, rows)
    logits.square().sum().backward()
    return logits, torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("text", [None, "good or bad"])
def test_a_prompt_begins_with_the_token_that_stands_for_a_row_because_the_head_reads_there(text, encoder_folder):
    loaded = load_model(encoder_folder, HEAD, {"num_labels": 2}, seed=0)
    table, tokenizer = loaded.model.get_input_embeddings().weight, AutoTokenizer.from_pretrained(encoder_folder)
    model = registry.choose("methods", "prompt-tuning")(tokens=5, text=text).attach(loaded.model, loaded.fresh)
    vectors = model.prompt_encoder["default"].embedding.weight
    assert torch.equal(vectors[0], table[tokenizer.cls_token_id])
    assert not torch.equal(vectors[1], vectors[0])
    if text:
        words = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert torch.equal(vectors[1:], table[(words * 5)[:4]])


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
@pytest.mark.parametrize("word", METHODS)
def test_all_prompts_at_once_are_answered_as_each_is_alone(word, decoder_folder):
    loaded = load_model(decoder_folder, TEXT, {}, seed=0)
    model, rows = adapted(loaded.model, word, loaded.fresh), prompts(LENGTHS)
    _, decoder = prove_prompt_tokens(model, prove_layout(model, lambda way: way.logits(model, rows)), rows, rows)
    assert decoder is not None and decoder.count == 5
    asked = [replace(row, output_positions=(), targets=()) for row in rows]
    losses, written = decoder.answer_all(model, rows, asked, GREEDY, Budget(1000, 1000, 1000))
    assert written == [alone(model, row) for row in rows]
    with torch.no_grad():
        wanted = [target_losses(Plain().logits(model, [row]), [row]).item() for row in rows]
    assert losses == pytest.approx(wanted, rel=1e-4)
    with torch.no_grad():  # what is trained later is written decoder later
        for parameter in model.parameters():
            parameter.mul_(1.5) if parameter.requires_grad else None
    assert decoder.answer_all(model, (), asked, GREEDY, Budget(9, 9, 20))[1] == [alone(model, row) for row in rows]


def test_a_model_without_prompt_tokens_is_not_written_for_so(decoder_folder):
    loaded = load_model(decoder_folder, TEXT, {}, seed=0)
    rows = prompts(LENGTHS)
    plain = prove_layout(loaded.model, lambda way: way.logits(loaded.model, rows))
    assert prove_prompt_tokens(loaded.model, plain, rows, rows) == (plain, None)
    low_rank = registry.choose("methods", "lora")().attach(loaded.model, loaded.fresh)
    assert prove_prompt_tokens(low_rank, plain, rows, rows) == (plain, None)


def test_a_way_that_does_not_give_the_models_own_logits_is_not_taken(decoder_folder):
    rows = prompts(LENGTHS)
    first, second = (
        adapted(load_model(decoder_folder, TEXT, {}, seed=0).model, word) for word in ("prompt-tuning", "p-tuning")
    )
    layout = prove_layout(first, lambda way: way.logits(first, rows))

    class OfTheOther:
        def logits(self, model, items):
            return layout.logits(second, items)

    assert prove_prompt_tokens(first, layout, rows, rows)[1] is not None
    other = OfTheOther()
    assert prove_prompt_tokens(first, other, rows, rows) == (other, None)


@pytest.mark.parametrize("word", ["prompt-tuning", "p-tuning"])
def test_a_packed_row_with_the_vectors_in_it_gives_the_logits_and_gradients_of_each_sequence_alone(
    word, decoder_folder
):
    loaded = load_model(decoder_folder, TEXT, {}, seed=0)
    model, rows = adapted(loaded.model, word, loaded.fresh), prompts(LENGTHS)
    layout = prove_layout(model, lambda way: way.logits(model, rows))
    endings = [replace(row, tokens=row.tokens[-2:]) for row in rows]  # whose reads are still those of the whole rows
    in_row, decoder = prove_prompt_tokens(model, layout, rows, endings)
    assert decoder is not None
    assert isinstance(in_row, PackedPrompts) and not isinstance(layout, PackedPrompts)
    (logits, gradient), (wanted, slope) = (slopes(model, way, rows) for way in (in_row, layout))
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-5 * float(slope.abs().max()))
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
@pytest.mark.parametrize(
    ("word", "kind"),
    [("prompt-tuning", PackedPrompts), ("p-tuning", PackedPrompts), ("prefix-tuning", TreeBehindPrefix)],
)
@pytest.mark.parametrize("instruction", [(), tuple(range(20, 40))], ids=["bare", "instructed"])
def test_prompt_tokens_and_an_instruction_stand_once_before_all_rows(word, kind, instruction, decoder_folder):
    loaded = load_model(decoder_folder, TEXT, {}, seed=0)
    model = registry.choose("methods", word)(tokens=9).attach(loaded.model, loaded.fresh).eval()
    rows = [
        replace(row, tokens=instruction + row.tokens, output_positions=(len(instruction) + row.output_positions[0],))
        for row in prompts(LENGTHS)
    ]
    layout = prove_layout(model, lambda way: way.logits(model, rows))
    best, _ = prove_prompt_tokens(model, layout, rows, prompts((20, 20)), rows)
    assert isinstance(best, kind) and "shared prefixes computed once" in str(best.name)
    for some in (rows, rows[:1]):
        logits, gradient = slopes(model, best, some)
        wanted, slope = slopes(model, layout, some)
        torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-5 * float(slope.abs().max()))
    assert best.common(rows) == len(instruction)


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_layers_behind_a_prefix_may_be_computed_again(decoder_folder):
    loaded = load_model(decoder_folder, TEXT, {}, seed=0)
    model, rows = adapted(loaded.model, "prefix-tuning", loaded.fresh), prompts(LENGTHS)
    layout = prove_layout(model, lambda way: way.logits(model, rows))
    best, _ = prove_prompt_tokens(model, layout, rows, rows)
    assert isinstance(best, TreeBehindPrefix)
    wanted = slopes(model.train(), best, rows)
    recompute_layers(model, best, rows)
    for one, other in zip(slopes(model.train(), best, rows), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
