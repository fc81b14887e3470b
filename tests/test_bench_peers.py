"""The benchmark beside peers: what its processes exchange, when a figure counts, and what the page says of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "peers"))

import rounds as rounds_module
from agreement import Agreement, agreement, course, same_answers, same_losses, within_noise
from page import Machine, Page, outcome, page
from protocol import Job, Result, Row, Work, mean_of_batches, read_job, write
from rounds import OURS, Canary, Record, Round, order_of, quiet, read_record, run_quietly, run_round, write_record
from workloads import WORKLOADS

MACHINE = Machine("a processor", 2, "torch", {"fp32": 200.0, "bf16": 400.0})
LOSSES = [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2, 0.1]
PEER = WORKLOADS["W1"].peers[0]


def result(seconds: float, losses: list[float] = LOSSES, peak: int = 10**9) -> Result:
    times = {"first": 1.0, "training": seconds, "steady": seconds * 7 / 8, "whole": seconds + 5}
    return Result(losses, [0.3], 0.25, 0.9, peak_bytes=peak, **times)


def a_round(peer: float, ours: float, canary: float = 200.0, losses: list[float] = LOSSES) -> Round:
    results = {PEER.script: result(peer), OURS: result(ours, losses)}
    return Round(0, (PEER.script, OURS), (200.0, canary, 200.0), 200.0, results)


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    row = Row([5, 6, 7, 8], [1, 2], [7, 8])
    job = Job(
        run="run", model="model", adapter="", trainable=["head"], train=[row, row], validation=[row], test=[row],
        updates=[[1, 0]], updates_per_epoch=1, rates=[0.1], clip=1.0, precision="fp32", dropout=0.0, seed=0, threads=2,
        eval_batch=8, pad=0,
    )  # fmt: skip
    write(tmp_path / "job.json", job)
    assert read_job(tmp_path / "job.json") == job
    assert job.batch == 2


def test_labels_are_the_tokens_after_the_reads() -> None:
    assert Row([5, 6, 7, 8], [1, 2], [7, 8]).labels == [-100, -100, 7, 8]


def test_mean_of_batches_agrees_with_the_trainer_on_uneven_rows() -> None:
    """transformers repeats each batch's mean once a row and averages."""
    losses, counts = [4.0, 2.0, 9.0], [2, 1, 3]
    assert mean_of_batches(losses, counts, 2) == pytest.approx((2.0 + 2.0 + 3.0) / 3)


def test_who_begins_alternates_with_each_round() -> None:
    assert order_of(0, ["a", "b"]) == ("a", "b", OURS)
    assert order_of(1, ["a", "b"]) == (OURS, "b", "a")


def test_a_slow_product_between_processes_shows_a_busy_machine() -> None:
    assert quiet((199.0, 180.0, 200.0), 200.0)
    assert not quiet((199.0, 120.0, 200.0), 200.0)
    assert a_round(3, 1, canary=120).busy and not a_round(3, 1).busy


def test_a_disturbed_round_is_repeated_and_kept_with_its_mark_if_all_are_disturbed() -> None:
    waiting = [a_round(3, 1, canary=100), a_round(4, 1), a_round(5, 1)]
    assert run_quietly(lambda: waiting.pop(0), retries=1) == a_round(4, 1)
    assert len(waiting) == 1
    assert run_quietly(lambda: a_round(3, 1, canary=100), retries=2).busy


def test_a_round_times_every_side_once_between_two_looks_at_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = iter([100.0, 90.0, 110.0, 80.0, 50.0, 40.0])
    monkeypatch.setattr(rounds_module, "speed", lambda kind: next(speeds))
    done = run_round(1, ["peer"], Canary(tmp_path / "canary.json"), 7, lambda side: result(len(side)))
    assert done.order == (OURS, "peer") and done.seed == 7
    assert done.canaries == (100.0, 110.0, 50.0) and done.best == 110.0
    assert Canary(tmp_path / "canary.json").best == {"fp32": 110.0, "bf16": 90.0}


