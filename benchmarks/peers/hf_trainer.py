"""transformers' Trainer on a sequence classifier: padded to the longest of each batch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from _trainer import Timed, arguments, optimizer, ordered, result
from protocol import Job, Row, open_job, write
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, Trainer, TrainingArguments


def load(job: Job) -> PreTrainedModel:
    """Load the initial model with the job's dropout; what does not train is frozen."""
    config = AutoConfig.from_pretrained(job.model)
    for name in vars(config):
        if name.endswith("dropout_prob"):
            setattr(config, name, job.dropout)
    model = AutoModelForSequenceClassification.from_pretrained(job.model, config=config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in job.trainable
    return model


def rows(part: list[Row]) -> list[dict[str, Any]]:
    """Give rows as the model takes them."""
    return [{"input_ids": row.tokens, "label": row.targets[0]} for row in part]


def collate(batch: list[dict[str, Any]], pad: int) -> dict[str, torch.Tensor]:
    """Pad on the right to the longest of the batch."""
    longest = max(len(row["input_ids"]) for row in batch)
    gaps = [longest - len(row["input_ids"]) for row in batch]
    return {
        "input_ids": torch.tensor([row["input_ids"] + [pad] * gap for row, gap in zip(batch, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps]),
        "labels": torch.tensor([row["label"] for row in batch]),
    }


def main() -> None:
    """Train, score, write the result."""
    job, watch, path = open_job()
    torch.set_num_threads(job.threads)
    model = load(job)
    watch.begin()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        trainer = ordered(Trainer, job)(
            model=model,
            args=TrainingArguments(**arguments(job, Path(folder))),
            train_dataset=rows(job.train),
            eval_dataset=rows(job.validation),
            data_collator=lambda batch: collate(batch, job.pad),
            compute_metrics=lambda e: {"accuracy": float((e.predictions.argmax(-1) == e.label_ids).mean())},
            callbacks=[Timed(watch)],
            optimizers=optimizer(job, model),
        )
        trainer.train()
        trainer.save_model(f"{folder}/model")
        scores = trainer.evaluate(rows(job.test))
        trainer.state.log_history.pop()  # the test rows' scores are no validation
        write(path, result(trainer, watch, scores))


if __name__ == "__main__":
    main()
