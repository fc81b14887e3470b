"""Models that transformers' Trainer and PEFT tune alone, without any code of Kamerton's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

COLORS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black", "sun": "yellow", "blood": "red"}
IGNORED = -100


def questions(count: int) -> list[dict[str, str]]:
    """Return requests with one of six answers."""
    drawn = random.Random(0)
    things = [drawn.choice(sorted(COLORS)) for _ in range(count)]
    forms = ("What color is {}, number {}?", "Tell me the color of {} ({}).", "Какого цвета {}, вопрос {}?")
    return [
        {"instruction": drawn.choice(forms).format(thing, number), "output": COLORS[thing]}
        for number, thing in enumerate(things)
    ]


def conversations(count: int) -> list[dict[str, list[dict[str, object]]]]:
    """Return conversations with two questions and their answers, some after a system prompt."""
    rows, asked = [], questions(2 * count)
    for number, pair in enumerate(zip(asked[::2], asked[1::2], strict=True)):
        turns = [{"role": "system", "content": "Name the color."}] if number % 2 else []
        for one in pair:
            turns += [{"role": "user", "content": one["instruction"]}, {"role": "assistant", "content": one["output"]}]
        rows.append({"messages": turns})
    return rows


def classifier(base: Path, folder: Path, rows: Sequence[tuple[str, str]], names: Sequence[str]) -> Path:
    """Tune a head whose outputs have these names, standing for `good` and `bad` in this order."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(0)
    id2label = dict(enumerate(names))
    model = AutoModelForSequenceClassification.from_pretrained(
        base, id2label=id2label, label2id={name: id for id, name in id2label.items()}
    )
    encoded = [{**tokenizer(text, truncation=True), "labels": int(label == "bad")} for text, label in rows]
    return _trained(model, tokenizer, encoded, DataCollatorWithPadding(tokenizer), folder, epochs=3)


def writer(base: Path, folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Tune an encoder-decoder."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_pretrained(base)
    encoded = [
        {"input_ids": tokenizer(row["instruction"])["input_ids"], "labels": tokenizer(row["output"])["input_ids"]}
        for row in rows
    ]
    return _trained(model, tokenizer, encoded, DataCollatorForSeq2Seq(tokenizer, model), folder, epochs=6)


def adapter(base: Path, folder: Path, rows: Sequence[dict[str, str]], template: str | None = None) -> Path:
    """Tune a LoRA adapter on conversations in the tokenizer's chat template, or in another one."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = template or tokenizer.chat_template
    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    encoded = []
    for row in rows:
        asked = [{"role": "user", "content": row["instruction"]}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(row["output"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        encoded.append({"input_ids": ids + answer, "labels": [IGNORED] * len(ids) + answer})
    return _trained(model, tokenizer, encoded, DataCollatorForSeq2Seq(tokenizer), folder, epochs=8)


def _trained(model: Any, tokenizer: Any, rows: list[Any], collator: Any, folder: Path, epochs: int) -> Path:
    arguments = TrainingArguments(
        output_dir=str(folder.with_name(f"{folder.name}-trainer")),
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        learning_rate=5e-3,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer, data_collator=collator)
    trainer.train()
    trainer.save_model(str(folder))
    return folder


# ── what a plain script answers ───────────────────────────────────────────────────────────────


def classes_of(folder: Path, texts: Sequence[str]) -> list[str]:
    """Answer by a saved classifier, row by row."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        logits = [model.eval()(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0] for text in texts]
    return [model.config.id2label[int(row.argmax())] for row in logits]


def said(model: Any, tokenizer: Any, prompt: Tensor, most: int) -> str:
    """Continue a prompt greedily."""
    with torch.no_grad():
        whole = model.eval().generate(prompt, max_new_tokens=most, do_sample=False, eos_token_id=tokenizer.eos_token_id)
    start = 0 if model.config.is_encoder_decoder else prompt.shape[1]
    return tokenizer.decode(whole[0, start:], skip_special_tokens=True).strip()
