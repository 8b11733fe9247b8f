"""Which texts nearly equal an earlier one, and the marks by which equal ones are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Floats, Ints, hashes
from curate.methods.minhash import found_by_both, minhash_greedily
from curate.methods.pieces import Hashes
from curate.methods.set_join import JaccardJoin
from curate.methods.shingles import WIDTH, shingle_sets
from curate.methods.vectors import COSINE_SLACK


def percent(similarity: Floats) -> pa.Array:
    """Return each similarity as " (0.93)", as large_string; only what is equal is " (1.00)".

    Equal up to the float32 rounding of a cosine, that is; what is not is at most " (0.99)".
    """
    steps = pa.array([f" ({step / 100:.2f})" for step in range(101)], pa.large_string())
    shown = np.rint(similarity.clip(0, 1) * 100).astype(np.int64)
    shown[(shown == 100) & (similarity < 1 - COSINE_SLACK)] = 99
    return steps.take(pa.array(shown))


def text_marks(texts: Iterable[pa.Array]) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Return two 64-bit hashes of each text (2, n), and where there is one (n)."""
    marks, there = [np.zeros((2, 0), dtype=np.uint64)], [np.zeros(0, dtype=bool)]
    for array in texts:
        marks.append(np.stack([hashes(array, seed) for seed in (0, 1)]))
        there.append(np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool))
    return np.concatenate(marks, axis=1), np.concatenate(there)


def first_of(number: Ints, first: Ints) -> Ints:
    """Return each item's earlier equal (n; -1 for none), from the results of `number_equal`.

    `number` (n) is each item's kind, or -1, and `first` (kinds) the first item of each.
    """
    twin = np.append(first, -1)[number]
    return np.where(twin == np.arange(len(number)), -1, twin)


def near_text(
    texts: Iterable[pa.Array],
    order: Ints,
    threshold: float,
    *,
    width: int = WIDTH,
    salt: Hashes | None = None,
    spill: Path | None = None,
    method: Literal["exact", "minhash"] = "exact",
    counts: Counter[str] | None = None,
) -> tuple[Ints, Floats]:
    """Return each text's twin among the texts kept (n; -1 where it stays) and their Jaccard index.

    `order` (n) lists the texts, which come in any number of arrays, from best to worst. A text
    without words stays. `width`, `salt` and `spill` are those of `shingle_sets`. With minhash,
    `counts` is told how many near-copies the exact join finds, and how many of them minhash does.
    """
    set_of, sets = shingle_sets(texts, order, width, salt, spill)
    if method == "minhash":
        set_twin, set_similarity = minhash_greedily(sets, threshold)
        if counts is not None:  # it takes a fraction of the time that minhash takes
            exact, _ = JaccardJoin(sets, threshold, spill).keep_greedily()
            counts.update(found_by_both(exact, set_twin))
    else:
        set_twin, set_similarity = JaccardJoin(sets, threshold, spill).keep_greedily()
    return text_twins(set_of, order, set_twin, set_similarity)


def text_twins(
    set_of: Ints, order: Ints, set_twin: Ints, set_similarity: Floats
) -> tuple[Ints, Floats]:
    """Return each text's twin (n) and their similarity, from its set's and those of equal texts."""
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    there = set_of >= 0
    best = np.full(len(set_twin), len(order), dtype=np.int64)
    np.minimum.at(best, set_of[there], position[there])
    first = order[best]
    twin, similarity = first_of(set_of, first), np.ones(len(order))
    gone = np.flatnonzero(there)
    gone = gone[set_twin[set_of[gone]] >= 0]
    twin[gone] = first[set_twin[set_of[gone]]]
    similarity[gone] = set_similarity[set_of[gone]]
    return twin, similarity


def reorder(twin: Ints, similarity: Floats, order: Ints) -> tuple[Ints, Floats]:
    """Turn twins and similarities (n) given by rank into ones given by row."""
    by_row, value = np.full(len(order), -1, dtype=np.int64), np.zeros(len(order))
    by_row[order] = np.where(twin < 0, -1, order[twin])
    value[order] = similarity
    return by_row, value
