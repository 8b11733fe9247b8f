"""Near-copies among embeddings in pieces: the same as in one, with clusters and without."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_pieces import in_spans, whole

pytest.importorskip("faiss")

from curate.division import Space
from curate.errors import StageError
from curate.methods import vector_rounds
from curate.methods.clustered import cells_of, centroids
from curate.methods.vectors import COSINE_SLACK, unit
from curate.stages.cluster import Cluster
from curate.stages.dedup import NearDedup
from curate.stages.diverse import Diverse
from curate.stages.semantic_dedup import SemanticDedup
from curate.stages.split import Split
from curate.stages.surprisal import Surprisal


@st.composite
def tables(draw):
    """Vectors in clouds, some equal, some missing, with a number to rank rows by."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    size, width = draw(st.integers(1, 60)), draw(st.sampled_from([2, 5]))
    middle = unit(rng.normal(size=(draw(st.integers(1, 5)), width)))
    vectors = middle[rng.integers(len(middle), size=size)]
    vectors = vectors + draw(st.sampled_from([0.0, 0.05, 0.4])) * rng.normal(size=vectors.shape)
    rows = vectors.astype(np.float32).tolist()
    for row in draw(st.lists(st.integers(0, size - 1), max_size=2)):
        rows[row] = draw(st.sampled_from([None, [0.0] * width]))
    numbers = rng.choice([0.0, 1.0, np.nan], size=size)
    return pa.table(
        {
            "id": [f"r{k}" for k in range(size)],
            "embedding": pa.array(rows, pa.list_(pa.float32(), width)),
            "best": pa.array(numbers, from_pandas=True),
        }
    )


METHODS = (
    {"method": "farthest_first"},
    {"method": "facility_location", "quality": "best", "k": 3},
    {"method": "clusters", "clusters": 3},
    {"method": "mmr", "quality": "best"},
    {"method": "knn_density", "k": 3, "group": "kind", "topic": "kind"},
    {"method": "knn_entropy", "quality": "best", "k": 2},
    {"method": "deita", "quality": "best"},
)


@settings(max_examples=60, deadline=None)
@given(
    tables(),
    st.sampled_from(METHODS),
    st.sampled_from([1, 7, 0.5]),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_any_cut_of_any_vectors_keeps_the_same_rows(tmp_path_factory, table, fields, keep, cuts):
    table = table.append_column("kind", pa.array([f"k{k % 4}" for k in range(len(table))]))
    table = table.take(
        pa.array(np.random.default_rng(0).permutation(len(table)))
    )  # ids in no order
    best = [None if value is None else value + 0.5 for value in table["best"].to_pylist()]
    if fields["method"] == "deita":
        best[0] = 1.0  # one has a quality: without any it is an error
    table = table.set_column(2, "best", pa.array(best, pa.float64()))
    cuts = [min(at, len(table)) for at in cuts]
    for stage in (Diverse(keep=keep, **fields), Cluster(min_rows=2)):
        folder = tmp_path_factory.mktemp("space")
        assert in_spans(stage, table, cuts, folder) == whole(stage, table)


def test_how_rare_rows_are_is_the_same_in_pieces(tmp_path):
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(300, 6))).tolist()
    vectors[7] = None
    table = pa.table(
        {
            "id": [f"r{k:03}" for k in rng.permutation(300)],
            "embedding": pa.array(vectors, pa.list_(pa.float32(), 6)),
        }
    )
    stage = Surprisal(k=5)
    found = in_spans(stage, table, [100, 130, 130, 290], tmp_path)
    assert found == whole(stage, table)
    assert found[0]["surprisal"].null_count == 1


ORDERS = ({}, {"keep_by": "best"}, {"keep": "farthest"}, {"keep": "nearest"})


