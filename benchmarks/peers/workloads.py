"""The workloads: what is trained, against whom, and what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Rule = Literal["same losses", "within noise", "same answers"]
"""What must agree before a figure counts: every loss to 1e-4; the course of the losses within what seeds do to it;
what was answered."""


@dataclass(frozen=True)
class Peer:
    """Another way to do the same."""

    script: str
    title: str
    must: float = 0.0
    """How many times as fast Kamerton must be, by the median of the rounds; 0 promises nothing."""
    aim: float = 0.0
    another_way: bool = False
    """Whether it comes to its answers in another way, so that only the scores can be compared."""


@dataclass(frozen=True)
class Data:
    """Where rows come from."""

    file: str
    make: tuple[str, ...]
    """The script of this project, and its arguments, that writes the file."""
    rows: int


@dataclass(frozen=True)
class Workload:
    """One piece of work that all sides do."""

    name: str
    title: str
    peers: tuple[Peer, ...]
    data: Data
    model: str
    settings: Mapping[str, object]
    """The recipe's settings by dotted path."""
    rule: Rule = "same losses"
    seeds: int = 1
    """Rounds take the seeds in turn."""
    touch: float = 2.0
    """GB of memory to touch before each process, so that no side pays for fresh pages."""
    memory: float = 0.0
    """What share of the peer's peak memory Kamerton's may be; 0 promises nothing."""
    script: str = "ours"
    reference: str = ""
    """The side that must agree with ours; every peer if not given."""
    shots: int = 0
    """Solved examples before each row that is read."""
    losses: bool = False
    """Whether the loss of the true answers is measured, where answers are written."""
    flops: bool = False
    """Whether the arithmetic of its updates is counted."""
    updates: int = 0
    """How many updates are made, where not all are: the promised ratio is then that of updates, not of training."""

    @property
    def pace(self) -> str:
        """Give which seconds the promise is about."""
        return "steady" if self.updates else "training"


