"""Continuous batching: whoever joins or leaves, each sequence gets the tokens that it gets alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

from kamerton.core import registry
from kamerton.core.records import Encoded
from kamerton.engine.continuous import GROWTH, LEAST_SHARED, ContinuousBatch, Joining, KeptPrompts
from kamerton.engine.encoder_decoder import EncoderDecoderBatch
from kamerton.engine.layout import Packed
from kamerton.engine.mixed_adapters import MixedAdapters, mixable
from kamerton.engine.prefill import Budget
from kamerton.engine.prefix_tree import KeyValues
from kamerton.engine.prompt_tokens import PromptDecoder
from kamerton.engine.shared_prefix import SharedPrefix
from kamerton.models.load import load_model
from kamerton.models.structure import outer_model

BUDGET = Budget(4096, 4096, 4096)


@pytest.fixture(scope="module")
def model(decoder_folder: Path):
    return AutoModelForCausalLM.from_pretrained(decoder_folder).eval()


@pytest.fixture(scope="module")
def adapted(decoder_folder: Path):
    """Three adapters with random weights: on all maps, on two kinds of them, and one that is no plain LoRA."""
    base = AutoModelForCausalLM.from_pretrained(decoder_folder)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"]
    model = get_peft_model(base, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"), adapter_name="all")
    model.add_adapter("some", LoraConfig(r=2, lora_alpha=64, target_modules=targets[:2], use_rslora=True))
    model.add_adapter("dora", LoraConfig(r=2, target_modules=targets[:2], use_dora=True))
    torch.manual_seed(5)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            weights.data.normal_(std=0.5)
    return model.eval()


@torch.no_grad()
def alone(model, tokens: tuple[int, ...], count: int) -> list[int]:
    """Decode greedily by the model itself, without any cache."""
    ids = list(tokens)
    for _ in range(count):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(tokens) :]


def prompts(count: int, seed: int) -> list[tuple[int, ...]]:
    """Draw prompts, half of which begin with the same tokens."""
    drawn = random.Random(seed)
    shared = [drawn.randrange(4, 500) for _ in range(3 * LEAST_SHARED)]
    rows = []
    for at in range(count):
        own = [drawn.randrange(4, 500) for _ in range(drawn.randrange(1, 30))]
        rows.append((*(shared if at % 2 else ()), *own))
    return rows


def batch_of(model) -> ContinuousBatch:
    return ContinuousBatch(model, SharedPrefix(Packed()), BUDGET)


def test_sequences_that_join_and_leave_get_the_tokens_that_they_get_alone(model):
    drawn, batch, kept = random.Random(3), batch_of(model), KeptPrompts()
    waiting = [(prompt, drawn.randrange(1, 24)) for prompt in prompts(14, 1)]
    waiting += [waiting[1], waiting[3]]  # again: all but its last token is kept
    asked, rows, done = list(waiting), list[list[int]](), dict[int, list[int]]()
    while waiting or rows:
        some = [waiting.pop(0) for _ in range(min(len(waiting), drawn.randrange(0, 4)))]
        if some:
            numbers = [len(asked) - len(waiting) - len(some) + at for at in range(len(some))]
            batch.join([Joining(*one) for one in some], kept)
            rows += [[number] for number in numbers]
        if not rows:
            continue
        tokens = batch.logits.argmax(dim=-1).tolist()
        for row, token in zip(rows, tokens, strict=True):
            row.append(token)
        going = [at for at, row in enumerate(rows) if len(row) <= asked[row[0]][1]]
        done |= {row[0]: row[1:] for at, row in enumerate(rows) if at not in going}
        batch.keep(going)
        rows, tokens = [rows[at] for at in going], [tokens[at] for at in going]
        if rows:
            batch.add(tokens)
    assert len(batch) == 0
    assert [done[number] for number in range(len(asked))] == [alone(model, *one) for one in asked]


def test_a_prompt_runs_only_from_where_it_differs_from_those_before(model):
    first, second = prompts(4, 2)[1::2]
    batch, kept = batch_of(model), KeptPrompts()
    run = list[int]()
    counted = model.model.embed_tokens.register_forward_hook(lambda _m, args, _o: run.append(args[0].numel()))
    with counted:
        for prompt in (first, second, first):
            batch.join([Joining(prompt, 4)], kept)
    assert run == [len(first), len(second) - 3 * LEAST_SHARED, 1]
    assert torch.allclose(batch.logits[0], batch.logits[2], atol=1e-5)


def test_the_oldest_prompts_are_forgotten_first():
    kept = KeptPrompts()
    for start in range(0, 10_000, 1000):
        kept.keep(tuple(range(start, start + 1000)), lambda: KeyValues(1000))
    assert [tokens[0] for tokens, _ in kept.entries] == list(range(2000, 10_000, 1000))
    kept.keep(tuple(range(9000, 9000 + 1000 + LEAST_SHARED)), lambda: KeyValues(1))
    assert [len(tokens) for tokens, _ in kept.entries][-1] == 1000 + LEAST_SHARED  # in place of its own beginning
    assert kept.prefix_of((1, 2, 3)).length == 0


def test_the_budget_bounds_what_is_together_but_one_always_fits(model):
    batch = ContinuousBatch(model, SharedPrefix(Packed()), Budget(4096, 4096, 2 * GROWTH))
    assert batch.fits([Joining((1,), 500)])
    assert not batch.fits([Joining((1,), 500), Joining((1,), 1)])
    assert batch.fits([Joining((1,), GROWTH - 1)] * 2)


def test_each_token_goes_through_the_adapter_of_its_sequence(adapted):
    rows = [Encoded(tokens, (len(tokens) - 1,), ()) for tokens in prompts(4, 7)]
    names = ["all", "", "some", "all"]
    wanted = []
    for row, name in zip(rows, names, strict=True):
        ids = torch.tensor([row.tokens])
        with torch.no_grad():
            if name:
                adapted.set_adapter(name)
                wanted.append(adapted(input_ids=ids).logits[0, -1])
            else:
                with adapted.disable_adapter():
                    wanted.append(adapted(input_ids=ids).logits[0, -1])
    by_token = [name for row, name in zip(rows, names, strict=True) for _ in row.tokens]
    with torch.no_grad(), MixedAdapters(adapted).using(by_token):
        got = Packed().logits(adapted, rows)
    assert torch.allclose(got, torch.stack(wanted), atol=1e-4)
    assert not torch.allclose(wanted[0], wanted[3])


def decoded(batch, prompts: list[tuple[int, ...]], count: int) -> list[list[int]]:
    """Decode prompts that join one after the other, each while those before are at their second token or later."""
    kept, rows = KeptPrompts(), list[list[int]]()
    for prompt in prompts:
        batch.join([Joining(prompt, count)], kept)
        rows.append([])
        step(batch, rows)
    for _ in range(count):
        step(batch, rows)
    return [row[:count] for row in rows]


def step(batch, rows: list[list[int]]) -> None:
    tokens = batch.logits.argmax(dim=-1).tolist()
    for row, token in zip(rows, tokens, strict=True):
        row.append(token)
    batch.add(tokens)


@pytest.mark.parametrize("word", ["prompt-tuning", "prefix-tuning", "p-tuning"])
def test_prompt_tokens_stand_before_each_sequence(decoder_folder: Path, word: str):
    model = registry.choose("methods", word)(tokens=5).attach(
        load_model(decoder_folder, "AutoModelForCausalLM", {}, seed=0).model, ()
    )
    torch.manual_seed(3)
    for weights in model.parameters():  # far from where they begin, or each token would follow itself
        weights.data.add_(torch.randn_like(weights), alpha=0.5)
    asked, decoder = prompts(4, 9), PromptDecoder(SharedPrefix(Packed()), 5)
    with torch.no_grad():
        ahead = decoder.prefix(model.eval())
    got = decoded(ContinuousBatch(outer_model(model), decoder.shared, BUDGET, ahead), asked, 6)
    assert got == [alone(model, prompt, 6) for prompt in asked]
    assert got != decoded(batch_of(outer_model(model)), asked, 6)


def test_an_encoder_decoder_writes_many_answers_as_it_writes_each(seq2seq_folder: Path):
    model = AutoModelForSeq2SeqLM.from_pretrained(seq2seq_folder).eval()
    torch.manual_seed(2)
    for weights in model.parameters():
        weights.data.add_(torch.randn_like(weights), alpha=0.3)
    config = GenerationConfig(max_new_tokens=6, decoder_start_token_id=0, pad_token_id=0, eos_token_id=None)
    asked = [tuple(token % 60 + 2 for token in prompt) for prompt in prompts(4, 11)]
    wanted = [model.generate(torch.tensor([one]), generation_config=config)[0, 1:].tolist() for one in asked]
    assert decoded(EncoderDecoderBatch(model, 4096), asked, 6) == wanted
    assert len({tuple(row) for row in wanted}) > 1
    end = wanted[0][2]
    cut = [row[: row.index(end)] if end in row else row for row in wanted]
    batch = EncoderDecoderBatch(model, 100)
    assert batch.write(asked, 6, [end]) == cut and len(batch) == 0
    assert batch.fits([Joining((1,) * 200, 6)]) and not batch.fits([Joining((1,) * 50, 6)] * 2)


def test_only_plain_lora_is_mixed(adapted, model):
    assert [mixable(adapted, name) for name in ("all", "some", "dora")] == [True, True, False]
    assert not mixable(model, "all")
