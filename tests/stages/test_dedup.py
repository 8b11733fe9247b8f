from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import StageError
from curate.methods import similarity
from curate.methods.similarity import CosineSearch, keep_greedily
from curate.schema import CANDIDATES, PAIRS, PROMPT
from curate.stage import Context
from curate.stages.dedup import ExactDedup, NearDedup


def rows(*prompts, **columns) -> pa.Table:
    turns = [
        [{"role": "user", "content": p}] if isinstance(p, str) or p is None else p for p in prompts
    ]
    ids = [f"r{i}" for i in range(len(prompts))]
    return pa.table({"id": ids, "prompt": pa.array(turns, PROMPT), **columns})


def dropped(stage, view) -> list[str | None]:
    return stage.apply(view, Context())["drop"].to_pylist()


def test_exact_normalises_and_names_the_twin():
    view = rows("cafe\u0301  au\nlait", "caf\u00e9 au lait ", "tea", "caf\u00e9 au LAIT")
    assert dropped(ExactDedup(), view) == [None, "exact prompt duplicate of r0", None, None]
    assert dropped(ExactDedup(normalize=False), view) == [None] * 4


def test_exact_tells_roles_and_turn_borders_apart():
    one = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    two = [{"role": "user", "content": "a b"}]
    three = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert dropped(ExactDedup(), rows(one, two, three)) == [None] * 3
    twin = "exact last turn duplicate of r0"
    assert dropped(ExactDedup(on="last_turn"), rows(one, "b")) == [None, twin]


def test_exact_never_drops_rows_without_text():
    assert dropped(ExactDedup(), rows("", "", None, [])) == [None] * 4
    assert dropped(ExactDedup(on="last_turn"), rows([], [])) == [None] * 2


def test_exact_keeps_the_best_row():
    scores = pa.array([[1.0], [3.0, None], None, [3.0]], pa.list_(pa.float32()))
    view = rows("x", "x", "x", "x", scores=scores)
    stage = ExactDedup(keep_by="scores")
    why = "exact prompt duplicate of r1"
    assert dropped(stage, view) == [why, None, why, why]
    assert stage.needed() == ("id", "prompt", "scores")
    assert ExactDedup(keep_by="p_correct").needed() == ("id", "prompt", "pairs")


def test_keep_by_pairs_leaves_out_dropped_pairs_and_nan():
    def pair(margin, drop=None):
        return {"chosen": 0, "rejected": 1, "margin": margin, "drop": drop}

    pairs = pa.array([[pair(9.0, "tie")], [pair(float("nan"))], [pair(1.0)]], PAIRS)
    why = "exact prompt duplicate of r2"
    view = rows("x", "x", "x", pairs=pairs)
    assert dropped(ExactDedup(keep_by="margin"), view) == [why, why, None]
    assert "pairs" in ExactDedup(keep_by="margin").needed()


def test_ranking_by_text_is_refused():
    with pytest.raises(StageError, match="not numbers"):
        dropped(ExactDedup(keep_by="id"), rows("x", "x"))


def test_several_chunks_are_one_view():
    view = pa.concat_tables([rows("same text here"), rows("other"), rows("same text here")])
    assert view["prompt"].num_chunks == 3
    assert dropped(ExactDedup(), view)[2] == "exact prompt duplicate of r0"
    assert dropped(NearDedup(), view)[2] == "near prompt duplicate of r0 (1.00)"


def test_near_reports_the_exact_jaccard_index():
    base = "one two three four five six seven eight nine ten"
    assert dropped(NearDedup(), rows(base, base + " eleven")) == [
        None,
        "near prompt duplicate of r0 (0.89)",
    ]
    assert dropped(NearDedup(threshold=0.9), rows(base, base + " eleven")) == [None, None]


def test_threshold_is_inclusive():
    # 4 shingles, of which one is new: 4 / 5.
    view = rows("a b c d e f", "a b c d e f g")
    assert dropped(NearDedup(threshold=0.8), view)[1] == "near prompt duplicate of r0 (0.80)"


