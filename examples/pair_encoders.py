"""Make a sequence-to-sequence model of two copies of an encoder: one reads, the other learns to write.

    kamerton models get minilm
    python examples/pair_encoders.py minilm --out pair
    kamerton tune summaries.jsonl --model ./pair --method full

The attention from the one that writes to the one that reads has no pretrained weights, so tune all weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, EncoderDecoderModel

from kamerton.core.errors import Fault, KamertonError, ModelError
from kamerton.models.inspect import inspect_folder
from kamerton.models.locate import locate


def pair(folder: Path, out: Path, seed: int = 0) -> None:
    """Pair an encoder with itself and save both with their tokenizer.

    Raises:
        ModelError: the folder is no encoder's.

    """
    if inspect_folder(folder, str(folder)).kind != "encoder":
        raise ModelError(Fault("only an encoder can be paired with itself", str(folder), "name an encoder: minilm"))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.bos_token, tokenizer.eos_token = tokenizer.cls_token, tokenizer.sep_token
    torch.manual_seed(seed)
    model = EncoderDecoderModel.from_encoder_decoder_pretrained(str(folder), str(folder))
    model.config.decoder_start_token_id = tokenizer.cls_token_id
    model.config.eos_token_id = tokenizer.sep_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> int:
    """Pair the named model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a known encoder or the folder of one")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    try:
        pair(locate(arguments.model), arguments.out)
    except KamertonError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.out}: {arguments.model} that reads and {arguments.model} that writes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
