"""How a tuned model's tokenizer and chat template differ from its base's: a common fault of models tuned elsewhere.

Scores are of the model as its files are. Whoever serves it with the base's tokenizer or template gets other answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Joined, Message, Wording, msg, verbatim
from kamerton.core.records import Finding, Turn
from kamerton.forms.templates import RefusedError, render
from kamerton.forms.turns import frame_of, tokenize, write_exchange
from kamerton.models.elsewhere import GIVE_BASE, TunedModel
from kamerton.models.load import PLAIN_TEMPLATE
from kamerton.models.naming import read_settings
from kamerton.text.safe import one_line

LOOKED_AT = 200
"""Texts that are tokenized both ways."""
MOVED = 0.01
"""Share of the base's tokens that may have other ids in the tuned model before it is no model of this base."""
SHOWN = 5
ASKED, ANSWERED = "2 + 2?", "four"
"""A request and its answer, to see what a template writes around them."""
SERVE_AS_SAVED = msg("serve the model with the tokenizer and the template that lie beside it, not with the base's")


@dataclass(frozen=True)
class Written:
    """How a tokenizer and its template write a request and its answer."""

    tokens: tuple[str, ...]
    """Of the rendered conversation, as it is."""
    doubled: int
    """Beginning tokens at its start once the tokenizer has added its own."""
    ends: bool
    """Whether the template writes the end token behind the answer."""
    header: str
    """What stands before an answer, and is not written behind a request: the model has to write it."""


def require_vocabulary(tuned: TunedModel, own: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase) -> None:
    """Check that the tokens of a base have the same ids in a model tuned from it.

    Raises:
        ModelError: they have not, so that it was tuned from another base.
    """
    theirs, known = base.get_vocab(), own.get_vocab()
    moved = sorted(token for token, id in theirs.items() if known.get(token) != id)
    if len(moved) > MOVED * len(theirs):
        rule = msg(
            "the tokenizer is not the base's: {count} of {all} tokens have other ids in the two, such as '{first}'",
            count=len(moved),
            all=len(theirs),
            first=one_line(moved[0], 40),
        )
        raise ModelError(Fault(rule, str(tuned.folder), GIVE_BASE))


def differences(
    tuned: TunedModel,
    own: PreTrainedTokenizerBase,
    base: PreTrainedTokenizerBase,
    facts: ModelFacts,
    texts: Sequence[str],
) -> list[Finding]:
    """Find what a tuned model's tokenizer and template do otherwise than its base's.

    Args:
        tuned: the model.
        own: its tokenizer.
        base: the base model's.
        facts: of the base; templates count only where it writes.
        texts: of the data, to be tokenized both ways.
    """
    found = [*_ends(tuned, own, base), *_vocabulary(own, base), *_padding(own, base), *_split(own, base, texts)]
    if facts.kind == "decoder":
        found += _templates(own, base)
    return found


def _finding(
    severity: Any, title: Wording, remedy: Wording = SERVE_AS_SAVED, samples: Sequence[Wording] = ()
) -> Finding:
    return Finding("tuned-elsewhere", severity, title, remedy, samples=tuple(samples))


def _ends(tuned: TunedModel, own: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase) -> Iterator[Finding]:
    if own.eos_token != base.eos_token:
        words = {"own": str(own.eos_token), "base": str(base.eos_token)}
        yield _finding("warning", msg("the tuned model ends answers with '{own}', its base with '{base}'", **words))
    settings = _generation(tuned)
    stated = settings.get("eos_token_id")
    ids = stated if isinstance(stated, list) else [stated]
    if stated is not None and own.eos_token_id is not None and own.eos_token_id not in ids:
        names = ", ".join(f"'{own.convert_ids_to_tokens(id)}'" for id in ids if isinstance(id, int))
        rule = msg(
            "generation_config.json ends answers with {names}, and the tokenizer with '{own}': a server that follows "
            "the file writes on behind the answer",
            names=names, own=str(own.eos_token),
        )  # fmt: skip
        yield _finding("severe", rule, msg("write the tokenizer's end token into generation_config.json, too"))


def _generation(tuned: TunedModel) -> Mapping[str, Any]:
    path = tuned.folder / "generation_config.json"
    return dict(read_settings(path)) if path.is_file() else {}


def _vocabulary(own: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase) -> Iterator[Finding]:
    ours, theirs = own.get_vocab(), base.get_vocab()
    added, lost = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if added:
        rule = msg("{count} {count:token is|tokens are} new in the tuned model: {tokens}",
                   count=len(added), tokens=_listed(added))  # fmt: skip
        yield _finding("note", rule)
    if lost:
        rule = msg("{count} {count:token|tokens} of the base {count:is|are} missing in the tuned model: {tokens}",
                   count=len(lost), tokens=_listed(lost))  # fmt: skip
        yield _finding("severe", rule, msg("save the tokenizer that the model was trained with beside it"))


