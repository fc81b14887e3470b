"""Model folders of strangers: what can be wrong with one, and the doors through which it comes in."""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import struct
import sys
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

from safetensors.torch import load_file, save_file

from kamerton.core.errors import KamertonError
from kamerton.models.inspect import inspect_folder
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.locate import locate
from kamerton.models.saved import add_adapter, load_saved

Spoil = Callable[[Path], object]
PAYLOAD = "import pathlib; pathlib.Path({canary!r}).touch()\n"
PICKLE = b"cposix\nsystem\n(S'touch {canary}'\ntR."
"""A pickle in the text protocol: whoever unpickles it runs `touch`."""


def setting(file: str, key: str, value: object, *inside: str) -> Spoil:
    """Put a setting into a JSON file, at some depth."""

    def spoil(folder: Path) -> None:
        path = folder / file
        settings = json.loads(path.read_text()) if path.exists() else {}
        table = settings
        for part in inside:
            table = table.setdefault(part, {})
        table[key] = value
        path.write_text(json.dumps(settings))

    return spoil


def content(file: str, data: bytes | str) -> Spoil:
    """Replace or add a file."""

    def spoil(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        canary = str(folder.parent / "canary")
        raw = data.encode() if isinstance(data, str) else data
        (folder / file).write_bytes(
            raw.replace(b"{canary}", canary.encode()).replace(b"{canary!r}", repr(canary).encode())
        )

    return spoil


def only_pickle(file: str) -> Spoil:
    """Take the safe weights away and leave a pickle."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        content(file, PICKLE)(folder)

    return spoil


def without(*files: str) -> Spoil:
    """Remove files."""

    def spoil(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return spoil


def linked(file: str, target: str) -> Spoil:
    """Replace a file by a link."""

    def spoil(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(target)

    return spoil


def pipe(folder: Path) -> None:
    """Put a pipe, from which reading never ends, in place of the generation settings."""
    os.mkfifo(folder / "generation_config.json")


def header(text: bytes, length: int | None = None, data: bytes = b"\0" * 8, file: str = "model.safetensors") -> Spoil:
    """Write a safetensors file by hand."""
    return content(file, struct.pack("<Q", len(text) if length is None else length) + text + data)


def cut(folder: Path) -> None:
    """Lose the last bytes of the weights."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def sharded(index: object) -> Spoil:
    """Replace the weights by an index."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return spoil


def template(text: object) -> Spoil:
    """Give the tokenizer a chat template."""
    return setting("tokenizer_config.json", "chat_template", text)


KERNEL = "evil-org/kernel"
HOSTILE: dict[str, Spoil] = {
    "auto_map": setting("config.json", "auto_map", {"AutoModel": "modeling_evil.Evil"}),
    "auto_map of another repository": setting("config.json", "auto_map", {"AutoModel": "evil-org/x--m.Evil"}),
    "auto_map deep inside": setting("config.json", "auto_map", {"AutoModel": "m.E"}, "text_config", "inner"),
    "auto_map in a list": setting("config.json", "parts", [[{"auto_map": {"AutoModel": "m.E"}}]]),
    "auto_map of a tokenizer": setting("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["t.Evil", None]}),
    "auto_map of a processor": setting("processor_config.json", "auto_map", {"AutoProcessor": "p.Evil"}),
    "auto_map of a preprocessor": setting("preprocessor_config.json", "auto_map", {"AutoImageProcessor": "p.E"}),
    "custom generation": setting("generation_config.json", "custom_generate", KERNEL),
    "custom pipelines": setting("config.json", "custom_pipelines", {"x": {"impl": "pipe.Evil"}}),
    "custom code in a tokenizer": setting("tokenizer_config.json", "custom_tokenizer", "t.Evil"),
    "trust": setting("config.json", "trust_remote_code", True),
    "attention from the hub": setting("config.json", "_attn_implementation", KERNEL),
    "internal attention from the hub": setting("config.json", "_attn_implementation_internal", KERNEL),
    "attention in mixed case": setting("config.json", "_Attn_Implementation", KERNEL),
    "attention by part": setting("config.json", "attn_implementation", {"": KERNEL}),
    "attention of a part": setting("config.json", "_attn_implementation", KERNEL, "text_config"),
    "flash attention": setting("config.json", "_attn_implementation", "flash_attention_2"),
    "experts from the hub": setting("config.json", "_experts_implementation_internal", KERNEL),
    "quantized": setting("config.json", "quantization_config", {"quant_method": "gptq", "bits": 4}),
    "compressed": setting("config.json", "compression_config", {"format": "pack-quantized"}),
    "code": content("modeling_evil.py", PAYLOAD),
    "code named like a library": content("torch.py", PAYLOAD),
    "compiled code": content("modeling_evil.pyc", PICKLE),
    "native code": content("kernel.so", b"\x7fELF"),
    "generation code": content("custom_generate/generate.py", PAYLOAD),
    "pickle .bin": only_pickle("pytorch_model.bin"),
    "pickle .pt": only_pickle("model.pt"),
    "pickle .pth": only_pickle("model.pth"),
    "pickle .ckpt": only_pickle("model.ckpt"),
    "pickle .pkl": only_pickle("model.pkl"),
    "pickle .h5": only_pickle("tf_model.h5"),
    "pickle .msgpack": only_pickle("flax_model.msgpack"),
    "pickle named safetensors": content("model.safetensors", PICKLE),
    "no configuration": without("config.json"),
    "no tokenizer": without("tokenizer.json"),
    "no weights": without("model.safetensors"),
    "huge configuration": setting("config.json", "padding", "x" * (1 << 20)),
    "configuration is no JSON": content("config.json", "{'model_type': 'bert'}"),
    "configuration is a list": content("config.json", "[]"),
    "configuration is bottomless": content("config.json", "[" * 100_000),
    "configuration is not text": content("config.json", b"\xff\xfe\x00"),
    "configuration holds an endless number": content("config.json", '{"x": ' + "9" * 100_000 + "}"),
    "no model type": content("config.json", '{"architectures": ["BertModel"]}'),
    "no sizes": content("config.json", '{"model_type": "bert", "architectures": ["BertModel"]}'),
    "architectures are a number": content("config.json", '{"model_type": "x", "architectures": 5, "vocab_size": 9}'),
    "unknown architecture": content("config.json", '{"model_type": "x", "architectures": ["EvilThing"]}'),
    "unknown family": setting("config.json", "model_type", "evil"),
    "negative size": setting("config.json", "hidden_size", -1),
    "absurd size": setting("config.json", "num_hidden_layers", 10**30),
    "takes images": setting("config.json", "vision_config", {}),
    "empty weights": content("model.safetensors", b""),
    "weights with an endless header": header(b"{}", length=1 << 62),
    "weights with a header of 200 MB": header(b"{}", length=200 << 20),
    "weights outside the file": header(b'{"a":{"dtype":"F32","shape":[200],"data_offsets":[0,800]}}'),
    "weights with an overflowing shape": header(
        b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}'
    ),
    "weights of a negative size": header(b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}'),
    "weights whose header is no JSON": header(b"PK\x03\x04"),
    "weights cut short": cut,
    "index leads outside": sharded({"weight_map": {"a": "../elsewhere.safetensors"}}),
    "index names what is missing": sharded({"weight_map": {"a": "model-00001-of-00001.safetensors"}}),
    "index names a pickle": sharded({"weight_map": {"a": "pytorch_model.bin"}}),
    "index of numbers": sharded({"weight_map": {"a": 5}}),
    "index without a map": sharded([1]),
    "link to a file of the system": linked("vocab.txt", "/etc/passwd"),
    "link to the folder above": linked("up", ".."),
    "link to itself": linked("vocab.txt", "vocab.txt"),
    "link to nothing": linked("vocab.txt", "nothing"),
    "a pipe": pipe,
    "an adapter": content("adapter_config.json", '{"peft_type": "LORA", "base_model_name_or_path": "evil-org/x"}'),
    "template that computes": template("{{ (9**99999999)|string|length }}"),
    "template that digs": template("{{ messages.__class__.__mro__ }}"),
    "template that is broken": template("{{ 'x }}"),
    "template of 2 MB": template("x" * 2_000_000),
    "template among several": template(
        [{"name": "default", "template": "ok"}, {"name": "b", "template": "{{ 2**2 }}"}]
    ),
    "template in a file": content("chat_template.jinja", "{{ 2**2 }}"),
    "template in another file": content("additional_chat_templates/b.jinja", "{{ 2**2 }}"),
    "template of a processor": setting("chat_template.json", "chat_template", "{{ 2**2 }}"),
}


def both(*spoils: Spoil) -> Spoil:
    """Do one after the other."""

    def spoil(folder: Path) -> None:
        for each in spoils:
            each(folder)

    return spoil


def endless(file: str) -> Spoil:
    """Make a file of 5 GB that takes no space on the disk."""

    def spoil(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        with (folder / file).open("wb") as opened:
            opened.truncate(5 << 30)

    return spoil


@cache
def many_tensors() -> bytes:
    """Return a header that names 300,000 empty tensors in 16 MB."""
    empty = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return b"{" + b",".join(empty % n for n in range(300_000)) + b"}"


def weights(file: str, value: float) -> Spoil:
    """Put a value into the weights."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / file)
        name = next(name for name in sorted(tensors) if tensors[name].dim() == 2)
        tensors[name][0, 0] = value
        save_file(tensors, folder / file, metadata={"format": "pt"})

    return spoil


SYSTEM = "/etc/passwd"
HUGE = 1 << 40
GROWING = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
ASKED = {"Sequence": {"id": "A", "type_id": 0}}
OTHER = content("other.safetensors", struct.pack("<Q", 2) + b"{}")
HOSTILE |= {
    "other weights": both(setting("config.json", "transformers_weights", "other.safetensors"), OTHER),
    "weights of an adapter": both(
        setting("config.json", "transformers_weights", "adapter_model.bin"), content("adapter_model.bin", PICKLE)
    ),
    "weights that nobody counts": content("shard-00000-model-00001-of-00001.safetensors", struct.pack("<Q", 2) + b"{}"),
    "another configuration": both(
        setting("config.json", "configuration_files", ["config.1.0.0.json"]),
        content("config.1.0.0.json", json.dumps({"model_type": "bert", "_attn_implementation": KERNEL})),
    ),
    "another tokenizer": both(
        setting("tokenizer_config.json", "fast_tokenizer_files", ["tokenizer.1.0.0.json"]),
        content("tokenizer.1.0.0.json", "{}"),
    ),
    "tokenizer elsewhere": setting("tokenizer_config.json", "tokenizer_file", SYSTEM),
    "vocabulary elsewhere": setting("tokenizer_config.json", "vocab_file", SYSTEM),
    "vocabulary in GGUF": setting("tokenizer_config.json", "gguf_file", "x.gguf"),
    "vocabulary of a million million": setting(
        "tokenizer_config.json", "added_tokens_decoder", {str(HUGE): {"content": "<x>", "special": True}}
    ),
    "arguments of a tokenizer": setting("tokenizer_config.json", "init_inputs", [SYSTEM]),
    "fused by a registry": setting("config.json", "fusion_config", {"x": True}),
    "link among the templates": both(content("additional_chat_templates/a.jinja", "x"), linked(
        "additional_chat_templates/b.jinja", SYSTEM
    )),
    "templates are a link": linked("additional_chat_templates", "/etc"),
    "endless template": endless("chat_template.jinja"),
    "endless tokenizer": endless("tokenizer.json"),
    "endless vocabulary": endless("vocab.txt"),
    "endless index": both(without("model.safetensors"), endless("model.safetensors.index.json")),
    "a million layers": setting("config.json", "num_hidden_layers", 1_000_000),
    "layers in a part": setting("config.json", "num_layers", 1_000_000, "encoder"),
    "hidden size of 16 million": setting("config.json", "hidden_size", 1 << 24),
    "vocabulary of 16 million": setting("config.json", "vocab_size", 1 << 24),
    "vocabulary of a million": setting("config.json", "vocab_size", 1 << 20),
    "context of a million million": setting("config.json", "max_position_embeddings", HUGE),
    "inner size of a million million": setting("config.json", "intermediate_size", HUGE),
    "inner size of ten million": setting("config.json", "intermediate_size", 10_000_000),
    "segments of a hundred million": setting("config.json", "type_vocab_size", 100_000_000),
    "labels of a million million": setting("config.json", "num_labels", HUGE),
    "labels by no number": setting("config.json", "id2label", {"a": "b"}),
    "labels are a list": setting("config.json", "id2label", [1]),
    "architectures are a number, in a known family": setting("config.json", "architectures", 5),
    "family is a list": setting("config.json", "model_type", ["bert"]),
    "unknown activation": setting("config.json", "hidden_act", "evil"),
    "activation is a list": setting("config.json", "hidden_act", [1]),
    "no heads": setting("config.json", "num_attention_heads", 0),
    "dropout is a word": setting("config.json", "hidden_dropout_prob", "evil"),
    "header of many tensors": lambda folder: header(many_tensors(), data=b"")(folder),
    "weights of infinity": weights("model.safetensors", float("inf")),
    "weights of 1e30": weights("model.safetensors", 1e30),
    "text that multiplies": setting(
        "tokenizer.json", "normalizer", {"type": "Sequence", "normalizers": [GROWING] * 9}
    ),
    "text that is repeated": setting(
        "tokenizer.json", "post_processor",
        {"type": "TemplateProcessing", "single": [ASKED] * 50_000, "pair": [ASKED], "special_tokens": {}},
    ),
    "tokenizer is no JSON": content("tokenizer.json", "{'a'"),
    "tokenizer is a list": content("tokenizer.json", "[]"),
}  # fmt: skip
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTERS: dict[str, Spoil] = {
    "a pickle": both(without(WEIGHTS), content("adapter_model.bin", PICKLE)),
    "a pickle named safetensors": content(WEIGHTS, PICKLE),
    "no weights": without(WEIGHTS),
    "empty weights": content(WEIGHTS, b""),
    "header of many tensors": lambda folder: header(many_tensors(), data=b"", file=WEIGHTS)(folder),
    "weights of infinity": weights(WEIGHTS, float("inf")),
    "weights of NaN": weights(WEIGHTS, float("nan")),
    "weights of 1e30": weights(WEIGHTS, 1e30),
    "code": content("modeling_evil.py", PAYLOAD),
    "native code": content("x.so", b"\x7fELF"),
    "a link": linked("notes.txt", SYSTEM),
    "a pipe": pipe,
    "endless configuration": endless(CONFIG),
    "configuration is no JSON": content(CONFIG, "{'a'"),
    "configuration is a list": content(CONFIG, "[]"),
    "configuration is bottomless": content(CONFIG, "[" * 100_000),
    "no type": content(CONFIG, "{}"),
    "unknown type": setting(CONFIG, "peft_type", "EVIL"),
    "type is a list": setting(CONFIG, "peft_type", ["LORA"]),
    "module to import": setting(CONFIG, "megatron_config", {"tensor_model_parallel_size": 2}),
    "module of its own": setting(CONFIG, "megatron_core", "evil.core"),
    "class of its own": setting(CONFIG, "auto_mapping", {"base_model_class": "E", "parent_library": "evil"}),
    "auto_map": setting(CONFIG, "auto_map", {"AutoModel": "m.E"}),
    "weights elsewhere": setting(CONFIG, "prompt_tuning_init_state_dict_path", SYSTEM),
    "cache elsewhere": setting(CONFIG, "corda_config", {"cache_file": SYSTEM}),
    "adapters of others": both(
        setting(CONFIG, "peft_type", "XLORA"), setting(CONFIG, "adapters", {"a": "evil-org/a"})
    ),
    "model of others": both(setting(CONFIG, "peft_type", "SHADOW"), setting(CONFIG, "shadow_model", "evil-org/a")),
    "layers over and over": setting(CONFIG, "layer_replication", [[0, 2]] * 50_000),
    "rank of a million million": setting(CONFIG, "r", HUGE),
    "rank of a hundred million": setting(CONFIG, "r", 100_000_000),
    "rank is a word": setting(CONFIG, "r", "evil"),
    "rank is negative": setting(CONFIG, "r", -1),
    "scale is a word": setting(CONFIG, "lora_alpha", "evil"),
    "pattern without end": setting(CONFIG, "target_modules", "(.*.*)*(.*.*)*(.*.*)*x"),
    "pattern of stars": setting(CONFIG, "target_modules", ".*" * 40 + "x"),
    "pattern among ranks": setting(CONFIG, "rank_pattern", {"(.*.*)*(.*.*)*x": 2}),
    "targets that are not there": setting(CONFIG, "target_modules", ["evil"]),
    "targets are a number": setting(CONFIG, "target_modules", 5),
    "tokens that are not there": setting(CONFIG, "trainable_token_indices", {"word_embeddings": [HUGE]}),
    "rounded by a word": content("base_quantization.json", '{"bnb_4bit_compute_dtype": "load"}'),
    "rounded by others": content("base_quantization.json", '{"quant_method": "gptq", "bits": 4}'),
    "rounded is a list": content("base_quantization.json", "[]"),
    "template in a file": content("chat_template.jinja", "{{ 2**2 }}"),
    "auto_map of a tokenizer": setting("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["t.Evil", None]}),
    "link among the templates": both(
        content("additional_chat_templates/a.jinja", "x"), linked("additional_chat_templates/b.jinja", SYSTEM)
    ),
}  # fmt: skip


# ── the doors, each in a process of its own ───────────────────────────────────────────────────

FORM = SimpleNamespace(
    model_class="AutoModelForSequenceClassification",
    untuned_class="AutoModelForSequenceClassification",
    config={"num_labels": 2},
)
SECONDS, BYTES = 5, 3 << 30
"""What a door may take of the processor and of memory."""


def knock(door: str, place: str) -> None:
    """Go through a door with a folder of each kind, and write a line for each: how long it took, what was said."""
    torch = importlib.import_module("torch")
    torch.load = unpickled
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + BYTES, here + BYTES))
    enter, harmless, table = DOORS[door]
    for kind, spoil in {"": lambda _: None, **table}.items():
        folder = Path(place) / door / (kind or "harmless") / "model"
        shutil.copytree(Path(place) / "harmless" / harmless, folder)
        spoil(folder)
        began = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (int(began) + 1 + SECONDS, resource.RLIM_INFINITY))
        line = {"kind": kind, **_said(enter, folder), "seconds": time.process_time() - began}
        ran = (folder.parent / "canary").exists() or any("evil" in module for module in sys.modules)
        print(json.dumps({**line, "ran": ran}), flush=True)


