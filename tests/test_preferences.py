"""Losses of preferences are the published ones, and training on them makes chosen answers likelier."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from kamerton.core.records import Encoded, Example, Place
from kamerton.engine.engine import TorchEngine
from kamerton.forms.given import dpo_losses, orpo_losses, simpo_losses
from kamerton.models.load import load_tokenizer
from kamerton.plugins.tasks.preference import Preference
from tiny_engines import TEXT, facts_of, tiny_engine

CASES = range(200)


def example_of(row: dict[str, object], id: int = 0) -> Example:
    return Preference().example(id, Place("rows.jsonl", id + 1), row)


EXAMPLES = [example_of(row, id) for id, row in enumerate(Preference().example_rows())]


@pytest.fixture(scope="module")
def engine(decoder_folder: Path) -> TorchEngine:
    """The tiny decoder, asked on these rows."""
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    samples = Preference().form("decoder", EXAMPLES).encode(EXAMPLES, tokenizer, 256)
    return tiny_engine(decoder_folder, TEXT, samples)


def table(model: torch.nn.Module, item: Encoded) -> torch.Tensor:
    """The model's own log-probabilities of an answer's tokens."""
    logits = model(input_ids=torch.tensor([item.tokens])).logits[0].double().log_softmax(-1)
    return torch.stack([logits[read, target] for read, target in zip(item.output_positions, item.targets, strict=True)])


def trl_dpo(chosen, rejected, reference_chosen, reference_rejected, beta, smoothing):
    """DPOTrainer.dpo_loss with `sigmoid` and no reference-free."""
    logits = (chosen - rejected) - (reference_chosen - reference_rejected)
    return -functional.logsigmoid(beta * logits) * (1 - smoothing) - functional.logsigmoid(-beta * logits) * smoothing


def trl_simpo(chosen, rejected, beta, gamma):
    """CPOTrainer.cpo_loss with `simpo`: the margin is divided by beta before it is multiplied."""
    return -functional.logsigmoid(beta * ((chosen - rejected) - gamma / beta))


def trl_orpo(chosen, rejected, weight):
    """ORPOTrainer.odds_ratio_loss and the loss of the chosen answer."""
    odds = (chosen - rejected) - (torch.log1p(-torch.exp(chosen)) - torch.log1p(-torch.exp(rejected)))
    return -chosen - weight * functional.logsigmoid(odds)


def test_losses_agree_with_the_trainers_of_the_field_on_random_likelihoods():
    for case in CASES:
        chance = random.Random(case)
        draw = [torch.tensor([-chance.expovariate(0.3) - 1e-3 for _ in range(5)]).double() for _ in range(4)]
        beta, gamma, smoothing = chance.uniform(0.01, 3), chance.uniform(0, 2), chance.uniform(0, 0.4)
        wanted = trl_dpo(*draw, beta, smoothing)
        got = dpo_losses(draw[0] - draw[1], draw[2] - draw[3], beta, smoothing)
        assert torch.allclose(got, wanted, atol=1e-12)
        assert torch.allclose(simpo_losses(*draw[:2], beta, gamma), trl_simpo(*draw[:2], beta, gamma), atol=1e-12)
        assert torch.allclose(orpo_losses(*draw[:2], beta), trl_orpo(*draw[:2], beta), atol=1e-10)


@pytest.mark.parametrize("objective", ["dpo", "orpo", "simpo"])
def test_loss_and_gradient_agree_with_a_plain_forward_pass(engine, decoder_folder, objective):
    form = Preference(objective=objective, beta=0.3).form("decoder", EXAMPLES)
    items = [
        replace(item, number=0.4 * at)
        for at, item in enumerate(form.encode(EXAMPLES, engine.tokenizer, engine.max_tokens))
    ]
    plain = AutoModelForCausalLM.from_pretrained(decoder_folder).train()
    expected = torch.zeros(0, dtype=torch.float64)
    for item in items:
        chosen, rejected = table(plain, item), table(plain, item.extra[0])
        if objective == "dpo":
            zero = torch.tensor(0.0)
            loss = trl_dpo(chosen.sum(), rejected.sum(), torch.tensor(item.number), zero, 0.3, 0.0)
        elif objective == "simpo":
            loss = trl_simpo(chosen.mean(), rejected.mean(), 0.3, 1.0)
        else:
            loss = trl_orpo(chosen.mean(), rejected.mean(), 0.3)
        expected = torch.cat([expected, loss.double().view(1)])
    expected.sum().backward()
    engine.model.train()
    engine.model.zero_grad()
    losses = form.losses(
        engine.layout.logits(engine.model, [s for item in items for s in item.sequences]).float(), items
    )
    losses.sum().backward()
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    for mine, theirs in zip(engine.model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-5)
    engine.model.zero_grad()


def test_only_dpo_asks_what_the_model_thought_before(engine):
    for objective in ("dpo", "orpo", "simpo"):
        form = Preference(objective=objective).form("decoder", EXAMPLES)
        items = form.encode(EXAMPLES, engine.tokenizer, engine.max_tokens)
        numbers = [item.number for item in form.with_reference(engine, items)]
        likelier = [float(engine.losses(item.extra)[0] - engine.losses([replace(item, extra=())])[0]) for item in items]
        assert numbers == pytest.approx(likelier if objective == "dpo" else [0.0] * len(items), abs=1e-5)


def test_the_likelier_answer_per_token_is_preferred_and_requests_alone_are_answered(engine):
    form = Preference().form("decoder", EXAMPLES)
    items = form.encode(EXAMPLES, engine.tokenizer, engine.max_tokens)
    alone = replace(EXAMPLES[0], id=9, gold="", fields={**EXAMPLES[0].fields, "chosen": "", "rejected": ""})
    *compared, answered = form.predict(engine, [*EXAMPLES, alone])
    for example, item, prediction in zip(EXAMPLES, items, compared, strict=True):
        means = [engine.losses([sequence])[0] / len(sequence.targets) for sequence in item.sequences]
        assert prediction.text == (example.gold if means[0] < means[1] else example.fields["rejected"])
        assert prediction.score == pytest.approx(1 / (1 + np.exp(-abs(means[1] - means[0]))), rel=1e-5)
    prompts = form.prompts([alone], engine.tokenizer, 200)
    assert (answered.id, answered.text) == (9, engine.generate(prompts)[0].strip())
    assert len(form.predict_untuned(engine, EXAMPLES, EXAMPLES[:1])) == len(EXAMPLES)


def test_shots_that_do_not_fit_are_left_out(engine):
    form = Preference().form("decoder", EXAMPLES)
    [whole] = form.encode(EXAMPLES[:1], engine.tokenizer, 256)
    tight = replace(engine, max_tokens=max(len(sequence.tokens) for sequence in whole.sequences))
    alone = form.predict(tight, EXAMPLES[:1])
    assert form.predict_untuned(tight, EXAMPLES[:1], EXAMPLES[1:]) == alone
    assert form.predict_untuned(engine, EXAMPLES[:1], EXAMPLES[1:]) != alone


def test_a_few_updates_make_chosen_answers_likelier(decoder_folder):
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    for objective in ("dpo", "orpo", "simpo"):
        form = Preference(objective=objective).form("decoder", EXAMPLES)
        items = form.encode(EXAMPLES, tokenizer, 256)
        engine = tiny_engine(decoder_folder, TEXT, items)
        before = [float(p.loss) for p in form.predict(engine, EXAMPLES)]
        optimizer = torch.optim.AdamW(engine.model.parameters(), lr=3e-3)
        ground = form.with_reference(engine, items)
        for _ in range(12):
            logits = engine.layout.logits(engine.model, [s for item in ground for s in item.sequences])
            form.losses(logits.float(), ground).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert sum(float(p.loss) for p in form.predict(engine, EXAMPLES)) < sum(before)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "the same"),
        ({"prompt": "", "chosen": "b", "rejected": "c"}, "no request"),
        ({"chosen": [{"role": "user", "content": "a"}], "rejected": "c"}, "does not end with the assistant's"),
    ],
)
def test_rows_that_say_no_preference_are_refused_with_the_reason(row, reason):
    with pytest.raises(ValueError, match=reason):
        example_of({"prompt": None, **row})


def test_all_shapes_of_a_preference_are_one_example():
    fields = {"prompt": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c"}
    whole = {side: [{"role": "user", "content": "a"}, {"from": "gpt", "value": fields[side]}] for side in
             ("chosen", "rejected")}  # fmt: skip
    for row in (fields, {**fields, "prompt": "a"}, {**whole, "prompt": None}):
        assert example_of(row).fields == fields


def test_a_long_prompt_loses_its_start_for_both_answers_alike(engine):
    form = Preference().form("decoder", EXAMPLES)
    [whole] = form.encode(EXAMPLES[:1], engine.tokenizer, 256)
    longest = max(len(sequence.targets) for sequence in whole.sequences)
    [short] = form.encode(EXAMPLES[:1], engine.tokenizer, longest + 8)
    prompts = [sequence.tokens[: sequence.output_positions[0] + 1] for sequence in short.sequences]
    assert prompts == [whole.tokens[: whole.output_positions[0] + 1][-8:]] * 2
    assert [sequence.targets for sequence in short.sequences] == [sequence.targets for sequence in whole.sequences]
    assert short.cut == 2 * (whole.output_positions[0] + 1 - 8)
    [prompt] = form.prompts(EXAMPLES[:1], engine.tokenizer, 256)
    assert form.flaw(short, prompt, engine.tokenizer) == ""


def test_a_pair_of_which_one_answer_was_cut_away_teaches_nothing(engine):
    form = Preference().form("decoder", EXAMPLES)
    [whole] = form.encode(EXAMPLES[:1], engine.tokenizer, 256)
    assert form.supervised(whole) == 1
    [short] = form.encode(EXAMPLES[:1], engine.tokenizer, 1)
    assert form.supervised(short) == 0
    assert short.cut == len(whole.tokens) + len(whole.extra[0].tokens) - 2