@settings(max_examples=60, deadline=None)
@given(
    tables(),
    st.sampled_from(ORDERS),
    st.sampled_from([0.7, 0.95, 1.0]),
    st.sampled_from([None, 1, 3]),
    st.integers(1, 3),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_any_cut_of_any_vectors_gives_the_same_duplicates(
    tmp_path_factory, table, fields, threshold, clusters, probes, cuts
):
    cuts = [min(at, len(table)) for at in cuts]
    more = {"clusters": clusters, "probes": probes, "min_recall": 0.0, "sweep": (0.8,)}
    stages = [SemanticDedup(threshold=threshold, exact_up_to=0, **fields, **more)]
    if clusters is None:
        stages.append(SemanticDedup(threshold=threshold, **fields, sweep=(0.8,)))
        if "keep" not in fields:
            stages.append(NearDedup(on="embedding", threshold=threshold, **fields))
        if not fields:
            stages.append(Split(on="embedding", threshold=threshold, parts={"a": 0.5, "b": 0.5}))
    for stage in stages:
        folder = tmp_path_factory.mktemp("space")
        assert in_spans(stage, table, cuts, folder) == whole(stage, table)


@pytest.mark.parametrize("clustered", [False, True])
def test_many_near_copies_take_several_rounds(tmp_path, monkeypatch, clustered):
    """Near-copies in every group, in more rounds than one; each is compared with few."""
    monkeypatch.setattr(vector_rounds, "HEADS", (1, 4))
    monkeypatch.setattr(vector_rounds, "HELD", 100)
    rng = np.random.default_rng(0)
    middle = unit(rng.normal(size=(40, 16)))
    vectors = middle[rng.integers(40, size=900)] + 0.05 * rng.normal(size=(900, 16))
    table = pa.table(
        {
            "id": [f"r{k}" for k in range(900)],
            "embedding": pa.array(vectors.tolist(), pa.list_(pa.float32(), 16)),
        }
    )
    stage = SemanticDedup(threshold=0.9, exact_up_to=0 if clustered else 900, probes=4)
    found = in_spans(stage, table, [100, 200, 400, 410, 800], tmp_path)
    assert found == whole(stage, table)
    assert 500 < 900 - found[0]["drop"].null_count < 900
    turns = len(list(tmp_path.glob("state 0-*.npy")))
    assert turns > 3
    pairs = sum(len(np.load(path)) for path in tmp_path.glob("later 0-*.npy"))
    assert pairs < 900 * 900 / 10


def test_copies_on_both_sides_of_a_border_are_found(tmp_path):
    """Rows nearest to different centroids, alike all the same: every one finds its twin."""
    rng = np.random.default_rng(1)
    vectors = unit(rng.normal(size=(300, 3)))
    near = unit(vectors + 0.05 * rng.normal(size=vectors.shape))
    both = np.concatenate([vectors, near]).astype(np.float32)
    own = cells_of(both, centroids(both, 100), 1)[:, 0]
    across = np.flatnonzero(own[:300] != own[300:])
    assert len(across) > 20
    table = pa.table(
        {
            "id": [f"r{k}" for k in range(600)],
            "embedding": pa.array(both.tolist(), pa.list_(pa.float32(), 3)),
        }
    )
    stage = SemanticDedup(threshold=0.99, exact_up_to=0, clusters=100, probes=8)
    found = in_spans(stage, table, [150, 300, 450], tmp_path)[0]["drop"]
    alike = np.einsum("ij,ij->i", both[:300], both[300:]) >= 0.99 - COSINE_SLACK
    for row in across[alike[across]].tolist():
        assert found[row].as_py() or found[300 + row].as_py()


def test_clusters_that_find_too_little_stop_the_stage_in_pieces_too(tmp_path):
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(400, 3)))
    table = pa.table(
        {
            "id": [f"r{k}" for k in range(400)],
            "embedding": pa.array(vectors.tolist(), pa.list_(pa.float32(), 3)),
        }
    )
    stage = SemanticDedup(threshold=0.95, exact_up_to=0, clusters=40, probes=1)
    with pytest.raises(StageError) as pieces:
        in_spans(stage, table, [100, 300], tmp_path)
    with pytest.raises(StageError) as one_piece:
        whole(stage, table)
    assert str(pieces.value) == str(one_piece.value)


def test_nearest_clusters_do_not_depend_on_what_else_is_asked():
    rng = np.random.default_rng(2)
    vectors = unit(rng.normal(size=(2500, 8)))
    vectors[::7] = vectors[3]
    vectors[5] = 0
    some = centroids(vectors, 14)
    near = np.nextafter(some, rng.choice([-1, 1], size=some.shape).astype(np.float32))
    middle = np.concatenate([some, some, near])  # ties, and what float32 products cannot tell apart
    cells = cells_of(vectors, middle, 6)
    parts = [cells_of(vectors[k : k + 77], middle, 6) for k in range(0, 2500, 77)]
    assert (cells == np.concatenate(parts)).all()
    exact = np.round(vectors.astype(np.float64) @ middle.astype(np.float64).T, 12)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :6]
    assert (cells[:, 0] == order[:, 0]).all()
    assert (np.sort(cells, axis=1) == np.sort(order, axis=1)).all()
    assert (np.sort(cells_of(vectors[:9], middle, 99), axis=1) == np.arange(42)).all()
    assert cells_of(vectors[:0], middle, 6).shape == (0, 6)


def test_joined_vectors_are_one_file(tmp_path):
    space = Space(tmp_path, (0, 2, 2, 5))
    for number, size in enumerate((2, 0, 3)):
        space.save("v", number, np.full((size, 4 if size else 1), number, np.float32))
    joined = space.join("v")
    assert joined.shape == (5, 4)
    assert joined[:, 0].tolist() == [0, 0, 2, 2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["v of all-0.npy"]
