"""Every task, kind of model and method goes together, or is refused before anything runs; here a sample of the cross.

`make bench-cross` makes all of it. The sample takes each task with each kind of model and each kind of classification
head once, with the methods by turns, so that each method is met several times.
"""

from __future__ import annotations

from itertools import cycle

import pytest

from crossing import Cell, Line, Models, cross, lines_of_heads, lines_of_tasks
from kamerton.core import registry

# PEFT asks transformers by an old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

METHODS = registry.names("methods")
POPULAR = (
    "bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "deberta", "deberta-v2", "mpnet", "albert",
    "modernbert", "xlnet", "bart", "gpt2", "llama", "qwen3", "t5",
)  # fmt: skip
"""Families whose heads differ: of one layer or two, with a pooler beside, with other names, for the last token."""
FAILED_ONCE = (
    ("language-modeling, encoder", "head"),  # a bias that BERT shares was saved once, and loaded as zeros
    ("question-answering, encoder", "head"),  # a span's head has two outputs
    ("electra", "lora"),  # a part of a head was saved beside the whole
)


def sample() -> list[tuple[Line, str]]:
    """Choose a method for each line, by turns."""
    lines = [*lines_of_tasks(), *(line for line in lines_of_heads() if line.model in POPULAR)]
    chosen = list(zip(lines, cycle(METHODS), strict=False))
    met = {(line.title, method) for line, method in chosen}
    again = [one for one in FAILED_ONCE if one not in met]
    return chosen + [(line, word) for line in lines for title, word in again if title == line.title]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(
    ("line", "method"), sample(), ids=lambda value: value if isinstance(value, str) else value.title
)
def test_a_cell_works_to_the_end_and_elsewhere_or_is_refused_at_the_door(line, method, models, nursery, tmp_path):
    outcome = cross(Cell(line.task, method, models[line.model], line.settings), tmp_path / "cell", nursery)
    if outcome.refused:
        assert "→" in outcome.refused
    else:
        assert outcome.updates > 0


def test_the_sample_meets_every_method_task_and_kind():
    chosen = sample()
    assert {method for _, method in chosen} == set(METHODS)
    assert {line.task for line, _ in chosen} == set(registry.names("tasks"))
    assert set(POPULAR) <= {line.model for line, _ in chosen}
