"""A tokenizer as GGUF files carry it, in llama.cpp's terms; one that llama.cpp would split otherwise is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter, TokenType

from kamerton.core.contracts import Tokenizer
from kamerton.core.errors import Unusable
from kamerton.core.messages import msg
from kamerton.forms.turns import frame_of

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+", rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*"
PATHS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
BYTES = "bytes by GPT-2's pattern"
LLAMA3 = f"{CONTRACTIONS}|{LETTERS}|\\p{{N}}{{1,3}}|{SIGNS}"
PATTERNS: Mapping[tuple[str, ...], str] = {
    (BYTES,): "gpt-2",
    ("single digits", BYTES): "smollm",
    (LLAMA3,): "smaug-bpe",
    (LLAMA3, "whole words"): "llama-bpe",
    (f"{CONTRACTIONS}|{LETTERS}|\\p{{N}}|{SIGNS}",): "qwen2",
    (f"{CASED[0]}|{CASED[1]}|\\p{{N}}|{PATHS}", "whole words"): "tekken",
    (f"{CASED[0]}{ENDINGS}|{CASED[1]}{ENDINGS}|\\p{{N}}{{1,3}}|{PATHS}",): "gpt-4o",
}
"""llama.cpp's name of the steps by which byte-level BPE splits a text (its src/llama-vocab.cpp holds the patterns).

"whole words": a word that is in the vocabulary is taken without merges, which llama.cpp does by the name."""
SPACE = "▁"
PREPENDED = {"Prepend": SPACE}, {"Replace": (" ", SPACE)}
"""SentencePiece's way with spaces as Llama 2's normalizer has it; Gemma's has only the second step."""
SPECIAL = ("bos", "eos", "unk", "pad", "sep", "mask")


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer."""

    model: str
    """`gpt2` for byte-level BPE, `llama` for SentencePiece."""
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float]
    """SentencePiece's order of merges; empty for others."""
    merges: Sequence[str]
    flags: Mapping[str, bool]
    special: Mapping[str, int]
    template: str

    def write(self, writer: GGUFWriter) -> None:
        """Write it among a file's keys."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores:
            writer.add_token_scores(self.scores)
        if self.merges:
            writer.add_token_merges(self.merges)
        for name, flag in self.flags.items():
            writer.add_bool(f"tokenizer.ggml.{name}", flag)
        for name, token in self.special.items():
            key = "unknown" if name == "unk" else "padding" if name == "pad" else name
            writer.add_uint32(f"tokenizer.ggml.{key}_token_id", token)
        if self.template:
            writer.add_chat_template(self.template)


def vocabulary_of(tokenizer: Tokenizer, rows: int) -> Vocabulary:
    """Return a tokenizer in llama.cpp's terms, for a model with so many rows of embeddings.

    Raises:
        Unusable: llama.cpp would split texts otherwise, or nobody has tried.
    """
    if not tokenizer.is_fast:
        raise Unusable(msg("this tokenizer runs code of its own, which GGUF files do not carry"))
    steps = json.loads(tokenizer.backend_tokenizer.to_str())
    if steps["model"]["type"] != "BPE":
        rule = msg("a tokenizer of the type {type} cannot be written as GGUF", type=str(steps["model"]["type"]))
        raise Unusable(rule)
    bytes_apart = bool(steps["model"].get("byte_fallback"))
    pieces = [piece if isinstance(piece, str) else " ".join(piece) for piece in steps["model"]["merges"]]
    tokens, types = _tokens(tokenizer, steps, rows, bytes_apart)
    flags = _frame(tokenizer)
    if bytes_apart:
        flags["add_space_prefix"] = _has_prefix(steps)
    return Vocabulary(
        model="llama" if bytes_apart else "gpt2",
        pre="default" if bytes_apart else _pattern(steps),
        tokens=tokens,
        types=types,
        scores=_scores(tokens, pieces) if bytes_apart else (),
        merges=() if bytes_apart else pieces,
        flags=flags,
        special={name: id for name in SPECIAL if (id := getattr(tokenizer, f"{name}_token_id")) is not None},
        template=str(tokenizer.chat_template) if tokenizer.chat_template else "",
    )


def _tokens(tokenizer: Tokenizer, steps: Mapping[str, Any], rows: int, apart: bool) -> tuple[list[str], list[int]]:
    """Return the vocabulary by id and the type of each; embeddings without a token get a name that no text has."""
    tokens, types = [f"[PAD{id}]" for id in range(rows)], [int(TokenType.UNUSED)] * rows
    for token, id in steps["model"]["vocab"].items():
        is_byte = apart and len(token) == 6 and token.startswith("<0x")
        tokens[id], types[id] = token, int(TokenType.BYTE if is_byte else TokenType.NORMAL)
    for id, added in tokenizer.added_tokens_decoder.items():
        tokens[id] = added.content
        types[id] = int(TokenType.CONTROL if added.special else TokenType.USER_DEFINED)
    if tokenizer.unk_token_id is not None and apart:
        types[tokenizer.unk_token_id] = int(TokenType.UNKNOWN)
    return tokens, types


def _frame(tokenizer: Tokenizer) -> dict[str, bool]:
    """Return which special tokens are put around a text. Raises `Unusable` for others than begin and end."""
    frame = frame_of(tokenizer)
    wanted = (tokenizer.bos_token_id,), (tokenizer.eos_token_id,)
    if frame.before not in ((), wanted[0]) or frame.after not in ((), wanted[1]):
        raise Unusable(msg("this tokenizer puts tokens around a text that GGUF files cannot name"))
    return {"add_bos_token": bool(frame.before), "add_eos_token": bool(frame.after)}


def _pattern(steps: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of a byte-level pre-tokenizer. Raises `Unusable` for one that is not in the table."""
    found = tuple(_step(step) for step in _parts(steps["pre_tokenizer"], "pretokenizers"))
    found = tuple(step for step in found if step)
    if steps["model"].get("ignore_merges"):
        found += ("whole words",)
    composed = [part["type"] for part in _parts(steps["normalizer"], "normalizers")]
    if found in PATTERNS and composed in ([], ["NFC"]):
        return PATTERNS[found]
    shown = " + ".join((*composed, *found))[:200]
    raise Unusable(msg("llama.cpp has no name for its pre-tokenizer ({steps})", steps=shown))


