"""Near-duplicate texts: a few letters, a word or the punctuation apart.

Two texts are near-duplicates if the sets of their character 5-grams overlap by a Jaccard index of 0.7;
in texts of less than 66 letters, by as much as one exchanged word leaves of them; in texts of less than
20 a letter may be all the difference ("room 12", "room 13"), and they must be equal but for case and
punctuation. Comparing all pairs of a million texts would take months; so each set is reduced to 100
minima under random permutations (MinHash: Broder, On the resemblance and containment of documents,
1997), and only texts that agree on four of them in a row are compared, by their whole sets (locality-
sensitive hashing: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3). Time and memory
grow with the number of letters, not with its square.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LETTERS = 5
"""Letters in a shingle."""
LEAST, MOST = 0.55, 0.7
"""Jaccard index from which on texts are near-duplicates: the shortest ones, and the long ones."""
SHORT = 16
"""Shingles below which texts must be equal."""
EDIT = 11
"""Shingles that a word of six letters is part of, with the spaces around it."""
BANDS, ROWS = 25, 4
"""Minima agree as often as sets overlap: two texts at 0.55 are compared with a chance of 91%, at 0.7 of 99.9%,
at 0.05 (they have a subject in common) of 0.02%."""
MARGIN = 0.2
"""How far below the threshold an estimate from 100 minima spares the comparison: more than four standard errors."""
NEIGHBOURS = 16
"""Texts after a text in its bucket that it is compared with, beside the first of the bucket."""
BLOCK = 1 << 18
"""Letters worked on at once: what fits into a processor's cache."""
LONGEST = 1 << 20
"""Letters of a text that count."""
KNOWN = 0x20000
"""Code points from here on are letters and pictures."""
GAP = LETTERS - 1
"""Zeros after each text: a text shorter than a shingle is one with them."""


def near_duplicate_groups(texts: Sequence[str]) -> np.ndarray:
    """Group texts so that near-duplicates, and near-duplicates of these, are in one group.

    Case, Unicode form, punctuation and spaces do not count. A text of nothing else is in a group of its own.

    Returns:
        The position of the first text in each text's group, `[texts]` int64: the same on every machine.
    """
    groups = np.arange(len(texts))
    lengths = np.fromiter((min(len(text), LONGEST) for text in texts), np.int64, len(texts))
    keys, minima, sizes = _signatures(texts, lengths)
    for band in range(BANDS):
        for pairs in _neighbours(keys[band], keys[band - 1]):
            apart = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
            likely = apart[_estimates(minima, apart) >= _needed(sizes[apart]) - MARGIN]
            groups = _joined(groups, likely[_overlaps(texts, lengths, likely) >= _needed(sizes[likely])])
    return groups


def _needed(sizes: np.ndarray) -> np.ndarray:
    """Return the Jaccard index from which on pairs with so many shingles, `[pairs, 2]`, are near-duplicates."""
    larger = sizes.max(axis=1)
    return np.where(larger < SHORT, 1.0, np.clip((larger - EDIT) / (larger + EDIT), LEAST, MOST))


def jaccard(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Compare texts pairwise: shingles in both over shingles in either, `[pairs]`; 0 where there are none.

    >>> jaccard(["The cat sat on the mat."], ["the cat sat on my mat"]).round(2)
    array([0.46])
    """
    sides = map(_shingles, (first, second))
    sets = [np.unique(owners.astype(np.uint64) << np.uint64(32) | hashes) for hashes, owners in sides]
    all_ = np.sort(np.concatenate(sets))
    shared = all_[1:][all_[1:] == all_[:-1]]
    counts = [np.bincount((found >> np.uint64(32)).astype(np.int64), minlength=len(first)) for found in (shared, all_)]
    return counts[0] / np.maximum(1, counts[1] - counts[0])


def _shingles(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hash every run of five letters, all texts at once: `[shingles]` uint32, and the text of each, ascending."""
    letters = _letters(texts)
    gap = letters == 0
    first = np.concatenate(([True], gap[:-1]))
    whole = np.concatenate((~gap[GAP:], np.zeros(min(GAP, len(gap)), bool)))
    starts = np.flatnonzero(~gap & (whole | first))
    hashes = np.zeros(len(starts), np.uint64)
    for offset in range(LETTERS):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + letters[starts + offset]
    return (_mix(hashes) >> np.uint64(32)).astype(np.uint32), (np.cumsum(gap) // GAP)[starts]


def _letters(texts: Sequence[str]) -> np.ndarray:
    """Write texts as folded code points, uint32, zeros after each; punctuation becomes a space, spaces become one."""
    gap = "\0" * GAP
    joined = gap.join(text[:LONGEST].replace("\0", " ") for text in texts) + gap
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", joined).casefold())
    codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), np.uint32)
    blank = _blanks()[np.minimum(codes, KNOWN)]
    kept = codes[~blank | np.concatenate(([False], ~blank[:-1]))]  # of blanks in a row the first, as a space
    spaced = np.where(_blanks()[np.minimum(kept, KNOWN)], np.uint32(ord(" ")), kept)
    edge = np.concatenate(([True], spaced[:-1] == 0)) | np.concatenate((spaced[1:] == 0, [True]))
    return spaced[(spaced != ord(" ")) | ~edge]


