"""Several adapters over one base: each answers as it does by itself; what does not fit is refused with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from kamerton.runs.run import Run
from stories import DONE, MISTAKE, QUICK, RUNS, Place

TEXTS = ("a warm film, a delight", "a thin plot, dull and cold", "тёплый фильм")


def second_run(place: Place) -> str:
    """Tell a run with another seed and another rank over the base of the run `lora`."""
    if not (place.folder / "lora-2").exists():
        ended = place.call("tune", *RUNS["lora"], "--seed", "1", "--set", "method.rank=2", "--out", "lora-2", *QUICK)
        assert ended.status == DONE, ended.err
    place.run("lora")
    return "lora-2"


def lines_of(place: Place, *arguments: str, stdin: str) -> list[dict[str, object]]:
    ended = place.call("predict", *arguments, "--json", stdin=stdin)
    assert ended.status == DONE, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def test_adapters_over_one_base_answer_in_turn_as_each_does_by_itself(place):
    other, stdin = second_run(place), "\n".join(TEXTS)
    together = lines_of(place, "lora", "-", "--adapter", other, stdin=stdin)
    assert [line["run"] for line in together] == ["lora", other] * len(TEXTS)
    for name in ("lora", other):
        alone = lines_of(place, name, "-", stdin=stdin)
        mine = [line for line in together if line["run"] == name]
        assert [line["prediction"] for line in mine] == [line["prediction"] for line in alone]
        assert [line["score"] for line in mine] == pytest.approx([line["score"] for line in alone], rel=1e-6)
    scores = {line["run"]: line["score"] for line in together}
    assert len(set(scores.values())) == 2


def test_without_json_each_answer_names_its_run(place):
    ended = place.call("predict", "lora", TEXTS[0], "--adapter", second_run(place))
    assert ended.status == DONE, ended.err
    assert [line.split("\t")[0] for line in ended.out.splitlines()] == ["lora", "lora-2"]


def refused(place: Place, first: str, second: str) -> str:
    ended = place.call("predict", first, TEXTS[0], "--adapter", second)
    assert ended.status == MISTAKE
    assert "Traceback" not in ended.err
    return str(ended.err)


def test_a_whole_model_is_no_adapter(place):
    place.run("full")
    place.run("lora")
    for pair in (("lora", "full"), ("full", "lora")):
        assert "only adapters can share one base" in refused(place, *pair)


def over_another_base(place: Place, name: str) -> Path:
    """Copy the base, and a run that says that it was tuned over the copy."""
    base = place.folder / f"base-{name}"
    shutil.copytree(place.folder / "encoder", base)
    return base


def tell_over(place: Place, name: str) -> str:
    ended = place.call("tune", "reviews.csv", "--model", f"base-{name}", *RUNS["lora"][3:], "--out", name, *QUICK)
    assert ended.status == DONE, ended.err
    return name


def changed_weights(base: Path) -> None:
    weights = load_file(base / "model.safetensors")
    next(iter(weights.values())).flatten()[0].add_(1.0)
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


def changed_tokenizer(base: Path) -> None:
    settings = json.loads((base / "tokenizer_config.json").read_text("utf-8"))
    (base / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 64}), "utf-8")


CHANGES = {"other weights": changed_weights, "another tokenizer": changed_tokenizer}


@pytest.mark.parametrize("difference", sorted(CHANGES))
def test_an_adapter_over_another_base_is_refused_with_what_differs(place, difference):
    place.run("lora")
    name = difference.replace(" ", "-")
    CHANGES[difference](over_another_base(place, name))
    err = refused(place, "lora", tell_over(place, name))
    assert f"another base: {difference}\n" in err


@pytest.mark.parametrize("difference", sorted(CHANGES))
def test_a_base_that_changed_since_is_refused_with_what_differs(place, difference):
    name = f"since-{difference.replace(' ', '-')}"
    base = over_another_base(place, name)
    tell_over(place, name)
    CHANGES[difference](base)
    ended = place.call("predict", name, TEXTS[0])
    assert ended.status == MISTAKE
    assert f"has changed since this run began: {difference}\n" in ended.err


def test_an_adapter_with_other_labels_is_refused(place):
    place.run("lora")
    rows = (place.folder / "reviews.csv").read_text("utf-8").replace(",good", ",fine")
    (place.folder / "fine.csv").write_text(rows, "utf-8")
    ended = place.call("tune", "fine.csv", *RUNS["lora"][1:], "--out", "fine", *QUICK)
    assert ended.status == DONE, ended.err
    assert "other labels" in refused(place, "lora", "fine")
    assert Run(place.folder / "fine").finished
