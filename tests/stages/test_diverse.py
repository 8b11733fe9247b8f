from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.errors import StageError
from curate.methods.density import mean_distance
from curate.methods.neighbours import exact_graph
from curate.methods.row_scores import to_unit_interval
from curate.stage import Context
from curate.stages.diverse import Diverse

pytest.importorskip("faiss")

METHODS = [
    "farthest_first", "facility_location", "clusters", "mmr", "dpp",
    "knn_density", "knn_entropy", "deita",
]  # fmt: skip


def rows(vectors, **columns) -> pa.Table:
    kind = pa.list_(pa.float32(), len(vectors[0]))
    values = [None if v is None else list(map(float, v)) for v in vectors]
    ids = [f"r{i:03}" for i in range(len(vectors))]
    return pa.table({"id": ids, "embedding": pa.array(values, kind), **columns})


def kept(stage, view, ctx=None) -> list[int]:
    why = stage.apply(view, ctx or Context())["drop"].to_pylist()
    return [row for row, reason in enumerate(why) if reason is None]


def make(method, **fields) -> Diverse:
    return Diverse(method=method, threshold=1.0, **{"quality": "q", **fields})


def circle(*angles) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_density_drops_the_crowd_first():
    view = rows(circle(0.0, 0.01, 0.02, 0.03, 1.5, 3.0))
    stage = Diverse(keep=2, method="knn_density", k=2)
    assert kept(stage, view) == [4, 5]
    why = stage.apply(view, Context())["drop"].to_pylist()
    assert why[0] == "not among the 2 most diverse"


def test_starts_at_the_best_row():
    view = rows([(1, 0), (0, 1), (-1, 0), (0, -1)], scores=[[0.1], [0.9], [0.2], None])
    stage = Diverse(keep=2, quality="scores")
    assert kept(stage, view) == [1, 3]
    assert stage.needed() == ("id", "embedding", "scores")
    assert Diverse(keep=1, quality="margin").needed() == ("id", "embedding", "pairs")
    assert Diverse(keep=1, group="topic").needed() == ("id", "embedding", "topic")


def test_deita_as_a_stage():
    view = rows([(1, 0), (1, 0.01), (0, 1)], q=[1.0, 2.0, 0.0])
    assert kept(Diverse(keep=2, method="deita", quality="q"), view) == [1, 2]


def test_deita_skips_what_is_alike_however_many_places_there_are():
    view = rows([(1, 0), (1, 0.01), (0, 1)], q=[1.0, 2.0, 0.0])
    for keep in (3, 99):
        assert kept(Diverse(keep=keep, method="deita", quality="q"), view) == [1, 2]


def test_deita_needs_something_to_go_by():
    view = rows([(1, 0), (1, 0.01), (0, 1)], q=pa.array([None, float("nan"), None], pa.float64()))
    with pytest.raises(ValidationError, match="deita takes rows from best to worst; name the `qua"):
        Diverse(keep=2, method="deita")
    stage = Diverse(keep=2, method="deita", quality="q")
    with pytest.raises(StageError, match="none of the 3 rows has a number in 'q'; fill it"):
        stage.apply(view, Context())
    some = rows([(1, 0), (1, 0.01), (0, 1)], q=[None, 1.0, None])
    assert kept(stage, some) == [1, 2]  # a row without quality comes last
    assert kept(stage, view.slice(0, 0)) == []


def test_dpp_takes_what_the_chosen_rows_tell_least_about():
    view = rows(circle(0.0, 0.01, 1.5, 1.6, 3.0, 3.01), q=[0.0, 0.1, 0.0, 0.1, 0.1, None])
    assert kept(Diverse(keep=3, method="dpp"), view) == [0, 2, 5]
    better = Diverse(keep=3, method="dpp", quality="q", balance=0.9)
    assert kept(better, view) == [1, 3, 4]


def test_entropy_weighs_quality_against_the_distance_to_neighbours():
    view = rows(circle(0.0, 0.01, 0.02, 1.5, 3.0, 3.01), q=[2.0, 1.9, 0.1, 0.0, 0.5, None])
    far = Diverse(keep=2, method="knn_entropy", quality="q", k=1, entropy_weight=0.8)
    assert kept(far, view) == [0, 4]
    plain = Diverse(keep=2, method="knn_entropy", quality="q", k=1, entropy_weight=0)
    assert kept(plain, view) == [0, 1]
    why = plain.apply(view, Context())["drop"].to_pylist()
    assert why[5] == "no q to rank it by"
    with pytest.raises(ValidationError, match="knn_entropy weighs quality"):
        Diverse(keep=2, method="knn_entropy")


def test_facility_location_takes_the_middle_of_the_crowd_and_not_the_outlier():
    view = rows(circle(0.0, 0.2, 0.4, 3.0, 3.1, 4.7))
    stage = Diverse(keep=2, method="facility_location", k=2)
    assert kept(stage, view) == [1, 3]


