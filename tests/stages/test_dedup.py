"""Prompts and vectors that say the same, found by either dedup stage, and which of them stays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from prompt_rows import TEN_WORDS, dropped, rows
from pydantic import ValidationError

from curate.errors import StageError
from curate.schema import CANDIDATES, PAIRS
from curate.stages.dedup import ExactDedup, NearDedup


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
    assert dropped(NearDedup(), rows(TEN_WORDS, TEN_WORDS + " eleven")) == [
        None,
        "near prompt duplicate of r0 (0.89)",
    ]
    assert dropped(NearDedup(threshold=0.9), rows(TEN_WORDS, TEN_WORDS + " eleven")) == [None, None]


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
    with pytest.raises(ValidationError, match=r"threshold\n"):
        NearDedup(threshold=threshold)


def test_last_turn():
    def talk(first, last):
        return [{"role": "user", "content": first}, {"role": "user", "content": last}]

    view = rows(talk("hello", TEN_WORDS), talk("a b c d e f g h i j", TEN_WORDS), [], [])
    assert dropped(NearDedup(), view) == [None] * 4
    assert dropped(NearDedup(on="last_turn"), view)[1] == "near last turn duplicate of r0 (1.00)"


def test_spilled_and_chunked_views_give_the_same():
    texts = [f"{TEN_WORDS} {i % 7} {i % 5} {i % 3}" for i in range(200)] + ["tea", "", "tea"]
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
    same = [under(FRAME, TEN_WORDS), under(f" {FRAME}", TEN_WORDS + " eleven")]
    same += [under("be brief", TEN_WORDS), TEN_WORDS]
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