def _parts(step: Mapping[str, Any] | None, inner: str) -> Sequence[Mapping[str, Any]]:
    if step is None:
        return ()
    return [part for one in step[inner] for part in _parts(one, inner)] if step["type"] == "Sequence" else (step,)


def _step(step: Mapping[str, Any]) -> str:
    """Return a step's pattern or name, and nothing for bytes after another pattern."""
    kind, pattern = step["type"], step.get("pattern") or {}
    if kind == "ByteLevel" and not step["add_prefix_space"]:
        return BYTES if step["use_regex"] else ""
    if kind == "Digits" and step["individual_digits"]:
        return "single digits"
    if kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return str(pattern.get("Regex") or pattern)
    return f"{kind} {sorted(step.items())}"


def _has_prefix(steps: Mapping[str, Any]) -> bool:
    """Return whether SentencePiece puts a space before each text. Raises `Unusable` for other ways with spaces."""
    normalizer = [
        {part["type"]: part.get("prepend") or ((part.get("pattern") or {}).get("String"), part.get("content"))}
        for part in _parts(steps["normalizer"], "normalizers")
    ]
    split = [(part["type"], part.get("prepend_scheme")) for part in _parts(steps["pre_tokenizer"], "pretokenizers")]
    if split in ([], [("Split", None)]) and normalizer in (list(PREPENDED), [PREPENDED[1]]):
        return normalizer == list(PREPENDED)
    if not normalizer and split in ([("Metaspace", "always")], [("Metaspace", "never")]):
        return split == [("Metaspace", "always")]
    shown = ", ".join(str(step) for step in (*normalizer, *split))[:200]
    raise Unusable(msg("llama.cpp has no name for its pre-tokenizer ({steps})", steps=shown))


def _scores(tokens: Sequence[str], merges: Sequence[str]) -> list[float]:
    """Return the order in which pieces are merged as SentencePiece has it: the higher, the earlier."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        ranks.setdefault(left + right, rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]
