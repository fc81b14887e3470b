"""What every test stands on: no network, one thread, and the tiny models."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["KAMERTON_LANGUAGE"] = "en"  # whatever the locale of who runs the tests
os.environ["KAMERTON_DEVICE"] = "cpu"  # whose arithmetic the golden values are of; a pretend GPU has tests of its own

import hypothesis
import pytest
import torch

import tiny_models
from children import Nursery
from stories import Place, write_answers, write_reviews
from studio_browser import Server, Visitor, chromium, visitor

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a script's background: tests press Ctrl-C in children
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # the models are tiny: a second thread would only wait for work, and burn time at it
# The same examples every time, however busy the machine is.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")


def pytest_collection_finish() -> None:
    """Let no search for garbage go through what was imported: it would take a third of a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT."""
    return tiny_models.tiny_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture(scope="session")
def decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat template."""
    return tiny_models.tiny_decoder(tmp_path_factory.mktemp("tiny") / "decoder")


@pytest.fixture(scope="session")
def seq2seq_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny T5."""
    return tiny_models.tiny_seq2seq(tmp_path_factory.mktemp("tiny") / "seq2seq")


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A process that has imported everything, and forks others."""
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    nursery: Nursery,
    encoder_folder: Path,
    decoder_folder: Path,
    seq2seq_folder: Path,
) -> Place:
    """A folder with data and models in which runs are told, each when it is first asked for."""
    folder = tmp_path_factory.mktemp("story")
    for name, model in (("encoder", encoder_folder), ("decoder", decoder_folder), ("seq2seq", seq2seq_folder)):
        (folder / name).symlink_to(model)
    write_reviews(folder / "reviews.csv")
    write_answers(folder / "answers.jsonl")
    return Place(folder, nursery)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for one file: its loop would be in the way of tests that run loops of their own."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def inside(browser: Any, server: Server) -> Iterator[Visitor]:
    """A browser that the studio of a file, its fixture `server`, has let in; it asks nobody else for anything."""
    with visitor(browser, server) as found:
        yield found
    assert found.foreign() == []
