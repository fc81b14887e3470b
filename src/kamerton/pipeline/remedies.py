"""Apply remedies: change the recipe, train or only set the weights, measure both axes, and keep the best.

Everything is measured on the validation rows and on the forgetting probe; the test rows are not touched. The rule that
chooses an attempt is stated in `choose_attempt`.
"""

import math
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from kamerton.core import registry
from kamerton.core.contracts import Remedy, Situation
from kamerton.core.errors import TrainingError
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.outcomes import Answers, Attempt, Diagnosis
from kamerton.core.pieces import HERE, Done, Workers, WorkItem, Workload
from kamerton.core.records import Event, RunEvent, Split, Stage, Validated
from kamerton.data.augment import Augmentation, add_variants
from kamerton.engine.dealing import alone
from kamerton.engine.engine import TorchEngine
from kamerton.evaluate.diagnosis import diagnose, diagnose_answers, diagnose_classes
from kamerton.forgetting.decide import DECISIONS, conclude_forgetting, deciding
from kamerton.forms.dialogue import trains_on_requests
from kamerton.models.saved import save_model
from kamerton.pipeline.dial import Dial
from kamerton.pipeline.forgetting import make_meter
from kamerton.pipeline.training import score_validation, tuned_engine
from kamerton.runs.recipe import AUTO, Recipe
from kamerton.runs.run import LOG, MODEL, Run
from kamerton.session.engines import saved_engine
from kamerton.session.everywhere import engine_everywhere
from kamerton.session.machine import this_machine
from kamerton.session.planner import candidates, settings
from kamerton.session.setup import Clock, Setup, make_method, metric_names, open_setup
from kamerton.statistics.power import detectable_share

FORGETTING = "forgetting"
KEPT_GAIN = 0.9
"""Share of the best gain on the validation rows that the chosen attempt must keep."""
VARIANTS = "augment.by"
STRENGTH = "remedy.strength"
"""The one setting that is tried without training."""
DISAGREEMENT = 0.2
"""Share of the rows on which two models usually differ: it bounds what chance can do."""
HALVINGS = 2
"""Number of halvings of the step below the dial's chosen strength."""


@dataclass(frozen=True)
class Plan:
    """One thing to try."""

    remedy: str
    trainings: float
    changes: Mapping[str, object]


@dataclass(frozen=True)
class RemedyTrial:
    """A plan that takes a training, and the folder of the run for it."""

    plan: Plan
    folder: Path


def apply_remedies(
    run: Run, setup: Setup, engine: TorchEngine, clock: Clock, workers: Workers = HERE
) -> Generator[RunEvent, None, tuple[Setup, TorchEngine]]:
    """Try the recipe's remedies within their budget, keep the best in the run, and return its setup and engine."""
    setup = replace(setup, recipe=run.recipe)  # the learning rate may have been found since
    if not setup.recipe.remedy.names or run.read_attempts():
        return setup, engine
    engine = alone(engine)  # its weights will be set
    bench = Bench(setup, engine)
    first = bench.measure(engine, Plan("", 0, {}))
    attempts = [first]
    symptoms = _symptoms(run, setup, engine, first)
    trials, spent = list[WorkItem[RemedyTrial]](), 0.0
    for plan in plans(setup, run.events(), symptoms):  # those without a training come first
        if spent + plan.trainings > setup.recipe.remedy.trainings:
            continue
        spent += plan.trainings
        if plan.changes.keys() == {STRENGTH}:
            attempts.append(bench.measure_dialled(engine, plan))
            yield clock.stage("remedies", describe(attempts[-1]))
        else:
            again = run.variant(f"remedies/{plan.remedy}", varied(setup, plan).recipe)
            trials.append(WorkItem(msg("remedy {name}", name=plan.remedy), RemedyTrial(plan, again.path)))
    for item in workers.carry_out(Workload(partial(Bench.of, run.path, run.device), try_remedy, bench), trials):
        if not isinstance(item, Done):
            yield item
        elif item.value:
            attempts.append(item.value)
            yield clock.stage("remedies", describe(item.value))
    if FORGETTING in symptoms and any(attempt.changes.keys() == {STRENGTH} for attempt in attempts):
        for attempt in narrow(bench, engine, attempts):
            attempts.append(attempt)
            yield clock.stage("remedies", describe(attempt))
    chosen = choose_attempt(attempts, FORGETTING in symptoms, luck(setup))
    kept = describe(chosen) if chosen.remedy else msg("the first training")
    with run.changing():
        _keep(run, bench, engine, chosen)
        run.write_attempts([replace(attempt, chosen=attempt is chosen) for attempt in attempts])
        stage = clock.stage("remedies", msg("kept: {attempt}", attempt=kept))
    yield stage
    setup = open_setup(run)
    return setup, engine_everywhere(saved_engine, run, setup)


