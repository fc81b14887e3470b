"""KTO's loss is the published one, brute force agrees with it, and training on it parts wanted answers from others."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from kamerton.core.records import Encoded, Example, Place, Prediction
from kamerton.engine.engine import TorchEngine
from kamerton.forms.given import BinaryFeedback, balanced_weights, kto_losses
from kamerton.models.load import load_tokenizer
from kamerton.plugins.metrics.feedback_auc import FeedbackAuc
from kamerton.plugins.metrics.feedback_margin import FeedbackMargin
from kamerton.plugins.tasks.feedback import Feedback
from tiny_engines import TEXT, facts_of, tiny_engine


def example_of(row: dict[str, object], id: int = 0) -> Example:
    return Feedback().example(id, Place("rows.jsonl", id + 1), row)


EXAMPLES = [example_of(row, id) for id, row in enumerate(Feedback().example_rows())]
BETA = 0.3


def form_of() -> BinaryFeedback:
    form = Feedback(beta=BETA, desirable=1.5, undesirable=0.5).form("decoder", EXAMPLES)
    assert isinstance(form, BinaryFeedback)
    return form


@pytest.fixture(scope="module")
def engine(decoder_folder: Path) -> TorchEngine:
    """The tiny decoder, asked on these rows."""
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    return tiny_engine(decoder_folder, TEXT, form_of().encode(EXAMPLES, tokenizer, 256))


def likelihood(model: torch.nn.Module, item: Encoded) -> torch.Tensor:
    """The model's own log-likelihood of an answer."""
    logits = model(input_ids=torch.tensor([item.tokens])).logits[0].double().log_softmax(-1)
    return torch.stack(
        [logits[read, target] for read, target in zip(item.output_positions, item.targets, strict=True)]
    ).sum()


def trl_kto(policy, reference, policy_kl, reference_kl, labels, beta, desirable, undesirable):
    """KTOTrainer.kto_loss with `kto`: chosen and rejected answers apart, each with its weight."""
    kl = (policy_kl - reference_kl).mean().detach().clamp(min=0)
    losses = []
    for ours, before, label in zip(policy, reference, labels, strict=True):
        ratio = ours - before
        losses.append(
            desirable * (1 - torch.sigmoid(beta * (ratio - kl)))
            if label
            else undesirable * (1 - torch.sigmoid(beta * (kl - ratio)))
        )
    return torch.stack(losses)


def test_losses_agree_with_the_trainer_of_the_field_on_random_likelihoods():
    for case in range(200):
        chance = random.Random(case)
        draw = [torch.tensor([-chance.expovariate(0.05) for _ in range(6)]).double() for _ in range(4)]
        labels = [chance.random() < 0.5 for _ in range(6)]
        beta, desirable, undesirable = chance.uniform(0.01, 2), chance.uniform(0.2, 3), chance.uniform(0.2, 3)
        wanted = trl_kto(*draw, labels, beta, desirable, undesirable)
        weights = torch.tensor([desirable if label else -undesirable for label in labels]).double()
        got = kto_losses(draw[0] - draw[1], draw[2] - draw[3], weights, beta)
        assert torch.allclose(got, wanted, atol=1e-12)


def test_loss_and_gradient_agree_with_a_plain_forward_pass(engine, decoder_folder):
    form = form_of()
    items = form.encode(EXAMPLES, engine.tokenizer, engine.max_tokens)
    references = [(-30.0 - at, -25.0 + at) for at in range(len(items))]
    items = [
        replace(item, number=own, extra=(replace(item.extra[0], number=other),))
        for item, (own, other) in zip(items, references, strict=True)
    ]
    plain = AutoModelForCausalLM.from_pretrained(decoder_folder).train()
    ours = torch.stack([likelihood(plain, item) for item in items])
    others = torch.stack([likelihood(plain, item.extra[0]) for item in items])
    own, other = torch.tensor(references).double().unbind(1)
    labels = [bool(example.fields["wanted"]) for example in EXAMPLES]
    expected = trl_kto(ours, own, others, other, labels, BETA, 1.5, 0.5)
    expected.sum().backward()
    engine.model.train()
    engine.model.zero_grad()
    sequences = [sequence for item in items for sequence in item.sequences]
    losses = form.losses(engine.layout.logits(engine.model, sequences).float(), items)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    for mine, theirs in zip(engine.model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-5)
    engine.model.zero_grad()


def test_before_training_every_reward_is_zero(engine):
    form = form_of()
    items = form.with_reference(engine, form.encode(EXAMPLES, engine.tokenizer, engine.max_tokens))
    for item in items:
        for sequence in item.sequences:
            assert sequence.number == pytest.approx(-float(engine.losses([replace(sequence, extra=())])[0]), abs=1e-4)
    engine.model.eval()
    sequences = [sequence for item in items for sequence in item.sequences]
    with torch.no_grad():
        losses = form.losses(engine.layout.logits(engine.model, sequences).float(), items)
    assert losses.tolist() == pytest.approx([0.75 if e.fields["wanted"] else 0.25 for e in EXAMPLES], abs=1e-4)


