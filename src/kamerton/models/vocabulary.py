"""New words in a model's vocabulary: each one token of its tokenizer, with initial embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import AddedToken
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kamerton.core.errors import Fault, RecipeError
from kamerton.core.messages import Message, msg
from kamerton.runs.recipe import NewTokenStart

PLACE = "model.new_tokens"


def read_words(new_tokens: Sequence[str] | str) -> tuple[str, ...]:
    """Return the words of a setting: a list as it is, or a file's lines.

    Raises:
        RecipeError: the file cannot be read.
    """
    if not isinstance(new_tokens, str):
        return tuple(new_tokens)
    try:
        lines = Path(new_tokens).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        rule = msg("the file '{file}' cannot be read: {reason}", file=new_tokens, reason=error.strerror or str(error))
        raise RecipeError(Fault(rule, PLACE, msg("name a file with one token per line, or give a list"))) from None
    except UnicodeDecodeError as error:
        place = msg("{file} byte {byte}", file=new_tokens, byte=error.start)
        raise RecipeError(Fault(msg("a file of tokens is UTF-8 text"), place, msg("save it as UTF-8"))) from None
    return tuple(line for line in lines if line.strip())


def add_words(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> PreTrainedTokenizerBase:
    """Add words to a tokenizer, each as one token; return it.

    A word that begins and ends with a letter or a digit matches whole words only; others match anywhere. Letter case
    counts unless the tokenizer folds it.

    Raises:
        RecipeError: with all words that cannot be added.
    """
    known, seen, faults = tokenizer.get_vocab(), set[str](), []
    for word in words:
        if rule := _broken_rule(word, known, seen):
            faults.append(Fault(rule, PLACE, msg("remove it")))
        seen.add(word)
    if faults:
        raise RecipeError(faults)
    normalizer = cast(Any, tokenizer).backend_tokenizer.normalizer
    folds = normalizer is not None and normalizer.normalize_str("Aa").casefold() == normalizer.normalize_str("Aa")
    added = [AddedToken(word, single_word=word[0].isalnum() and word[-1].isalnum(), normalized=folds) for word in words]
    tokenizer.add_tokens(added)
    return tokenizer


def new_ids(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of words that were added."""
    return tuple(tokenizer.convert_tokens_to_ids(list(words)))


def make_room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, least: int = 0) -> None:
    """Resize a model's embeddings, and its outputs if it has some, to a tokenizer's vocabulary, or to `least` rows."""
    if (rows := max(len(tokenizer), least)) > len(model.get_input_embeddings().weight):
        trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        model.resize_token_embeddings(rows, mean_resizing=False)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trained[name])


def begin_words(
    model: PreTrainedModel,
    base: PreTrainedTokenizerBase,
    ids: Sequence[int],
    words: Sequence[str],
    start: NewTokenStart,
) -> None:
    """Initialize the embeddings of new `words`, and their outputs, in a model with room for them at `ids`.

    The start `pieces` takes the mean over the tokens that `base`, the tokenizer that does not know a word, splits it
    into (Gee et al. 2022, Fast Vocabulary Transfer); `mean` the mean over the whole vocabulary, which bounds how far a
    language model's predictions move (Hewitt 2021, Initializing New Word Embeddings for Pretrained Language Models).
    """
    head: Any = model.get_output_embeddings()
    tables = [model.get_input_embeddings().weight]
    if head is not None:
        tables += [table for table in (head.weight, head.bias) if table is not None and table is not tables[0]]
    pieces = [_pieces(base, word) if start == "pieces" else [] for word in words]
    with torch.no_grad():
        for table in tables:
            whole = table[: len(base)].mean(dim=0)
            for id, parts in zip(ids, pieces, strict=True):
                table[id] = table[parts].mean(dim=0) if parts else whole


def _pieces(base: PreTrainedTokenizerBase, word: str) -> list[int]:
    """Return the tokens that a word was split into; none if one of them is unknown."""
    ids = list(base(word, add_special_tokens=False)["input_ids"])
    return [] if base.unk_token_id in ids else ids


def _broken_rule(word: str, known: dict[str, int], seen: set[str]) -> Message | None:
    if not word.strip():
        return msg("a new token has at least one character other than spaces")
    if word in seen:
        return msg("'{token}' is listed twice", token=word)
    return msg("'{token}' is already a token", token=word) if word in known else None
