from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from kamerton.evaluate.diagnosis import diagnose, diagnose_answers
from kamerton.outcomes import Answers, Diagnosis
from kamerton.records import Event, Example, Place, Prediction, Started, Stepped, Stopped, Validated

Curve = Callable[[float], float]


def course(
    train: Curve,
    validation: Curve | None = None,
    *,
    updates: int = 200,
    epochs: float = 4,
    gradient: float = 1.0,
    weight_change: float = 0.02,
    noise: float = 0.02,
) -> list[Event]:
    """Make a course of training whose losses follow curves over its share from 0 to 1."""
    chance = random.Random(0)
    events: list[Event] = [Started(0, updates, 1000, 5000, "flat")]
    for step in range(1, updates + 1):
        share = step / updates
        loss = train(share) * (1 + chance.gauss(0, noise))
        events.append(Stepped(step, epochs * share, loss, 1e-3 * (1 - share) + 1e-6, gradient, 900, 0.1))
        if validation and step % max(1, updates // 8) == 0:
            events.append(Validated(step, epochs * share, validation(share), {}, False))
    return [*events, Stopped(updates, updates, "all epochs done", weight_change)]


def falling(share: float) -> float:
    return 0.2 + math.exp(-6 * share)


def only(events: Sequence[Event]) -> Diagnosis:
    [diagnosis] = diagnose(events)
    return diagnosis


def test_falling_losses_are_healthy_and_say_so_in_numbers() -> None:
    diagnosis = only(course(falling, falling))
    assert diagnosis.name == "healthy"
    assert "training loss fell from 0.937 to 0.202" in diagnosis.evidence
    assert "at update 200 of 200" in diagnosis.evidence


def test_validation_loss_that_rises_while_training_loss_falls_is_overfitting() -> None:
    diagnosis = only(course(falling, lambda share: 0.5 + (share - 0.25) ** 2))
    assert diagnosis.name == "overfitting"
    assert "after epoch 1 validation loss rose from 0.5 to 1.06" in diagnosis.evidence
    assert diagnosis.remedy.startswith("--epochs 1, --set train.dropout=0.1 or --set train.weight_decay=0.05")


def test_a_rise_within_the_noise_is_not_overfitting() -> None:
    assert only(course(falling, lambda share: 0.5 + 0.03 * (share - 0.25) ** 2)).name == "healthy"


def test_validation_loss_that_rises_with_training_loss_is_not_called_overfitting() -> None:
    names = [d.name for d in diagnose(course(lambda s: 1 + s, lambda s: 1 + s))]
    assert names == ["divergence"]


def test_training_loss_that_stays_is_underfitting_with_a_higher_rate() -> None:
    diagnosis = only(course(lambda share: 0.69))
    assert diagnosis.name == "underfitting"
    assert diagnosis.remedy == "--learning-rate 0.003 or --epochs 8"


def test_validation_loss_still_falling_at_the_end_asks_for_more_epochs() -> None:
    diagnosis = only(course(lambda share: 2 - share, lambda share: 2 - share))
    assert diagnosis.name == "stopped too early"
    assert diagnosis.remedy == "--epochs 8"


def test_training_that_was_cut_short_is_not_said_to_need_more_epochs() -> None:
    events = course(lambda share: 2 - share, lambda share: 2 - share)
    halfway = [event for event in events if event.step <= 120]
    assert [d.name for d in diagnose(halfway)] == ["healthy"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_its_update_and_explains_all(bad: float) -> None:
    diagnosis = only(course(lambda share: bad if share > 0.6 else 1 + share))
    assert diagnosis.name == "not finite"
    assert "at update 121" in diagnosis.evidence
    assert diagnosis.remedy == "--learning-rate 0.0001"


def test_a_loss_that_grows_is_divergence_with_a_lower_rate() -> None:
    diagnosis = only(course(lambda share: 1 + 3 * share))
    assert diagnosis.name == "divergence"
    assert diagnosis.remedy == "--learning-rate 0.0003"


def test_spikes_are_counted_and_the_worst_is_named() -> None:
    events = course(falling, falling)
    for at, loss in ((80, 3.0), (150, 5.0)):
        events = [
            Stepped(at, e.epoch, loss, e.learning_rate, 9.0, 900, 0.1) if isinstance(e, Stepped) and e.step == at else e
            for e in events
        ]
    diagnosis = only(events)
    assert diagnosis.name == "spikes"
    assert diagnosis.evidence == "2 losses far above those before; the worst 5 at update 150"


def test_ordinary_noise_has_no_spikes() -> None:
    for noise in (0.0, 0.05, 0.2):
        assert only(course(falling, noise=noise)).name == "healthy"


@pytest.mark.parametrize(("gradient", "weight_change"), [(0.0, 0.0), (1.0, 1e-9), (1e-12, 0.02)])
def test_weights_that_do_not_move_are_noticed(gradient: float, weight_change: float) -> None:
    found = diagnose(course(lambda share: 0.69, gradient=gradient, weight_change=weight_change))
    assert found[0].name == "the weights do not move"
    assert found[0].remedy == "--learning-rate 0.01"


def test_a_few_updates_are_called_too_few_with_the_epochs_that_would_do() -> None:
    diagnosis = only(course(falling, updates=12, epochs=3))
    assert diagnosis.name == "too few updates"
    assert diagnosis.remedy.startswith("--epochs 8,")


def test_a_task_that_is_solved_from_the_start_is_healthy() -> None:
    assert only(course(lambda share: 0.001 + 0.001 * share, lambda share: 0.001 + 0.002 * share)).name == "healthy"


@pytest.mark.parametrize("updates", [1, 2, 3, 19, 21])
def test_the_shortest_courses_are_diagnosed(updates: int) -> None:
    assert "too few updates" in [d.name for d in diagnose(course(falling, falling, updates=updates))]


def test_nothing_trained_has_no_diagnosis() -> None:
    assert diagnose([]) == []
    assert diagnose([Stopped(0, 0, "", 0.0)]) == []


def test_every_diagnosis_has_evidence_and_a_remedy_in_flags() -> None:
    curves: list[Curve] = [falling, lambda s: 1 + s, lambda s: 0.69, lambda s: math.nan, lambda s: 2 - s]
    for train in curves:
        for validation in curves:
            for diagnosis in diagnose(course(train, validation, updates=25)):
                assert any(letter.isdigit() for letter in diagnosis.evidence)
                assert diagnosis.name == "healthy" or "--" in diagnosis.remedy


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def rows(golds: Sequence[str]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 1), "", gold) for i, gold in enumerate(golds)]


