import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.methods.ranked import gather_small
from curate.stage import Context
from curate.stages.cluster import Cluster

pytest.importorskip("faiss")


def rows(vectors) -> pa.Table:
    width = len(next(v for v in vectors if v is not None))
    values = [None if v is None else list(map(float, v)) for v in vectors]
    ids = [f"r{i:03}" for i in range(len(vectors))]
    return pa.table({"id": ids, "embedding": pa.array(values, pa.list_(pa.float32(), width))})


def blobs(rng, *sizes):
    middle = np.eye(len(sizes))
    return [
        middle[k] + 0.05 * rng.normal(size=len(sizes))
        for k, n in enumerate(sizes)
        for _ in range(n)
    ]


def test_like_rows_share_a_number_and_a_row_without_a_vector_has_none():
    view = rows([*blobs(np.random.default_rng(0), 5, 5, 5), None])
    made = Cluster(clusters=3).apply(view, Context())["cluster"]
    assert made.type == pa.int32()
    assert made.to_pylist() == [0] * 5 + [1] * 5 + [2] * 5 + [None]


def test_the_number_of_clusters_grows_with_the_rows():
    ctx = Context()
    Cluster().apply(rows(blobs(np.random.default_rng(0), 20, 15, 15)), ctx)
    assert ctx.counts["clusters"] == 5


def test_small_clusters_go_to_the_nearest_large_one():
    vectors = np.array([(0, 0), (0, 1), (10, 0), (10, 1), (9, 9), (1, 3)], dtype=np.float32)
    own = np.array([0, 0, 1, 1, 2, 3])
    assert gather_small(vectors, own, 2).tolist() == [0, 0, 1, 1, 1, 0]
    assert gather_small(vectors, own, 1).tolist() == own.tolist()
    assert gather_small(vectors, own, 9).tolist() == [0] * 6
    assert gather_small(vectors, np.array([3, 3, 0, 0, 0, 3]), 1).tolist() == [0, 0, 1, 1, 1, 0]
    view = rows(blobs(np.random.default_rng(1), 6, 6, 1))
    stage = Cluster(clusters=3, min_rows=2, to="topic")
    found = stage.apply(view, Context())["topic"].to_pylist()
    assert found[:12] == [0] * 6 + [1] * 6
    assert found[12] in (0, 1)


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(2)
    view = rows(rng.normal(size=(80, 4)))
    stage = Cluster(clusters=6, min_rows=8)
    expected = dict(
        zip(
            view["id"].to_pylist(), stage.apply(view, Context())["cluster"].to_pylist(), strict=True
        )
    )
    mixed = view.take(rng.permutation(80))
    again = stage.apply(mixed, Context())["cluster"].to_pylist()
    assert dict(zip(mixed["id"].to_pylist(), again, strict=True)) == expected
    assert min(np.unique(again, return_counts=True)[1]) >= 8


def test_no_rows_and_wrong_names():
    assert Cluster().apply(rows([(1, 0)]).slice(0, 0), Context())["cluster"].to_pylist() == []
    with pytest.raises(ValidationError, match="another name"):
        Cluster(to="pairs")
