import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.errors import StageError
from curate.methods.density import knn_surprisal
from curate.stage import Context
from curate.stages.surprisal import Surprisal


def rows(vectors) -> pa.Table:
    width = len(next(v for v in vectors if v is not None))
    values = [None if v is None else list(map(float, v)) for v in vectors]
    ids = [f"r{i:03}" for i in range(len(vectors))]
    return pa.table({"id": ids, "embedding": pa.array(values, pa.list_(pa.float32(), width))})


def circle(*angles) -> list[tuple[float, float]]:
    return [(np.cos(a), np.sin(a)) for a in angles]


def test_what_stands_alone_is_rare():
    view = rows([*circle(*np.linspace(0, 0.5, 30) ** 2), *circle(3.0), None])
    ctx = Context()
    made = Surprisal(k=4, dimensions=1).apply(view, ctx)["surprisal"]
    assert made.type == pa.float32()
    found = made.to_pylist()
    assert found[31] is None
    assert np.argmax(found[:31]) == 30
    assert found[0] < found[29] < found[30]
    assert ctx.counts["entropy_e4"] == pytest.approx(np.mean(found[:31]) * 1e4, abs=1)
    assert ctx.counts["dimensions_e4"] == 10_000


def test_it_is_the_estimate_of_the_method_whatever_the_order():
    rng = np.random.default_rng(0)
    points = circle(*rng.random(200))
    ctx = Context()
    view = rows(points)
    found = np.array(Surprisal(k=5).apply(view, ctx)["surprisal"])
    away = np.sort(np.linalg.norm(np.array(points)[:, None] - np.array(points), axis=2), axis=1)
    fits = ctx.counts["dimensions_e4"] / 1e4
    assert fits == pytest.approx(1, abs=0.15)  # an arc is a line
    assert found == pytest.approx(knn_surprisal(away[:, 5], fits, 5), abs=1e-2)
    order = rng.permutation(200)
    mixed = Surprisal(k=5).apply(view.take(order), Context())["surprisal"]
    assert np.array_equal(np.array(mixed), found[order])


def test_few_rows_have_none_and_copies_are_refused():
    stage = Surprisal(k=5)
    assert (
        stage.apply(rows(circle(0.1, 0.2, 0.3)), Context())["surprisal"].to_pylist() == [None] * 3
    )
    assert stage.apply(rows(circle(0.1)).slice(0, 0), Context())["surprisal"].to_pylist() == []
    with pytest.raises(StageError, match="dedup"):
        stage.apply(rows(circle(*[0.1] * 9)), Context())
    with pytest.raises(ValidationError, match="another name"):
        Surprisal(to="scores")
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        Surprisal(k=2)
