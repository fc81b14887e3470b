"""TRL's SFTTrainer over a PEFT model: padded to the longest of each batch, only the answers taught.

Its own gradient checkpointing, which is on by default and costs a third of the speed, is off.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from _trainer import Timed, arguments, optimizer, ordered, result
from datasets import Dataset
from peft import PeftModel
from protocol import Job, Row, open_job, write
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def load(job: Job) -> Any:
    """Load the base model and the initial adapter over it."""
    base = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, job.adapter, is_trainable=True)


def rows(part: list[Row]) -> Dataset:
    """Give rows as the trainer takes them when they are tokenized already."""
    return Dataset.from_list([{"input_ids": row.tokens, "labels": row.labels} for row in part])


def main() -> None:
    """Train, score, write the result."""
    job, watch, path = open_job()
    torch.set_num_threads(job.threads)
    model = load(job)
    watch.begin()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        settings = SFTConfig(
            **arguments(job, Path(folder)),
            max_length=None,
            gradient_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        )
        trainer = ordered(SFTTrainer, job)(
            model=model,
            args=settings,
            train_dataset=rows(job.train),
            eval_dataset=rows(job.validation),
            processing_class=AutoTokenizer.from_pretrained(job.model),
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
