from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from kamerton.core.outcomes import Answers, Diagnosis
from kamerton.core.records import Event, Example, Place, Prediction, RowDynamics, Started, Stepped, Stopped, Validated
from kamerton.evaluate.diagnosis import diagnose, diagnose_answers, diagnose_classes, diagnose_rate
from kamerton.evaluate.label_noise import diagnose_rows

Curve = Callable[[float], float]


def course(
    train: Curve,
    validation: Curve | None = None,
    *,
    updates: int = 200,
    epochs: float = 4,
    gradient: float | Curve = 1.0,
    weight_change: float = 0.02,
    noise: float = 0.02,
) -> list[Event]:
    """Make a course of training whose losses follow curves over its share from 0 to 1."""
    chance = random.Random(0)
    events: list[Event] = [Started(0, updates, 1000, 5000, "flat")]
    for step in range(1, updates + 1):
        share = step / updates
        loss = train(share) * (1 + chance.gauss(0, noise))
        norm = gradient(share) if callable(gradient) else gradient
        events.append(Stepped(step, epochs * share, loss, 1e-3 * (1 - share) + 1e-6, norm, 900, 0.1))
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
    assert "training loss fell from 0.937 to 0.202" in str(diagnosis.evidence)
    assert "at update 200 of 200" in str(diagnosis.evidence)


def test_validation_loss_that_rises_while_training_loss_falls_is_overfitting() -> None:
    diagnosis = only(course(falling, lambda share: 0.5 + (share - 0.25) ** 2))
    assert diagnosis.name == "overfitting"
    assert "after epoch 1 validation loss rose from 0.500 to 1.062" in str(diagnosis.evidence)
    assert str(diagnosis.remedy).startswith("--epochs 1, --set train.dropout=0.1 or --set train.weight_decay=0.05")


def test_a_rise_within_the_noise_is_not_overfitting() -> None:
    assert only(course(falling, lambda share: 0.5 + 0.03 * (share - 0.25) ** 2)).name == "healthy"


def test_validation_loss_that_rises_with_training_loss_is_not_called_overfitting() -> None:
    names = [d.name for d in diagnose(course(lambda s: 1 + s, lambda s: 1 + s))]
    assert names == ["divergence"]


def test_training_loss_that_stays_is_underfitting_with_a_higher_rate() -> None:
    diagnosis = only(course(lambda share: 0.69))
    assert diagnosis.name == "underfitting"
    assert str(diagnosis.remedy) == "--learning-rate 0.003 or --epochs 8"


def test_validation_loss_still_falling_at_the_end_asks_for_more_epochs() -> None:
    diagnosis = only(course(lambda share: 2 - share, lambda share: 2 - share))
    assert diagnosis.name == "stopped too early"
    assert str(diagnosis.remedy) == "--epochs 8"


def test_training_that_was_cut_short_is_not_said_to_need_more_epochs() -> None:
    events = course(lambda share: 2 - share, lambda share: 2 - share)
    halfway = [event for event in events if event.step <= 120]
    assert [d.name for d in diagnose(halfway)] == ["healthy"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_its_update_and_explains_all(bad: float) -> None:
    diagnosis = only(course(lambda share: bad if share > 0.6 else 1 + share))
    assert diagnosis.name == "not finite"
    assert "at update 121" in str(diagnosis.evidence)
    assert str(diagnosis.remedy) == "--learning-rate 0.0001"


def test_a_loss_that_grows_is_divergence_with_a_lower_rate() -> None:
    diagnosis = only(course(lambda share: 1 + 3 * share))
    assert diagnosis.name == "divergence"
    assert str(diagnosis.remedy) == "--learning-rate 0.0003"


def test_spikes_are_counted_and_the_worst_is_named() -> None:
    events = course(falling, falling)
    for at, loss in ((80, 3.0), (150, 5.0)):
        events = [
            Stepped(at, e.epoch, loss, e.learning_rate, 9.0, 900, 0.1) if isinstance(e, Stepped) and e.step == at else e
            for e in events
        ]
    diagnosis = only(events)
    assert diagnosis.name == "spikes"
    assert str(diagnosis.evidence) == "2 losses far above those before; the worst 5.000 at update 150"


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
    assert str(diagnosis.remedy).startswith("--epochs 8,")


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
                assert any(letter.isdigit() for letter in str(diagnosis.evidence))
                assert diagnosis.name == "healthy" or "--" in str(diagnosis.remedy)


# ── gradients ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("gradient", "clipped"),
    [
        (lambda share: 0.01 * 10 ** (5 * share), "60%"),  # five orders of magnitude
        (lambda share: 2 * 20**share, "100%"),  # every update clipped, and the raw norm grows
    ],
)
def test_gradients_whose_norm_explodes_are_named_with_their_norms_and_a_lower_rate(gradient, clipped):
    diagnosis = only(course(falling, falling, gradient=gradient))
    assert diagnosis.name == "exploding gradients"
    assert f"{clipped} of the updates were clipped to 1" in str(diagnosis.evidence)
    assert str(diagnosis.remedy).startswith("--learning-rate 0.0003 or ")


