"""transformers' own `generate` in batches padded on the left.

Where a label is chosen it writes one token, and the label whose first token is the most probable is taken: the
cheapest way there is to have it choose.
"""

from __future__ import annotations

import torch
from protocol import Job, Result, open_job, peak_memory, write
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

AT_ONCE = 16
"""Prompts in a batch: more were not faster on two cores."""


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


def main() -> None:
    """Answer, write the result."""
    job, watch, path = open_job()
    torch.set_num_threads(job.threads)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32).eval()
    watch.begin()
    texts = answers(job, model, tokenizer)
    watch.stepped()
    write(path, Result(answers=texts, peak_bytes=peak_memory(), **watch.seconds()))


if __name__ == "__main__":
    main()
