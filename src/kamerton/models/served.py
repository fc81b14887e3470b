"""Stand-ins for a base model that only a server has: nothing is known of it but its name and its answers."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kamerton.core.contracts import ModelFacts
from kamerton.models.load import PLAIN_TEMPLATE

LONGEST = 1 << 20
"""Bytes of a row: a bound for broken data, since the model's own is not known."""
END = "<|end|>"


def served_facts(name: str) -> ModelFacts:
    """Return what is known of a model on a server: that it writes. It has no folder."""
    return ModelFacts(name, "", "decoder", "", 0, 0, 0, 0, LONGEST, "")


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer in which every byte is a token, with a plain template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: id for id, sign in enumerate([*alphabet, END])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    wrapped.chat_template = PLAIN_TEMPLATE
    return wrapped