def test_what_was_let_through_depends_on_the_limit():
    grown = course(falling, falling, gradient=lambda share: 2 * 20**share)
    assert [one.name for one in diagnose(grown, clip_norm=10.0)] == ["healthy"]


@pytest.mark.parametrize(
    "gradient",
    [
        lambda share: 6 * 0.3**share,  # always clipped, and falling: LoRA on SmolLM2
        lambda share: 0.3 * 2.7**share,  # growing as the head is learnt
        lambda share: 0.02 * 30**share,  # from nothing to below the limit: an adapter that starts at zero
        lambda share: 1 + 8 * (abs(share - 0.5) < 0.02),  # a few hard rows
    ],
)
def test_gradients_as_healthy_trainings_have_them_are_no_explosion_and_not_dead(gradient):
    assert only(course(falling, falling, gradient=gradient)).name == "healthy"


def test_gradients_that_die_away_while_there_is_a_loss_are_named_and_not_where_all_is_learnt():
    dying = lambda share: 10 ** (-7 * share)  # noqa: E731
    diagnosis = only(course(falling, falling, gradient=dying))
    assert diagnosis.name == "dead gradients"
    assert "while the training loss is still 0.20" in str(diagnosis.evidence)
    assert str(diagnosis.remedy) == "--learning-rate 0.0003 or --set model.precision=fp32"
    solved = lambda share: 0.001 + math.exp(-9 * share)  # noqa: E731
    assert only(course(solved, gradient=dying)).name == "healthy"


# ── the probe of the rate ─────────────────────────────────────────────────────────────────────


def test_a_rate_at_the_edge_of_its_probe_is_said_with_the_next_one_to_try():
    [high] = diagnose_rate({1e-4: 0.7, 3e-4: 0.6, 9e-4: 0.4}, 9e-4)
    assert high.name == "the rate is at the edge of its range"
    assert str(high.evidence) == (
        "0.0009 is the best of 3 rates and the highest that was tried: validation loss 0.400 there, 0.600 at 0.0003"
    )
    assert str(high.remedy) == "--learning-rate 0.003"
    [low] = diagnose_rate({1e-4: 0.3, 3e-4: 0.6, 9e-4: math.inf}, 1e-4)
    assert "the lowest" in str(low.evidence) and str(low.remedy) == "--learning-rate 3e-05"
    [for_long] = diagnose_rate({1e-4: 0.7, 3e-4: 0.6, 9e-4: 0.4}, 5e-4)
    assert str(for_long.evidence) == str(high.evidence) and str(for_long.remedy) == "--learning-rate 0.002"


def test_a_rate_between_others_or_below_one_that_broke_down_is_no_edge():
    tried = {1e-4: 0.7, 3e-4: 0.4, 9e-4: math.inf}
    assert diagnose_rate(tried, 3e-4) == []
    assert diagnose_rate({}, 1e-3) == []


# ── label noise ───────────────────────────────────────────────────────────────────────────────

LITTLE = ("the", "a", "on", "of", "it", "was", "by")
THEMES = ("rain cloud storm wind", "goal match team coach", "bank loan rate stock", "film scene actor plot")


def labelled(count: int, spoilt: float, seed: int = 0) -> tuple[list[Example], set[int]]:
    """Make rows whose words tell their class, a share of them with another label."""
    chance, wrong, examples = random.Random(seed), set[int](), []
    for i in range(count):
        kind = i % len(THEMES)
        words = chance.choices(THEMES[kind].split(), k=5) + chance.choices(LITTLE, k=4)
        if chance.random() < spoilt:
            wrong.add(i)
            kind = (kind + chance.randrange(1, len(THEMES))) % len(THEMES)
        examples.append(Example(i, Place("rows.csv", i + 2), " ".join(words), str(kind)))
    return examples, wrong


