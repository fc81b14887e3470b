"""Tiny real models in the standard folder layout: random weights, a trained tokenizer, no network.

Each builder writes the same bytes every time, so that fingerprints and golden values can be compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

SENTENCES = (
    "A warm and funny film that I would gladly watch again.",
    "I want those two hours of my life back.",
    "The plot is thin, but the actors are a delight.",
    "Name the capital of France. The capital of France is Paris.",
    "Make it polite: could you give me that, please?",
    "Which of these labels fits the text above: good, bad?",
    "She opened the window and listened to the rain.",
    "The train leaves at 7:45 from platform 12.",
    "Write a short answer and explain why it is right.",
    "Nothing in this drawer is older than the house.",
    "Our neighbour repairs clocks, radios and old bicycles.",
    "The meeting was moved from Monday to Thursday morning.",
    "good morning, good evening, good night",
    "One, two, three, four, five, six, seven, eight, nine, ten.",
    "user assistant system question answer instruction input output",
    "Тёплый и смешной фильм, который хочется пересмотреть.",
    "Верните мне эти два часа моей жизни.",
    "Сюжет слабый, но актёры играют чудесно.",
    "Назови столицу России. Столица России — Москва.",
    "Переведи на русский: доброе утро, добрый вечер.",
    "Какая из этих меток подходит к тексту: хорошо, плохо?",
    "Она открыла окно и слушала дождь.",
    "Поезд отходит в 7:45 с двенадцатого пути.",
    "Напиши короткий ответ и объясни, почему он верен.",
    "В этом ящике нет ничего старше самого дома.",
    "Наш сосед чинит часы, радио и старые велосипеды.",
    "Собрание перенесли с понедельника на утро четверга.",
    "Один, два, три, четыре, пять, шесть, семь, восемь, девять, десять.",
)
"""What the tokenizers are trained on."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML that writes the BOS token itself, as Llama's does: who tokenizes with special tokens gets two of them."""


def tiny_encoder(folder: Path) -> Path:
    """Save a BERT without a head: 2 layers, hidden 32, context 128; WordPiece, lower case."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = re.findall(r"\w+|[^\w\s]", " ".join(SENTENCES).lower())
    vocabulary = [*specials, *_ranked(_pieces(words, inner="##"))][:500]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))],
    )
    tokenizer.decoder = decoders.WordPiece()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
    )
    config = BertConfig(
        vocab_size=len(wrapped),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        pad_token_id=wrapped.pad_token_id,
    )
    return _save(folder, wrapped, BertModel, config)


def tiny_decoder(folder: Path) -> Path:
    """Save a Llama: 2 layers, hidden 32, 4 heads over 2, tied embeddings, context 256; byte-level BPE, ChatML."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|pad|>", "<|begin|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A",
        pair="<|begin|> $A $B",
        special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))],
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|begin|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=wrapped.pad_token_id,
        bos_token_id=wrapped.bos_token_id,
        eos_token_id=wrapped.eos_token_id,
    )
    return _save(folder, wrapped, LlamaForCausalLM, config)


def tiny_seq2seq(folder: Path) -> Path:
    """Save a T5: 2 layers each side, hidden 32; Unigram with a metaspace."""
    pieces = _pieces([f"▁{word}" for word in " ".join(SENTENCES).split()], inner="")
    scores = [(piece, round(math.log(pieces[piece] / pieces.total()), 6)) for piece in _ranked(pieces)]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *scores][:400]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=128
    )
    config = T5Config(
        vocab_size=len(wrapped),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        pad_token_id=wrapped.pad_token_id,
        eos_token_id=wrapped.eos_token_id,
        decoder_start_token_id=wrapped.pad_token_id,
    )
    return _save(folder, wrapped, T5ForConditionalGeneration, config)


def _pieces(words: list[str], inner: str) -> Counter[str]:
    """Count all pieces of up to 8 letters; those that do not begin a word are marked with `inner`.

    The vocabularies of the tokenizers library's own WordPiece and Unigram trainers differ from run to run.
    """
    return Counter(
        f"{inner if start else ''}{word[start:end]}"
        for word in words
        for start in range(len(word))
        for end in range(start + 1, min(start + 8, len(word)) + 1)
    )


def _ranked(pieces: Counter[str]) -> list[str]:
    """Order single letters first, then what covers most text."""
    return sorted(pieces, key=lambda piece: (len(piece.lstrip("#")) > 1, -pieces[piece] * len(piece), piece))


def _save(folder: Path, tokenizer: PreTrainedTokenizerFast, model_class: type[PreTrainedModel], config: object) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
