from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.schema import CANDIDATES, PAIRS, PROMPT
from curate.stage import Context
from curate.stages.repeats import SAME, CapPairs, MergePairs, ReusedAnswers, count_votes

LONG = "one two three four five six seven eight nine ten eleven twelve"


def view(*rows) -> pa.Table:
    """Each row: (prompt, its answers, its pairs as (chosen, rejected, weight, margin))."""
    prompts = [[{"role": "user", "content": prompt}] for prompt, _, _ in rows]
    candidates = [[{"text": text} for text in texts] for _, texts, _ in rows]
    pairs = [
        [dict(zip(("chosen", "rejected", "weight", "margin"), p, strict=False)) for p in own]
        for _, _, own in rows
    ]
    return pa.table(
        {
            "id": [f"r{i}" for i in range(len(rows))],
            "prompt": pa.array(prompts, PROMPT),
            "candidates": pa.array(candidates, CANDIDATES),
            "pairs": pa.array(pairs, PAIRS),
        }
    )


def column(result, name, field):
    return [[item[field] for item in row] for row in result[name].to_pylist()]


def test_agreeing_pairs_become_one_with_their_votes():
    table = view(
        ("what?", ["good", "bad"], [(0, 1)]),
        ("what? ", ["bad", " good"], [(1, 0, 2.5), (1, 0)]),
        ("who?", ["good", "bad"], [(0, 1)]),
    )
    ctx = Context()
    result = MergePairs().apply(table, ctx)
    assert column(result, "pairs", "weight") == [[4.5], [2.5, None], [None]]
    merged = "merged (with pair 0 of r0)"
    assert column(result, "pairs", "drop") == [[None], [merged, merged], [None]]
    assert result["drop"].to_pylist() == [None, merged, None]
    assert result["conflict"].to_pylist() == [[0.0], [0.0, 0.0], [0.0]]
    assert ctx.counts["merged"] == 2


def test_contradictions_are_never_both_kept():
    table = view(
        ("what?", ["good", "bad"], [(0, 1)]),
        ("what?", ["good", "bad"], [(0, 1)]),
        ("what?", ["bad", "good"], [(0, 1)]),
    )
    dropped = MergePairs().apply(table, Context())
    assert column(dropped, "pairs", "drop") == [
        ["contradicted (by pair 0 of r2)"],
        ["contradicted (by pair 0 of r2)"],
        ["contradicted (by pair 0 of r0)"],
    ]
    third = pytest.approx(1 / 3)
    assert dropped["conflict"].to_pylist() == [[third], [third], [pytest.approx(2 / 3)]]
    majority = MergePairs(contradiction="majority").apply(table, Context())
    assert column(majority, "pairs", "drop") == [
        [None],
        ["merged (with pair 0 of r0)"],
        ["contradicted (by pair 0 of r0)"],
    ]
    assert column(majority, "pairs", "weight")[0] == [None]  # 2 - 1 = 1, as without a weight
    tie = MergePairs(contradiction="majority").apply(table.slice(1), Context())
    assert all(row[0] for row in column(tie, "pairs", "drop"))


def test_equal_answers_and_dropped_pairs():
    table = view(("p", ["a  b", "a b", "c"], [(0, 1), (0, 2), (1, 2)]))
    result = MergePairs().apply(table, Context())
    assert column(result, "pairs", "drop") == [[SAME, None, "merged (with pair 1 of r0)"]]
    again = table.set_column(3, "pairs", result["pairs"])
    assert MergePairs().apply(again, Context())["conflict"].to_pylist() == [[None, 0.0, None]]


