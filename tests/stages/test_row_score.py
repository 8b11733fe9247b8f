import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.schema import PAIRS
from curate.stage import Context
from curate.stages.diverse import Diverse
from curate.stages.row_score import RowScore


def made(stage, **columns):
    return stage.apply(pa.table(columns), Context())[stage.to].to_pylist()


def test_the_deita_card_from_complexity_and_quality_to_the_rows_kept():
    pytest.importorskip("faiss")
    vectors = [[1.0, 0.0, 0.0], [0.98, np.sqrt(1 - 0.98**2), 0.0], [0, 0, 1.0], [0, -1.0, 0]]
    view = pa.table(
        {
            "id": ["r0", "r1", "r2", "r3"],
            "complexity": [2.0, 3.0, 4.0, 1.0],
            "scores": pa.array([[5, 1], [None, 5], [2], [6, 3]], pa.list_(pa.float32())),
            "embedding": pa.array(vectors, pa.list_(pa.float32(), 3)),
        }
    )
    stage = RowScore(of=("complexity", "scores"), to="worth")
    assert stage.needed() == ("complexity", "scores")
    worth = stage.apply(view, Context())["worth"]
    assert worth.to_pylist() == [10, 15, 8, 6]  # in the order 1, 0, 2, 3
    ranked = Diverse(method="deita", keep=3, quality="worth", threshold=0.9)
    why = ranked.apply(view.append_column("worth", worth), Context())["drop"].to_pylist()
    assert [k for k, reason in enumerate(why) if reason is None] == [1, 2, 3]


def test_weights_are_factors_of_a_sum_and_powers_of_a_product():
    numbers = {"a": [1.0, 4.0], "b": [3.0, 2.0]}
    assert made(RowScore(of=("a", "b"), how="sum", weights={"b": 2}), **numbers) == [7, 8]
    assert made(RowScore(of=("a", "b"), weights={"a": 0.5}), **numbers) == [3, 4]
    assert made(RowScore(of=("a",), weights={"a": 0.5}), a=[-1.0, 4.0]) == [None, 2]


def test_a_missing_number_is_null_and_out_of_the_scale():
    stage = RowScore(of=("margin", "q"), how="sum", standardise=True, weights={"q": 0.5})
    assert (stage.needed(), stage.view_scope()) == (("pairs", "q"), "dataset")
    pair = {"chosen": 0, "rejected": 1}
    pairs = [[pair | {"margin": m}] for m in (2.0, 4.0, 9.0)] + [
        [pair | {"margin": 1.0, "drop": "x"}]
    ]
    columns = {"pairs": pa.array(pairs, PAIRS), "q": [3.0, 1.0, None, 5.0]}
    assert made(stage, **columns) == pytest.approx([-0.5, 0.5, None, None])
    assert made(RowScore(of=("q",), how="sum", standardise=True), q=[7.0, 7.0]) == [0, 0]
    with pytest.raises(ValidationError, match="which `of` does not"):
        RowScore(of=("q",), weights={"p": 1})
