"""Check Kamerton on this machine's accelerator, in about eight minutes: `make check-gpu`.

python benchmarks/check_gpu.py [--small] [--out runs/check-gpu.json]

Each step writes its figures, each with its bound, or the reason why this machine cannot do it; the file is written
anew after each. With `--small` the sizes are those of the tests, which run this on a pretend GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from crossing import Models
from kamerton.core import registry
from kamerton.core.errors import KamertonError
from kamerton.core.records import Halved
from kamerton.engine.device_attention import FUSED, attend_on_device
from kamerton.engine.engine import make_engine
from kamerton.engine.layout import Padded
from kamerton.engine.packed import AttentionScores, attend_apart
from kamerton.engine.profile import profile_flops
from kamerton.forms.dialogue import Dialogue
from kamerton.kernels.device import (
    BF16_FROM,
    CPU,
    FP16_FROM,
    capability_of,
    choose_device,
    free_bytes,
    name_of,
    peak_bytes,
    synchronize,
)
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.precision import HALVES, choose_precision, hold_in_half, set_precision
from kamerton.train import loop
from on_a_card import job_of, resumed, rows_of
from stories import QUICK, write_answers
from tiny_engines import HEAD, TEXT, facts_of

ROOT = Path(__file__).parent.parent
CLASSES = {"encoder": HEAD, "decoder": TEXT, "seq2seq": "AutoModelForSeq2SeqLM"}
DENSE_BF16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Operations a second in bf16 without sparsity: half of what NVIDIA's H100 and H200 datasheets (SXM) state with it;
A100's datasheet states both."""
FORM = Dialogue(ask=lambda example: example.text)


class Skipped(Exception):  # noqa: N818  # no error
    """This machine lacks what a step needs."""


@dataclass(frozen=True)
class Site:
    """Where the checks run, and how large they are."""

    device: torch.device
    models: Models
    folder: Path
    small: bool


def bound(value: float, most: float) -> dict[str, Any]:
    """Return a figure that must not be larger than its bound."""
    return {"value": value, "at most": most, "ok": bool(value <= most)}


def machine(site: Site) -> dict[str, Any]:
    """State versions, the card and its free bytes."""
    versions = {name: metadata.version(name) for name in ("kamerton", "torch", "transformers", "peft")}
    return {**versions, "device": str(site.device), "name": name_of(site.device), "free": free_bytes(site.device)}


def methods(site: Site) -> dict[str, Any]:
    """Compare each method on each kind of model with the CPU: logits and gradients in fp32, and the layout taken."""
    words = [word for word in registry.names("methods") if word not in ("peft", "qlora")]
    found = {}
    for kind in ("decoder",) if site.small else CLASSES:
        for word in ("lora",) if site.small else words:
            (layout, logits, gradient), (_, wanted, right) = (passed(site, kind, word, d) for d in (site.device, CPU))
            differs = {
                "logits": bound(distance(logits, wanted), 1e-4),
                "gradient": bound(distance(gradient, right), 1e-3),
            }
            found[f"{kind} {word}"] = {"layout": layout, **differs}
    return found


def passed(site: Site, kind: str, word: str, device: torch.device) -> tuple[str, Tensor, Tensor]:
    """Return the layout that a method takes on a device, the logits, and the gradient of all that trains."""
    base = site.models[kind]
    config = {"num_labels": 2} if kind == "encoder" else {}
    loaded = load_model(base, CLASSES[kind], config, seed=0, device=str(device))
    method = registry.choose("methods", word)()
    if reason := method.refuses(loaded.model):
        return f"refused: {reason}", torch.zeros(1), torch.zeros(1)
    torch.manual_seed(0)
    model = method.attach(loaded.model, loaded.fresh)
    rows = (
        rows_of(6) if kind != "encoder" else [replace(row, output_positions=(0,), targets=(1,)) for row in rows_of(6)]
    )
    limits = {"max_tokens": 64, "max_new_tokens": 4, "tokens_per_pass": 4096}
    layout = make_engine(model, load_tokenizer(facts_of(base)), facts_of(base), rows[:3], **limits).layout
    model.eval()
    logits = layout.logits(model, rows)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(logits.float().square().mean(), trained, allow_unused=True)
    joined = torch.cat([one.detach().flatten().cpu() for one in gradients if one is not None])
    return str(layout.name), logits.detach().cpu(), joined


def distance(one: Tensor, other: Tensor) -> float:
    """Return how far two results are apart, relative to the second."""
    return float((one - other).norm() / (other.norm() + 1e-30))


