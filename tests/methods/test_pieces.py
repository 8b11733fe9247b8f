from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.methods.pieces import Pile, in_threads, slices


@given(st.lists(st.integers(0, 20), max_size=50), st.integers(1, 30), st.integers(1, 8))
def test_slices_cover_everything_once_within_the_limits(weights, limit, most):
    cuts = list(slices(np.cumsum(weights, dtype=np.int64), limit, most))
    assert [i for cut in cuts for i in range(cut.start, cut.stop)] == list(range(len(weights)))
    for cut in cuts:
        own = weights[cut]
        assert 0 < len(own) <= most
        assert len(own) == 1 or sum(own) <= limit


def test_threads_answer_in_order():
    def work(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item

    assert list(in_threads(work, range(40))) == list(range(40))


def test_piles_in_memory_and_in_a_file(tmp_path: Path):
    for spill in (None, tmp_path):
        pile = Pile(spill, "numbers")
        assert len(pile.array()) == 0
        for piece in ([1, 2], [], [3]):
            pile.add(np.array(piece, dtype=np.uint64))
        assert pile.array().tolist() == [1, 2, 3]
