"""The proof of GGUF files in llama.cpp's own server: its template and tokenizer, and whole distributions."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from kamerton.core.children import run_python
from kamerton.core.contracts import Tokenizer
from kamerton.core.errors import Unusable
from kamerton.core.exporting import ExportProof, Original
from kamerton.core.messages import msg
from kamerton.core.records import Encoded, Turn
from kamerton.forms.templates import adapt
from kamerton.plugins.exports._shared import differing, is_installed, unproven

LIBRARY, EXTRA, NAME = "xllamacpp", "llama-cpp", "llama.cpp"
LARGEST = 1e-6
"""Divergence in nats that rounding in another order leaves; a wrong weight leaves thousands of times that."""
DISTINCT = 1000
"""How many times further the run must be from the untuned model than the export from the run."""
POSITIONS = 4
"""Of each row at which whole distributions are compared: a vocabulary in JSON takes half a second."""
MARGIN = 16
"""Positions of the context beyond the longest row."""
HARD = (
    "It's 1234567 o'clock,\n\n\tisn't it?  They'LL say 3.14 — «ёлка» naïve 日本語 🙂👍🏽   end ",
    " leading and trailing \n",
    "def f(x):\n    return x**2  # 100%\r\n",
)
"""Texts at which tokenizers differ: digits, contractions, spaces, line ends, letters of other alphabets."""


@dataclass(frozen=True)
class Files:
    """What the server loads."""

    model: Path
    adapter: Path | None = None


@dataclass(frozen=True)
class Questions:
    """What the server is asked."""

    prefixes: Sequence[Sequence[int]] = ()
    """Tokens after which the distribution of the next one is wanted."""
    texts: Sequence[str] = ()
    conversations: Sequence[Sequence[Mapping[str, str]]] = ()
    prompts: Sequence[Sequence[int]] = ()
    """Tokens to be continued."""
    most: int = 1
    """Tokens of a continuation."""


@dataclass(frozen=True)
class Replies:
    """What the server answered."""

    distributions: Sequence[Tensor]
    texts: Sequence[Sequence[int]]
    conversations: Sequence[Mapping[str, Any]]
    continuations: Sequence[Sequence[int]]


def prove_served(original: Original, files: Files) -> ExportProof:
    """Compare a model in full precision with the run's, in the server: tokens first, then distributions.

    Raises:
        Unusable: tokens or distributions differ, or it cannot be told from the untuned model.
    """
    if not is_installed(LIBRARY):
        return unproven(LIBRARY, EXTRA)
    chats = conversations(original)
    texts = [*HARD, *(example.text for example in original.examples if example.text)]
    places = [(row, at) for row, item in enumerate(original.items) for at in _positions(original, row, item)]
    prefixes = [original.items[row].tokens[: at + 1] for row, at in places]
    asked = Questions(prefixes, texts, [messages for messages, _ in chats])
    reply = ask(files, asked, original.tokenizer, max((len(ids) for _, ids in chats), default=0))
    _require_tokens(original.tokenizer, texts, reply, [ids for _, ids in chats])
    ours = [_row(original.logits, original, row, at) for row, at in places]
    divergences = [divergence(mine, theirs) for mine, theirs in zip(ours, reply.distributions, strict=True)]
    largest = max(divergences)
    if not largest <= LARGEST:
        raise differing(msg("in {engine} a next token's distribution is {nats} nats from it", engine=NAME,
                            nats=f"{largest:.2g}"))  # fmt: skip
    if any(int(mine.argmax()) != int(theirs.argmax()) for mine, theirs in zip(ours, reply.distributions, strict=True)):
        raise differing(msg("in {engine} another token is the most probable one", engine=NAME))
    untuned = original.untuned()
    apart = [divergence(mine, _row(untuned, original, *place)) for mine, place in zip(ours, places, strict=True)]
    mean = sum(apart) / len(apart)
    if not mean >= DISTINCT * largest:
        rule = msg("the run's answers are only {nats} nats from the untuned model's, too few to tell whether the "
                   "export has what was learned", nats=f"{mean:.2g}")  # fmt: skip
        raise Unusable(rule)
    return ExportProof(len(original.items), None, NAME, largest, mean, len(texts) + len(chats))


def _require_tokens(tokenizer: Tokenizer, texts: Sequence[str], reply: Replies, wanted: Sequence[list[int]]) -> None:
    """Raise `Unusable` if the server's own tokenizer or template gives other tokens than the run's."""
    for text, found in zip(texts, reply.texts, strict=True):
        if tokenizer(text, verbose=False)["input_ids"] != found:
            raise differing(msg("{engine} tokenizes the text {text} otherwise", engine=NAME, text=repr(text[:60])))
    for ids, conversation in zip(wanted, reply.conversations, strict=True):
        if conversation["tokens"] != ids or conversation["counted"] != len(ids):
            rule = "{engine} gives a conversation {count} tokens by its template, the run {ours}, or other ones"
            counts = {"count": conversation["counted"], "ours": len(ids)}
            raise differing(msg(rule, engine=NAME, **counts))


def conversations(original: Original) -> list[tuple[list[dict[str, str]], list[int]]]:
    """Return the rows that are chats, each with the tokens that serving sends for it.

    Rows whose text holds control words are left out: they are text to the run, and control tokens to a server.
    """
    tokenizer, found = original.tokenizer, []
    if not tokenizer.chat_template:
        return []
    prompts = original.form.prompts(original.examples, tokenizer, original.max_tokens)
    for example, prompt in zip(original.examples, prompts, strict=True):
        known = {one.tokens for one in prompt.sequences if not one.cut}
        for turns in () if prompt.fault else original.form.requests(example, ()):
            messages = [_message(turn) for turn in adapt(turns, tokenizer).turns]
            text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            if tuple(ids) in known:
                found.append((messages, ids))
    return found


def _message(turn: Turn) -> dict[str, str]:
    return {"role": turn.role, "content": turn.content}


def _positions(original: Original, row: int, item: Encoded) -> list[int]:
    """Choose a few of a row's output positions whose logits are known, spread evenly, with the first and the last."""
    first = len(item.tokens) - original.logits[f"{row}.logits"].shape[1]
    known = [at for at in item.output_positions if at >= first]
    chosen = np.linspace(0, len(known) - 1, min(POSITIONS, len(known))).round().astype(int) if known else ()
    return [known[i] for i in chosen]


