"""The judgement of a run: scores, verdict, diagnosis, calibration, and the files that tell them."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

from kamerton.core.outcomes import Diagnosis
from kamerton.core.records import Stage
from kamerton.evaluate.calibration import calibrate, calibration_message
from kamerton.evaluate.compare import tuned_answers
from kamerton.evaluate.diagnosis import (
    HEALTHY,
    diagnose,
    diagnose_answers,
    diagnose_classes,
    diagnose_order,
    diagnose_rate,
)
from kamerton.evaluate.label_noise import diagnose_rows
from kamerton.evaluate.outcome import result_of
from kamerton.evaluate.score import class_results, score
from kamerton.evaluate.verdict import judge, verdict_message
from kamerton.pipeline.rate import readings
from kamerton.report.card import write_card
from kamerton.report.html import write_report
from kamerton.report.verdict_text import Found, reason
from kamerton.runs.run import VALIDATION, Run
from kamerton.session.setup import Clock, Setup, metric_names


def conclude(run: Run, setup: Setup, clock: Clock) -> Iterator[Stage]:
    """Score all contenders, judge, diagnose, calibrate, and write result, model card and report."""
    test, names, settings = setup.split.test, metric_names(setup), setup.recipe.evaluate
    confidence, resamples, seed = settings.confidence, settings.resamples, setup.recipe.seed
    answers = run.read_answers()
    contenders = score(test, answers, names, confidence=confidence, resamples=resamples, seed=seed)
    repeats, given = [tuned_answers(again) for again in run.repeats], (test, answers, contenders, names[0])
    verdict = judge(
        *given, repeats=repeats, margin=settings.margin, confidence=confidence, resamples=resamples, seed=seed
    )
    verdict = replace(verdict, reason=reason(Found(verdict, contenders, names[0], len(test), confidence)))
    diagnoses = diagnose_run(run, setup)
    yield clock.stage("verdict", verdict_message(verdict, contenders))
    validation = [prediction for own in run.read_answers(VALIDATION) for prediction in own.predictions]
    tuned = tuned_answers(run).predictions
    calibrated = calibrate(validation, test, tuned, confidence=confidence, resamples=resamples, seed=seed)
    if calibrated and (message := calibration_message(calibrated)):
        yield clock.stage("calibration", message)
    per_class = class_results(test, tuned, setup.task.answers)
    with run.changing():
        if calibrated:
            run.write_temperature(calibrated.temperature)
        run.write_result(result_of(run, names, contenders, verdict, diagnoses, calibrated, per_class))
        write_card(run)
        stage = clock.stage("report", str(write_report(run)))
    shutil.rmtree(run.cache, ignore_errors=True)  # only a resume needs it
    yield stage


def diagnose_run(run: Run, setup: Setup) -> list[Diagnosis]:
    """Diagnose training, range test, rows and answers; that all is well is reported only alone."""
    classes = setup.task.answers == "class"
    if classes and (one_class := diagnose_classes(setup.split.train)):
        return one_class
    found = diagnose(run.events(), run.recipe.train.clip_norm)
    found += diagnose_rate(readings(run), run.recipe.train.peak)
    if classes:
        found += diagnose_rows(run.read_dynamics(), setup.split.train)
        found += diagnose_answers(setup.split.test, tuned_answers(run))
        if run.recipe.model.is_finished:
            found += diagnose_order(setup.split.test, tuned_answers(run))
    return [one for one in found if one.name != HEALTHY] or found
