from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import StageError
from curate.methods.shingles import words
from curate.schema import CANDIDATES, PROMPT
from curate.stage import Context
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


ANSWER = "This is an answer that has more than eight words in it"


def answers(*texts) -> pa.Array:
    cells = [[{"text": t, "drop": None} for t in row] for row in texts]
    return pa.array(cells, CANDIDATES)


def together(stage, view) -> list[bool]:
    """Whether each row lies with the first one under every one of many seeds."""
    found = [parts(stage, view, seed) for seed in range(24)]
    return [all(one[0] == one[row] for one in found) for row in range(len(view))]


HALVES = {"a": 0.5, "b": 0.5}


def test_keys_and_answers_link_rows():
    prompts = ["tides of the sea", "how bread rises", "who made glass", "maps are old", "x y z"]
    view = rows(
        prompts,
        tree=["t", "t", None, "", "u"],
        meta=['{"user": 7}', None, '{"user": 7}', '{"user": "7"}', '{"user": null}'],
        candidates=answers([ANSWER], ["short"], ["short"], ["no", f" {ANSWER}  "], []),
    )
    none = Split(parts=HALVES, response_cap=0)
    assert together(none, view) == [True, False, False, False, False]
    by_tree = Split(parts=HALVES, response_cap=0, together=("tree",))
    assert together(by_tree, view) == [True, True, False, False, False]
    assert by_tree.needed() == ("id", "prompt", "tree")
    by_user = Split(parts=HALVES, response_cap=0, together=("meta.user",))
    assert together(by_user, view) == [True, False, True, False, False]
    assert by_user.needed() == ("id", "prompt", "meta")
    assert together(Split(parts=HALVES), view) == [True, False, False, True, False]
    every = Split(parts=HALVES, together=("tree", "meta.user"))
    assert together(every, view) == [True, True, True, True, False]


def test_an_answer_in_too_many_rows_links_none():
    prompts = [f"topic{i} question{i} about{i}" for i in range(5)]
    refusal = "I am sorry but I cannot help you with that request today"
    view = rows(prompts, candidates=answers(*[[refusal, refusal]] * 5))
    ctx = Context()
    stage = Split(parts=HALVES, response_cap=4)
    stage.apply(view, ctx)
    assert ctx.counts["answers in too many rows to link them"] == 1
    assert ctx.counts["groups"] == 5
    assert together(stage, view) == [True, False, False, False, False]
    assert all(together(Split(parts=HALVES, response_cap=5), view))


def test_sizes_are_reported():
    ctx = Context()
    view = rows(["a b c d", "a b c d", "e f g h", "i j k l"])
    found = Split(parts=HALVES).apply(view, ctx)["split"].to_pylist()
    assert ctx.counts["rows in a"] == found.count("a")
    assert ctx.counts["rows in a"] + ctx.counts["rows in b"] == 4
    assert (ctx.counts["groups"], ctx.counts["largest group"]) == (3, 2)


def test_a_key_that_no_row_has_is_an_error():
    with pytest.raises(StageError, match="'usr' in `meta`"):
        parts(Split(together=("meta.usr",)), rows(["x"], meta=['{"user": 1}']))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=5).map(" ".join),
            st.sampled_from([None, "t", "u", "v", "w"]),
            st.lists(st.sampled_from([f"{ANSWER} {i}" for i in range(12)]), max_size=2),
        ),
        max_size=24,
    ),
    st.integers(0, 2**31),
)
def test_nothing_that_is_linked_crosses(made, seed):
    prompts, trees, texts = ([row[k] for row in made] for k in range(3))
    view = rows(prompts, tree=pa.array(trees, pa.string()), candidates=answers(*texts))
    stage = Split(parts={"a": 0.4, "b": 0.3, "c": 0.3}, together=("tree",), response_cap=3)
    found = parts(stage, view, seed)
    spread = {text: sum(text in row for row in texts) for row in texts for text in row}
    for i in range(len(made)):
        for j in range(i):
            shared = {t for t in set(texts[i]) & set(texts[j]) if spread[t] <= 3}
            tree = trees[i] is not None and trees[i] == trees[j]
            if shared or tree or jaccard(prompts[i], prompts[j]) >= 0.5:
                assert found[i] == found[j]


def test_a_shared_answer_without_spaces_links():
    answer = "\u91cf\u5b50\u8ba1\u7b97\u662f\u4e00\u79cd\u65b9\u5f0f"
    prompts = ["tides of the sea", "how bread rises", "who made glass", "maps are old"]
    view = rows(prompts, candidates=answers(*[[answer]] * 4))
    assert all(together(Split(parts=HALVES), view))
    short = rows(prompts, candidates=answers(*[[answer[:7]]] * 4))
    assert together(Split(parts=HALVES), short) == [True, False, False, False]


def test_a_shared_system_message_links_nothing_and_a_question_under_two_does():
    frame = " ".join(f"rule{i} says that you must" for i in range(24))

    def turns(*pairs):
        cells = [
            [{"role": "system", "content": s}, {"role": "user", "content": p}] for s, p in pairs
        ]
        return pa.array(cells, PROMPT)

    asked = ["tides of the sea", "how bread rises", "who made glass", "maps are old"]
    view = rows(asked).set_column(1, "prompt", turns(*[(frame, p) for p in asked]))
    assert together(Split(parts=HALVES), view) == [True, False, False, False]
    two = rows("ab").set_column(1, "prompt", turns((frame, asked[0]), ("be brief", asked[0])))
    assert all(together(Split(parts=HALVES), two))


def test_equal_prompts_without_vectors_are_linked():
    kind = pa.list_(pa.float32(), 2)
    vectors = pa.array([None, None, [1.0, 0.0], None], kind)
    stage = Split(parts=HALVES, on="embedding")
    view = rows(["same text", "same  text ", "same text", "other"], embedding=vectors)
    assert together(stage, view) == [True, True, True, False]
    assert "prompt" in stage.used()


def test_an_empty_part_and_a_giant_group_are_said(caplog):
    chain = [" ".join(f"w{k}" for k in range(i, i + 7)) for i in range(60)]
    ctx = Context()
    found = Split().apply(rows(chain), ctx)["split"].to_pylist()
    empty = ({"train", "test"} - set(found)).pop()
    assert (ctx.counts[f"rows in {empty}"], ctx.counts["parts without rows"]) == (0, 1)
    assert f"no row is in {empty}; 60 of 60 rows are linked" in caplog.text
    caplog.clear()
    Split().apply(rows(["one row alone"]), Context())
    assert re.fullmatch(
        r"split: no row is in t\w+; too few for these `parts` \(rows: 1, groups: 1\)",
        *caplog.messages,
    )
    caplog.clear()
    Split().apply(rows([f"topic{i} question{i} about{i}" for i in range(400)]), Context())
    assert not caplog.text