def test_the_best_of_equal_pairs_stays():
    table = view(("p", ["a", "b"], [(0, 1, 1.0, 0.5), (0, 1, 1.0, 2.0)]))
    result = MergePairs(keep_by="margin").apply(table, Context())
    assert column(result, "pairs", "drop") == [["merged (with pair 1 of r0)", None]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 3)), max_size=30),
    st.randoms(),
)
def test_votes_equal_a_count_in_python(labels, random):
    n = len(labels)
    order = list(range(n))
    random.shuffle(order)
    key = np.array([[k for k, _, _ in labels]] * 2, dtype=np.uint64).reshape(2, n)
    chosen = np.array([way for _, way, _ in labels], dtype=np.uint64)
    weight = np.array([float(w) for _, _, w in labels])
    votes = count_votes(key, chosen, weight, np.array(order, dtype=np.int64))
    for i, (k, way, _) in enumerate(labels):
        sides = {
            side: [j for j in order if labels[j][0] == k and labels[j][1] == side]
            for side in (way, not way)
        }
        assert votes.agree[i] == sum(labels[j][2] for j in sides[way])
        assert votes.against[i] == sum(labels[j][2] for j in sides[not way])
        assert votes.first[i] == sides[way][0]
        assert votes.opposite[i] == (sides[not way] or [-1])[0]


def test_cap_counts_pairs_over_similar_prompts():
    table = view(
        (LONG, ["a", "b", "c"], [(0, 1, None, 1.0), (0, 2, None, 3.0)]),
        ("other", ["a", "b"], [(0, 1, None, 0.1)]),
        (LONG + " thirteen", ["a", "b"], [(0, 1, None, 2.0)]),
    )
    over = "over the cap of 2 pairs for prompts like that of r0 (0.91)"
    self = "over the cap of 2 pairs for prompts like that of r0 (1.00)"
    first = CapPairs(most=2).apply(table, Context())
    assert column(first, "pairs", "drop") == [[None, None], [None], [over]]
    assert first["drop"].to_pylist() == [None, None, over]
    best = CapPairs(most=2, keep_by="margin").apply(table, Context())
    assert column(best, "pairs", "drop") == [[self, None], [None], [None]]
    assert best["drop"].to_pylist() == [None] * 3


def test_constant_answers_go_and_short_ones_stay():
    constant = " ".join([LONG, LONG.upper(), "and so on"])
    rows = [(f"prompt number {i}", [constant + " " + "x" * i, "I cannot."], []) for i in range(3)]
    rows.append(("prompt number 0", [constant], []))
    result = ReusedAnswers().apply(view(*rows), Context())
    why = "answers many prompts: 3, as candidate 0 of r0 "
    found = column(result, "candidates", "drop")
    likeness = ("(1.00)", "(0.94)", "(0.94)", "(1.00)")
    assert [row[0] for row in found] == [why + how for how in likeness]
    assert [row[1:] for row in found] == [[None]] * 3 + [[]]
    assert result["drop"].to_pylist() == [None] * 3 + [why + "(1.00)"]
    some = view(*rows[:2], rows[3])  # two different prompts
    assert column(ReusedAnswers().apply(some, Context()), "candidates", "drop")[0] == [None, None]
    short = ReusedAnswers(short=0).apply(view(*rows), Context())
    assert column(short, "candidates", "drop")[0][1].startswith("answers many prompts: 3")


CHINESE = "\u91cf\u5b50\u8ba1\u7b97\u662f\u4e00\u79cd\u5229\u7528\u91cf"
CHINESE += "\u5b50\u529b\u5b66\u73b0\u8c61"
CHINESE += "\u7684\u8ba1\u7b97\u65b9\u5f0f\u5b83\u4f7f\u7528\u91cf\u5b50\u6bd4\u7279"


def test_a_constant_answer_without_spaces_goes():
    topics = ("tides of the sea", "how bread rises", "who made glass")
    table = view(*[(topic, [CHINESE, CHINESE[:6]], []) for topic in topics])
    found = column(ReusedAnswers().apply(table, Context()), "candidates", "drop")
    assert [row[0] is None for row in found] == [False] * 3
    assert [row[1] for row in found] == [None] * 3  # six characters may repeat


