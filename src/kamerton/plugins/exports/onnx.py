"""The merged model as an ONNX graph, which ONNX Runtime computes without torch."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kamerton.core import registry
from kamerton.core.children import run_python
from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.errors import Unusable
from kamerton.core.exporting import ExportProof, Original, Tuned
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded
from kamerton.forms.supervision import target_losses
from kamerton.models.fresh import LAST
from kamerton.plugins.exports._shared import SPARE, WEIGHT, Exporting, copy_cards, is_installed, merge, unproven
from kamerton.plugins.exports._transformers import difference_of, require_close

FILE, EXTRA, NAME = "model.onnx", "onnx", "ONNX Runtime"
RUNTIME = "onnxruntime"
NEEDED = ("onnx", "onnxscript")
TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest of all: kernels add in another order."""
SIDES = "AutoModelForSeq2SeqLM"


class Onnx(Exporting):
    """Write an ONNX graph of the model's forward pass with transformers' own exporter, for ONNX Runtime.

    Rows and lengths are free. A model that writes has no cache of keys and values in the graph.
    """

    int8: bool = Field(False, description="Round matrices to 8 bits; the test rows are answered again then.")

    def refuses(self, tuned: Tuned) -> Wording:
        """Refuse encoder-decoders, of which two graphs would be needed."""
        if tuned.form.model_class == SIDES:
            return msg("an encoder-decoder is not written as ONNX; use --to merged")
        for module in NEEDED:
            registry.require(module, EXTRA)
        return ""

    def room(self, tuned: Tuned) -> int:
        """Return the bytes of the weights, of a copy for the exporter, and of a rounded one."""
        return 3 * WEIGHT * tuned.facts.parameters + SPARE

    def write(self, tuned: Tuned, folder: Path) -> Sequence[str]:
        """Merge, and write graph, configuration with label names, and tokenizer. Raises `Unusable` if it cannot be."""
        model = merge(tuned)
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as place:
            model.save_pretrained(place)
            job = {"folder": place, "auto": tuned.form.model_class, "inputs": list(tuned.inputs), "int8": self.int8,
                   "context": tuned.facts.context, "out": str((folder / FILE).absolute())}  # fmt: skip
            program = Path(place) / "job.json"
            program.write_text(json.dumps(job), encoding="utf-8")
            child = run_python(str(Path(__file__).with_name("_to_onnx.py")), str(program))
            if child.returncode:
                last = child.stderr.strip().rpartition("\n")[2]
                raise Unusable(msg("the exporter of transformers cannot write it: {error}", error=last))
        model.config.save_pretrained(folder)
        tuned.tokenizer.save_pretrained(folder)
        copy_cards(tuned, folder)
        return ["pip install onnxruntime tokenizers"]

    def prove(self, original: Original, folder: Path) -> ExportProof:
        """Require the run's own logits in ONNX Runtime, unless they are rounded."""
        if not is_installed(RUNTIME):
            return unproven(RUNTIME, EXTRA)
        graph = Graph(folder / FILE)
        found = {f"{number}.{name}": values[:, -LAST:] if values.dim() > 2 else values
                 for number, row in enumerate(original.inputs) for name, values in graph.run(row).items()}  # fmt: skip
        difference = difference_of(original.logits, found)
        if not self.int8:
            require_close(difference, TOLERANCE)
        return ExportProof(len(original.inputs), difference, NAME)

    def engine(self, original: Original, folder: Path) -> Engine | None:
        """Answer with the rounded graph."""
        if not self.int8 or not is_installed(RUNTIME):
            return None
        limits = original.max_tokens, original.max_new_tokens
        return OnnxEngine(Graph(folder / FILE), original.tokenizer, *limits)


@dataclass(frozen=True)
class Graph:
    """A graph in ONNX Runtime."""

    path: Path

    @cached_property
    def _session(self) -> Any:
        runtime = registry.require(RUNTIME, EXTRA)
        return runtime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])

    def run(self, inputs: dict[str, Tensor] | Any) -> dict[str, Tensor]:
        """Return the logits by their names."""
        names = [one.name for one in self._session.get_outputs()]
        wanted = [one.name for one in self._session.get_inputs()]
        whole = {"token_type_ids": torch.zeros_like(inputs["input_ids"]), **inputs}
        found = self._session.run(None, {name: whole[name].cpu().numpy() for name in wanted})
        return {name: torch.from_numpy(one) for name, one in zip(names, found, strict=True) if name.endswith("logits")}


@dataclass(frozen=True)
class OnnxEngine:
    """A graph as an engine, row by row."""

    graph: Graph
    tokenizer: Tokenizer
    max_tokens: int
    max_new_tokens: int

    def _outputs(self, tokens: Sequence[int], segments: Sequence[int] = ()) -> Tensor:
        """Return a row's logits: `[positions, classes]`, or `[1, classes]` of a pooled head."""
        ids = torch.tensor([list(tokens)])
        types = {"token_type_ids": torch.tensor([list(segments)])} if segments else {}
        found = self.graph.run({"input_ids": ids, "attention_mask": torch.ones_like(ids), **types})
        if "logits" not in found:  # of a span's two ends
            return torch.stack([found["start_logits"][0], found["end_logits"][0]], dim=-1)
        return found["logits"] if found["logits"].dim() == 2 else found["logits"][0]

    def read(self, items: Sequence[Encoded]) -> list[np.ndarray]:
        """Return the logits at each item's output positions: arrays `[outputs, classes]`."""
        rows = ((item, self._outputs(item.tokens, item.segments)) for item in items)
        return [(row[list(item.output_positions)] if len(row) == len(item.tokens) else row).numpy()
                for item, row in rows]  # fmt: skip

    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return each item's negative log-likelihood, summed over its targets: `[items]`, nats."""
        logits = [torch.from_numpy(row) for row in self.read(items)]
        return np.array([float(target_losses(row, [item])[0]) for row, item in zip(logits, items, strict=True)])

    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        """Continue each prompt greedily, without a cache: the graph has none."""
        return [self.tokenizer.decode(self._continued(prompt.tokens), skip_special_tokens=True) for prompt in prompts]

    def _continued(self, tokens: Sequence[int]) -> list[int]:
        new = list[int]()
        while len(new) < self.max_new_tokens:
            token = int(self._outputs([*tokens, *new])[-1].argmax())
            if token == self.tokenizer.eos_token_id:
                break
            new.append(token)
        return new

    def answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[np.ndarray, list[str]]:
        """Return the losses of `items` and the continuations of `prompts`."""
        return self.losses(items), self.generate(prompts)

    def embed(self, items: Sequence[Encoded]) -> np.ndarray:
        """Refuse: the graph has logits only."""
        raise Unusable(msg("an ONNX graph of a head gives no embeddings"))