def test_numbers_are_not_folded_and_case_is():
    view = rows("what is 17 plus 25", "what is 18 plus 25", "WHAT is 17 plus 25")
    assert dropped(NearDedup(threshold=0.5), view) == [
        None,
        None,
        "near prompt duplicate of r0 (1.00)",
    ]


def test_unspaced_scripts_are_compared_by_character():
    a = "\u8bf7\u89e3\u91ca\u91cf\u5b50\u8ba1\u7b97\u7684\u57fa\u672c\u539f\u7406"
    assert dropped(NearDedup(), rows(a, a + "\u3002"))[1] == "near prompt duplicate of r0 (0.91)"


def test_short_and_empty_texts():
    view = rows("", "   ", "hi", "Hi", "hello there", "there hello", None)
    assert dropped(NearDedup(), view) == [
        None,
        None,
        None,
        "near prompt duplicate of r2 (1.00)",
        None,
        "near prompt duplicate of r4 (1.00)",
        None,
    ]


def test_no_transitive_chains_and_the_best_stays():
    texts = ["a b c d e f", "b c d e f g", "c d e f g h"]  # 3/5, 3/5, and 2/6 between the ends
    view = rows(*texts, quality=pa.array([2.0, 3.0, 1.0]))
    assert dropped(NearDedup(threshold=0.6), view) == [
        None,
        "near prompt duplicate of r0 (0.60)",
        None,
    ]
    assert dropped(NearDedup(threshold=0.6, keep_by="quality"), view) == [
        "near prompt duplicate of r1 (0.60)",
        None,
        "near prompt duplicate of r1 (0.60)",
    ]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([-0.5, 0.3, 0.9, 1.0]))