def _symptoms(run: Run, setup: Setup, engine: TorchEngine, first: Attempt) -> set[str]:
    one_class = setup.task.answers == "class" and diagnose_classes(setup.split.train)
    seen = [] if one_class else diagnose(run.events(), setup.recipe.train.clip_norm)
    symptoms = {diagnosis.name for diagnosis in [*seen, *answer_symptoms(setup, engine)]}
    named = AUTO not in setup.recipe.remedy.names
    return symptoms | ({FORGETTING} if named or first.decision in ("mild", "severe") else set())


def answer_symptoms(setup: Setup, engine: TorchEngine) -> list[Diagnosis]:
    """Diagnose answers to the validation rows, where they are classes; test rows must not choose."""
    rows = setup.form.validation_subset(setup.split.validation)
    if setup.task.answers != "class" or not rows:
        return []
    return diagnose_answers(rows, Answers("", "tuned", tuple(setup.form.predict(engine, rows)), 0.0))


def turn_dial(setup: Setup, engine: TorchEngine, strength: float | None = None) -> list[Attempt]:
    """Measure a tuned model at the recipe's strengths, mark the chosen one, and leave the model at it.

    A `strength` that is given is measured beside the full one, and chosen whatever the result.
    """
    engine = alone(engine)
    bench = Bench(setup, engine)
    attempts = [bench.measure(engine, Plan("", 0, {}))]
    for value in [strength] if strength else setup.recipe.remedy.strengths:
        attempts.append(bench.measure_dialled(engine, Plan("strength", 0, {STRENGTH: value})))
    if strength is None:
        for attempt in narrow(bench, engine, attempts):
            attempts.append(attempt)
    chosen = attempts[-1] if strength else choose_attempt(attempts, True, luck(setup))
    bench.dial.turn(_strength(chosen.changes))
    return [replace(attempt, chosen=attempt is chosen) for attempt in attempts]


def dialled_run(run: Run, setup: Setup, engine: TorchEngine, attempts: Sequence[Attempt], out: Path) -> Run:
    """Create a run of a model at the chosen strength; it remains to prove and judge it.

    Raises:
        RunError: the folder holds a run already.
    """
    [chosen] = [attempt for attempt in attempts if attempt.chosen]
    recipe = varied(setup, Plan(chosen.remedy, 0, chosen.changes)).recipe
    with run.copying_split(out, recipe) as again, again.changing() as change:
        again.write_answers(setup.split.test, [answers for answers in run.read_answers() if answers.kind != "tuned"])
        again.write_attempts(attempts)
        shutil.copyfile(run.files.place(LOG), change.path(LOG))
        save_model(change.path(MODEL), engine.model, setup.tokenizer)
    return again


class Bench:
    """Measures an engine on both axes, always against the same base and the same start."""

    def __init__(self, setup: Setup, engine: TorchEngine) -> None:
        self.setup, self.meter, self.dial = setup, make_meter(setup, engine, "quick"), Dial(setup, engine.model)
        self.dial.turn(0)
        self.start = score_validation(setup, engine)
        self.dial.turn(1)

    @classmethod
    def of(cls, folder: Path, device: str | None) -> Self:
        """Load the tuned model of a run to measure others against its start."""
        run = Run(folder, device=device)
        setup = open_setup(run)
        return cls(setup, saved_engine(run, setup))

    def measure(self, engine: TorchEngine, plan: Plan, setup: Setup | None = None) -> Attempt:
        """Measure an engine in its current state."""
        began = time.perf_counter()
        score = score_validation(setup or self.setup, engine)
        measured = self.meter.measure_deciding(engine)
        worst = deciding(measured)
        decision, seconds = conclude_forgetting(measured).decision, time.perf_counter() - began
        gain, changes = score - self.start, dict(plan.changes)
        return Attempt(plan.remedy, changes, score, gain, worst.change, worst.harm, decision, seconds)

    def measure_dialled(self, engine: TorchEngine, plan: Plan) -> Attempt:
        """Measure the tuned model at a strength of the dial, then restore full strength."""
        self.dial.turn(_strength(plan.changes))
        attempt = self.measure(engine, plan)
        self.dial.turn(1)
        return attempt


