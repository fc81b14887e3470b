"""PEFT in a plain loop, as its documentation shows it: forward with labels, backward, step."""

from __future__ import annotations

from typing import Any

import torch
from _trainer import optimizer
from peft import PeftModel
from protocol import Job, Result, Row, open_job, peak_memory, write
from torch import Tensor
from transformers import AutoModelForCausalLM


def load(job: Job) -> Any:
    """Load the base model and the initial adapter over it."""
    base = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, job.adapter, is_trainable=True)


def batch(rows: list[Row], pad: int) -> dict[str, Tensor]:
    """Pad rows on the right to the longest of them."""
    longest = max(len(row.tokens) for row in rows)
    gaps = [longest - len(row.tokens) for row in rows]
    pairs = list(zip(rows, gaps, strict=True))
    return {
        "input_ids": torch.tensor([row.tokens + [pad] * gap for row, gap in pairs]),
        "attention_mask": torch.tensor([[1] * len(row.tokens) + [0] * gap for row, gap in pairs]),
        "labels": torch.tensor([row.labels + [-100] * gap for row, gap in pairs]),
    }


def mean_loss(model: Any, rows: list[Row], job: Job) -> float:
    """Give the mean loss of rows, batch by batch."""
    model.eval()
    parts = [rows[start : start + job.eval_batch] for start in range(0, len(rows), job.eval_batch)]
    with torch.no_grad():
        losses = [float(model(**batch(part, job.pad)).loss) * len(part) for part in parts]
    model.train()
    return sum(losses) / len(rows)


def main() -> None:
    """Train, score, write the result."""
    job, watch, path = open_job()
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    model = load(job)
    watch.begin()
    adamw, schedule = optimizer(job, model)
    losses, validations = [], []
    model.train()
    for step, chosen in enumerate(job.updates, 1):
        loss = model(**batch([job.train[i] for i in chosen], job.pad)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], job.clip)
        adamw.step()
        schedule.step()
        adamw.zero_grad()
        losses.append(float(loss))
        watch.stepped()
        if step % job.updates_per_epoch == 0 or step == len(job.updates):
            validations.append(mean_loss(model, job.validation, job))
            watch.begin()
    model.save_pretrained(path.parent / "model")
    test = mean_loss(model, job.test, job)
    write(path, Result(losses, validations, test, peak_bytes=peak_memory(), **watch.seconds()))


if __name__ == "__main__":
    main()
