"""A model that was tuned elsewhere: what its files say, and the copy that a run keeps of it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kamerton.core.contracts import ModelFacts, ModelHead
from kamerton.core.errors import Fault, ModelError
from kamerton.core.files import scratch_folder, sync
from kamerton.core.messages import Message, msg
from kamerton.models.first_use import misbehavior
from kamerton.models.heads import PURPOSES, UNNAMED, empty_model, missing_heads, output_names
from kamerton.models.inspect import file_hashes, fingerprint, fingerprints, inspect_folder, require_safe
from kamerton.models.locate import commit_of, named_folder
from kamerton.models.merge import CLASSES, HEAD, HEADED
from kamerton.models.naming import ADAPTER, CONFIG, TOKENIZERS, architecture, read_settings

INDEX = "model.safetensors.index.json"
TEMPLATE = "chat_template.jinja"
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*")
"""What must go with a copy of the weights."""
GIVE_BASE = msg("name the base model with --base, as a folder or a Hugging Face id")


@dataclass(frozen=True)
class TunedModel:
    """A model that was tuned elsewhere, as its files describe it; nothing was loaded."""

    name: str
    folder: Path
    adapter: str
    """PEFT's word for the type of an adapter; empty for plain weights."""
    base: str
    """The base model that its files name; may be empty, or a path on another machine."""
    facts: ModelFacts | None
    """Of plain weights."""
    saved_as: str
    """The class, or transformers' auto class, that it was saved as; empty if unknown."""
    outputs: tuple[str, ...]
    """The names of its head's outputs, in order; empty for a head over the vocabulary."""
    added_tokens: int
    """Positions that its prompt tokens take before every row."""

    @property
    def has_tokenizer(self) -> bool:
        """Whether it brings a tokenizer of its own."""
        return has_tokenizer(self.folder)

    @property
    def fingerprint(self) -> str:
        """Hash what determines its answers, except for its base."""
        return fingerprint(self.folder)

    @property
    def parts(self) -> dict[str, str]:
        """Hash its configuration, tokenizer and weights separately."""
        return fingerprints(self.folder)

    @property
    def commit(self) -> str:
        """The commit of the Hugging Face id that it is; empty for a folder."""
        return commit_of(self.folder)


def inspect_tuned(name: str) -> TunedModel:
    """Inspect a model that was tuned elsewhere as any base model is inspected, before a library loads it.

    Args:
        name: a folder, a run, or a Hugging Face id.

    Raises:
        ModelError: it is not here, or with every reason to refuse it.
    """
    folder = named_folder(name)
    if not (folder / ADAPTER).is_file():
        facts = inspect_folder(folder, name)
        config = read_settings(folder / CONFIG)
        saved = architecture(config)
        outputs = output_names(config) if saved.endswith(tuple(PURPOSES)) else ()
        return TunedModel(name, folder, "", str(config.get("_name_or_path") or ""), facts, saved, outputs, 0)
    tensors, config = require_safe(folder), read_settings(folder / ADAPTER)
    word = str(config.get("task_type") or "")
    return TunedModel(
        name=name,
        folder=folder,
        adapter=str(config.get("peft_type") or "PEFT"),
        base=_base_named(folder, config),
        facts=None,
        saved_as=CLASSES.get(word, ""),
        outputs=_adapter_outputs(tensors) if word in HEADED else (),
        added_tokens=int(config.get("num_virtual_tokens") or 0),
    )


def _base_named(folder: Path, config: Mapping[str, Any]) -> str:
    named = str(config.get("base_model_name_or_path") or "")
    beside = folder / named
    return str(beside) if named and beside.is_dir() else named


def _adapter_outputs(tensors: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the outputs of the head that an adapter brings; PEFT saves no names with it."""
    rows = [tensor["shape"][0] for name, tensor in sorted(tensors.items()) if HEAD.search(name)]
    return tuple(UNNAMED.format(i) for i in range(rows[-1])) if rows else ()


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZERS)


def read_template(file: Path) -> str:
    """Read a chat template from a file of its own, after its first use as of any model's.

    Raises:
        ModelError: it cannot be read, or must not be used.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        rule = msg("the file cannot be read: {reason}", reason=str(error))
        raise ModelError(Fault(rule, str(file), msg("name a file with a chat template"))) from None
    with scratch_folder() as folder:
        (folder / TEMPLATE).write_text(text, encoding="utf-8")
        if faults := misbehavior(folder):
            raise ModelError([replace(fault, place=str(file)) for fault in faults])
    return text


# ── what fits ─────────────────────────────────────────────────────────────────────────────────


def require_head(tuned: TunedModel, form: ModelHead) -> None:
    """Check that a model has the head of a task, by its configuration and the headers of its weights.

    Raises:
        ModelError: it has another one, or none: transformers would draw its weights at random.
    """
    wanted = form.model_class.removeprefix("AutoModel")
    if tuned.facts is None:
        fits = not tuned.saved_as or tuned.saved_as == form.model_class
    else:
        other = tuned.saved_as.endswith(tuple(PURPOSES)) and not tuned.saved_as.endswith(wanted)
        fits = not other and not _missing(tuned, form)
    if not fits:
        words = {"saved": tuned.saved_as, "wanted": form.model_class}
        rule = msg("the model was saved as {saved}, and has no head for the task, which reads {wanted}", **words)
        remedy = msg(
            "choose the task that it was tuned for (--task; for a decoder with a classification head also "
            "--set task.decoder=classifier), or name the model that was saved with its head"
        )
        raise ModelError(Fault(rule, str(tuned.folder), remedy))


def _missing(tuned: TunedModel, form: ModelHead) -> tuple[str, ...]:
    return missing_heads(tuned.folder, empty_model(tuned.folder, form.model_class, {}))


def require_base(tuned: TunedModel, base: ModelFacts) -> None:
    """Check that a model can have been tuned from a base, by their configurations.

    Raises:
        ModelError: it cannot, with what differs.
    """
    if tuned.facts is None:
        return
    pairs: list[tuple[Message, object, object]] = [
        (msg("family"), tuned.facts.family, base.family),
        (msg("layers"), tuned.facts.layers, base.layers),
        (msg("hidden size"), tuned.facts.hidden, base.hidden),
    ]
    faults = [
        Fault(
            msg(
                "'{base}' cannot be the base of this model: {what} {one} there, {other} here",
                base=base.name, what=what, one=str(theirs), other=str(own),
            ),
            str(tuned.folder),
            GIVE_BASE,
        )
        for what, own, theirs in pairs
        if own != theirs
    ]  # fmt: skip
    if faults:
        raise ModelError(faults)


# ── the copy of a run ─────────────────────────────────────────────────────────────────────────


def copy_model(tuned: TunedModel, folder: Path, template: str = "") -> None:
    """Copy what transformers, PEFT and tokenizers read of a model, and its licence, into a new folder.

    A template that is given takes the place of its own. A hard link would change with the source: trainers write over
    their files in place. What else lies beside the weights, such as optimizer states, is left out.
    """
    names = [*file_hashes(tuned.folder), INDEX, *(path.name for one in LICENCES for path in tuned.folder.glob(one))]
    for name in names:
        if (source := tuned.folder / name).is_file():
            target = folder / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            sync(target)
    if template:
        (folder / TEMPLATE).write_text(template, encoding="utf-8")
        sync(folder / TEMPLATE)
    sync(folder)
