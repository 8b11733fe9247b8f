"""Of vectors too like an earlier one only the first is kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.methods import similarity
from curate.methods.similarity import CosineSearch, keep_greedily


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([-0.5, 0.3, 0.9, 1.0]))
def test_cosine_search_equals_brute_force(seed, threshold):
    draw = np.random.default_rng(seed)
    vectors = draw.integers(-2, 3, size=(30, 3)).astype(np.float32)
    norm = np.linalg.norm(vectors, axis=1)
    expected, kept = [], []
    for row in range(len(vectors)):
        close = [
            k
            for k in kept
            if norm[row] * norm[k] > 0
            and vectors[row] @ vectors[k] / (norm[row] * norm[k]) >= threshold - 2e-6
        ]
        expected.append(bool(close))
        if not close:
            kept.append(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK", 7)
        twin, _ = keep_greedily(CosineSearch(vectors, threshold))
    assert (twin >= 0).tolist() == expected


def test_cosine_removes_what_semdedup_removes():
    # Highest cosine to an earlier item: 0, .9999, .6112, .8; with eps = .05 only item 1 goes.
    def at(cosine, axis):
        vector = np.zeros(5)
        vector[0], vector[axis] = cosine, np.sqrt(1 - cosine**2)
        return vector

    vectors = np.stack([at(1.0, 1), at(0.9999, 2), at(0.6112, 3), at(0.8, 4)])
    twin, cosine = keep_greedily(CosineSearch(vectors, 1 - 0.05))
    assert twin.tolist() == [-1, 0, -1, -1]
    assert cosine[1] == pytest.approx(0.9999, abs=1e-5)
