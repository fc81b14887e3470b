"""What the peers that stand on transformers' Trainer share: its settings, the order of rows, the watch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from protocol import Job, Result, Watch, peak_memory
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback


class Timed(TrainerCallback):
    """Count updates as training, and nothing else."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.watch.stepped()

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self.watch.begin()

    def on_save(self, *_: Any, **__: Any) -> None:
        self.watch.begin()


def ordered(trainer: type[Trainer], job: Job) -> type[Trainer]:
    """Derive a trainer that takes the rows of each update as the job says."""

    class Ordered(trainer):  # type: ignore[misc, valid-type]
        def get_train_dataloader(self) -> DataLoader:
            return DataLoader(self.train_dataset, batch_sampler=job.updates, collate_fn=self.data_collator)

    return Ordered


def arguments(job: Job, folder: Path) -> dict[str, Any]:
    """Give the settings that make both sides' trainings one: everything else is the peer's own default."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": job.batch,
        "per_device_eval_batch_size": job.eval_batch,
        "max_steps": len(job.updates),
        "max_grad_norm": job.clip,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": min(job.updates_per_epoch, len(job.updates)),
        "save_strategy": "steps",
        "save_steps": min(job.updates_per_epoch, len(job.updates)),
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "bf16": job.precision == "bf16",
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": job.seed,
    }


def optimizer(job: Job, model: nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Make fused AdamW, as the trainer does itself, with the job's rate for each update and no decay."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adamw = torch.optim.AdamW(weights, lr=1.0, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: job.rates[min(step, len(job.rates) - 1)])
    return adamw, schedule


def result(trainer: Trainer, watch: Watch, scores: dict[str, float]) -> Result:
    """Gather what the trainer logged."""
    log: Sequence[dict[str, float]] = trainer.state.log_history
    return Result(
        [line["loss"] for line in log if "loss" in line],
        [line["eval_loss"] for line in log if "eval_loss" in line],
        scores["eval_loss"],
        scores.get("eval_accuracy"),
        peak_bytes=peak_memory(),
        **watch.seconds(),
    )