def test_how_fast_the_machine_was_is_read_from_the_page_where_its_file_is_gone(tmp_path: Path) -> None:
    text = page({}, [], {}, MACHINE)
    canary = Canary(tmp_path / "canary.json")
    canary.know(Page(text).peaks())
    assert canary.best == {"fp32": 200.0, "bf16": 400.0}
    canary.know({"fp32": 100.0, "bf16": 500.0})
    assert canary.best == {"fp32": 200.0, "bf16": 500.0}


def test_rounds_outlive_a_stop(tmp_path: Path) -> None:
    record = Record(2000, Work(100, 190, 1e9), (a_round(3, 1), a_round(4, 1)))
    write_record(tmp_path / "W1.json", record)
    assert read_record(tmp_path / "W1.json") == record
    assert read_record(tmp_path / "W2.json") is None


def test_losses_agree_to_rounding_and_no_further() -> None:
    near = [loss * (1 + 5e-5) for loss in LOSSES]
    far = [*LOSSES[:-1], LOSSES[-1] + 1e-3]
    assert same_losses([(result(1), result(1, near))]).reached
    assert not same_losses([(result(1), result(1, near)), (result(1), result(1, far))]).reached


def test_a_missing_update_or_another_accuracy_is_no_agreement() -> None:
    assert same_losses([(result(1), result(1, LOSSES[1:]))]) == Agreement(False, "8 updates against 7")
    assert not same_losses([(result(1), replace(result(1), test_accuracy=0.8))]).reached


def test_answers_agree_if_nearly_all_are_equal() -> None:
    answers = [str(number) for number in range(100)]
    theirs = replace(result(1), answers=answers, test_loss=0.0)
    assert same_answers([(theirs, replace(theirs, answers=[*answers[:98], "", ""]))]).reached
    assert same_answers([(theirs, replace(theirs, answers=["", *answers[1:90], *answers[:10]]))]).words == (
        "89% of the answers are equal"
    )


def test_where_losses_are_measured_beside_answers_they_must_be_equal_too() -> None:
    theirs = replace(result(1), answers=["a"], test_loss=2.0)
    assert same_answers([(theirs, replace(theirs, test_loss=2.0001))]) == Agreement(
        True, "100% of the answers are equal, the losses differ by 5e-05"
    )
    assert not same_answers([(theirs, replace(theirs, test_loss=2.001))]).reached


def test_another_way_is_compared_by_its_scores() -> None:
    peer = replace(PEER, another_way=True)
    rounds = [a_round(3, 1, losses=[])]
    assert agreement(WORKLOADS["W1"], rounds, peer) == Agreement(True, "accuracy on the test rows 0.900 against 0.900")


def test_a_course_is_cut_into_quarters() -> None:
    assert course(LOSSES) == pytest.approx([0.65, 0.45, 0.25, 0.15])
    assert course([1.0, 2.0]) == [1.0, 1.0, 2.0, 2.0]


def test_a_course_within_the_noise_of_seeds_agrees_and_a_shifted_one_does_not() -> None:
    def run(shift: float) -> Result:
        return result(1, [loss + shift for loss in LOSSES])

    seeds = [(0, run(0.0)), (1, run(0.1)), (2, run(-0.1))]  # standard deviation 0.1
    assert within_noise([(seed, other, run(0.09)) for seed, other in seeds[:1]]).words.startswith("one seed")
    inside = [(seed, other, replace(other, losses=[loss + 0.05 for loss in other.losses])) for seed, other in seeds]
    outside = [(seed, other, replace(other, losses=[loss + 0.15 for loss in other.losses])) for seed, other in seeds]
    assert within_noise(inside) == Agreement(True, "losses differ by 0.50 of the noise of 3 seeds")
    assert not within_noise(outside).reached


