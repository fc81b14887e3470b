"""transformers' own `generate` in batches padded on the left.

Where a label is chosen it writes one token, and the label whose first token is the most probable is taken: the
cheapest way there is to have it choose. The loss of true answers takes a forward pass of its own.
"""

from __future__ import annotations

import torch
from protocol import Job, Result, open_job, peak_memory, write
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

AT_ONCE = 16
"""Prompts in a batch: more were not faster on two cores."""
MEASURED = 4
"""Rows in a batch whose loss is measured: at 1,400 tokens each, the logits of four take 1.1 GB, and so do copies."""


def answers(job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Answer every prompt."""
    written = []
    for start in range(0, len(job.prompts), AT_ONCE):
        batch = job.prompts[start : start + AT_ONCE]
        longest = max(map(len, batch))
        gaps = [longest - len(prompt) for prompt in batch]
        out = model.generate(
            input_ids=torch.tensor([[job.pad] * gap + prompt for gap, prompt in zip(gaps, batch, strict=True)]),
            attention_mask=torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps]),
            max_new_tokens=job.new_tokens,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=job.pad,
            return_dict_in_generate=True,
            output_logits=bool(job.choices),
        )
        if job.choices:
            names, firsts = list(job.choices), list(job.choices.values())
            written += [names[best] for best in out.logits[0][:, firsts].argmax(dim=1).tolist()]
        else:
            written += tokenizer.batch_decode(out.sequences[:, longest:], skip_special_tokens=True)
    return written


def loss(job: Job, model: PreTrainedModel) -> float:
    """Measure the mean loss of the true answers' tokens, a few rows at once: all logits of a batch are in memory."""
    total = count = 0.0
    for start in range(0, len(job.test), MEASURED):
        batch = job.test[start : start + MEASURED]
        longest = max(len(row.tokens) for row in batch)
        gaps = [longest - len(row.tokens) for row in batch]
        taught = sum(len(row.output_positions) for row in batch)
        mean = model(
            input_ids=torch.tensor([row.tokens + [job.pad] * gap for row, gap in zip(batch, gaps, strict=True)]),
            attention_mask=torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps]),
            labels=torch.tensor([row.labels + [-100] * gap for row, gap in zip(batch, gaps, strict=True)]),
        ).loss
        total, count = total + taught * mean.item(), count + taught
    return total / count


def main() -> None:
    """Answer, write the result."""
    job, watch, path = open_job()
    torch.set_num_threads(job.threads)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32).eval()
    watch.begin()
    texts = answers(job, model, tokenizer)
    with torch.no_grad():
        test_loss = loss(job, model) if job.losses else 0.0
    watch.stepped()
    write(path, Result(answers=texts, test_loss=test_loss, peak_bytes=peak_memory(), **watch.seconds()))


if __name__ == "__main__":
    main()
