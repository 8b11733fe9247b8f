import pyarrow as pa
import pytest
from fake_engine import table

from curate.schema import CANDIDATES
from curate.stage import Context
from curate.stages.rank_models import RankModels


def test_the_label_is_the_models_place_alone():
    view = table([["b", "a", "c", "d"], []], [[None, None, "empty", None], []])
    models = ["weak", "strong", "strong", "unknown"]
    rows = view["candidates"].to_pylist()
    rows[0] = [c | {"model": m} for c, m in zip(rows[0], models, strict=True)]
    place = view.column_names.index("candidates")
    view = view.set_column(place, "candidates", pa.array(rows, CANDIDATES))
    ctx = Context()
    found = RankModels(order=("strong", "middle", "weak")).apply(view, ctx)["judgments"]
    assert [[(j["a"], j["score"], j["status"]) for j in row] for row in found.to_pylist()] == [
        [(0, 0.0, "ok"), (1, 2.0, "ok")],
        [],
    ]
    assert ctx.counts["answers of other models"] == 1


def test_classes_score_what_their_values_say():
    view = table([["x", "y", "z"]])
    rows = view["candidates"].to_pylist()
    rows[0] = [c | {"model": m} for c, m in zip(rows[0], ["gpt-3.5", "gpt-4", "o"], strict=True)]
    view = view.set_column(
        view.column_names.index("candidates"), "candidates", pa.array(rows, CANDIDATES)
    )
    stage = RankModels(order=("gpt-4", "gpt-3.5"), values=(1.0, 0.1))
    found = stage.apply(view, Context())["judgments"].to_pylist()[0]
    assert [(j["a"], round(j["score"], 6)) for j in found] == [(0, 0.1), (1, 1.0)]
    with pytest.raises(ValueError, match="1 values for 2 models"):
        RankModels(order=("a", "b"), values=(1.0,))


def test_answers_that_name_no_model_can_have_a_place():
    view = table([["x", "y", "z"]])
    rows = view["candidates"].to_pylist()
    rows[0] = [c | {"model": m} for c, m in zip(rows[0], [None, "own", "o"], strict=True)]
    view = view.set_column(
        view.column_names.index("candidates"), "candidates", pa.array(rows, CANDIDATES)
    )
    ctx = Context()
    found = RankModels(order=("own", None)).apply(view, ctx)["judgments"].to_pylist()[0]
    assert [(j["a"], j["score"]) for j in found] == [(0, 0.0), (1, 1.0)]
    assert ctx.counts["answers of other models"] == 1
    found = RankModels(order=("own", "o")).apply(view, ctx)["judgments"].to_pylist()[0]
    assert [(j["a"], j["score"]) for j in found] == [(1, 1.0), (2, 0.0)]


def test_an_order_names_two_models_once_each():
    with pytest.raises(ValueError, match="twice"):
        RankModels(order=("a", "a"))
    with pytest.raises(ValueError, match="at least 2"):
        RankModels(order=("a",))