REVIEWS = Data("movie-reviews.csv", ("examples/get_data.py", "movie-reviews"), 2000)
PACKAGES = Data("packages.jsonl", ("examples/make_docstrings.py", "--as", "text-classification"), 800)
FUNCTIONS = Data("docstrings.jsonl", ("examples/make_docstrings.py",), 300)
MODULES = Data("modules.jsonl", ("examples/make_docstrings.py", "--as", "modules"), 52)
SAME = {"train.weight_decay": 0.0, "model.precision": "fp32"}
CLASSES = {**SAME, "data.task": "text-classification", "data.columns": {"text": "text", "label": "label"}}
FULL = {**CLASSES, "method.name": "full", "train.epochs": 1, "train.batch_size": 32, "train.learning_rate": 3e-5}
ANSWERS = {**SAME, "data.task": "instruction", "method.name": "lora", "method.rank": 16, "train.batch_size": 8}
LORA = {**ANSWERS, "train.epochs": 1, "train.learning_rate": 2e-4}
RANDOM = {
    "llama-1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 21,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    }
}
"""Models of random weights, published in bf16, by their names: sizes of Llama, as TinyLlama's; SmolLM2's tokenizer."""

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "W1",
            "MiniLM, all weights, one epoch of movie reviews, fp32, no dropout",
            (Peer("hf_trainer", "HF Trainer", 2.4, 3.0),),
            REVIEWS,
            "minilm",
            FULL,
            flops=True,
        ),
        Workload(
            "W1d",
            "the same with dropout 0.1",
            (Peer("hf_trainer", "HF Trainer", 4.0, 6.0),),
            REVIEWS,
            "minilm",
            {**FULL, "train.dropout": 0.1},
            rule="within noise",
            seeds=3,
            flops=True,
        ),
        Workload(
            "W1L",
            "as W1 on longer texts, of skewed lengths: which package a function of Python's library is from",
            (Peer("hf_trainer", "HF Trainer", 2.4, 3.0),),
            PACKAGES,
            "minilm",
            FULL,
            touch=6.0,
            flops=True,
        ),
        Workload(
            "W1Ld",
            "the same with dropout 0.1",
            (Peer("hf_trainer", "HF Trainer", 4.0, 6.0),),
            PACKAGES,
            "minilm",
            {**FULL, "train.dropout": 0.1},
            rule="within noise",
            seeds=3,
            touch=6.0,
            flops=True,
        ),
        Workload(
            "W2",
            "MiniLM, only the head, three epochs with evaluation after each, fp32",
            (
                Peer("hf_trainer", "HF Trainer", 6.0, 10.0),
                Peer("setfit_head", "SetFit's embeddings and logistic regression", another_way=True),
            ),
            REVIEWS,
            "minilm",
            {**FULL, "method.name": "head", "train.epochs": 3, "train.learning_rate": 1e-3},
        ),
        Workload(
            "W3",
            "SmolLM2, LoRA r=16 on all linear layers, loss on answers only, one epoch, fp32",
            (Peer("trl_sft", "TRL SFTTrainer", 2.5, 3.0),),
            FUNCTIONS,
            "smollm2",
            LORA,
            touch=8.0,
            memory=0.5,
            flops=True,
        ),
        Workload(
            "W3b",
            "the same in bf16",
            (Peer("trl_sft", "TRL SFTTrainer in bf16", 3.0, 5.0), Peer("ours_exact", "Kamerton in fp32")),
            FUNCTIONS,
            "smollm2",
            {**LORA, "model.precision": "bf16"},
            rule="within noise",
            seeds=3,
            touch=8.0,
            reference="ours_exact",
            flops=True,
        ),
        Workload(
            "W8",
            "a Llama of 1.1 billion random weights in bf16, LoRA r=16 on all linear layers, three updates of 4 rows",
            (Peer("trl_sft", "TRL SFTTrainer in bf16", 2.5),),
            replace(FUNCTIONS, rows=40),
            "llama-1b",
            {**LORA, "model.precision": "bf16", "train.batch_size": 4},
            rule="within noise",
            seeds=3,
            touch=8.0,
            memory=0.5,
            flops=True,
            updates=3,
        ),
        Workload(
            "W4",
            "SmolLM2, LoRA on the last two layers, three epochs, what is frozen computed once, fp32",
            (Peer("trl_sft", "TRL SFTTrainer", 6.0, 10.0), Peer("peft_loop", "PEFT in a plain loop", 4.0, 6.0)),
            FUNCTIONS,
            "smollm2",
            {**LORA, "method.layers": 2, "train.epochs": 3},
            touch=6.0,
        ),
        Workload(
            "W5",
            "SmolLM2, the labels of 200 reviews scored after eight solved examples (about 500 tokens), fp32",
            (Peer("hf_generate", "HF generate, batched", 4.0, 8.0),),
            replace(REVIEWS, rows=400),
            "smollm2",
            {**CLASSES, "method.name": "lora", "split.test": 0.5},
            rule="same answers",
            touch=6.0,
            script="ours_reading",
            shots=8,
        ),
        Workload(
            "W5g",
            "SmolLM2, 100 docstrings of at most 32 tokens written, fp32",
            (Peer("hf_generate", "HF generate, batched", 1.5, 3.0),),
            replace(FUNCTIONS, rows=200),
            "smollm2",
            {**LORA, "split.test": 0.5, "evaluate.max_new_tokens": 32},
            rule="same answers",
            touch=4.0,
            script="ours_reading",
        ),
        Workload(
            "W5L",
            "SmolLM2, docstrings of at most 32 tokens written for 12 programs of about 1,350 tokens, and the loss of "
            "the true ones, fp32",
            (Peer("hf_generate", "HF generate, batched, and a forward pass for the loss", 3.0),),
            MODULES,
            "smollm2",
            {**LORA, "split.test": 0.32, "evaluate.max_new_tokens": 32},
            rule="same answers",
            touch=8.0,
            script="ours_reading",
            losses=True,
        ),
    )
}