def stop_and_resume(site: Site) -> dict[str, Any]:
    """Train with dropout, undisturbed and in two parts."""
    return {"weights": bound(resumed(site.models["decoder"], site.folder)["resumed differs by"], 1e-5)}


def writing(site: Site) -> dict[str, Any]:
    """Decode by ourselves and by transformers: the same texts, and how fast."""
    _, ours = job_of(site.models["decoder"], site.folder, rows_of(4))
    prompts = [replace(row, output_positions=(), targets=()) for row in rows_of(4 if site.small else 32)]
    texts, seconds = [], []
    for engine in (ours, replace(ours, shared=None)):
        texts.append(engine.generate(prompts))
        seconds.append(timed(site.device, lambda engine=engine: engine.generate(prompts)))
    same = sum(one != other for one, other in zip(*texts, strict=True))
    return {
        "taken": ours._decodes,
        "other texts": bound(same, 0),
        "seconds relative to HF": bound(seconds[0] / seconds[1], 1.0 if not site.small else 1e9),
    }


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of three calls, after one to warm up."""
    seconds = []
    for _ in range(4):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def attention(site: Site) -> dict[str, Any]:
    """Compare attention in 16 bits with each sequence alone in fp32: by the kernel of lengths, and padded."""
    if (capability := capability_of(site.device)) < FP16_FROM:
        raise Skipped("this device has no units for products in 16 bits")
    lengths = tuple(len(row.tokens) for row in rows_of(16, 500))
    draw = torch.Generator().manual_seed(0)
    states = [torch.randn(1, heads, sum(lengths), 64, generator=draw).to(site.device) for heads in (32, 4, 4)]
    boundaries = torch.tensor(list(accumulate(lengths, initial=0)), dtype=torch.int32, device=site.device)
    half = torch.bfloat16 if capability >= BF16_FROM else torch.float16
    found: dict[str, Any] = {"type": str(half)}
    for causal, window in ((True, None), (True, 128), (False, None)):
        alone = partial(attend_apart, lengths=lengths, scores=AttentionScores(0.125, causal, window, None, None, 0.0))
        wanted = with_gradients(states, alone)
        for name, ends in (("by lengths", boundaries), ("padded", None)):
            rules = {"causal": causal, "window": window, "dropout": 0.0, "half": half}
            with sdpa_kernel(FUSED):
                way = partial(attend_on_device, lengths=lengths, boundaries=ends, scale=0.125, **rules)
                pairs = zip(with_gradients(states, way), wanted, strict=True)
                found[f"{name}, causal {causal}, window {window}"] = {
                    "differs": bound(max(distance(one.cpu(), other.cpu()) for one, other in pairs), 2e-2),
                    "seconds": timed(site.device, lambda way=way: with_gradients(states, way)),
                }
    return found


def with_gradients(states: Sequence[Tensor], way: Callable[..., Tensor]) -> list[Tensor]:
    """Return a result, and the gradients of its squares."""
    given = [one.clone().requires_grad_() for one in states]
    result = way(*given)
    return [result.detach(), *torch.autograd.grad(result.square().mean(), given)]


def training(site: Site) -> dict[str, Any]:
    """Train LoRA on a Llama-like model of 1.1B random weights, 16 rows of 50 to 500 tokens: packed, padded, in bf16."""
    sizes = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32}
    config = LlamaConfig(vocab_size=32_000, num_key_value_heads=4, max_position_embeddings=1024, **sizes)
    if site.small:
        config = LlamaConfig.from_pretrained(site.models["decoder"])
    longest = 24 if site.small else 500
    rows = rows_of(16, longest)
    loaded = LlamaForCausalLM(config).to(site.device)
    precision = str(choose_precision(site.device).value)
    set_precision(loaded, precision)
    model = registry.choose("methods", "lora")().attach(loaded, ())
    if half := HALVES.get(precision):
        hold_in_half(model, half, rounded=True)
    facts = facts_of(site.models["decoder"])
    limits = {"max_tokens": longest, "max_new_tokens": 4, "tokens_per_pass": 1 << 14}
    packed = make_engine(model, load_tokenizer(facts), facts, rows[:3], **limits).layout
    found: dict[str, Any] = {"precision": precision, "layout": str(packed.name)}
    for name, layout in (("packed", packed), ("padded", Padded())):

        def learn(layout: Any = layout) -> None:
            model.train()
            FORM.losses(layout.logits(model, rows).float(), rows).sum().backward()
            model.zero_grad(set_to_none=True)

        found[f"{name} seconds"] = timed(site.device, learn)
    costs = profile_flops(model, packed, FORM, rows)
    operations = costs.of(sum(len(row.tokens) for row in rows), sum(len(row.output_positions) for row in rows))
    most = next((speed for card, speed in DENSE_BF16.items() if card in name_of(site.device)), None)
    found["padded relative to packed"] = found["padded seconds"] / found["packed seconds"]
    found["operations a second"] = operations / found["packed seconds"]
    found["utilisation"] = found["operations a second"] / most if most else "unknown: no figure for this card"
    with torch.no_grad():
        losses = [
            float(FORM.losses(packed.logits(model.train(way), rows).float(), rows).mean()) for way in (True, False)
        ]
    found["loss, relative to fp32"] = bound(abs(losses[0] / losses[1] - 1), 1e-2)
    return {**found, "peak bytes": peak_bytes(site.device)}


def little_memory(site: Site) -> dict[str, Any]:
    """Train in a memory that is too small: the passes are halved, then the lack is told with remedies."""
    card = torch.get_device_module(site.device)
    if site.device.type not in ("cuda", "gpu"):
        raise Skipped(f"the memory of {site.device.type} cannot be bounded")
    job, _ = job_of(site.models["decoder"], site.folder / "little", rows_of(16))
    total, halved = card.mem_get_info(site.device)[1], False
    card.set_per_process_memory_fraction((card.memory_allocated(site.device) + (1 << 16)) / total)
    try:
        for event in loop.train(job):
            halved |= isinstance(event, Halved)
    except KamertonError as error:
        return {"halved": halved, "told": str(error)}
    finally:
        card.set_per_process_memory_fraction(1.0)
    raise Skipped("the allocator had kept enough memory from the steps before")


def four_bits(site: Site) -> dict[str, Any]:
    """Tune with QLoRA, and export."""
    if site.device.type != "cuda":
        raise Skipped("bitsandbytes computes in four bits on CUDA, and not on this device")
    return commands(site, "qlora", ["export", "qlora", "--to", "adapter"])


def whole(site: Site) -> dict[str, Any]:
    """Tune by the command line, and predict in a fresh process."""
    if site.device.type == "gpu":
        raise Skipped("a pretend GPU is of one process")
    return commands(site, "lora", ["predict", "lora", "Name the number 7."])


def commands(site: Site, method: str, after: Sequence[str]) -> dict[str, Any]:
    """Run `kamerton tune` with a method and another command; both must end well."""

    write_answers(site.folder / "answers.jsonl")
    model = str(site.models["decoder"])
    tune = ["tune", "answers.jsonl", "--model", model, "--method", method, "--epochs", "1", *QUICK, "--out", method]
    found = {}
    for words in (tune, after):
        ended = subprocess.run(
            [sys.executable, "-m", "kamerton", *words], cwd=site.folder, capture_output=True, text=True
        )
        found[words[0]] = bound(ended.returncode, 0) | {"said": ended.stderr[-500:]}
    return found


STEPS = (machine, methods, stop_and_resume, writing, attention, training, little_memory, four_bits, whole)


def kept(values: Any) -> bool:
    """Return whether all figures keep their bounds."""
    return not isinstance(values, Mapping) or (values.get("ok", True) and all(map(kept, values.values())))


def main(arguments: Sequence[str]) -> int:
    """Run all steps; return 1 if one failed or a figure does not keep its bound."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "check-gpu.json")
    given = parser.parse_args(arguments)
    device = choose_device()
    if device == CPU:
        print("torch finds no accelerator here", file=sys.stderr)
        return 1
    given.out.parent.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        site = Site(device, Models(Path(place) / "models"), Path(place), given.small)
        site.models.folder.mkdir()
        for step in STEPS:
            began = time.perf_counter()
            try:
                outcome: dict[str, Any] = {"found": step(site)}
            except Skipped as reason:
                outcome = {"skipped": str(reason)}
            except Exception:  # noqa: BLE001  # the other steps are of use
                outcome = {"failed": traceback.format_exc()}
            done.append({"step": step.__name__, "seconds": round(time.perf_counter() - began, 1), **outcome})
            given.out.write_text(json.dumps(done, indent=1), encoding="utf-8")
            print(json.dumps(done[-1]), flush=True)
    return int(any("failed" in one or not kept(one.get("found")) for one in done))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
