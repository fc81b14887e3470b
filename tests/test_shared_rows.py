"""Several sequences in a row, hidden from each other by a mask: what the model's own rows give, in fewer rows."""

from __future__ import annotations

import pytest
import torch
import transformers

from kamerton.core.records import Encoded
from kamerton.engine.layout import SharedRows, Unpadded, in_mode
from kamerton.engine.verify import prove_layout
from tiny_families import tiny_family

FAMILIES = {
    "falcon": "AutoModelForCausalLM",
    "gptj": "AutoModelForCausalLM",
    "gpt_neo": "AutoModelForCausalLM",
    "rembert": "AutoModelForSequenceClassification",
}
LENGTHS = (12, 30, 7, 17, 30, 9)


def rows_for(family: str) -> list[Encoded]:
    """Make rows that are read at their first token, or at their last."""
    first = FAMILIES[family].endswith("Classification")
    return [Encoded(tuple(range(5 + n, 5 + 2 * n)), (0 if first else n - 1,), (1,)) for n in LENGTHS]


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_rows_give_the_logits_and_gradients_of_rows_alone(family, tmp_path):
    model = getattr(transformers, FAMILIES[family]).from_pretrained(tiny_family(family, tmp_path / "model"))
    for weight in model.parameters():  # random models attend to all alike
        weight.data.mul_(1.5)
    rows, found = rows_for(family), []
    layout = prove_layout(model, lambda way: way.logits(model, rows[:3]))
    assert isinstance(layout, SharedRows)
    assert not layout.together
    with in_mode(model, training=False):
        for way in (layout, Unpadded()):
            logits = way.logits(model, rows)
            gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()), allow_unused=True)
            found.append([logits.detach(), torch.cat([one.flatten() for one in gradients if one is not None])])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_no_shared_row_is_wider_than_the_longest_sequence_and_states_are_laid_as_they_are_picked():
    rows, layout = rows_for("falcon"), SharedRows("scores")
    assert layout._rows(rows) == [[1], [4], [3, 0], [5, 2]]
    states = [torch.full((len(row.tokens), 2), float(number)) for number, row in enumerate(rows)]
    assert layout.pick(layout.lay(states, rows), rows)[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