def _padding(own: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase) -> Iterator[Finding]:
    if own.pad_token is not None and own.pad_token == own.eos_token and base.pad_token != base.eos_token:
        rule = msg("padding is the end token '{token}': trainers that leave padding out of the loss then never teach "
                   "the end", token=own.pad_token)  # fmt: skip
        yield _finding(
            "warning", rule, msg("look at the answers: if they do not end, train with another padding token")
        )


def _split(own: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase, texts: Sequence[str]) -> Iterator[Finding]:
    some = list(texts[:LOOKED_AT])
    pairs = zip(own(some)["input_ids"], base(some)["input_ids"], strict=True) if some else ()
    differing = [text for text, (one, other) in zip(some, pairs, strict=True) if one != other]
    if differing:
        words = {"count": len(differing), "rows": len(some)}
        rule = msg("{count} of {rows} texts have other tokens in the tuned model than in its base", **words)
        yield _finding("warning", rule, samples=[verbatim(one_line(text, 200)) for text in differing[:SHOWN]])


def _templates(own: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase) -> Iterator[Finding]:
    ours, theirs = _written(own), _written(base)
    if ours is None:
        rule = msg("the tuned model's chat template refuses a request with its answer")
        yield _finding("severe", rule, msg("save the template that the model was trained with"))
        return
    if own.chat_template == PLAIN_TEMPLATE and base.chat_template != PLAIN_TEMPLATE:
        rule = msg("the tuned model has no chat template, and its base has one: requests are written plainly")
        yield _finding("severe", rule, msg("save the template that the model was trained with beside it"))
    elif theirs is not None and ours.tokens != theirs.tokens:
        samples = [_sample(msg("tuned"), ours), _sample(msg("base"), theirs)]
        rule = msg("the tuned model's chat template writes requests otherwise than its base's")
        yield _finding("warning", rule, samples=samples)
    if ours.doubled > 1:
        rule = msg(
            "the chat template writes '{token}' and the tokenizer adds it: {times} stand at the start of a prompt that "
            "is rendered first and tokenized then",
            token=str(own.bos_token),
            times=ours.doubled,
        )
        same = theirs is not None and theirs.doubled == ours.doubled
        remedy = msg("tokenize rendered prompts with add_special_tokens=False, in training and in serving")
        yield _finding("note" if same else "warning", rule, remedy)
    if ours.header:
        rule = msg("the chat template writes no '{header}' behind a request, and the answer begins with it: the model "
                   "has to write it", header=one_line(ours.header, 40))  # fmt: skip
        remedy = msg("begin the assistant's turn in the template where add_generation_prompt is true (--template FILE)")
        yield _finding("warning" if theirs is not None and theirs.header else "severe", rule, remedy)
    if not ours.ends and (theirs is None or theirs.ends):
        rule = msg("the chat template does not write the end token '{token}' behind an answer: a model trained with it "
                   "is not taught to end", token=str(own.eos_token))  # fmt: skip
        yield _finding(
            "severe", rule, msg("end the assistant's turn with the end token in the template, and train again")
        )


def _written(tokenizer: PreTrainedTokenizerBase) -> Written | None:
    """Render a request and its answer; None if the template refuses it."""
    request = Turn("user", ASKED)
    try:
        exchange = write_exchange([request], ANSWERED, tokenizer)
        begun = render([request], tokenizer, open_end=True) != render([request], tokenizer, open_end=False)
    except RefusedError:
        return None
    prompt, answer = tokenize([exchange.prompt, exchange.answer], tokenizer)
    begin = tokenizer.bos_token_id
    whole = [*frame_of(tokenizer).before, *prompt]
    first = next((at for at, id in enumerate(whole) if id != begin), len(whole)) if begin is not None else 0
    names = tuple(map(str, tokenizer.convert_ids_to_tokens([*prompt, *answer])))
    header = "" if begun else "".join(exchange.answer).partition(ANSWERED)[0].strip()
    return Written(names, first, tokenizer.eos_token_id is None or tokenizer.eos_token_id in answer, header)


def _sample(whose: Message, written: Written) -> Joined:
    return Joined((whose, verbatim(" ".join(written.tokens))), ": ")


def _listed(tokens: Sequence[str]) -> str:
    shown = ", ".join(f"'{one_line(token, 40)}'" for token in tokens[:SHOWN])
    return shown + (", …" if len(tokens) > SHOWN else "")
