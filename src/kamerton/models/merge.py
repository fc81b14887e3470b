"""An adapter that was named as a base model: merged once into the base that it names, in the cache."""

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kamerton.core import registry
from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import Fault, ModelError, Unusable
from kamerton.core.files import Writing, cache_folder, scratch_folder, sync, write_json
from kamerton.core.messages import msg
from kamerton.models.inspect import fingerprint, inspect_folder, require_safe
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.naming import ADAPTER, ORIGIN, TOKENIZERS, read_settings
from kamerton.models.vocabulary import make_room

CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
"""transformers' class for PEFT's word for the task."""
HEADED = ("SEQ_CLS", "TOKEN_CLS")
HEAD = re.compile(r"(classifier|score|out_proj)(\.modules_to_save)?\.weight$")
"""The last layer of a head: it has a row for each label."""
BY_KIND = {"decoder": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM", "encoder": "AutoModel"}
REMEDY = msg("name the base model itself; `kamerton predict RUN` uses what was tuned")


def merged_folder(adapter: Path, locate: Callable[[str], Path]) -> Path:
    """Return the folder of an adapter merged into its base, which `locate` finds; merge them if not done before.

    Raises:
        ModelError: the folder is unsafe or broken, its base is not here, or the adapter cannot be merged.
    """
    tensors = require_safe(adapter)
    name = str(read_settings(adapter / ADAPTER).get("base_model_name_or_path") or "")
    base = inspect_folder(_base(adapter, name, locate), name)
    known = (fingerprint(adapter), base.fingerprint)
    folder = cache_folder() / "with-adapters" / hashlib.sha256(" ".join(known).encode()).hexdigest()[:20]
    if not (folder / ORIGIN).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder() as temporary, Writing(folder):
            _merge(adapter, tensors, base, temporary / "model")
            write_json(temporary / "model" / ORIGIN, {"of": str(adapter.resolve()), "base": name})
            shutil.rmtree(folder, ignore_errors=True)
            (temporary / "model").rename(folder)
            sync(folder.parent)
    return folder


def _base(adapter: Path, name: str, locate: Callable[[str], Path]) -> Path:
    if not name:
        raise ModelError(Fault(msg("this is an adapter, and it does not name its base model"), str(adapter), REMEDY))
    if (beside := adapter / name).is_dir():
        return locate(str(beside))
    try:
        return locate(name)
    except ModelError as error:
        rule = msg("this is an adapter over '{base}', and that base model is not on this machine", base=name)
        words = {"base": name, "file": str(adapter / ADAPTER)}
        remedy = msg(
            "download it where there is a network: `hf download {base}`; or name its folder in {file}", **words
        )
        raise ModelError(Fault(rule, str(adapter), remedy)) from error


def _merge(adapter: Path, tensors: Mapping[str, Any], base: ModelFacts, folder: Path) -> None:
    word = read_settings(adapter / ADAPTER).get("task_type")
    for method in registry.names("methods"):  # PEFT then knows their types of adapters
        registry.choose("methods", method)
    labels = [tensor["shape"][0] for name, tensor in sorted(tensors.items()) if HEAD.search(name)]
    head = {"num_labels": labels[-1]} if word in HEADED and labels else {}
    model = load_model(base.folder, CLASSES.get(str(word), BY_KIND[base.kind]), head, seed=0).model
    own = any((adapter / name).is_file() for name in TOKENIZERS)
    tokenizer = load_tokenizer(base, adapter if own else None)
    make_room(model, tokenizer)
    try:
        # PEFT takes seconds to import: only where there is an adapter
        whole: Any = registry.load("kamerton.models.adapters:merged_over")(model, adapter)
    except Unusable as error:
        rule = msg("this is an adapter that does not fit '{base}': {reason}", base=base.name, reason=error.message)
        raise ModelError(Fault(rule, str(adapter), REMEDY)) from error
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
