"""Near-duplicates by MinHash and locality-sensitive hashing (Broder 1997), through datasketch.

Slower than the exact join and it misses some; it is here for sets that other tools have
deduplicated so. What it finds is still counted in full: it adds nothing that is not similar. The
bands of the signatures are groups of sets as any others, and searched by the same join.
"""

from __future__ import annotations

import numpy as np
import xxhash

from curate.arrays import Floats, Ints
from curate.errors import importing
from curate.methods.pieces import Hashes
from curate.methods.postings import Groups
from curate.methods.set_join import JaccardJoin
from curate.methods.shingles import ShingleSets

PERMUTATIONS = 128
SURE = 0.95  # chance with which a pair at the threshold should be found


def lsh_probability(similarity: float, bands: int, rows: int) -> float:
    """Return the chance that two sets of this Jaccard index agree in all rows of some band."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def bands_for(threshold: float, permutations: int = PERMUTATIONS) -> tuple[int, int]:
    """Return (bands, rows a band) that find a pair at `threshold` with a chance of SURE or more.

    Of these the one with most rows, which takes the fewest other pairs for similar.
    """
    for rows in range(permutations, 1, -1):
        bands = permutations // rows
        if lsh_probability(threshold, bands, rows) >= SURE:
            return bands, rows
    return permutations, 1


def band_keys(sets: ShingleSets, s: slice, threshold: float) -> Hashes:
    """Return a hash of each band of each set's signature (bands, sets), of a slice of the sets.

    The signatures are datasketch's, of 128 permutations (seed 1), in the bands of `bands_for`.
    Raises MissingExtra without it.
    """
    with importing("datasketch", "minhash"):
        from datasketch import MinHash
    bands, rows = bands_for(threshold)
    blank = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)
    begin, counts = sets.begin[s], sets.counts[s]
    keys = np.empty((bands, len(counts)), dtype=np.uint64)
    for place, (start, count) in enumerate(zip(begin.tolist(), counts.tolist(), strict=True)):
        own = sets.tokens[start : start + count]
        signature = blank.copy()
        signature.update_batch((own & np.uint64(0xFFFFFFFF)).tolist())
        raw = np.ascontiguousarray(signature.hashvalues, dtype="<u8")
        for band in range(bands):
            one = raw[band * rows : (band + 1) * rows]
            keys[band, place] = xxhash.xxh3_64_intdigest(one.tobytes(), band)
    return keys


def band_groups(key: Hashes, number: Ints) -> Groups:
    """Return the groups of two or more sets with one key, from (n) keys and their sets' numbers."""
    order = np.lexsort((number, key))
    key, number = key[order], number[order]
    same = np.zeros(len(key) + 1, dtype=bool)  # place i: key i is key i - 1
    same[1:-1] = key[1:] == key[:-1]
    several = same[:-1] | same[1:]
    starts = np.append(np.flatnonzero(~same[:-1][several]), int(several.sum()))
    group = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return Groups(starts, group, number[several], np.zeros(len(group), dtype=np.int64))


def minhash_greedily(sets: ShingleSets, threshold: float) -> tuple[Ints, Floats]:
    """Return each set's twin among the sets kept (n; -1 where it stays) and their Jaccard index.

    Sets come from best to worst, as in `JaccardJoin.keep_greedily`, which this approximates: only
    sets that share a band are compared. Memory: 16 bytes a set and band. Raises MissingExtra
    without datasketch.
    """
    keys = band_keys(sets, slice(None), threshold)
    number = np.tile(np.arange(keys.shape[1]), len(keys))
    groups = band_groups(keys.ravel(), number)
    return JaccardJoin(sets, threshold, groups=groups).keep_greedily()


def found_by_both(exact: Ints, minhash: Ints) -> dict[str, int]:
    """Return how many sets the exact join drops, and of these minhash, from the twins (n)."""
    return {
        "near-copies by the exact join": int((exact >= 0).sum()),
        "near-copies by the exact join that minhash finds": int(
            ((exact >= 0) & (minhash >= 0)).sum()
        ),
    }
