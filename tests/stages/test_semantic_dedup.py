from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

pytest.importorskip("faiss")

from curate.errors import StageError
from curate.methods.clustered import centroid_order, centroids, sampled_recall
from curate.methods.similarity import CosineSearch, keep_greedily
from curate.methods.threshold_sweep import greedy, similar_pairs, threshold_sweep
from curate.methods.vectors import nearest, unit
from curate.stage import Context
from curate.stages.semantic_dedup import SemanticDedup


def view(vectors, **columns) -> pa.Table:
    vectors = np.asarray(vectors, dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    return pa.table({"id": [f"r{i}" for i in range(len(vectors))], "embedding": column} | columns)


def reasons(stage: SemanticDedup, table: pa.Table, ctx: Context | None = None) -> list:
    return stage.apply(table, ctx or Context())["drop"].to_pylist()


def clouds(seed: int, groups: int, each: int, spread: float, d: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middle = unit(rng.normal(size=(groups, d)))
    return unit(np.repeat(middle, each, axis=0) + spread * rng.normal(size=(groups * each, d)))


def test_the_worked_numbers():
    # Cosines whose largest to an earlier row are 0, .9999, .6112, .8: epsilon .05 drops row 1.
    gram = np.eye(4)
    gram[0, 1] = gram[1, 0] = 0.9999
    gram[0, 2] = gram[2, 0] = gram[1, 2] = gram[2, 1] = 0.6112
    gram[2, 3] = gram[3, 2] = 0.8
    gram[0, 3] = gram[3, 0] = gram[1, 3] = gram[3, 1] = 0.5
    assert np.linalg.eigvalsh(gram).min() > 0
    found = reasons(SemanticDedup(threshold=0.95), view(np.linalg.cholesky(gram)))
    assert found == [None, "semantic duplicate of r0 (0.99)", None, None]


def test_the_best_stays_and_chains_do_not_drop():
    angles = np.radians([0, 20, 40])
    table = view(np.stack([np.cos(angles), np.sin(angles)], axis=1), quality=[1.0, 3.0, 2.0])
    stage = SemanticDedup(threshold=0.9)
    # Each is like the next, and the outer two are unlike.
    assert reasons(stage, table) == [None, "semantic duplicate of r0 (0.94)", None]
    best = SemanticDedup(threshold=0.9, keep_by="quality")
    assert reasons(best, table) == [
        "semantic duplicate of r1 (0.94)",
        None,
        "semantic duplicate of r1 (0.94)",
    ]
    assert best.needed() == ("id", "embedding", "quality")


def test_farthest_or_nearest_to_the_centroid():
    table = view([[1.0, 0.0], [0.99, 0.14], [0.9, 0.43]])
    near = reasons(SemanticDedup(threshold=0.85, keep="nearest", clusters=1), table)
    far = reasons(SemanticDedup(threshold=0.85, keep="farthest", clusters=1), table)
    assert [row is None for row in near] == [False, True, False]
    assert [row is None for row in far] == [False, False, True]
    with pytest.raises(ValidationError, match="not both"):
        SemanticDedup(keep="nearest", keep_by="scores")


def test_clusters_find_what_lies_across_borders():
    vectors = clouds(1, groups=150, each=6, spread=0.05)
    exact = reasons(SemanticDedup(threshold=0.9), view(vectors))
    ctx = Context()
    stage = SemanticDedup(threshold=0.9, exact_up_to=0, probes=8)
    assert reasons(stage, view(vectors), ctx) == exact
    assert sum(row is not None for row in exact) > 500
    there = ctx.counts["similar pairs of sampled rows"]
    assert there == ctx.counts["similar pairs of sampled rows that clusters find"] > 500


def test_recall_is_measured_not_assumed():
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(400, 3)))  # dense on the sphere: each border parts many
    middle = centroids(vectors, 40)
    there, alone = sampled_recall(vectors, 0.95, middle, 1)
    _, found = sampled_recall(vectors, 0.95, middle, 8)
    parts = [sampled_recall(vectors, 0.95, middle, 1, slice(k, k + 90)) for k in range(0, 400, 90)]
    assert (there, alone) == tuple(map(sum, zip(*parts, strict=True)))
    assert alone < 0.8 * there
    assert found == there
    cosine = vectors @ vectors.T
    assert there == int((cosine >= 0.95).sum()) - 400


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.5, 0.8, 0.9, 0.99]))
def test_pairs_and_greedy_are_those_of_the_search(seed, threshold):
    vectors = clouds(seed, groups=12, each=4, spread=0.1, d=6)
    pairs = similar_pairs(vectors, 0.5)
    assert len(pairs.later) == int((np.tril(vectors @ vectors.T, -1) >= 0.5 - 1e-6).sum())
    twin, cosine = keep_greedily(CosineSearch(vectors, threshold))
    again, value = greedy(len(vectors), pairs, threshold)
    assert (again == twin).all()
    assert value == pytest.approx(cosine, abs=1e-6)


