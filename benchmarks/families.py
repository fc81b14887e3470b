"""Every family of text models that the installed transformers has, tuned in a tiny size; written into docs/models.md.

python benchmarks/families.py [--only FAMILY ...] [--page] [--out docs/models.md]

Each family is tried in a process of its own. Trials that are there already (runs/bench-families/trials.jsonl) are not
made again, unless they are named with `--only` or failed. With `--page` the page is written of those that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import peft
import transformers

from children import Nursery
from family_trials import EXPORTS, METHODS, TEXT_FAMILIES, WORKS, Trial, try_family

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "runs" / "bench-families" / "trials.jsonl"
KINDS = {"decoder": "Decoders", "encoder": "Encoders", "seq2seq": "Encoder-decoders"}
PACKED, SHARED = "packed", "several sequences in a row"
INTRODUCTION = (
    "# Families of models",
    "",
    "Written by `make bench-families`, with transformers {transformers} and PEFT {peft} on a CPU. Of every family of",
    "text models that transformers has, a tiny model of random weights is built and tuned a few updates by each",
    "method, encoders on labels, the others on instructions; the model of the first method that works is exported,",
    "loaded by transformers and PEFT alone, and gives the same logits. That says that a family works, not that it",
    "learns well.",
    "",
    "**{tuned} of {tried} families tune; {packed} of the {rows} decoders and encoders among them ({share:.0%}) train",
    "packed**: all sequences in one row, or several in each, hidden from each other by a mask. The layout is proven",
    "for each model anew, by the results of its own forward pass.",
    "Classification heads with all methods are in [cross.md](cross.md).",
    "",
)


def kept() -> dict[str, Trial]:
    """Read the trials that are there; of one family the last."""
    lines = KEPT.read_text("utf-8").splitlines() if KEPT.exists() else []
    return {one.family: one for one in (Trial(**json.loads(line)) for line in lines)}


def page(trials: Sequence[Trial]) -> Iterator[str]:
    """Write the page, line by line."""
    tuned = [one for one in trials if one.works]
    rows = [one for one in tuned if one.kind != "seq2seq"]
    packed = [one for one in rows if one.layout in (PACKED, SHARED)]
    figures = {"tuned": len(tuned), "tried": len(trials), "packed": len(packed), "rows": len(rows)}
    versions = {"transformers": transformers.__version__, "peft": peft.__version__}
    for line in INTRODUCTION:
        yield line.format(**figures, **versions, share=len(packed) / max(1, len(rows)))
    for kind, title in KINDS.items():
        yield from table(title, [one for one in tuned if one.kind == kind])
    yield from reasons("Not tuned", {one.family: _refusal(one) for one in trials if not one.works and not one.unbuilt})
    yield from reasons("Not tried", {one.family: one.unbuilt for one in trials if one.unbuilt})


def table(title: str, trials: Sequence[Trial]) -> Iterator[str]:
    """Draw the families of a kind, and the reasons below them."""
    said: dict[str, int] = {}
    words = [*(f"`{word}`" for word in METHODS), *(f"export `{word}`" for word in EXPORTS)]
    yield from (f"## {title}", "", f"| | layout | {' | '.join(words)} |", "|" + "---|" * (len(words) + 2))
    for one in trials:
        outcomes = [one.methods.get(word, "") for word in METHODS] + [one.exports.get(word, "") for word in EXPORTS]
        marks = ["✓" if said_ == WORKS else str(said.setdefault(said_, len(said) + 1)) for said_ in outcomes]
        why = f" ({said.setdefault(f'not packed: {_unpacked(one)}', len(said) + 1)})" if one.unpacked else ""
        yield f"| {one.family} | {one.layout}{why} | {' | '.join(marks)} |"
    yield ""
    yield from (f"{number}. {reason}" for reason, number in said.items())
    yield ""


def reasons(title: str, families: dict[str, str]) -> Iterator[str]:
    """List families by the reason that they share."""
    yield from (f"## {title}", "")
    for reason in sorted(set(families.values())):
        yield f"- {', '.join(name for name, own in families.items() if own == reason)}: {reason}"
    yield ""


def _unpacked(trial: Trial) -> str:
    """Say in words why a family is not packed: how far its results differ depends on random weights."""
    if "state" in trial.unpacked:
        return trial.unpacked
    return "a packed row changes its results" if "differ" in trial.unpacked else "its own code runs no packed row"


def _refusal(trial: Trial) -> str:
    return next(iter(trial.methods.values()), "").replace(trial.family, "…")


def main() -> int:
    """Make the trials and write the page; the status is 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=(), metavar="FAMILY")
    parser.add_argument("--page", action="store_true", help="try none")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "models.md")
    arguments = parser.parse_args()
    trials = kept()
    wanted = arguments.only or [one for one in TEXT_FAMILIES if one not in trials or trials[one].failures]
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, KEPT.open("a", encoding="utf-8") as file:
        nursery = Nursery(Path(folder))
        for family in [] if arguments.page else wanted:
            began = time.perf_counter()
            one = trials[family] = try_family(family, nursery, Path(folder) / family)
            said = one.unbuilt or one.failures or f"{one.layout} {one.unpacked}"
            print(f"{family:24} {time.perf_counter() - began:5.1f} s  {said}", flush=True)
            file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            file.flush()
        nursery.close()
    known = [trials[family] for family in TEXT_FAMILIES if family in trials]
    arguments.out.write_text("\n".join(page(known)), encoding="utf-8")
    failed = {one.family: one.failures for one in known if one.failures}
    print(f"{len(known)} families, {len(failed)} failed: {failed}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
