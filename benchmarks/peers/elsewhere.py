"""Tune a model as most people do, by plain libraries alone, and answer rows with it by a plain script.

    python elsewhere.py tune KIND BASE TRAIN FOLDER
    python elsewhere.py answer KIND FOLDER TEST ANSWERS MOST

KIND is `trainer` (a classifier by transformers' Trainer), `peft` (LoRA by PEFT and the Trainer) or `trl` (LoRA by TRL's
SFTTrainer). Nothing of Kamerton is imported, and settings that are not named here are the libraries' own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

IGNORED = -100
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
Rows = list[dict[str, Any]]


def settings(folder: str, rate: float) -> dict[str, Any]:
    """Return the arguments of a short training on a CPU."""
    return {
        "output_dir": f"{folder}-trainer",
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": rate,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 0,
    }


def train(model: Any, tokenizer: Any, rows: Rows, collator: Any, folder: str, rate: float) -> None:
    """Train a model on encoded rows, and save it."""
    arguments = TrainingArguments(**settings(folder, rate))
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer, data_collator=collator)
    trainer.train()
    trainer.save_model(folder)


def tune_trainer(base: str, rows: Rows, folder: str) -> None:
    """Tune a classifier with a new head by transformers' Trainer."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    names = sorted({row["label"] for row in rows})
    model = AutoModelForSequenceClassification.from_pretrained(
        base, id2label=dict(enumerate(names)), label2id={name: id for id, name in enumerate(names)}
    )
    encoded = [{**tokenizer(row["text"], truncation=True), "labels": names.index(row["label"])} for row in rows]
    collator = DataCollatorWithPadding(tokenizer)
    train(model, tokenizer, encoded, collator, folder, 1e-4)


def tune_peft(base: str, rows: Rows, folder: str) -> None:
    """Tune a LoRA adapter by PEFT and the Trainer: the prompt in the model's template, the loss on the answer."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**LORA))
    encoded = []
    for row in rows:
        asked = [{"role": "user", "content": row["instruction"]}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(row["output"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        encoded.append({"input_ids": ids + answer, "labels": [IGNORED] * len(ids) + answer})
    collator = DataCollatorForSeq2Seq(tokenizer)
    train(model, tokenizer, encoded, collator, folder, 5e-4)


def tune_trl(base: str, rows: Rows, folder: str) -> None:
    """Tune a LoRA adapter by TRL's SFTTrainer on conversations."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    data = Dataset.from_list([{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows])
    arguments = SFTConfig(**settings(folder, 5e-4), gradient_checkpointing=False)
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=data, peft_config=LoraConfig(**LORA))
    trainer.train()
    trainer.save_model(folder)


def answer(kind: str, folder: str, rows: Rows, most: int) -> list[str]:
    """Answer row by row: the likeliest class, or a greedy continuation of the prompt."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if kind == "trainer":
        head = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        texts = [tokenizer(row["text"], truncation=True, return_tensors="pt") for row in rows]
        return [head.config.id2label[int(head(**text).logits[0].argmax())] for text in texts]
    model, answers = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), []
    for row in rows:
        turns = row["messages"][:-1] if kind == "trl" else [{"role": "user", "content": row["instruction"]}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        whole = model.generate(**prompt, max_new_tokens=most, do_sample=False, eos_token_id=tokenizer.eos_token_id)
        answers.append(tokenizer.decode(whole[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return answers


def main() -> None:
    """Do what the command line says."""
    torch.manual_seed(0)
    _, verb, kind, model, data, out, *most = sys.argv
    rows = [json.loads(line) for line in Path(data).read_text("utf-8").splitlines()]
    if verb == "tune":
        {"trainer": tune_trainer, "peft": tune_peft, "trl": tune_trl}[kind](model, rows, out)
        return
    with torch.no_grad():
        Path(out).write_text(json.dumps(answer(kind, model, rows, int(most[0]))), encoding="utf-8")


if __name__ == "__main__":
    main()
