"""A stranger's model folder comes in through no door: as a base, an export, a run's own model, or an adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hostile_models import DOORS, SECONDS
from kamerton.models.saved import save_model


@pytest.fixture(scope="session")
def place(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is harmless behind each door."""
    place = tmp_path_factory.mktemp("hostile")
    harmless, tokenizer = place / "harmless", AutoTokenizer.from_pretrained(encoder_folder)
    shutil.copytree(encoder_folder, harmless / "base")
    whole = AutoModelForSequenceClassification.from_pretrained(harmless / "base", num_labels=2)
    save_model(harmless / "whole", whole, tokenizer)
    save_model(harmless / "adapter", get_peft_model(whole, LoraConfig(r=2, task_type="SEQ_CLS")), tokenizer)
    return place


@pytest.mark.parametrize("door", DOORS)
def test_what_is_hostile_is_refused_at_the_door_and_what_is_harmless_comes_in(door, place, nursery):
    ended = nursery.run("hostile_models:knock", door, str(place), cwd=place)
    print(ended.out)
    told = {line["kind"]: line for line in map(json.loads, ended.out.splitlines())}
    assert told.keys() == {"", *DOORS[door][2]}, ended.said  # else it was killed: a hang, an abort
    assert "refused" not in told[""] and "fell" not in told.pop("")
    assert {kind: line["fell"] for kind, line in told.items() if "fell" in line} == {}
    assert [kind for kind, line in told.items() if "refused" not in line] == []
    assert [kind for kind, line in told.items() if line["ran"] or line["seconds"] > SECONDS] == []
    assert [
        kind for kind, line in told.items() if "→" not in line["refused"] or str(place) not in line["refused"]
    ] == []
