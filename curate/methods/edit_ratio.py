"""Which pairs of texts hardly differ, character by character."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from rapidfuzz.distance import Indel

from curate.arrays import Bools, Ints


def above_ratio(one: pa.Array, two: pa.Array, ratio: float, length: list[Ints]) -> Bools:
    """Return (n,) where the edit ratio of two texts that differ is above `ratio`.

    The ratio is 2 * L / (a + b), where a and b count the characters and L those of the longest
    common subsequence. `length` holds the characters of `one` and of `two` (n each), which tell
    beforehand which pairs cannot reach it.
    """
    total, least = length[0] + length[1], 2 * np.minimum(length[0], length[1])
    mask = np.zeros(len(total), dtype=bool)
    for at in np.flatnonzero((total > 0) & (least > ratio * total)).tolist():
        a, b = one[at].as_py(), two[at].as_py()
        wanted = ratio * int(total[at])
        # In whole characters, so that exactly the ratio is not above it.
        mask[at] = a != b and Indel.similarity(a, b, score_cutoff=int(wanted)) > wanted
    return mask
