"""Prove the artefact: in a fresh process, the saved model must answer as the trained one."""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kamerton.core.children import run_python
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import Proof
from kamerton.core.records import Example, Prediction
from kamerton.runs.run import Run

TOLERANCE = 1e-4
"""Largest difference of a score (a probability) between the two."""
REMEDY = msg("do not use this model; `kamerton resume` tries again; if the fault stays, it is a bug in Kamerton")


def proof_message(proof: Proof) -> Message:
    """Return what was proven, in one line."""
    return msg("the saved model gives the same {rows} {rows:answer|answers} in a fresh process", rows=proof.rows)


def prove_artefact(run: Run, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Proof:
    """Run `kamerton predict` on rows in a fresh process, and compare its answers.

    Raises:
        RunError: the saved model answers otherwise, or does not load.
    """
    run.cache.mkdir(exist_ok=True)  # it goes when the run has its result, with all that a kill left in it
    with tempfile.TemporaryDirectory(dir=run.cache) as folder:
        source = Path(folder) / "rows.jsonl"
        source.write_text(written(run, examples), encoding="utf-8")
        child = run_python("-m", "kamerton", "predict", str(run.path), str(source), "--json", *_device(run))
    if child.returncode:
        rule = msg("the saved model cannot be used: {error}", error=child.stderr.strip())
        raise RunError(Fault(rule, str(run.model), REMEDY))
    return compared(run, examples, predictions, [json.loads(line) for line in child.stdout.split("\n") if line])


def _device(run: Run) -> list[str]:
    """Return the flag for the device that the run was opened for, if its recipe names another."""
    return ["--device", run.device] if run.device else []


def written(run: Run, examples: Sequence[Example]) -> str:
    """Write examples as the rows of a JSONL file that `kamerton predict` reads."""
    columns = run.recipe.data.columns or {}
    rows = [
        {columns.get(role, role): example.fields[role] for role in sorted(example.fields, key=columns.__contains__)}
        for example in examples  # a role without a column stands under its own name: a prompt within the answers
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def compared(
    run: Run, examples: Sequence[Example], predictions: Sequence[Prediction], answers: Sequence[Mapping[str, Any]]
) -> Proof:
    """Compare the answers of a fresh process, one line of `predict --json` for each example, with the predictions.

    Raises:
        RunError: they differ.
    """
    expected = {prediction.id: prediction for prediction in predictions}
    differences = [_apart(answer, expected[e.id]) for e, answer in zip(examples, answers, strict=True)]
    wrong = [e for e, answer in zip(examples, answers, strict=True) if not _same(answer["prediction"], expected[e.id])]
    if wrong or max(differences) > TOLERANCE:
        rule = msg(
            "the saved model differs from the trained one on {wrong} of {rows} {rows:row|rows} "
            "(scores by up to {difference})",
            wrong=len(wrong),
            rows=len(examples),
            difference=max(differences),
        )
        raise RunError(Fault(rule, str(run.model), REMEDY))
    return Proof(len(examples), max(differences))


def _apart(answer: Mapping[str, Any], expected: Prediction) -> float:
    """Return how far two scores are apart or, where there is none, two losses, relative to their size above 1."""
    scores = abs((answer["score"] or 0.0) - (expected.score or 0.0))
    loss = expected.loss or 0.0
    return float(max(scores, abs(answer.get("loss", loss) - loss) / max(1.0, loss)))


def _same(answer: str, expected: Prediction) -> bool:
    if answer == expected.text:
        return True
    try:
        one, other = float(answer), float(expected.text)
    except ValueError:
        return False
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
