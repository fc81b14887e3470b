"""Stand-ins for a base model that only a server has: nothing is known of it but its name and its answers."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.files import sha256_of
from kamerton.core.messages import msg
from kamerton.models.load import PLAIN_TEMPLATE
from kamerton.runs.servers import is_file, title_of

LONGEST = 1 << 20
"""Bytes of a row: a bound for broken data, since the model's own is not known."""
END = "<|end|>"
MAGIC = b"GGUF"


def served_facts(model: str, server: str) -> ModelFacts:
    """Return what is known of a model on a server, or of a GGUF file: that it writes. It has no folder.

    Raises:
        ModelError: the file is not here, or of another format.
    """
    fingerprint = fingerprint_of(Path(server)) if is_file(server) else ""
    return ModelFacts(str(title_of(model, server)), "", "decoder", "", 0, 0, 0, 0, LONGEST, fingerprint)


def fingerprint_of(file: Path) -> str:
    """Return the sha256 of a GGUF file.

    Raises:
        ModelError: it is not here, or of another format.
    """
    try:
        with file.open("rb") as opened:
            if opened.read(len(MAGIC)) != MAGIC:
                raise ModelError(Fault(msg("this is no GGUF file"), str(file), msg("name a file that llama.cpp reads")))
        return sha256_of(file)
    except OSError as error:
        rule = msg("the file cannot be read: {reason}", reason=error.strerror or str(error))
        raise ModelError(Fault(rule, str(file), msg("correct the path"))) from None


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer in which every byte is a token, with a plain template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: id for id, sign in enumerate([*alphabet, END])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    wrapped.chat_template = PLAIN_TEMPLATE
    return wrapped