@cache
def _blanks() -> np.ndarray:
    """Return whether each code point is punctuation, a space or a control character; the gap's zero is not."""
    blanks = np.zeros(KNOWN + 1, bool)
    blanks[1:KNOWN] = [unicodedata.category(chr(code))[0] in "PZC" for code in range(1, KNOWN)]
    return blanks


def _mix(values: np.ndarray) -> np.ndarray:
    """Hash 64-bit numbers (the finalizer of SplitMix64: Steele, Lea, Flood, OOPSLA 2014)."""
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def _signatures(texts: Sequence[str], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute what is kept of each text, about 200 bytes; texts of similar length are computed together.

    Returns:
        Keys, four minima in one number: `[BANDS, texts]` uint32; the lowest byte of each minimum:
        `[texts, BANDS * ROWS]` uint8; how many shingles: `[texts]`.
    """
    keys = np.empty((BANDS, len(texts)), np.uint32)
    minima = np.empty((len(texts), BANDS * ROWS), np.uint8)
    sizes = np.empty(len(texts), np.int64)
    order = np.argsort(lengths, kind="stable")
    for part in _blocks(lengths[order]):
        rows = order[part]
        hashes, owners = _shingles([texts[row] for row in rows])
        sizes[rows] = np.bincount(owners, minlength=len(rows))
        found = _minima(hashes, sizes[rows])
        minima[rows] = found.T.astype(np.uint8)
        mixed = np.zeros((BANDS, len(rows)), np.uint64)
        for row in range(ROWS):
            mixed = _mix(mixed + found[row::ROWS] + np.uint64(1))
        keys[:, rows] = (mixed >> np.uint64(32)).astype(np.uint32)
    return keys, minima, sizes


def _minima(hashes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Compute the least of each text's shingles under each permutation: `[permutations, texts]` uint32.

    The permutations are linear ones modulo 2^32 of numbers that are scrambled already.
    """
    minima = np.zeros((BANDS * ROWS, len(sizes)), np.uint32)
    filled = np.flatnonzero(sizes)
    if not len(filled):
        return minima
    ends = np.cumsum(sizes)[filled]
    steps = np.arange(sizes.max())[:, None]
    table = hashes[np.minimum(ends - sizes[filled] + steps, ends - 1)]
    draws = (_mix(np.arange(1, 2 * BANDS * ROWS + 1, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32)
    permuted = np.empty_like(table)
    for number, (factor, shift) in enumerate(draws.reshape(-1, 2)):
        np.multiply(table, factor | np.uint32(1), out=permuted)
        np.add(permuted, shift, out=permuted)
        minima[number, filled] = permuted.min(axis=0)
    return minima


def _blocks(lengths: np.ndarray) -> Iterator[slice]:
    block = (np.cumsum(lengths + GAP)) // BLOCK
    bounds = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(lengths)]
    return (slice(start, end) for start, end in pairwise(bounds) if start < end)


def _neighbours(keys: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the pairs of texts with the same key, `[pairs, 2]` at a time; in large buckets only neighbours.

    Within a bucket, texts that agree in another band as well stand next to each other.
    """
    order = np.lexsort((others, keys))
    sorted_ = keys[order]
    for distance in range(1, NEIGHBOURS + 1):
        at = np.flatnonzero(sorted_[distance:] == sorted_[:-distance])
        if not len(at):
            return
        yield np.stack((order[at], order[at + distance]), axis=1)
    first = np.searchsorted(sorted_, sorted_)
    yield np.stack((order[first], order), axis=1)


def _estimates(minima: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    parts = np.split(pairs, range(step := BLOCK // minima.shape[1], len(pairs), step))
    return np.concatenate([(minima[part[:, 0]] == minima[part[:, 1]]).mean(axis=1) for part in parts])


def _overlaps(texts: Sequence[str], lengths: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    values = np.empty(len(pairs))
    for part in _blocks(lengths[pairs].sum(axis=1)):
        values[part] = jaccard([texts[row] for row in pairs[part, 0]], [texts[row] for row in pairs[part, 1]])
    return values


def _joined(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    if not len(pairs):
        return groups
    names, compact = np.unique(groups[pairs], return_inverse=True)
    ends = compact.reshape(-1, 2)
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    labels = connected_components(links, directed=False)[1]
    _, firsts = np.unique(labels, return_index=True)  # names ascend, so the first of a label is its smallest
    renamed = np.arange(len(groups))
    renamed[names] = names[firsts[labels]]
    return renamed[groups]
