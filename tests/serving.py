"""A server on tiny runs, in a process of its own, for all tests that ask one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from openai import OpenAI

from children import Child, Ended, kamerton
from kamerton.serve import models
from stories import ASKED, DONE, Place

SAID = ("A warm film.", "Тёплый фильм.")
WRITES = ("echo.jsonl", "--task", "instruction", "--max-rows", "40", "--set", "evaluate.shots=0")
TUNED: Mapping[str, tuple[str, ...]] = {
    "writer": (*WRITES, "--model", "decoder", "--method", "full", "--epochs", "6", "--learning-rate", "1e-2"),
    "first": (*WRITES, "--model", "trained", "--method", "lora", "--epochs", "2", "--learning-rate", "1e-2",
              "--set", "method.rank=4"),
    "second": (*WRITES, "--model", "trained", "--method", "lora", "--epochs", "3", "--learning-rate", "2e-2",
               "--set", "method.rank=8", "--set", "seed=5"),
    "soft": (*WRITES, "--model", "trained", "--method", "prompt-tuning", "--epochs", "1", "--learning-rate", "0.1"),
    "rewriter": (*WRITES, "--model", "seq2seq", "--method", "full", "--epochs", "4", "--learning-rate", "1e-2"),
    "likely": ("reviews.csv", "--model", "trained", "--method", "lora", "--epochs", "1", "--learning-rate", "1e-2"),
}  # fmt: skip
"""A model that answers in two languages, adapters and prompt tokens over it, an encoder-decoder, and an adapter that
chooses labels by their likelihood."""


def tune_writers(place: Place) -> None:
    """Tune what is served."""
    rows = [{"instruction": ASKED[n % 4].format(n), "output": f"{SAID[n % 2]} {n}"} for n in range(64)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (place.folder / "echo.jsonl").write_text(text, encoding="utf-8")
    for name, arguments in TUNED.items():
        ended = place.call("tune", *arguments, "--out", name, "--set", "evaluate.resamples=200")
        assert ended.status == DONE, ended.said
        if name == "writer":
            shutil.copytree(place.folder / "writer" / "model", place.folder / "trained")


@dataclass
class Server:
    """A running server."""

    child: Child
    address: str = ""

    @classmethod
    def start(cls, place: Place, *arguments: object) -> Server:
        """Start one, and wait until it is ready."""
        server = cls(place.start("serve", *arguments, "--port", "0"))
        while not (ready := server.logged("ready")):
            assert not server.child.has_ended, server.child.wait().said
            time.sleep(0.02)
        server.address = ready[0]["address"]
        return server

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of an event."""
        lines = self.child.err.read_text("utf-8").split("\n")[:-1]
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in records if record["event"] == event]

    def client(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.address}/v1", api_key=key, max_retries=0, timeout=60)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return httpx2.get(self.address + path, headers=headers, timeout=60)

    def post(self, path: str, body: object, **headers: str) -> httpx2.Response:
        return httpx2.post(self.address + path, json=body, headers=headers, timeout=60)

    def stop(self) -> Ended:
        """Send SIGTERM, and wait for the end."""
        self.child.kill(signal.SIGTERM, group=False)
        return self.child.wait()


def kamerton_with_key(arguments: list[str]) -> None:
    """Be the command line, with a key in the environment."""
    os.environ["KEY_OF_A_TEST"] = "a key of more than sixteen letters"
    kamerton(arguments)


def serve_unchanged(arguments: list[str]) -> None:
    """Serve adapters whose update is zero, as if the library had not found their weights."""
    load = models.Predictor

    def load_empty(*given: Any) -> Any:
        predictor = load(*given)
        for name, weights in predictor.engine.model.named_parameters():
            if "lora_B" in name:
                weights.data.zero_()
        return predictor

    models.Predictor = load_empty
    kamerton(["serve", *arguments, "--port", "0"])