def test_quality_weighs_in():
    view = rows(circle(0.0, 0.2, 0.4, 3.0, 3.1, 5.0), q=[0.0, 0.0, 1.0, 0.0, 1.0, None])
    stage = Diverse(keep=2, method="facility_location", k=2, quality="q", balance=0.9)
    assert kept(stage, view) == [2, 4]
    assert kept(Diverse(keep=2, method="clusters", clusters=2, quality="q"), view) == [2, 4]
    assert kept(Diverse(keep=2, method="mmr", quality="q"), view) == [2, 4]
    why = stage.apply(view, Context())["drop"].to_pylist()
    assert why[5] == "no q to rank it by"
    assert to_unit_interval(np.array([2.0, 4.0, 3.0])).tolist() == [0.0, 1.0, 0.5]
    assert to_unit_interval(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]
    with pytest.raises(ValidationError, match="quality"):
        Diverse(keep=2, method="mmr")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_budget_the_quotas_and_no_missing_row(method):
    rng = np.random.default_rng(0)
    vectors = [*rng.normal(size=(60, 5)), None, np.zeros(5)]
    topic = [f"t{i % 3}" for i in range(61)] + [None]
    view = rows(vectors, topic=topic, q=rng.random(62))
    assert len(kept(make(method, keep=10), view)) == 10
    assert len(kept(make(method, keep=0.5), view)) == 31
    assert kept(make(method, keep=62), view) == list(range(60))
    chosen = kept(make(method, keep=10, group="topic"), view)
    assert np.bincount([i % 3 for i in chosen]).tolist() == [4, 3, 3]
    at_most = kept(make(method, keep=60, group="topic", split=2), view)
    assert np.bincount([i % 3 for i in at_most]).tolist() == [2, 2, 2]
    why = make(method, keep=10).apply(view, Context())["drop"].to_pylist()
    assert why[60] == why[61] == "no embedding to compare with the others"
    empty = view.slice(0, 0)
    assert kept(make(method, keep=3), empty) == []
    assert kept(make(method, keep=0.5), empty) == []


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_rows_and_their_chunks_do_not_matter(method):
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.normal(size=(20, 5)), 3, axis=0)  # copies: the lower id stays
    view = rows(vectors, q=np.repeat(rng.random(20), 3))
    stage = make(method, keep=15)
    expected = {view["id"][row].as_py() for row in kept(stage, view)}
    mixed = view.take(rng.permutation(60))
    parts = pa.concat_tables([mixed.slice(0, 7), mixed.slice(7, 1), mixed.slice(8)])
    assert {parts["id"][row].as_py() for row in kept(stage, parts)} == expected


def test_proportional_groups():
    view = rows(np.random.default_rng(2).normal(size=(40, 4)), topic=["a"] * 30 + ["b"] * 10)
    chosen = kept(Diverse(keep=8, group="topic", split="proportional"), view)
    assert sum(row < 30 for row in chosen) == 6
    bad = view.append_column("lists", pa.array([[1]] * 40))
    with pytest.raises(StageError, match="single values"):
        Diverse(keep=8, group="lists").apply(bad, Context())


def test_an_index_that_loses_neighbours_stops_the_run():
    rng = np.random.default_rng(3)
    view = rows(rng.normal(size=(3000, 24)))
    ctx = Context()
    kept(Diverse(keep=10, method="knn_density", graph="ivf", min_recall=0.2), view, ctx)
    assert 2000 < ctx.counts["graph_recall_e4"] < 9900
    with pytest.raises(StageError, match="min_recall"):
        Diverse(keep=10, method="knn_density", graph="ivf", min_recall=0.99).apply(view, Context())


def test_counts_compare_with_random():
    ctx = Context()
    kept(Diverse(keep=20), rows(np.random.default_rng(4).normal(size=(300, 3))), ctx)
    assert ctx.counts["radius_value_e4"] < ctx.counts["radius_low_e4"]
    assert ctx.counts["neighbour_cosine_value_e4"] < ctx.counts["neighbour_cosine_random_e4"]


def test_counts_topics_against_random():
    rng = np.random.default_rng(5)
    topic = rng.integers(0, 30, 300) * rng.integers(0, 2, 300)  # half of the rows are of one
    vectors = 3 * rng.normal(size=(30, 16))[topic] + rng.normal(size=(300, 16))
    view, ctx = rows(vectors, topic=[f"t{number}" for number in topic]), Context()
    chosen = kept(Diverse(keep=30, topic="topic"), view, ctx)
    assert ctx.counts["topics_reached_value_e4"] == len(set(topic[chosen])) * 10_000
    assert ctx.counts["topics_reached_value_e4"] > ctx.counts["topics_reached_high_e4"]
    assert "topic" in Diverse(keep=30, topic="topic").needed()
    assert kept(Diverse(keep=30), view) == chosen


def test_mean_distance_of_a_lone_row():
    assert mean_distance(exact_graph(np.ones((1, 2)), 5)).tolist() == [0.0]


@pytest.mark.parametrize("keep", [0, -1, 1.5, 0.0, float("nan")])
def test_keep_is_checked(keep):
    with pytest.raises(ValidationError, match="share between 0 and 1"):
        Diverse(keep=keep)


def test_keep_survives_its_yaml_form():
    for keep in (20, 0.25):
        stage = Diverse(keep=keep)
        assert Diverse.model_validate(stage.to_yaml()["diverse"]) == stage