def test_spellings_of_one_question_may_have_one_answer():
    answer = " ".join([LONG, LONG.upper()])
    asked = "What is the capital city of France"
    spelt = [asked, asked.lower() + "?", "  " + asked.replace(" ", "  ") + "?!"]
    table = view(*[(prompt, [answer], []) for prompt in spelt])
    assert column(ReusedAnswers().apply(table, Context()), "candidates", "drop") == [[None]] * 3
    strict = ReusedAnswers(prompt_threshold=1.0).apply(table, Context())
    assert strict["drop"].null_count == 0


FRAME = " ".join(f"rule{i} says that you must" for i in range(24))
TOPICS = ("tides", "bread", "sonnets", "gears", "maps", "bees")


def framed(table: pa.Table, frames) -> pa.Table:
    turns = [
        [{"role": "system", "content": frame}, *row]
        for frame, row in zip(frames, table["prompt"].to_pylist(), strict=True)
    ]
    return table.set_column(1, "prompt", pa.array(turns, PROMPT))


def test_a_long_system_message_does_not_make_prompts_alike():
    rows = [(f"what are {topic} {topic} made of", ["a", "b"], [(0, 1)]) for topic in TOPICS]
    table = framed(view(*rows), [FRAME] * 6)
    assert CapPairs(most=1).apply(table, Context())["drop"].null_count == 6
    same = [(f"{LONG} {i}", ["a", "b"], [(0, 1)]) for i in range(3)]
    capped = CapPairs(most=1).apply(framed(view(*same), [FRAME, FRAME + " ", "x"]), Context())
    over = "over the cap of 1 pairs for prompts like that of r0 (0.83)"
    assert capped["drop"].to_pylist() == [None, over, None]  # the third is under another message


def test_a_constant_answer_under_one_long_instruction_goes():
    topics = [*TOPICS, "glass", "drums", "looms", "kites", "wells", "clocks"]
    constant = " ".join([LONG, LONG.upper(), "and so on"])
    own = [" ".join(f"{topic}{k}" for k in range(30)) for topic in topics]
    answers = [constant if k in (1, 4, 7) else own[k] for k in range(12)]
    asked = [(f"{FRAME} Write about {topic}.", [answer], [])
             for topic, answer in zip(topics, answers, strict=True)]  # fmt: skip
    found = ReusedAnswers().apply(view(*asked), Context())["drop"].to_pylist()
    why = "answers many prompts: 3, as candidate 0 of r1 (1.00)"
    assert found == [why if k in (1, 4, 7) else None for k in range(12)]
    off = ReusedAnswers(template=13).apply(view(*asked), Context())["drop"]
    assert off.null_count == 12  # by the n-grams alone they are one question
    spelt = [(f"{FRAME} Write about bread{end}", [constant], []) for end in ("", "?", " ", "!")]
    rest = [row for row in asked if row[1] != [constant]]
    found = ReusedAnswers().apply(view(*rest, *spelt), Context())["drop"]
    assert found.null_count == len(found)  # four spellings of one question


def test_contradictions_may_stay_and_say_so():
    table = view(
        ("what?", ["good", "bad"], [(0, 1, 2.0)]),
        ("what?", ["good", "bad"], [(0, 1)]),
        ("what?", ["bad", "good"], [(0, 1)]),
    )
    ctx = Context()
    result = MergePairs(contradiction="keep").apply(table, ctx)
    assert column(result, "pairs", "drop") == [[None], ["merged (with pair 0 of r0)"], [None]]
    assert column(result, "pairs", "weight") == [[3.0], [None], [None]]
    assert result["conflict"].to_pylist() == [[0.25], [0.25], [0.75]]
    assert ctx.counts["contradicted"] == 3


@pytest.mark.parametrize("stage", [MergePairs(), CapPairs(most=1), ReusedAnswers()])
def test_empty_views(stage):
    empty = view(("p", ["a", "b"], [(0, 1)])).slice(0, 0)
    assert {len(column) for column in stage.apply(empty, Context()).values()} == {0}