def watched(examples: Sequence[Example], never: set[int], visits: int = 4) -> list[RowDynamics]:
    return [RowDynamics(e.id, visits, 0.1 if e.id in never else 0.8, 0.1, float(e.id not in never)) for e in examples]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_planted_label_noise_is_found_and_counted_whatever_else_is_hard(share):
    examples, wrong = labelled(400, share)
    hard = {i for i in range(400) if i % 97 == 0}
    [diagnosis] = diagnose_rows(watched(examples, wrong | hard), examples)
    assert diagnosis.name == "label noise"
    assert "kamerton audit" in str(diagnosis.remedy)
    counted = int(str(diagnosis.evidence).split()[0])
    assert 0.7 * len(wrong) <= counted <= len(wrong) + 1


def test_rows_that_are_only_hard_are_no_label_noise():
    examples, _ = labelled(400, 0)
    chance = random.Random(1)
    assert diagnose_rows(watched(examples, set()), examples) == []
    assert diagnose_rows(watched(examples, {i for i in range(400) if chance.random() < 0.2}), examples) == []
    lost = {e.id for e in examples if e.gold == "2"}  # a class that is never learnt: its neighbours are not either
    assert diagnose_rows(watched(examples, lost), examples) == []


def test_words_that_say_nothing_of_the_label_accuse_no_row():
    chance = random.Random(2)
    vague = [Example(i, Place("f", i), " ".join(chance.choices("abcdefgh", k=6)), str(i % 2)) for i in range(300)]
    assert diagnose_rows(watched(vague, {i for i in range(300) if chance.random() < 0.15}), vague) == []


def test_label_noise_is_not_looked_for_where_no_row_was_met_twice_or_few_are_odd():
    examples, wrong = labelled(400, 0.1)
    assert diagnose_rows(watched(examples, wrong, visits=1), examples) == []
    assert diagnose_rows(watched(examples, set(list(wrong)[:4])), examples) == []
    assert diagnose_rows([], examples) == []


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def rows(golds: Sequence[str]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 1), "", gold) for i, gold in enumerate(golds)]


def tuned(texts: Sequence[str]) -> Answers:
    return Answers("tuned model", "tuned", tuple(Prediction(i, t) for i, t in enumerate(texts)), 1.0)


def test_a_class_that_is_never_predicted_is_named_with_its_rows() -> None:
    golds = ["спорт"] * 10 + ["политика"] * 8 + ["погода"] * 4 + ["rare"]
    [diagnosis] = diagnose_answers(rows(golds), tuned(["спорт"] * 12 + ["политика"] * 11))
    assert diagnosis.name == "a class is never predicted"
    assert str(diagnosis.evidence) == "never predicted: 'погода' (4 test rows)"
    assert "--set evaluate.metric=macro-f1" in str(diagnosis.remedy)


def test_one_answer_to_everything_is_named() -> None:
    [diagnosis] = diagnose_answers(rows(["a", "b"] * 5), tuned(["a"] * 10))
    assert diagnosis.name == "one answer to everything"
    assert "'a' is the answer to all 10 test rows of 2 classes" in str(diagnosis.evidence)


def test_training_rows_of_one_class_need_no_other_rate() -> None:
    [diagnosis] = diagnose_classes(rows(["ham"] * 7))
    assert diagnosis.name == "all answers are the same class"
    assert str(diagnosis.evidence) == "all 7 training rows have the same answer: 'ham'"
    assert "--" not in str(diagnosis.remedy)
    assert diagnose_classes(rows(["ham", "spam"])) == []


def test_a_loss_that_does_not_fall_is_not_said_to_have_gone_from_a_number_to_the_same() -> None:
    found = [str(only(course(lambda s, k=k: 5.01 - k * s, noise=0)).evidence) for k in (0.0, 0.0001, 0.02)]
    assert found[0] == "training loss did not fall: 5.010 at first, 5.010 at last"
    assert found[1] == "training loss did not fall: 5.010 at first, 5.010 at last"
    assert found[2] == "training loss fell only from 5.009 to 4.991"


def test_answers_of_every_class_need_no_diagnosis() -> None:
    assert diagnose_answers(rows(["a", "b"] * 5), tuned(["b", "a"] * 5)) == []
    assert diagnose_answers(rows(["a"] * 5), tuned(["a"] * 5)) == []