def narrow(bench: Bench, engine: TorchEngine, attempts: Sequence[Attempt]) -> Iterator[Attempt]:
    """Measure strengths between the dial's best and the next weaker one; the caller adds each to the attempts."""
    for _ in range(HALVINGS):
        dialled = [attempt for attempt in attempts if attempt.changes.keys() == {STRENGTH}]
        chosen = choose_attempt(attempts, True, luck(bench.setup))
        best = _strength(chosen.changes)
        weaker = [_strength(attempt.changes) for attempt in dialled if _strength(attempt.changes) < best]
        if chosen.gain <= 0 or chosen.changes.keys() - {STRENGTH} or not weaker:
            return
        yield bench.measure_dialled(engine, Plan(dialled[0].remedy, 0, {STRENGTH: round((best + max(weaker)) / 2, 4)}))


def plans(setup: Setup, events: Sequence[Event], symptoms: set[str]) -> list[Plan]:
    """List what to try, the cheapest first: what the recipe names, or all that treats a symptom.

    Raises:
        RecipeError: there is no remedy of that name.
    """
    names, situation = setup.recipe.remedy.names, _situation_of(setup, events)
    found = []
    for word in registry.names("remedies") if AUTO in names else names:
        remedy: Remedy = registry.choose("remedies", word)()
        if AUTO not in names or symptoms & set(remedy.treats):
            found += [Plan(word, remedy.trainings, changes) for changes in remedy.changes(situation)]
    return sorted(found, key=lambda plan: plan.trainings)


def _situation_of(setup: Setup, events: Sequence[Event]) -> Situation:
    train = setup.recipe.train
    method: Any = make_method(setup.recipe)
    others = candidates(setup.facts, len(setup.split.train), this_machine(setup.recipe.model))
    return Situation(
        learning_rate=train.peak,
        epochs=train.epochs or 1.0,
        dropout=train.dropout,
        weight_decay=train.weight_decay,
        validations=tuple(event for event in events if isinstance(event, Validated)),
        knobs=method.model_dump(),
        other_methods=tuple(one.word for one in others if one.word != setup.recipe.method.name),
        strengths=setup.recipe.remedy.strengths,
        writes=trains_on_requests(setup.form),
        rows=len(setup.split.train),
        varies=setup.task.answers == "class" and setup.recipe.augment.by == "none",
    )


def luck(setup: Setup) -> float:
    """Return the gain that so few validation rows would hardly show; 0 where losses decide, which show far less."""
    metric, rows = registry.choose("metrics", metric_names(setup)[0]), setup.split.validation
    every = len(setup.form.validation_subset(rows)) == len(rows)
    return detectable_share(DISAGREEMENT, len(rows)) if every and metric.unit_interval else 0.0


def choose_attempt(attempts: Sequence[Attempt], forgetting: bool, luck: float = 0.0) -> Attempt:
    """Choose by the rule: of those that keep 90% of the best gain on the validation rows, the one that forgets least.

    Where nothing gains over the start, the one that forgets least is chosen; so it is where keeping a gain that may be
    luck would cost severe forgetting. Where forgetting is not to be remedied, the highest score is chosen; of equals
    the one that forgets least, then the first. A gain up to `luck` may be chance.
    """
    best = max(attempt.gain for attempt in attempts)
    least = (KEPT_GAIN * best if best > 0 else -math.inf) if forgetting else best
    keeping = [attempt for attempt in attempts if attempt.gain >= least]
    chosen = min(keeping, key=lambda attempt: attempt.harm)
    bought = forgetting and chosen.decision == "severe" and best <= luck
    return min(attempts, key=lambda attempt: attempt.harm) if bought else chosen


