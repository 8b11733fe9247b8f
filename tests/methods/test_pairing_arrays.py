import numpy as np

from curate.methods.pairing import all_pairs, best_worst, ranks


def test_ranks_are_dense_and_by_row():
    counts = np.array([3, 0, 2, 4])
    scores = np.array([1, 3, 3, np.nan, 5, 2, 4, 2, 9.0])
    assert ranks(counts, scores).tolist() == [1, 0, 0, -1, 0, 2, 1, 2, 0]
    assert ranks(np.array([0]), np.array([])).tolist() == []


def test_long_rows_among_short_ones_and_even_rows_agree_with_a_plain_loop():
    rng = np.random.default_rng(4)
    for counts in ([2] * 40 + [30], [3] * 90_000, [5, 4, 5, 0, 3], [0, 0], [],
                   [3] * 2000 + [500]):  # fmt: skip
        counts = np.array(counts, dtype=np.int64)
        scores = rng.integers(0, 4, counts.sum()).astype(float)
        scores[rng.random(len(scores)) < 0.2] = np.nan
        row, chosen, rejected = all_pairs(counts, scores, 1.0)
        found = list(zip(row.tolist(), chosen.tolist(), rejected.tolist(), strict=True))
        parts = np.split(scores, np.cumsum(counts))[: len(counts)]
        sample = range(0, len(counts), max(len(counts) // 300, 1))
        expected = [
            (r, i, j) for r in sample for i, a in enumerate(parts[r])
            for j, b in enumerate(parts[r]) if a - b > 1
        ]  # fmt: skip
        assert [f for f in found if f[0] in set(sample)] == expected
        assert found == sorted(found)
        best, worst = best_worst(counts, scores)
        for r in sample:
            known = parts[r][~np.isnan(parts[r])]
            if not len(known) or known.min() == known.max():
                assert best[r] == worst[r] == -1
            else:
                assert (best[r], worst[r]) == (np.nanargmax(parts[r]), np.nanargmin(parts[r]))
