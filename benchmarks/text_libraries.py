"""Measure our text tools beside the libraries of the field on planted truths in English and Russian.

python -m venv libs && libs/bin/pip install ftfy datasketch rensa charset-normalizer
PYTHONPATH=libs/lib/python3.11/site-packages python benchmarks/text_libraries.py FOLDER_OF_JSONL
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import ftfy
from charset_normalizer import from_bytes
from datasketch import MinHash, MinHashLSH
from rensa import RMinHash, RMinHashLSH

from kamerton.core.errors import DataError
from kamerton.data.encoding import decode
from kamerton.data.unpack import held
from kamerton.text.near_duplicates import jaccard, near_duplicate_groups
from kamerton.text.repair import mend

ENCODINGS = ("utf-8", "utf-16", "cp1251", "koi8-r", "cp866", "iso8859-5", "mac-cyrillic")
MISREADINGS = (
    *(("utf-8", read_as) for read_as in ("cp1252", "cp1251", "koi8-r")),
    *(("cp1251", "cp1252"), ("koi8-r", "cp1252")),
    *(("cp1251", "koi8-r"), ("koi8-r", "cp1251"), ("cp866", "cp1251")),
)
LINES = (1, 5, 50)
FILES, TEXTS = 100, 500
PERMUTATIONS, THRESHOLD, SHINGLE = 100, 0.6, 5


def texts(folder: Path, *, russian: bool) -> list[str]:
    """Return the distinct texts of a folder of JSON lines in one of the two languages."""
    found = dict[str, None]()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            for value in json.loads(line).values():
                if isinstance(value, str) and 30 <= len(value) <= 600 and "\ufffd" not in value:
                    cyrillic = sum("а" <= sign <= "я" for sign in value.lower()) / len(value)
                    if (cyrillic > 0.5) if russian else value.isascii():
                        found[" ".join(value.split())] = None
    return list(found)


def timed(work: Callable[[], int]) -> tuple[int, float]:
    """Return a count of right answers and the seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


# ── encodings ─────────────────────────────────────────────────────────────────────────────────


def ours_decoded(raw: bytes) -> str:
    """Decode as Kamerton reads a file."""
    try:
        with decode(held("x", raw)).open() as file:
            return file.read()
    except DataError:
        return ""


def theirs_decoded(raw: bytes) -> str:
    """Decode by charset-normalizer's best match."""
    return str(from_bytes(raw).best() or "")


def encodings(russian: Sequence[str], english: Sequence[str], draw: random.Random) -> None:
    """Decode files of a few lines in known encodings."""
    quoted = [f"“{text}” – said the café’s owner" for text in english]
    cases = [(name, russian) for name in ENCODINGS] + [("utf-8", quoted), ("cp1252", quoted)]
    for name, source in cases:
        for lines in LINES:
            wholes = ["\n".join(draw.sample(list(source), lines)) + "\n" for _ in range(FILES)]
            pairs = [(whole := truth(one, name), whole.encode(name)) for one in wholes]
            row = [f"{'ru' if source is russian else 'en'} {name}, {lines} lines, {len(pairs)} files"]
            for reader in (ours_decoded, theirs_decoded):
                right, seconds = timed(lambda: sum(reader(raw) == whole for whole, raw in pairs))  # noqa: B023
                row.append(f"{right / len(pairs):.1%} {sum(len(raw) for _, raw in pairs) / seconds / 1e6:.2f} MB/s")
            print("\t".join(row))


def truth(text: str, name: str) -> str:
    """Return a text without the signs that an encoding lacks."""
    return text.encode(name, "ignore").decode(name)


# ── mojibake ──────────────────────────────────────────────────────────────────────────────────


def ours_mended(text: str) -> str:
    """Undo wrong readings as Kamerton does."""
    found = mend(text)
    return found.text if found else text


def mojibake(russian: Sequence[str], english: Sequence[str]) -> None:
    """Undo known wrong readings, and leave right texts alone."""
    accented = [f"“{text}” – said the café’s owner" for text in english]
    for title, source in (("ru", russian), ("en", accented)):
        cases = [("nothing", [(text, text) for text in source[:TEXTS]])]
        for truly, read_as in MISREADINGS if title == "ru" else MISREADINGS[:2]:
            pairs = [(text, bad) for text in source[:TEXTS] if (bad := misread(text, truly, read_as))]
            cases.append((f"{truly} as {read_as}", pairs))
        for name, pairs in cases:
            row = [f"{title} {name}, {len(pairs)} texts"]
            for mended in (ours_mended, ftfy.fix_encoding):
                right, seconds = timed(lambda: sum(mended(bad) == text for text, bad in pairs))  # noqa: B023
                row.append(f"{right / max(1, len(pairs)):.1%} {1e6 * seconds / max(1, len(pairs)):.0f} us a text")
            print("\t".join(row))


