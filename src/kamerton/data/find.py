"""Find the files that the user means: one file, all of a folder, a pattern, or a data set of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # the base of its HTTP library
from huggingface_hub.errors import LocalEntryNotFoundError as NotHere

from kamerton.core.errors import DataError, Fault
from kamerton.data.named import ARCHIVES, MAGIC, PACKED, format_of, is_aside, is_on_hub, is_pattern
from kamerton.data.parallel import partners_of, sides_of

CONVERTED = "refs/convert/parquet"
"""Where the hub keeps a Parquet copy of data sets in other forms."""


def files_of(path: Path, suffixes: Collection[str]) -> list[Path]:
    """List the data files that a path names, sorted.

    Args:
        path: a file (also one that does not exist, if nothing else is meant), a folder (with those inside it),
            a pattern (`data/*.csv`, `data/**/*.jsonl`), or an id like `org/name` of the Hugging Face hub.
        suffixes: the ends of names that can be read.

    Raises:
        DataError: no data file is there, or the path cannot be reached.
    """
    try:
        if path.is_dir():
            return _inside(path, path, suffixes)
        if not path.is_file() and is_pattern(path):
            return _matching(path, suffixes)
        if not path.exists() and is_on_hub(path):
            return _from_hub(str(path), suffixes)
        return partners_of(path)
    except OSError as error:
        fault = Fault(f"the file cannot be reached: {error.strerror}", str(path), "give the path of a data file")
        raise DataError(fault) from None


def _matching(pattern: Path, suffixes: Collection[str]) -> list[Path]:
    fixed = next(number for number, part in enumerate(pattern.parts) if MAGIC & set(part))
    found = sorted(Path(*pattern.parts[:fixed]).glob(str(Path(*pattern.parts[fixed:]))))
    files = [file for path in found for file in (_listed(path, suffixes) if path.is_dir() else [path])]
    if not files:
        raise DataError(Fault("no file has such a name", str(pattern), "check the pattern; ** goes into folders"))
    return list(dict.fromkeys(files))


def _inside(folder: Path, named: Path, suffixes: Collection[str]) -> list[Path]:
    files = _listed(folder, suffixes)
    if not files:
        known = ", ".join(sorted(suffixes))
        raise DataError(Fault("the folder holds no data file", str(named), f"put files there that end in {known}"))
    return files


def _listed(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List a folder's data files, those in folders inside it included; archives only where there is nothing else."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_aside(path.relative_to(folder))]
    parallel = {side.path for sides in sides_of([(path, str(path)) for path in files]) for side in sides[1:] and sides}
    found = [path for path in files if format_of(path) in suffixes or path in parallel]
    return [path for path in found if format_of(path) not in ARCHIVES] or found


def _from_hub(name: str, suffixes: Collection[str]) -> list[Path]:
    """Take a data set from the cache, else download it: its files only, never code.

    Raises:
        DataError: it is not there and cannot be downloaded, or has no readable file.
    """
    wanted = [f"*{suffix}{packed}" for suffix in suffixes for packed in ("", *PACKED)]
    for revision in (None, CONVERTED):
        try:
            folder = Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=wanted))
        except (HTTPError, NotHere, OSError) as error:
            first = str(error).strip().partition("\n")[0]
            rule = (
                f"'{name}' is no file here, and as a data set of the Hugging Face hub it cannot be downloaded: {first}"
            )
            remedy = "check the name; without a network, download it elsewhere and give its folder"
            raise DataError(Fault(rule, name, remedy)) from None
        if files := _listed(folder, suffixes):
            return files
    remedy = "save it as Parquet with the library `datasets`: dataset.to_parquet(...)"
    raise DataError(Fault("the data set holds no file that can be read", name, remedy))