def _row(logits: Mapping[str, Tensor], original: Original, row: int, at: int) -> Tensor:
    """Return the logits of one row at a position."""
    known = logits[f"{row}.logits"][0]
    return known[at - len(original.items[row].tokens)]


def divergence(ours: Tensor, theirs: Tensor) -> float:
    """Return the Kullback-Leibler divergence of two distributions, given as logits or log-probabilities, in nats."""
    common = min(len(ours), len(theirs))  # new tokens are none of the untuned model's
    first, second = (torch.log_softmax(values[:common].double(), -1) for values in (ours, theirs))
    return max(0.0, float((first.exp() * (first - second)).sum()))


def ask(files: Files, asked: Questions, tokenizer: Tokenizer, context: int = 0) -> Replies:
    """Start a server in a process of its own, and ask it.

    Its context, for which it takes memory at once, has room for the longest of the questions, or of `context` tokens.

    Raises:
        Unusable: it cannot load the files, or crashes.
    """
    longest = max(map(len, (*asked.prefixes, *asked.prompts)), default=0) + asked.most
    with tempfile.TemporaryDirectory(prefix=".", dir=files.model.parent) as place:
        names = {"answers": f"{place}/answers.json", "distributions": f"{place}/distributions.safetensors"}
        job = {
            **names,
            "model": str(files.model.absolute()),
            "beside": str(files.adapter.absolute()) if files.adapter else None,
            "context": max(longest, context) + MARGIN,
            "plain": _plain_token(tokenizer),
            "prefixes": [list(tokens) for tokens in asked.prefixes],
            "texts": list(asked.texts),
            "conversations": [list(messages) for messages in asked.conversations],
            "prompts": [list(tokens) for tokens in asked.prompts],
            "most": asked.most,
        }
        program = Path(place) / "job.json"
        program.write_text(json.dumps(job), encoding="utf-8")
        child = run_python(str(Path(__file__).with_name("_in_llama_cpp.py")), str(program))
        if child.returncode or not Path(names["answers"]).exists():
            last = child.stderr.strip().rpartition("\n")[2] or str(child.returncode)
            raise Unusable(msg("{engine} does not serve the exported model: {error}", engine=NAME, error=last))
        said = json.loads(Path(names["answers"]).read_text(encoding="utf-8"))
        found = load_file(names["distributions"])
    return Replies([found[str(i)] for i in range(len(found))], **said)


def _plain_token(tokenizer: Tokenizer) -> int:
    """Return a token that ends nothing."""
    return int(tokenizer("a", add_special_tokens=False)["input_ids"][0])


@dataclass(frozen=True)
class LlamaEngine:
    """A GGUF file in llama.cpp's server as an engine: it continues prompts."""

    files: Files
    max_tokens: int
    max_new_tokens: int
    tokenizer: Tokenizer = field(repr=False)

    def read(self, items: Sequence[Encoded]) -> list[np.ndarray]:
        """Refuse: it has no classification head."""
        raise Unusable(msg("{engine} has no logits of classes", engine=NAME))

    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        """Refuse: the server tells no likelihoods of given texts."""
        raise Unusable(msg("{engine} tells no likelihoods of given texts", engine=NAME))

    def embed(self, items: Sequence[Encoded]) -> np.ndarray:
        """Refuse: it is a language model."""
        raise Unusable(msg("{engine} has no logits of classes", engine=NAME))

    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        """Continue each prompt until an end token."""
        asked = Questions(prompts=[prompt.tokens for prompt in prompts], most=self.max_new_tokens)
        reply = ask(self.files, asked, self.tokenizer)
        return [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in reply.continuations]

    def answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[np.ndarray, list[str]]:
        """Continue each prompt; the losses of `items` are not known."""
        return np.full(len(items), np.nan), self.generate(prompts)


def served_engine(original: Original, files: Files) -> LlamaEngine | None:
    """Return an engine over a file; None if the server is not installed."""
    if not is_installed(LIBRARY):
        return None
    return LlamaEngine(files, original.max_tokens, original.max_new_tokens, original.tokenizer)