def misread(text: str, truly: str, read_as: str) -> str:
    """Read a text's bytes in another encoding; nothing where they do not decode there."""
    try:
        raw = text.encode(truly)
        bad = "".join(
            bytes([b]).decode(read_as, "strict") if read_as != "cp1252" or b not in UNDEFINED else chr(b) for b in raw
        )
    except UnicodeError:
        return ""
    return bad


UNDEFINED = {0x81, 0x8D, 0x8F, 0x90, 0x9D}


# ── near-duplicates ───────────────────────────────────────────────────────────────────────────


def shingles(text: str) -> set[str]:
    """Return the character 5-grams of a folded text."""
    folded = " ".join("".join(sign if sign.isalnum() else " " for sign in text.casefold()).split())
    return {folded[at : at + SHINGLE] for at in range(max(1, len(folded) - SHINGLE + 1))}


def changed(text: str, draw: random.Random) -> str:
    """Return a text with one small change of four kinds."""
    words, kind = text.split(), draw.randrange(4)
    at = draw.randrange(len(words))
    if kind == 0:
        return text.upper().replace(".", " !") + " ."
    if kind == 1:
        words[at] = draw.choice(words)
    elif kind == 2:
        words[at] = words[at][:1] + words[at][2:] if len(words[at]) > 3 else words[at]
    else:
        words.insert(at, "also" if text.isascii() else "также")
    return " ".join(words)


def by_datasketch(all_texts: Sequence[str]) -> list[set[int]]:
    """Group by datasketch's LSH."""
    index, groups = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), list[set[int]]()
    for at, text in enumerate(all_texts):
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([one.encode() for one in shingles(text)])
        groups.append({*index.query(sketch)})
        index.insert(at, sketch)
    return groups


def by_rensa(all_texts: Sequence[str]) -> list[set[int]]:
    """Group by rensa's LSH."""
    index, groups = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=25), list[set[int]]()
    for at, text in enumerate(all_texts):
        sketch = RMinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update(list(shingles(text)))
        groups.append({*index.query(sketch)})
        index.insert(at, sketch)
    return groups


def by_us(all_texts: Sequence[str]) -> list[set[int]]:
    """Group by Kamerton: each text with the first of its group."""
    found = near_duplicate_groups(all_texts).tolist()
    members, groups = defaultdict(set), list[set[int]]()
    for at, group in enumerate(found):
        groups.append({*members[group]})
        members[group].add(at)
    return groups


def duplicates(title: str, source: Sequence[str], draw: random.Random) -> None:
    """Find planted near-duplicates among texts that are none."""
    bases = [text for text in source if len(text) >= 70][:4000]
    planted = draw.sample(range(len(bases)), min(1000, len(bases) // 3))
    whole = [*bases, *(changed(bases[at], draw) for at in planted)]
    row = [f"{title}, {len(bases)} texts and {len(planted)} planted"]
    for grouped in (by_us, by_datasketch, by_rensa):
        start = time.perf_counter()
        groups = grouped(whole)
        seconds = time.perf_counter() - start
        found = sum(at in groups[len(bases) + number] for number, at in enumerate(planted))
        linked = [(one, other) for one, some in enumerate(groups) for other in some if one < len(bases)]
        far = int(sum(jaccard([whole[a] for a, _ in linked], [whole[b] for _, b in linked]) < 0.4)) if linked else 0
        row.append(f"{grouped.__name__} {found / len(planted):.1%} found, {far} pairs below 0.4, {seconds:.2f} s")
    print("\t".join(row))


def main(folders: Iterable[str]) -> None:
    """Print a table of each comparison: ours, then theirs."""
    draw = random.Random(7)
    for folder in map(Path, folders):
        russian, english = texts(folder, russian=True), texts(folder, russian=False)
        draw.shuffle(russian), draw.shuffle(english)
        print(f"{len(russian)} Russian texts, {len(english)} English ones")
        encodings(russian, english, draw)
        mojibake(russian, english)
        duplicates("ru", russian, draw)
        duplicates("en", english, draw)


if __name__ == "__main__":
    main(sys.argv[1:])
