"""`kamerton verify`, and that no command uses a damaged file of a run in silence."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from stories import DONE, MISTAKE, QUICK, Place

FILES = ("recipe.yaml", "environment.json", "data/train.parquet", "model/adapter_config.json", "predictions.parquet")


@pytest.fixture
def copied(place: Place, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    shutil.copytree(place.run("lora").path, tmp_path / "run")
    return tmp_path / "run"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_an_intact_run_is_verified(place, copied):
    ended = place.call("verify", copied)
    assert ended.status == DONE and "files are as the run wrote them" in ended.out
    found = json.loads(place.call("verify", copied, "--json").out)
    assert found["files"] > 10 and found["faults"] == [] and found["versions"] is None


def test_all_that_is_damaged_is_told_at_once_with_its_remedy(place, copied):
    (copied / "report.html").unlink()
    flip(copied / "model" / "adapter_model.safetensors")
    (copied / "model" / "pytorch_model.bin").write_bytes(b"pickle")
    flip(copied / "events.jsonl")
    flip(next((copied / "checkpoints").glob("step-*/weights.safetensors")))
    ended = place.call("verify", copied, "--json")
    faults = {Path(one["place"]).name: one for one in json.loads(ended.out)["faults"]}
    names = {name.partition(":")[0] for name in faults}
    assert ended.status == MISTAKE
    assert names >= {"report.html", "adapter_model.safetensors", "events.jsonl", "pytorch_model.bin"} and any(
        "step-" in n for n in names
    )
    assert "resume" in faults["report.html"]["remedy"]


def test_a_missing_list_of_checksums_is_told_but_not_of_a_run_that_never_had_one(place, copied):
    (copied / "MANIFEST.json").unlink()
    ended = place.call("verify", copied)
    assert ended.status == MISTAKE and "MANIFEST.json: the run's list of checksums is missing" in ended.err
    for log in copied.rglob("*.jsonl"):
        log.write_text(re.sub(r', "crc": "\w{8}"(?=}$)', "", log.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    ended = place.call("verify", copied)
    assert ended.status == DONE and "before runs had checksums" in ended.out


@pytest.mark.parametrize("name", FILES)
def test_no_command_uses_a_damaged_file(place, copied, name):
    flip(copied / name)
    for words in (("predict", copied, "a warm film"), ("resume", copied), ("verify", copied)):
        ended = place.call(*words)
        used = words[0] != "predict" or name != "predictions.parquet"
        assert ended.status == (MISTAKE if used else DONE), ended.said
        assert not used or (Path(name).name in ended.err and "damaged" in ended.err and "Traceback" not in ended.err)


def test_what_is_made_anew_may_be_deleted(place, copied):
    before = json.loads((copied / "result.json").read_text())
    (copied / "result.json").unlink()
    (copied / "report.html").unlink()
    assert place.call("resume", copied).status == DONE
    after = json.loads((copied / "result.json").read_text())
    assert after["verdict"] == before["verdict"] and place.call("verify", copied).status == DONE


def test_other_versions_are_told_once(place, copied):
    state = json.loads((copied / "environment.json").read_text())
    state["libraries"]["torch"] = "1.0"
    (copied / "environment.json").write_text(json.dumps(state))
    (copied / "MANIFEST.json").unlink()  # as in a run of an older version
    ended = place.call("predict", copied, "a warm film")
    assert ended.status == DONE and ended.err.count("torch 1.0 →") == 1


def test_a_log_that_was_cut_between_two_lines_is_noticed(place, copied):
    log = copied / "events.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    for words in (("report", copied), ("resume", copied), ("verify", copied)):
        ended = place.call(*words)
        assert ended.status == MISTAKE and "events.jsonl" in ended.err and "damaged" in ended.err, ended.said


def test_a_damaged_run_inside_a_run_stops_a_resume(place, tmp_path):
    ended = place.call("tune", "reviews.csv", "--model", "encoder", "--method", "head", "--seeds", "2", *QUICK,
                       "--out", tmp_path / "run")  # fmt: skip
    assert ended.status == DONE, ended.said
    for name in ("events.jsonl", "MANIFEST.json"):
        flip(tmp_path / "run" / "seeds" / "1" / name)
        ended = place.call("resume", tmp_path / "run")
        assert ended.status == MISTAKE and f"seeds/1/{name}" in ended.err, ended.said