def test_a_figure_with_other_losses_is_failed_however_fast() -> None:
    found = outcome(WORKLOADS["W1"], PEER, [a_round(90, 1, losses=[2 * loss for loss in LOSSES])])
    assert found.startswith("FAILED: losses differ by 1e+00")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3.5, "aim reached; losses differ by 0e+00 at most"),
        (2.5, "reached; losses"),
        (1.5, "not reached; losses"),
        (0.5, "not reached: Kamerton is slower; losses"),
    ],
)
def test_the_outcome_is_held_against_the_promise(seconds: float, words: str) -> None:
    assert outcome(WORKLOADS["W1"], PEER, [a_round(seconds, 1)] * 3).startswith(words)


def test_too_much_memory_breaks_a_promise_that_speed_keeps() -> None:
    workload = replace(WORKLOADS["W1"], memory=0.5)
    rounds = [replace(a_round(5, 1), results={PEER.script: result(5, peak=10**9), OURS: result(1, peak=6 * 10**8)})]
    assert outcome(workload, PEER, rounds).startswith("memory 0.60 of the peer's, target 0.5")


def test_the_page_shows_median_range_and_disturbed_rounds() -> None:
    rounds = (a_round(3, 1), a_round(4, 1, canary=100), a_round(8, 2))
    work = Work(tokens=1000, padded=1900, flops=1e11)
    starts = [{"help": 0.2, "predict": 5.0, "tune": 3.0}]
    small = {"rows": 30, "tokens": 100, "seconds": 2.0, "peak_bytes": 1e9}
    growth = {"W1": [small, {"rows": 61, "tokens": 210, "seconds": 4.2, "peak_bytes": 1.1e9}]}
    text = page({"W1": Record(2000, work, rounds)}, starts, growth, MACHINE)
    assert "| 2000 | 3, 1 disturbed | **4.00x** (3.00–4.00) | **4.00x** (3.00–4.00) |" in text
    assert "| HF Trainer | 1.0 | 4.0 | 9.0 | 250 | 1.90 | 12% | 1.00 |" in text  # 1e11 / 4 s / 200 GFLOP/s
    assert "| Kamerton | 1.0 | 1.0 | 6.0 | 1,000 | 1.00 | 50% | 1.00 |" in text
    assert "| `kamerton --help` | **0.20 s** (0.20–0.20) | 0.3 s (0.15 s) | reached |" in text
    assert "one text with MiniLM | **5.00 s** (5.00–5.00) | 4 s (3 s) | not reached |" in text
    assert "| 1.0x | 30 | 100 | 2.0 | 50 | 1.00 |\n| 2.0x | 61 | 210 | 4.2 | 50 | 1.10 |" in text


def test_what_is_not_measured_anew_on_the_same_machine_stays_on_the_page() -> None:
    rounds, work = (a_round(3, 1), a_round(4, 1)), Work(tokens=1000, padded=1900, flops=1e11)
    starts = [{"help": 0.2, "predict": 5.0, "tune": 3.0}]
    growth = {"W1": [{"rows": 30, "tokens": 100, "seconds": 2.0, "peak_bytes": 1e9}]}
    first = page({"W1": Record(2000, work, rounds)}, starts, growth, MACHINE)
    slower = replace(MACHINE, peaks={"fp32": 100.0, "bf16": 400.0})
    assert page({}, [], {}, slower, Page(first)) == first
    both = page({"W1d": Record(2000, work, rounds)}, [], {}, slower, Page(first))
    assert [line for line in first.splitlines() if line not in both.splitlines()] == []
    assert both.index("| W1 |") < both.index("| W1d |")
    assert "| W1 |" not in page({}, [], {}, replace(MACHINE, processor="another"), Page(first))


def test_a_page_without_start_up_and_growth_leaves_them_out() -> None:
    text = page({}, [], {}, MACHINE)
    assert "## Start-up" not in text and "## Growth" not in text
