"""Find the data files of a path: one file, a folder, a pattern, or a data set of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # the base of its HTTP library
from huggingface_hub.errors import LocalEntryNotFoundError as NotHere

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import msg
from kamerton.data.named import ARCHIVES, MAGIC, PACKED, format_of, is_aside, is_on_hub, is_pattern
from kamerton.data.parallel import partners_of, sides_of

CONVERTED = "refs/convert/parquet"
"""The branch with the hub's Parquet copy of a data set."""


def files_of(path: Path, suffixes: Collection[str]) -> list[Path]:
    """List the data files that a path names, sorted.

    Args:
        path: a file (even a missing one, if it can be nothing else), a folder, searched recursively, a pattern
            (`data/*.csv`, `data/**/*.jsonl`), or an id like `org/name` of the Hugging Face hub.
        suffixes: the file name extensions that can be read.

    Raises:
        DataError: there is no data file, or the path cannot be accessed.
    """
    try:
        if path.is_dir():
            return _inside(path, suffixes)
        if not path.is_file() and is_pattern(path):
            return _matching(path, suffixes)
        if not path.exists() and is_on_hub(path):
            return _from_hub(str(path), suffixes)
        return partners_of(path)
    except OSError as error:
        rule = msg("the file cannot be accessed: {error}", error=error.strerror or str(error))
        raise DataError(Fault(rule, str(path), msg("name a data file"))) from None


def _matching(pattern: Path, suffixes: Collection[str]) -> list[Path]:
    fixed = next(number for number, part in enumerate(pattern.parts) if MAGIC & set(part))
    found = sorted(Path(*pattern.parts[:fixed]).glob(str(Path(*pattern.parts[fixed:]))))
    files = [file for path in found for file in (_listed(path, suffixes) if path.is_dir() else [path])]
    if not files:
        rule, remedy = msg("no file matches the pattern"), msg("check the pattern; ** matches folders at any depth")
        raise DataError(Fault(rule, str(pattern), remedy))
    return list(dict.fromkeys(files))


def _inside(folder: Path, suffixes: Collection[str]) -> list[Path]:
    files = _listed(folder, suffixes)
    if not files:
        remedy = msg("add files with one of these extensions: {known}", known=", ".join(sorted(suffixes)))
        raise DataError(Fault(msg("the folder holds no data file"), str(folder), remedy))
    return files


def _listed(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List a folder's data files, at any depth; archives only if there is nothing else."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_aside(path.relative_to(folder))]
    parallel = {side.path for sides in sides_of([(path, str(path)) for path in files]) for side in sides[1:] and sides}
    found = [path for path in files if format_of(path) in suffixes or path in parallel]
    return [path for path in found if format_of(path) not in ARCHIVES] or found


def _from_hub(name: str, suffixes: Collection[str]) -> list[Path]:
    """Return the files of a data set in the cache, or download them; code is never downloaded."""
    wanted = [f"*{suffix}{packed}" for suffix in suffixes for packed in ("", *PACKED)]
    for revision in (None, CONVERTED):
        try:
            folder = Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=wanted))
        except (HTTPError, NotHere, OSError) as error:
            rule = msg(
                "'{name}' is not a file here, and cannot be downloaded as a data set of the Hugging Face hub: {error}",
                name=name,
                error=str(error).strip().partition("\n")[0],
            )
            remedy = msg("check the name; without a network, download it elsewhere and name its folder")
            raise DataError(Fault(rule, name, remedy)) from None
        if files := _listed(folder, suffixes):
            return files
    remedy = msg("save it as Parquet with the library `datasets`: dataset.to_parquet(...)")
    raise DataError(Fault(msg("the data set holds no file that can be read"), name, remedy))
