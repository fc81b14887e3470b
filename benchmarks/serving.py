"""Serve beside other servers, and under attack: speed, seconds to the first token, memory after 20,000 attacks.

    python benchmarks/serving.py speed WRITER CLASSIFIER [--gguf FILE] [--rounds 3]
    python benchmarks/serving.py harness WRITER CLASSIFIER
    python benchmarks/serving.py attack WRITER CLASSIFIER [--attacks 20000]

WRITER is a run of smollm2, CLASSIFIER one of minilm. All servers run at the same time and are asked in turn, round by
round, so that a busy machine is busy for each: only the ratios count, those of CPU seconds most. transformers' server
and a FastAPI script around its pipeline run in the peers' environment, on the exported, merged models; llama.cpp's
server (xllamacpp) on a GGUF file of the same merged model in f32. `harness` has lm-eval, in the same environment, ask
a generative task of the writer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from http.client import HTTPConnection
from pathlib import Path

import httpx2
from openai import OpenAI, OpenAIError

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from hostile_requests import Attacker, carry_out  # noqa: E402

PEERS = ROOT / ".venv-peers" / "bin" / "python"
CLIENTS, TOKENS, WARM, PROMPT_TOKENS = 8, 64, 4, 200
RULE = "Answer as a patient teacher who explains each step, gives an example, and repeats the main point at the end. "
TEXTS = [f"The film number {n} is warm, funny and a little too long for my taste." for n in range(256)]
LLAMA = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_parallel, params.n_ctx, params.verbosity, params.n_gpu_layers = 8, 8 * 1024, -1, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[3])
server = xllamacpp.Server(params)
time.sleep(10**6)
"""
PIPELINE = """
import sys, torch, uvicorn
from fastapi import FastAPI
from transformers import pipeline
torch.set_num_threads(int(sys.argv[3]))
classify = pipeline("text-classification", model=sys.argv[1], device="cpu")
app = FastAPI()
@app.post("/classify")
def answer(body: dict):
    return classify(body["input"])
@app.get("/health")
def health():
    return {}
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""
TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rows.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 16, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@dataclass
class Peer:
    """A server that is asked."""

    name: str
    command: Sequence[str]
    port: int
    model: str
    process: subprocess.Popen[bytes] | None = None
    rounds: int = 0
    speeds: list[float] = field(default_factory=list)
    works: list[float] = field(default_factory=list)
    """CPU seconds of the server for a token or a row."""
    firsts: list[float] = field(default_factory=list)
    answers: list[tuple[str, float]] = field(default_factory=list)
    """Labels and scores of the last round."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.address}/v1", api_key="none", max_retries=0, timeout=1800)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the server so far, by proc(5)."""
        assert self.process
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")

    def measured(self, work: Callable[[], int]) -> None:
        """Note the speed of some work, which returns how many tokens or rows it had answered."""
        began, before = time.perf_counter(), self.cpu_seconds()
        count = work()
        self.speeds.append(count / (time.perf_counter() - began))
        self.works.append((self.cpu_seconds() - before) / count)

    def start(self, threads: int) -> None:
        variables = {"OMP_NUM_THREADS": str(threads), **OFFLINE}
        self.process = subprocess.Popen(
            self.command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 900
        while time.monotonic() < end:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
            try:
                if httpx2.get(f"{self.address}/health", timeout=5).status_code < 500:
                    return
            except httpx2.TransportError:
                time.sleep(0.5)
        raise TimeoutError(self.name)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def kamerton(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "kamerton", *map(str, arguments)]


def exported(run: Path, folder: Path) -> Path:
    target = folder / run.name
    subprocess.run(kamerton("export", run, "--to", "merged", "--out", target), check=True, stdout=subprocess.DEVNULL)
    return target


def system_prompt() -> str:
    """Return a system prompt of about 200 tokens, which all clients share."""
    return RULE * (PROMPT_TOKENS // 20)


def write_one(peer: Peer, question: str, most: int) -> tuple[int, float]:
    """Stream one answer; return its tokens and the seconds to the first."""
    messages = [{"role": "system", "content": system_prompt()}, {"role": "user", "content": question}]
    began, first, tokens = time.perf_counter(), 0.0, 0
    for chunk in peer.client.chat.completions.create(
        model=peer.model, messages=messages, max_tokens=most, temperature=0, stream=True,
        stream_options={"include_usage": True},
    ):  # fmt: skip
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.perf_counter() - began
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    return tokens, first


def write_round(peer: Peer, most: int = TOKENS) -> None:
    """Have all clients ask at once; in each round something new behind the same system prompt."""
    peer.rounds += 1
    first = 100 * peer.rounds
    questions = [f"Explain in detail how one counts from {n} to {n + 50}." for n in range(first, first + CLIENTS)]

    def write() -> int:
        with ThreadPoolExecutor(CLIENTS) as pool:
            done = list(pool.map(lambda question: write_one(peer, question, most), questions))
        peer.firsts += [first for _, first in done]
        return sum(tokens for tokens, _ in done)

    peer.measured(write)


def classify_round(peer: Peer) -> None:
    """Have each client ask for one text after the other over its own connection; these cost a tenth of httpx2's."""
    path, model = ("/v1/classify", {"model": peer.model}) if peer.model else ("/classify", {})

    def ask(texts: Sequence[str]) -> list[tuple[str, float]]:
        connection, answers = HTTPConnection("127.0.0.1", peer.port, timeout=600), list[tuple[str, float]]()
        for text in texts:
            began = time.perf_counter()
            connection.request("POST", path, json.dumps({**model, "input": text}), {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
            peer.firsts.append(time.perf_counter() - began)
            [one] = answer["data"] if peer.model else answer
            answers.append((one["label"], one["score"]))
        return answers

    def classify() -> int:
        with ThreadPoolExecutor(CLIENTS) as pool:
            parts = pool.map(ask, [TEXTS[first::CLIENTS] for first in range(CLIENTS)])
            peer.answers = [one for part in parts for one in part]
        return len(TEXTS)

    peer.measured(classify)


def compete(
    peers: Sequence[Peer],
    once: Callable[[Peer], None],
    warm: Callable[[Peer], None],
    rounds: int,
    threads: int,
    unit: str,
) -> None:
    """Ask all servers round by round, after a short one that warms up, and print speeds and ratios.

    A peer that does not start or does not answer here is told and left out.
    """
    able = list[Peer]()
    try:
        for peer in peers:
            try:
                peer.start(threads)
                warm(peer)
            except (AssertionError, OpenAIError, ZeroDivisionError) as error:
                print(json.dumps({"server": peer.name, "fails": f"{type(error).__name__}: {error}"[:300]}), flush=True)
                peer.stop()
            else:
                able.append(peer)
                peer.speeds, peer.works, peer.firsts = [], [], []
        for _ in range(rounds):
            for peer in able:
                once(peer)
    finally:
        for peer in peers:
            peer.stop()
    first = able[0]
    for peer in able:
        ratios = [mine / theirs for mine, theirs in zip(first.speeds, peer.speeds, strict=True)]
        works = [theirs / mine for mine, theirs in zip(first.works, peer.works, strict=True)]
        p95 = sorted(peer.firsts)[int(0.95 * (len(peer.firsts) - 1))]
        about = {"server": peer.name, unit: round(statistics.median(peer.speeds), 2), "p95_seconds": round(p95, 3)}
        about["cpu_milliseconds"] = round(1000 * statistics.median(peer.works), 2)
        lists = {"ours_to_it": ratios, "by_cpu": works}
        rounded = {name: [round(ratio, 2) for ratio in ratios] for name, ratios in lists.items()}
        print(json.dumps({**about, **rounded}), flush=True)


def speed(writer: Path, classifier: Path, gguf: Path | None, rounds: int, threads: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        merged, port = exported(classifier, Path(temporary)), free_port()
        pipeline = [str(PEERS), "-c", PIPELINE, str(merged), str(port), str(threads)]
        peers = [ours(classifier), Peer("pipeline", pipeline, port, "")]
        compete(peers, classify_round, classify_round, rounds, threads, "rows_a_second")
        pairs = list(zip(peers[0].answers, peers[1].answers, strict=True))
        differs = max(abs(mine[1] - theirs[1]) for mine, theirs in pairs)
        assert all(mine[0] == theirs[0] for mine, theirs in pairs) and differs < 1e-5, differs
        warm = partial(write_round, most=WARM)
        if gguf:
            port = free_port()
            other = Peer("llama.cpp", [str(PEERS), "-c", LLAMA, str(gguf), str(port), str(threads)], port, "default")
            compete([ours(writer), other], write_round, warm, rounds, threads, "tokens_a_second")
        merged = exported(writer, Path(temporary))
        for batching in (["--continuous-batching"], []):  # one round each: they take minutes
            port = free_port()
            serve = ["-m", "transformers.cli.transformers", "serve", str(merged), "--port", str(port)]
            command = [str(PEERS), *serve, "--dtype", "float32", *batching]
            other = Peer(" ".join(["transformers serve", *batching]), command, port, str(merged))
            compete([ours(writer), other], write_round, warm, 1, threads, "tokens_a_second")


def ours(run: Path) -> Peer:
    port = free_port()
    return Peer("kamerton", kamerton("serve", run, "--port", port), port, run.name)


def harness(writer: Path) -> None:
    """Have lm-eval ask a task of its own kind, by both of OpenAI's ways, and print its table."""
    peer = ours(writer)
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"question": f"What is {n} and {n + 1}?", "answer": str(2 * n + 1)} for n in range(8)]
        Path(folder, "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        Path(folder, "sums.yaml").write_text(TASK.replace("FOLDER", folder), encoding="utf-8")
        try:
            peer.start(2)
            for kind, path in (("local-completions", "completions"), ("local-chat-completions", "chat/completions")):
                model = f"model={peer.model},base_url={peer.address}/v1/{path},tokenizer_backend=None,num_concurrent=4"
                chat = ["--apply_chat_template"] if "chat" in kind else []
                command = [str(PEERS), "-m", "lm_eval", "run", "--model", kind, "--model_args", model, *chat]
                command += ["--tasks", "sums", "--include_path", folder]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, env={**os.environ, **OFFLINE}
                )
                assert done.returncode == 0, done.stderr[-3000:]
                print(done.stdout, flush=True)
        finally:
            peer.stop()


def attack(writer: Path, classifier: Path, attacks: int) -> None:
    """Attack a server, and print what it answered and how much memory it has gained."""
    port = free_port()
    peer = Peer("kamerton", kamerton("serve", writer, classifier, "--port", port), port, writer.name)
    right = {"model": classifier.name, "input": "a warm film"}
    attacker, answered = Attacker(0, writer.name, classifier.name), Counter[int]()

    def one(number: int) -> int:
        if number % 50 == 0:
            answered[httpx2.post(f"{peer.address}/v1/classify", json=right, timeout=60).status_code] += 1
        return carry_out(attacker.draw(), port)

    def memory() -> float:
        text = httpx2.get(f"{peer.address}/metrics", timeout=60).text
        found = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
        assert found
        return float(found[1]) / 2**20

    try:
        peer.start(2)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, range(attacks // 10)))  # warm: caches and the allocator's arenas are filled
            before = memory()
            statuses = Counter(pool.map(one, range(attacks)))
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        answered[httpx2.post(f"{peer.address}/v1/classify", json=right, timeout=60).status_code] += 1
        for connection in crowd:
            connection.close()
        time.sleep(15)
        gained = memory() - before
    finally:
        peer.stop()
    status = peer.process.returncode if peer.process else None
    print(json.dumps({"attacks": attacks, "statuses": dict(sorted(statuses.items())), "well_formed": dict(answered),
                      "memory_gained_mb": round(gained, 1), "ended_with": status}))  # fmt: skip
    assert status == 0 and not any(one >= 500 for one in statuses), "the server failed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "harness", "attack"))
    parser.add_argument("writer", type=Path)
    parser.add_argument("classifier", type=Path)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--attacks", type=int, default=20_000)
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.writer, given.classifier, given.gguf, given.rounds, given.threads)
    elif given.what == "harness":
        harness(given.writer)
    else:
        attack(given.writer, given.classifier, given.attacks)


if __name__ == "__main__":
    main()