def test_sweep_shows_the_nearest_calls():
    vectors = clouds(3, groups=30, each=3, spread=0.06)
    swept = threshold_sweep(vectors, [0.7, 0.95, 0.999], show=2)
    assert [row.threshold for row in swept] == [0.999, 0.95, 0.7]
    assert [row.kept for row in swept] == sorted((row.kept for row in swept), reverse=True)
    assert swept[-1].kept == 30
    for row in swept:
        kept = reasons(SemanticDedup(threshold=row.threshold), view(vectors)).count(None)
        assert row.kept == kept
        for gone, stays, cosine in row.examples:
            assert cosine == pytest.approx(float(vectors[gone] @ vectors[stays]), abs=1e-6)
            assert cosine >= row.threshold - 1e-6


def test_rows_without_a_vector_and_empty_views():
    empty = pa.array([None, [1.0, 0.0], None, [1.0, 0.0]], pa.list_(pa.float16(), 2))
    table = pa.table({"id": list("abcd"), "embedding": empty})
    for fields in ({}, {"exact_up_to": 0}, {"keep": "nearest"}):
        found = reasons(SemanticDedup(**fields), table)
        assert found == [None, None, None, "semantic duplicate of b (1.00)"]
        assert reasons(SemanticDedup(**fields), table.slice(0, 0)) == []


def test_the_same_again():
    vectors = clouds(5, groups=40, each=5, spread=0.2)
    first, second = (centroid_order(vectors, 14, "farthest") for _ in range(2))
    assert (first == second).all()


def test_the_stage_counts_other_thresholds():
    vectors = clouds(3, groups=30, each=3, spread=0.06)
    expected = {row.threshold: row.kept for row in threshold_sweep(vectors, [0.7, 0.95])}
    for fields in ({}, {"exact_up_to": 0, "probes": 8}):
        ctx = Context()
        plain = reasons(SemanticDedup(threshold=0.9, **fields), view(vectors))
        swept = SemanticDedup(threshold=0.9, sweep=(0.7, 0.95), **fields)
        assert reasons(swept, view(vectors), ctx) == plain
        assert {t: ctx.counts[f"rows kept at {t:g}"] for t in (0.7, 0.95)} == expected
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        SemanticDedup(sweep=(1.5,))


def test_clusters_that_miss_too_much_stop_the_stage():
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(400, 3)))
    loose = {"threshold": 0.95, "exact_up_to": 0, "clusters": 40, "probes": 1}
    with pytest.raises(StageError, match=r"less than min_recall 0\.95; raise `probes`"):
        reasons(SemanticDedup(**loose), view(vectors))
    assert None in reasons(SemanticDedup(**loose, min_recall=0.0), view(vectors))


def test_nearest_in_blocks_equals_one_product():
    rng = np.random.default_rng(1)
    rows, items = unit(rng.normal(size=(1100, 4))), unit(rng.normal(size=(17_000, 4)))
    row, item, value = nearest(rows, items, 0.999)
    cosine = rows @ items.T
    sure = {tuple(pair) for pair in np.argwhere(cosine >= 0.999 + 1e-5).tolist()}
    may = {tuple(pair) for pair in np.argwhere(cosine >= 0.999 - 1e-5).tolist()}
    found = list(zip(row.tolist(), item.tolist(), strict=True))
    assert sure <= set(found) <= may
    assert found == sorted(found)
    assert value == pytest.approx(cosine[row, item], abs=1e-5)
    assert [len(part) for part in nearest(rows[:0], items, 0.5)] == [0, 0, 0]