def describe(attempt: Attempt) -> Message:
    """Describe an attempt in one line."""
    changes = ", ".join(f"{path}={value}" for path, value in attempt.changes.items() if value is not None)
    effects = [msg("gain {gain}", gain=Figure(attempt.gain, "signed"))]
    if one := attempt.forgotten:
        effects.append(msg("{name} {change}", name=one.name, change=Figure(one.change, "signed")))
    said, decision = Joined(effects, ", "), DECISIONS[attempt.decision]
    rule = "{remedy} ({changes}): {effects}: forgetting {decision}"
    return msg(rule, remedy=attempt.remedy, changes=changes, effects=said, decision=decision)


def varied(setup: Setup, plan: Plan) -> Setup:
    """Change a recipe by a plan, each change with its reason; settings that this leaves open are decided anew."""
    values = setup.recipe.model_dump()
    if "method.name" in plan.changes:
        values["method"] = {}
    for path, value in plan.changes.items():
        group, _, name = path.partition(".")
        values[group][name] = value
        reason = msg("remedy {name}", name=plan.remedy)
        values["reasons"][path] = {"origin": "decided", "reason": reason, "value": value}
    values["remedy"]["names"] = ()
    recipe = Recipe.model_validate(values)
    given = setup.facts, setup.task, setup.form, setup.split.train, setup.tokenizer, this_machine(recipe.model)
    decisions = settings(make_method(recipe), *given)
    return replace(setup, recipe=recipe.decide(decisions))


def try_remedy(bench: Bench, trial: RemedyTrial) -> Generator[RunEvent, None, Attempt | None]:
    """Train the run of a plan and measure it; None if training failed or nothing was added."""
    began, plan, again = time.perf_counter(), trial.plan, Run(trial.folder)
    setup, clock = replace(bench.setup, recipe=again.recipe), Clock(again)
    with again.locked():
        try:
            if VARIANTS in plan.changes:
                setup = replace(setup, split=(yield from with_variants(again, setup, clock)), origin=again.path)
                if len(setup.split.added) == len(bench.setup.split.added):
                    return None
            trained = yield from tuned_engine(again, setup, clock)
        except TrainingError as error:
            yield clock.stage("remedies", msg("{remedy}: {reason}", remedy=plan.remedy, reason=error.faults[0].rule))
            return None
        return replace(bench.measure(trained, plan, setup), seconds=time.perf_counter() - began)


def with_variants(run: Run, setup: Setup, clock: Clock) -> Generator[Stage, None, Split]:
    """Add variants of the training rows to a run's own copy of the split, if they help."""
    split, ledger = run.read_split(), run.read_ledger()
    if len(split.added) > len(setup.split.added):
        return split  # made before a stop
    given = setup.recipe, setup.task, setup.form, setup.facts, setup.tokenizer, setup.max_tokens
    added = add_variants(Augmentation(*given, split, first_id=1 + max(entry.id for entry in ledger)))
    split = replace(split, added=(*split.added, *added.examples))
    run.write_data(split, run.read_findings(), [*ledger, *added.entries])
    for message in added.messages:
        yield clock.stage("added", message)
    return split


def _keep(run: Run, bench: Bench, engine: TorchEngine, chosen: Attempt) -> None:
    """Put the chosen model into the run, with its recipe and all that its training left."""
    setup = varied(bench.setup, Plan(chosen.remedy, 0, chosen.changes))
    with run.changing() as change:
        if chosen.changes.keys() == {STRENGTH}:
            bench.dial.turn(_strength(chosen.changes))
            save_model(change.path(MODEL), engine.model, setup.tokenizer)
        elif chosen.remedy:
            kept = Run(run.path / "remedies" / chosen.remedy)
            shutil.copytree(kept.checked_model(), change.path(MODEL))
            shutil.copyfile(kept.files.place(LOG), change.path(LOG))
            run.write_data(kept.read_split(), kept.read_findings(), kept.read_ledger())
            run.write_dynamics(kept.read_dynamics())
        run.write_recipe(setup.recipe)


def _strength(changes: Mapping[str, object]) -> float:
    return float(str(changes.get(STRENGTH, 1)))
