"""A path that was named as a base model: the folder to load, also for a run, an adapter, or the Hub's cache."""

from __future__ import annotations

from pathlib import Path

from kamerton.core.errors import Fault, ModelError
from kamerton.core.files import read_json, shell_word
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.models.naming import file_fault

ADAPTER, CONFIG = "adapter_config.json", "config.json"
ORIGIN = "merged.json"
"""In a folder that an adapter was merged into: the adapter and its base."""


def model_folder(path: Path) -> Path:
    """Return the folder that holds the model, or the adapter, that a path names.

    A run stands for its tuned model, a repository of the Hub's cache for its newest snapshot, a folder of
    sentence-transformers for its transformer.

    Raises:
        ModelError: the path is a file, or a run without a tuned model.
    """
    if path.is_file():
        raise ModelError(file_fault(path))
    if (path / CONFIG).is_file() or (path / ADAPTER).is_file():
        return path
    if (path / "recipe.yaml").is_file():
        return _of_run(path)
    if (path / "snapshots").is_dir():
        return _snapshot(path)
    inner = path / "0_Transformer"
    return inner if (inner / CONFIG).is_file() else path


def _of_run(run: Path) -> Path:
    if (run / "model").is_dir():
        return run / "model"
    remedy = msg("`kamerton resume {run}` continues it; or name its base model", run=shell_word(run))
    raise ModelError(Fault(msg("this run has no tuned model yet"), str(run), remedy))


def _snapshot(repository: Path) -> Path:
    main = repository / "refs" / "main"
    if main.is_file():
        return repository / "snapshots" / main.read_text(encoding="utf-8").strip()
    every = sorted((repository / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime)
    return every[-1] if every else repository


def origin(name: str, folder: Path) -> Wording:
    """Return what a named path stands for; empty if it is the model itself."""
    parts = list[Message]()
    if (Path(name) / "recipe.yaml").is_file():
        parts.append(msg("the tuned model of the run {run}", run=name))
    if (folder / ORIGIN).is_file():
        parts.append(msg("its adapter merged into {base}", base=read_json(folder / ORIGIN)["base"]))
    elif Path(name).is_dir() and not parts and folder.resolve() != Path(name).resolve():
        parts.append(msg("the model in {folder}", folder=str(folder)))
    return Joined(parts, ", ") if parts else ""