def tuned(texts: Sequence[str]) -> Answers:
    return Answers("tuned model", "tuned", tuple(Prediction(i, t) for i, t in enumerate(texts)), 1.0)


def test_a_class_that_is_never_predicted_is_named_with_its_rows() -> None:
    golds = ["спорт"] * 10 + ["политика"] * 8 + ["погода"] * 4 + ["rare"]
    [diagnosis] = diagnose_answers(rows(golds), tuned(["спорт"] * 12 + ["политика"] * 11))
    assert diagnosis.name == "a class is never predicted"
    assert diagnosis.evidence == "never predicted: 'погода' (4 test rows)"
    assert "--set evaluate.metric=macro-f1" in diagnosis.remedy


def test_one_answer_to_everything_is_named() -> None:
    [diagnosis] = diagnose_answers(rows(["a", "b"] * 5), tuned(["a"] * 10))
    assert diagnosis.name == "one answer to everything"
    assert "'a' is the answer to all 10 test rows of 2 classes" in diagnosis.evidence


def test_answers_of_every_class_need_no_diagnosis() -> None:
    assert diagnose_answers(rows(["a", "b"] * 5), tuned(["b", "a"] * 5)) == []
    assert diagnose_answers(rows(["a"] * 5), tuned(["a"] * 5)) == []
