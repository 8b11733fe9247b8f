from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.schema import PROMPT
from curate.stage import Context
from curate.stages.similarity import words
from curate.stages.split import Split


def rows(prompts, ids=None, **columns) -> pa.Table:
    turns = pa.array([[{"role": "user", "content": p}] for p in prompts], PROMPT)
    return pa.table(
        {"id": ids or [f"r{i}" for i in range(len(prompts))], "prompt": turns} | columns
    )


def parts(stage, view, seed=0) -> list[str]:
    return stage.apply(view, Context(seed=seed))["split"].to_pylist()


def jaccard(a: str, b: str) -> float:
    def grams(text):
        w = words(text)
        return set(zip(w, w[1:], w[2:], strict=False)) if len(w) >= 3 else set(w)

    x, y = grams(a), grams(b)
    return len(x & y) / len(x | y) if x | y else 0.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=8).map(" ".join)),
    st.integers(0, 2**31),
)
def test_no_near_duplicate_crosses(prompts, seed):
    found = parts(Split(parts={"a": 0.4, "b": 0.3, "c": 0.3}), rows(prompts), seed)
    for i, x in enumerate(prompts):
        for j, y in enumerate(prompts[:i]):
            assert found[i] == found[j] or jaccard(x, y) < 0.5


def test_chains_stay_together():
    # Each neighbour pair shares 4 of 6 shingles; the ends share none.
    chain = [" ".join(f"w{k}" for k in range(i, i + 7)) for i in range(60)]
    for seed in range(5):
        assert len(set(parts(Split(parts={"a": 0.5, "b": 0.5}), rows(chain), seed))) == 1


def test_shares_are_met_and_the_seed_matters():
    view = rows([f"topic{i} question{i} about{i} thing{i}" for i in range(4000)])
    found = parts(Split(), view)
    assert found.count("train") / 4000 == pytest.approx(0.9, abs=0.02)
    assert set(found) == {"train", "test"}
    assert parts(Split(), view) == found
    assert parts(Split(), view, seed=1) != found
    assert Split.seeded


def test_order_and_new_rows_change_nothing():
    texts = [f"topic{i} question{i} about{i} thing{i}" for i in range(300)]
    ids = [f"r{i}" for i in range(300)]
    found = dict(zip(ids, parts(Split(), rows(texts, ids)), strict=True))
    back = parts(Split(), rows(texts[::-1], ids[::-1]))
    assert dict(zip(ids[::-1], back, strict=True)) == found
    more = parts(Split(), rows([*texts, "something else entirely new"], [*ids, "new"]))
    assert more[:-1] == [found[i] for i in ids]


def test_groups_by_embedding():
    vectors = pa.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]], pa.list_(pa.float32(), 2))
    stage = Split(parts={"a": 0.5, "b": 0.5}, on="embedding", threshold=0.9)
    seen = set()
    for seed in range(20):
        found = parts(stage, rows("abcd", embedding=vectors), seed)
        assert found[0] == found[2]
        assert found[1] == found[3]
        seen.add((found[0], found[1]))
    assert len(seen) == 4
    assert stage.needed() == ("id", "embedding")


def test_empty_texts_and_empty_views():
    assert set(parts(Split(parts={"all": 1.0}), rows(["", "", "x"]))) == {"all"}
    assert parts(Split(), rows([])) == []


@pytest.mark.parametrize(
    "shares",
    [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}, {"a": float("nan"), "b": 1.0}],
)
def test_shares_must_add_up(shares):
    with pytest.raises(ValidationError, match="share"):
        Split(parts=shares)