def test_the_reference_point_is_measured_by_answers_of_other_rows_the_same_in_every_encoding(engine):
    form = form_of()
    whole = form.encode(EXAMPLES, engine.tokenizer, engine.max_tokens)
    assert whole == [form.encode([example], engine.tokenizer, engine.max_tokens)[0] for example in EXAMPLES]
    assert all(item.extra[0].targets != item.targets for item in whole)
    alike = [replace(example, gold="Paris") for example in EXAMPLES]
    same = Feedback().form("decoder", alike).encode(alike, engine.tokenizer, engine.max_tokens)
    assert all(item.extra[0].targets == (engine.tokenizer.eos_token_id,) for item in same)


def test_weights_are_in_the_range_of_the_paper():
    for wanted, unwanted in product((1, 3, 10, 50, 400), repeat=2):
        desirable, undesirable = balanced_weights(wanted, unwanted)
        assert min(desirable, undesirable) == 1
        assert 1 - 1e-9 <= desirable * wanted / (undesirable * unwanted) <= 4 / 3 + 1e-9


def test_a_few_updates_part_wanted_answers_from_others(decoder_folder):
    tokenizer, form = load_tokenizer(facts_of(decoder_folder)), form_of()
    items = form.encode(EXAMPLES, tokenizer, 256)
    engine = tiny_engine(decoder_folder, TEXT, items)
    before = [float(p.loss) for p in form.predict(engine, EXAMPLES)]
    optimizer = torch.optim.AdamW(engine.model.parameters(), lr=3e-3)
    ground = form.with_reference(engine, items)
    for _ in range(20):
        engine.model.train()
        logits = engine.layout.logits(engine.model, [s for item in ground for s in item.sequences])
        form.losses(logits.float(), ground).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = form.predict(engine, EXAMPLES)
    assert sum(float(p.loss) for p in after) < sum(before)
    area = FeedbackAuc()
    assert float(area.value(area.statistics([], after).sum(axis=0))) == 1.0


def test_requests_alone_are_answered_and_shots_are_wanted_answers(engine):
    form = form_of()
    alone = replace(EXAMPLES[0], id=9, gold="", fields={**EXAMPLES[0].fields, "wanted": None, "completion": ""})
    *judged, written = form.predict(engine, [*EXAMPLES, alone])
    assert [p.wanted for p in judged] == [example.fields["wanted"] for example in EXAMPLES]
    assert (written.id, written.wanted, written.score) == (9, None, None)
    items = form.encode(EXAMPLES, engine.tokenizer, engine.max_tokens)
    for item, prediction in zip(items, judged, strict=True):
        mean = float(engine.losses([replace(item, extra=())])[0]) / len(item.targets)
        assert prediction.score == pytest.approx(np.exp(-mean), rel=1e-5)
    shown = form.predict_untuned(engine, EXAMPLES[:1], EXAMPLES[1:])
    assert shown == form.predict_untuned(engine, EXAMPLES[:1], [EXAMPLES[2]])


def judged(scores: list[tuple[bool, float]]) -> list[Prediction]:
    return [Prediction(at, "", score, wanted=wanted) for at, (wanted, score) in enumerate(scores)]


def test_the_area_is_the_share_of_pairs_in_order_and_the_margin_the_difference_of_means():
    area, margin = FeedbackAuc(), FeedbackMargin()
    for case in range(60):
        chance = random.Random(case)
        rows = [(chance.random() < 0.6, round(chance.random(), 1 + case % 3) or 0.5) for _ in range(40)]
        rows += [(True, 0.3), (False, 0.6)]
        predictions = [*judged(rows), Prediction(99, "written")]
        wanted, others = ([score for good, score in rows if good is kind] for kind in (True, False))
        pairs = [(a > b) + (a == b) / 2 for a in wanted for b in others]
        assert float(area.value(area.statistics([], predictions).sum(axis=0))) == pytest.approx(np.mean(pairs))
        means = np.mean(np.log(wanted)) - np.mean(np.log(others))
        assert float(margin.value(margin.statistics([], predictions).sum(axis=0))) == pytest.approx(means)
    assert float(area.value(area.statistics([], judged([(True, 0.9)])).sum(axis=0))) == 0.5
    assert float(margin.value(margin.statistics([], judged([(True, 0.9)])).sum(axis=0))) == 0.0


@pytest.mark.parametrize(
    ("word", "wanted"),
    [(True, True), ("false", False), ("👍", True), ("не нравится", False), (1, True), ("0", False), (None, None)],
)
def test_whether_people_wanted_an_answer_is_read_in_both_languages(word, wanted):
    example = example_of({"prompt": "Why?", "completion": "Because.", "wanted": word})
    assert (example.fields["wanted"], example.gold) == (wanted, "" if wanted is None else "Because.")


def test_what_is_no_word_for_it_is_refused():
    with pytest.raises(ValueError, match="'maybe' does not say whether the answer was wanted"):
        example_of({"prompt": "Why?", "completion": "Because.", "wanted": "maybe"})
