"""Near-duplicates by MinHash and locality-sensitive hashing (Broder 1997), through datasketch.

Slower than the exact join and it misses some; it is here for sets that other tools have
deduplicated so. What it finds is still counted in full: it adds nothing that is not similar.
"""

from __future__ import annotations

import numpy as np

from curate.arrays import Floats, Ints
from curate.errors import MissingExtra
from curate.methods.shingles import ShingleSets

PERMUTATIONS = 128
SURE = 0.95  # chance with which a pair at the threshold should be found


def lsh_probability(similarity: float, bands: int, rows: int) -> float:
    """Return the chance that two sets of this Jaccard index agree in all rows of some band."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def lsh_knee(bands: int, rows: int) -> float:
    """Return the Jaccard index around which that chance rises: (1 / bands) ** (1 / rows)."""
    return float((1.0 / bands) ** (1.0 / rows))


def bands_for(threshold: float, permutations: int = PERMUTATIONS) -> tuple[int, int]:
    """Return (bands, rows a band) that find a pair at `threshold` with a chance of SURE or more.

    Of these the one with most rows, which takes the fewest other pairs for similar.
    """
    for rows in range(permutations, 1, -1):
        bands = permutations // rows
        if lsh_probability(threshold, bands, rows) >= SURE:
            return bands, rows
    return permutations, 1


def minhash_greedily(sets: ShingleSets, threshold: float) -> tuple[Ints, Floats]:
    """Return each set's twin among the sets kept (n; -1 where it stays) and their Jaccard index.

    Sets come from best to worst, as in `JaccardJoin.keep_greedily`, which this approximates: a
    set stays where LSH on 128 permutations (seed 1), in the bands of `bands_for`, does not find the
    one it is similar to.
    Raises MissingExtra without datasketch.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        raise MissingExtra("datasketch", "minhash") from None
    size = len(sets.counts)
    twin, similarity = np.full(size, -1, dtype=np.int64), np.ones(size)
    index = MinHashLSH(num_perm=PERMUTATIONS, params=bands_for(threshold))
    blank = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)
    for place, (begin, count) in enumerate(zip(sets.begin, sets.counts, strict=True)):
        own = sets.tokens[begin : begin + count]
        signature = blank.copy()
        signature.update_batch((own & np.uint64(0xFFFFFFFF)).tolist())
        best, found = -1, 0.0
        for other in sorted(index.query(signature)):
            start = sets.begin[other]
            theirs = sets.tokens[start : start + sets.counts[other]]
            both = len(np.intersect1d(own, theirs, assume_unique=True))
            jaccard = both / (len(own) + len(theirs) - both)
            if jaccard >= threshold and jaccard > found:
                best, found = other, jaccard
        if best >= 0:
            twin[place], similarity[place] = best, found
        else:
            index.insert(place, signature)
    return twin, similarity
