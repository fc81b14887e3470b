"""Label noise as training saw it: rows that are never learned while the rows most like them are, under another label.

Wrong labels are learned last (Arpit et al., ICML 2017) and gather among the rows that are never answered rightly
(Swayamdipta et al., EMNLP 2020). So do rows that are only hard: what tells the two apart is that the neighbors of a
wrong label are easy, and agree against it.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from kamerton.core.messages import msg
from kamerton.core.outcomes import Diagnosis
from kamerton.core.records import Example, RowDynamics
from kamerton.text.features import text_features

NEIGHBORS, AGAINST = 5, 4
"""How many of the most alike rows are looked at, and how many must be learned under another label."""
LEAST, SHARE = 5, 0.02
"""Fewest rows, and share of all rows, that count: clean hand-labelled sets have 1 to 3% wrong labels."""
MOSTLY = 0.5
"""Share of the never learned rows that must be contradicted; where fewer are, rows are hard rather than wrong."""
LOOKED_AT = 20_000
"""Most rows whose neighbors are looked for."""
NAMED = 3


def diagnose_rows(seen: Sequence[RowDynamics], train: Sequence[Example]) -> list[Diagnosis]:
    """Find label noise among rows whose answers are classes; empty where no row was met twice."""
    dynamics = {row.id: row for row in seen if row.visits > 1}
    known = [example for example in train if example.id in dynamics][:LOOKED_AT]
    shares = np.array([dynamics[example.id].correctness for example in known])
    never, learned = shares == 0, shares >= 0.5
    wanted = max(LEAST, SHARE * len(known))
    if never.sum() < wanted or learned.sum() <= NEIGHBORS:
        return []
    against = never & (_contradicting(known, learned, never) >= AGAINST)
    if against.sum() < max(wanted, MOSTLY * never.sum()):
        return []
    evidence = msg(
        "{wrong} of {rows} training rows were never answered correctly, while at least {least} of the {count} rows "
        "most like each were learned with another label: {places}",
        wrong=int(against.sum()),
        rows=len(known),
        least=AGAINST,
        count=NEIGHBORS,
        places=", ".join(str(known[i].place) for i in np.flatnonzero(against)[:NAMED]),
    )
    remedy = msg("`kamerton audit DATA` lists the probable wrong labels; correct them in the source and train again")
    return [Diagnosis("label noise", evidence, remedy)]


def _contradicting(rows: Sequence[Example], learned: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Count each asked row's nearest others that were learned under another label: `[rows]`, 0 for rows not asked."""
    features = csr_matrix(text_features().fit_transform([example.text for example in rows]))
    golds = np.array([example.gold for example in rows])
    counts = np.zeros(len(rows), dtype=int)
    for i in np.flatnonzero(asked):
        alike = np.asarray((features @ features[i].T).todense())[:, 0]
        alike[i] = -1.0
        nearest = np.argsort(-alike, kind="stable")[:NEIGHBORS]
        counts[i] = int((learned[nearest] & (golds[nearest] != golds[i])).sum())
    return counts
