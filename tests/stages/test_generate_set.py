import json

import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.schema import CANDIDATES, PROMPT
from curate.stages.generate_set import GenerateSet, answer_set


def test_only_a_whole_set_of_different_answers_counts():
    assert answer_set('{"answers": ["a", " b "]}', 2) == ["a", "b"]
    assert answer_set('```json\n{"answers": ["a", "b"]}\n```', 2) == ["a", "b"]
    for text in (
        '{"answers": ["a", "a"]}', '{"answers": ["a", ""]}', '{"answers": ["a"]}',
        '{"answers": ["a", 2]}', '{"answers": {"a": "b"}}', '["a", "b"]', "a and b",
        '{"answers": ["...", "a"]}',
    ):  # fmt: skip
        assert answer_set(text, 2) is None, text


def reply(request):
    said = request.messages[-1]["content"]
    if "JSON" not in said:
        return Completion(f"alone {request.seed}", tokens=2)
    if "question 1" in said:
        return Completion("I would rather not.")
    return Completion(json.dumps({"answers": ["first", "second", "third"]}))


def test_rows_without_a_readable_set_are_sampled_one_by_one():
    view = table([[] for _ in range(4)])
    turns = [*view["prompt"].to_pylist()[:3], []]
    view = view.set_column(view.column_names.index("prompt"), "prompt", pa.array(turns, PROMPT))
    stage = GenerateSet(engine="fake", n=3, system="be kind")
    assert list(GenerateSet(engine="x", structured=True).engine_roles()) == [
        ("x", ("chat", "structured"))
    ]
    ctx = context(reply)
    made = stage.apply(view, ctx)
    rows = [[c["text"] for c in row] for row in made["candidates"].to_pylist()]
    assert made["candidates"].type == CANDIDATES
    assert made["answered_together"].to_pylist() == [True, False, True, False]
    assert sorted(rows[0]) == sorted(rows[2]) == ["first", "second", "third"]
    assert len(set(rows[1])) == 3
    assert all(text.startswith("alone") for text in rows[1])
    assert rows[3] == []
    assert made["fail"].to_pylist() == [None, None, None, "the prompt is empty"]
    assert ctx.counts["sets that could not be read"] == 2
    assert (ctx.counts["replies: ok"], ctx.counts["replies: parse_error"]) == (5, 1)
    assert {r.messages[0]["content"] for r in ctx.engines["fake"].requests} == {"be kind"}


def test_the_order_is_the_rows_own():
    stage = GenerateSet(engine="fake", n=3)
    view = table([[] for _ in range(60)])
    rows = stage.apply(view, context(reply))["candidates"].to_pylist()
    orders = [tuple(c["text"] for c in row) for row in rows]
    assert len({order for order in orders if "first" in order}) == 6
    part = stage.apply(view.slice(20, 5), context(reply))["candidates"].to_pylist()
    assert part == rows[20:25]
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        GenerateSet(engine="fake", n=1)
