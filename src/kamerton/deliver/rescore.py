"""Score a finished run on other data."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kamerton.core.contracts import AnswerKind
from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import Answers, Contender
from kamerton.core.records import Example, LedgerEntry
from kamerton.deliver.predictor import Predictor, Served
from kamerton.evaluate.score import class_results, score, undefined
from kamerton.runs.run import Run
from kamerton.session.setup import metric_names
from kamerton.text.cells import filled
from kamerton.text.label_values import bare_golds, likely_spellings
from kamerton.text.tags import kind_of, read_list

UNANSWERED = msg("the row has no answer to score against")


@dataclass(frozen=True)
class Rescored:
    """The scores of a run's tuned model on other data, with what qualifies them."""

    contender: Contender
    rows: int
    """How many rows were scored."""
    left_out: tuple[LedgerEntry, ...]
    """Rows that cannot be scored, in their order."""
    cut: tuple[Served, ...]
    """Rows that were cut for the model."""
    most_tokens: int
    """How many tokens the model takes."""
    trained_on: int
    """How many of the scored rows have the text of a training row."""
    unknown: Mapping[str, int]
    """Labels, or kinds of spans, that the run was never trained on, and how many rows have them."""
    undefined: Mapping[str, Message]
    """Metrics that have no meaning on these rows, and why."""
    spelled: Mapping[str, str]
    """Unknown labels that are probably another spelling of a known one, and that label."""


def score_on(run: Run, path: Path) -> Rescored:
    """Score a run's tuned model on other data, by the run's metrics.

    Raises:
        DataError: the file cannot be read, or no row has an answer.
    """
    predictor = Predictor(run)
    taken = predictor.take(path)
    setup, settings = predictor.setup, predictor.setup.recipe.evaluate
    answers = setup.task.answers
    known = {label for example in setup.split.typical for label in _labels(example, answers)}
    known |= set(setup.recipe.model.labels or ())
    golds = [_labels(example, answers) for example in taken.examples]
    none = bare_golds(golds, known) if setup.recipe.data.placeholders == "drop" and answers != "tags" else set()
    bare = [e for e, labels in zip(taken.examples, golds, strict=True) if not filled(e.gold) or tuple(labels) in none]
    unanswered = {example.id: LedgerEntry(example.id, example.place, "dropped", UNANSWERED) for example in bare}
    refused = [(e, taken.refused[e.id]) for e in taken.examples if e.id in taken.refused]
    unanswered |= {e.id: LedgerEntry(e.id, e.place, "dropped", reason) for e, reason in refused}
    examples = [example for example in taken.examples if example.id not in unanswered]
    if not examples:
        first = next(iter(unanswered.values()))
        raise DataError(Fault(first.reason, str(first.place), msg("give rows with answers, or use predict")))
    tuned = Answers("tuned model", "tuned", tuple(setup.form.predict(predictor.engine, examples)), 0.0)
    confidence, resamples, seed = settings.confidence, settings.resamples, setup.recipe.seed
    names = metric_names(setup)
    [contender] = score(examples, [tuned], names, confidence=confidence, resamples=resamples, seed=seed)
    unknown = Counter(label for example in examples for label in _labels(example, answers) if label not in known)
    answered = zip(examples, tuned.predictions, strict=True)
    trained = {example.key for example in setup.trained_on}
    return Rescored(
        replace(contender, per_class=class_results(examples, tuned.predictions, setup.task.answers)),
        len(examples),
        tuple(sorted((*taken.unusable, *unanswered.values()), key=lambda entry: entry.id)),
        tuple(Served(example.place, prediction) for example, prediction in answered if prediction.cut),
        setup.max_tokens,
        sum(example.key in trained for example in examples),
        unknown,
        undefined(examples, names),
        likely_spellings(unknown, known),
    )


def _labels(example: Example, answers: AnswerKind) -> list[str]:
    """Return the labels of an example, or the kinds of its spans, if answers are labels or spans."""
    if answers == "tags":
        return sorted({kind for tag in read_list(example.gold) if (kind := kind_of(tag))}) if example.gold else []
    if not example.gold or answers not in ("class", "classes"):
        return []
    return read_list(example.gold) if answers == "classes" else [example.gold]