def test_cosine_search_equals_brute_force(seed, threshold):
    draw = np.random.default_rng(seed)
    vectors = draw.integers(-2, 3, size=(30, 3)).astype(np.float32)
    norm = np.linalg.norm(vectors, axis=1)
    expected, kept = [], []
    for row in range(len(vectors)):
        close = [
            k
            for k in kept
            if norm[row] * norm[k] > 0
            and vectors[row] @ vectors[k] / (norm[row] * norm[k]) >= threshold - 2e-6
        ]
        expected.append(bool(close))
        if not close:
            kept.append(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK", 7)
        twin, _ = keep_greedily(CosineSearch(vectors, threshold))
    assert (twin >= 0).tolist() == expected


def test_cosine_removes_what_semdedup_removes():
    # Highest cosine to an earlier item: 0, .9999, .6112, .8; with eps = .05 only item 1 goes.
    def at(cosine, axis):
        vector = np.zeros(5)
        vector[0], vector[axis] = cosine, np.sqrt(1 - cosine**2)
        return vector

    vectors = np.stack([at(1.0, 1), at(0.9999, 2), at(0.6112, 3), at(0.8, 4)])
    twin, cosine = keep_greedily(CosineSearch(vectors, 1 - 0.05))
    assert twin.tolist() == [-1, 0, -1, -1]
    assert cosine[1] == pytest.approx(0.9999, abs=1e-5)


def test_near_on_embedding_with_zero_null_and_bad_vectors():
    kind = pa.list_(pa.float16(), 2)

    def half(*vectors):
        return pa.array([v and [np.float16(x) for x in v] for v in vectors], kind)

    column = half([1, 0], [2, 0], [0, 0], [0, 0], None, [0, 1])
    view = rows(*"abcdef", embedding=column)
    stage = NearDedup(on="embedding", threshold=0.99)
    assert stage.needed() == ("id", "embedding")
    assert dropped(stage, view) == [None, "near duplicate of r0 (1.00)", None, None, None, None]
    with pytest.raises(StageError, match="NaN or infinity"):
        dropped(stage, rows("a", embedding=half([float("nan"), 1])))


def test_empty_view():
    assert dropped(ExactDedup(), rows()) == []
    assert dropped(NearDedup(), rows()) == []
    none = pa.array([], pa.list_(pa.float32(), 3))
    assert dropped(NearDedup(on="embedding"), rows(embedding=none)) == []


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_threshold_is_checked(threshold):
    with pytest.raises(ValidationError):
        NearDedup(threshold=threshold)


def answers(*texts, drop=None):
    return [{"text": text, "drop": drop} for text in texts]


BASE = "one two three four five six seven eight nine ten"


def with_answers(*groups, pairs=None, prompts=None) -> pa.Table:
    columns = {"candidates": pa.array(groups, CANDIDATES)}
    if pairs is not None:
        columns["pairs"] = pa.array(pairs, PAIRS)
    return rows(*(prompts or ["same"] * len(groups)), **columns)


def reasons(result, name) -> list[list[str | None]]:
    return [[item["drop"] for item in row] for row in result[name].to_pylist()]


def test_responses_are_compared_within_their_prompt():
    view = with_answers(answers(BASE, BASE + " eleven", "tea"), answers(BASE), [], None)
    result = NearDedup(on="response").apply(view, Context())
    twin = "near answer duplicate of candidate 0 of r0 (0.89)"
    assert reasons(result, "candidates") == [[None, twin, None], [None], [], []]
    assert result["drop"].to_pylist() == [None] * 4
    exact = ExactDedup(on="response").apply(
        with_answers(answers("a b", " a  b "), answers("a b")), Context()
    )
    assert reasons(exact, "candidates") == [
        [None, "exact answer duplicate of candidate 0 of r0"],
        [None],
    ]
    assert NearDedup(on="response").view_scope() == "shard"
    assert NearDedup(on="response").written() == ("candidates",)


def test_dropped_responses_are_no_twins_and_scores_choose():
    group = [{"text": BASE, "drop": "empty"}, *answers(BASE + " x", BASE)]
    scores = pa.array([[9.0, 1.0, 2.0]], pa.list_(pa.float32()))
    view = with_answers(group).append_column("scores", scores)
    result = NearDedup(on="response", keep_by="scores").apply(view, Context())
    assert reasons(result, "candidates") == [
        ["empty", "near answer duplicate of candidate 2 of r0 (0.89)", None]
    ]


def test_pairs_are_compared_in_either_order():
    def pair(chosen, rejected, margin):
        return {"chosen": chosen, "rejected": rejected, "margin": margin}

    view = with_answers(
        answers(BASE, "a b c d e f"),
        answers("a b c d e f", BASE),
        answers("a b c d e f", BASE),
        pairs=[[pair(0, 1, 1.0)], [pair(0, 1, 2.0), pair(1, 0, 3.0)], [pair(0, 1, 1.0)]],
        prompts=["same", "same", "quite another one"],
    )
    for stage, tail in ((ExactDedup(on="pair"), ""), (NearDedup(on="pair"), " (1.00)")):
        what = f"{stage.kind.split('_')[0]} pair duplicate of pair 0 of r0{tail}"
        result = stage.apply(view, Context())
        assert reasons(result, "pairs") == [[None], [what, what], [None]]
        assert result["drop"].to_pylist() == [None, what, None]
    best = NearDedup(on="pair", keep_by="margin").apply(view, Context())
    twin = "near pair duplicate of pair 1 of r1 (1.00)"
    assert reasons(best, "pairs") == [[twin], [twin, None], [None]]


def test_conversations_hold_the_answers():
    view = with_answers(answers(BASE), answers("tea"), answers(BASE + " eleven"))
    assert dropped(NearDedup(), view)[1:] == ["near prompt duplicate of r0 (1.00)"] * 2
    stage = NearDedup(on="conversation")
    assert dropped(stage, view) == [None, None, "near conversation duplicate of r0 (0.90)"]
    assert dropped(ExactDedup(on="conversation"), view) == [None] * 3


def test_last_turn():
    def talk(first, last):
        return [{"role": "user", "content": first}, {"role": "user", "content": last}]

    view = rows(talk("hello", BASE), talk("a b c d e f g h i j", BASE), [], [])
    assert dropped(NearDedup(), view) == [None] * 4
    assert dropped(NearDedup(on="last_turn"), view)[1] == "near last turn duplicate of r0 (1.00)"


def test_no_text_imitates_a_border():
    view = with_answers(answers("a", "b"), answers("a\x1eb"), answers("a\0b"))
    assert dropped(ExactDedup(on="conversation"), view) == [None] * 3


def test_keep_by_needs_a_number_for_each_item():
    view = with_answers(answers("a")).append_column("quality", pa.array([1.0]))
    with pytest.raises(StageError, match="no number for each"):
        NearDedup(on="response", keep_by="quality").apply(view, Context())


def test_spilled_and_chunked_views_give_the_same():
    texts = [f"{BASE} {i % 7} {i % 5} {i % 3}" for i in range(200)] + ["tea", "", "tea"]
    view = rows(*texts)
    whole = dropped(NearDedup(threshold=0.7), view)
    parts = pa.concat_tables([view.slice(i, 29) for i in range(0, len(view), 29)])
    assert dropped(NearDedup(threshold=0.7), parts) == whole
    assert dropped(NearDedup(threshold=0.7, spill_from=0), parts) == whole
    assert NearDedup(spill_from=0).identity() == NearDedup().identity()
    assert 0 < sum(why is None for why in whole) < len(whole)


def test_ngram_width():
    view = rows("a b c d e f g h", "a b c d x f g h")
    twin = "near prompt duplicate of r0 (0.78)"
    assert dropped(NearDedup(ngram=1, threshold=0.7), view)[1] == twin
    assert dropped(NearDedup(ngram=4, threshold=0.7), view)[1] is None


FRAME = " ".join(f"rule{i} says that you must" for i in range(24))
TOPICS = ("tides", "bread", "sonnets", "gears", "maps", "bees")


def under(frame: str, prompt: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": frame}, {"role": "user", "content": prompt}]


@pytest.mark.parametrize("on", ["prompt", "conversation"])
def test_system_messages_must_be_equal_and_their_words_do_not_count(on):
    kinds = [under(FRAME, f"what are {topic} {topic} made of") for topic in TOPICS]
    text = "one two three four five six seven eight nine ten"
    same = [under(FRAME, text), under(f" {FRAME}", text + " eleven"), under("be brief", text), text]
    lone = [[{"role": "system", "content": f"{FRAME} {end}"}] for end in ("a", "b")]
    view = rows(*kinds, *same, *lone, candidates=pa.array([[]] * 12, CANDIDATES))
    expected: list[str | None] = [None] * 12
    expected[7] = f"near {on} duplicate of r6 (0.89)"
    expected[11] = f"near {on} duplicate of r10 (0.97)"  # of nothing else, it is the prompt
    assert dropped(NearDedup(on=on), view) == expected


def test_only_what_is_equal_shows_one():
    words = [f"w{i}" for i in range(1000)]
    view = rows(" ".join(words), " ".join([*words, "more"]), " ".join(words).upper())
    assert dropped(NearDedup(), view) == [
        None,
        "near prompt duplicate of r0 (0.99)",
        "near prompt duplicate of r0 (1.00)",
    ]


def test_a_column_of_the_source_ranks_rows():
    meta = ['{"votes": 1}', '{"votes": 3}', '{"other": 9}', None]
    view = rows("x y z", "x y z", "x y z", "x y z", meta=pa.array(meta))
    why = "exact prompt duplicate of r1"
    stage = ExactDedup(keep_by="meta.votes")
    assert dropped(stage, view) == [why, None, why, why]
    assert stage.needed() == ("id", "prompt", "meta")
    with pytest.raises(StageError, match=r"no row has a number in 'meta\.vote'"):
        dropped(NearDedup(keep_by="meta.vote"), view)


@pytest.mark.parametrize("stage", [ExactDedup, NearDedup])
def test_what_cannot_rank_is_refused_at_once(stage):
    with pytest.raises(ValidationError, match="number of pairs"):
        stage(on="response", keep_by="margin")
    with pytest.raises(ValidationError, match='say "margin"'):
        stage(keep_by="pairs")
    assert stage(on="response", keep_by="scores").keep_by == "scores"