def unpickled(*_: object, **__: object) -> NoReturn:
    """Stand in for `torch.load`, which nothing may reach."""
    raise SystemExit("a pickle was loaded")


SOME = {"auto_map", "weights", "pickle", "header", "another", "index"}


def _said(enter: Callable[[Path], None], folder: Path) -> dict[str, str]:
    try:
        enter(folder)
    except KamertonError as error:
        return {"refused": "\n".join(map(str, error.faults))}
    except BaseException:  # noqa: BLE001  # every end is a finding
        return {"fell": traceback.format_exc()}
    return {}


def as_base(folder: Path) -> None:
    """Name it as a base model, for a sequence classification."""
    facts = inspect_folder(locate(str(folder)), "x")
    load_tokenizer(facts)("a film " * 2000)
    load_model(facts.folder, FORM.model_class, FORM.config, 0)


def as_run(folder: Path) -> None:
    """Load it as the tuned model of a run."""
    place = folder.parents[2] / "harmless"
    load_saved(folder, FORM, inspect_folder(place / "base", "base"))


def as_second(folder: Path) -> None:
    """Load it beside another adapter."""
    place = folder.parents[2] / "harmless"
    add_adapter(load_saved(place / "adapter", FORM, inspect_folder(place / "base", "base")), folder, "other")


OF_BASES = {"no tokenizer", "takes images", "unknown architecture", "an adapter"}
"""What is wrong with a base model only."""
OF_RUNS = {kind: spoil for kind, spoil in HOSTILE.items() if kind not in OF_BASES and "template that" not in kind}
UNREAD = {kind: spoil for kind, spoil in ADAPTERS.items() if not kind.startswith("rounded")}
DOORS: dict[str, tuple[Callable[[Path], None], str, dict[str, Spoil]]] = {
    "base": (as_base, "base", HOSTILE),
    "export": (as_base, "whole", {kind: HOSTILE[kind] for kind in OF_RUNS if kind.split()[0] in SOME}),
    "run": (as_run, "whole", OF_RUNS),
    "adapter": (as_run, "adapter", ADAPTERS),
    "second": (as_second, "adapter", UNREAD),
    "merged": (as_base, "adapter", UNREAD),
}
"""What is done with a folder, what is harmless there, and what is not."""
