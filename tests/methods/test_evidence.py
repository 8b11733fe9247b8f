import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ConfigError, StageError
from curate.methods.evidence import (
    VERDICTS,
    comparisons,
    judge_votes,
    majority,
    truth_of,
    voters_of,
    votes,
)
from curate.methods.judgments import read_judgments
from curate.methods.pair_features import pair_features
from curate.methods.votes import pair_votes
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS, PROMPT

N = np.nan


def table(judgments=(), pairs=None, meta=None, texts=(("x", "y", "z"),)):
    rows = len(texts)
    columns = {
        "prompt": pa.array(
            [[{"role": "user", "content": f"ask {i}"}] for i in range(rows)], PROMPT
        ),
        "candidates": pa.array([[{"text": t} for t in row] for row in texts], CANDIDATES),
        "judgments": pa.array([list(judgments)] + [[]] * (rows - 1), JUDGMENTS),
        "meta": pa.array(meta or ["{}"] * rows),
    }
    if pairs is not None:
        columns["pairs"] = pa.array(
            [[{"chosen": a, "rejected": b} for a, b in row] for row in pairs], PAIRS
        )
    return pa.table(columns)


def said(a, b=None, score=1.0, order=None, status="ok", spread=None):
    return {
        "judge": "j", "aspect": "s", "a": a, "b": b, "order": order, "score": score,
        "status": status, "spread": spread,
    }  # fmt: skip


def test_without_pairs_every_two_candidates_are_compared():
    found = comparisons(table(texts=(("x", "y", "z"), ("u",), ("v", "w"))))
    assert [list(map(int, column)) for column in found] == [
        [0, 0, 0, 2],
        [0, 0, 1, 4],
        [1, 2, 2, 5],
    ]


def test_pairs_are_compared_as_they_are_and_bad_indexes_are_an_error():
    found = comparisons(table(pairs=[[(2, 0)], [(1, 0)]], texts=(("x", "y", "z"), ("v", "w"))))
    assert (found.a.tolist(), found.b.tolist()) == ([2, 4], [0, 3])
    with pytest.raises(StageError, match="no index"):
        comparisons(table(pairs=[[(3, 0)]]))


def test_scores_become_a_gap_and_a_spread():
    judged = [said(0, score=5.0, spread=0.3), said(0, score=3.0), said(2, score=1.0, spread=0.4)]
    data = table(judged, pairs=[[(0, 2), (2, 0), (0, 1)]])
    vote = judge_votes(data, comparisons(data), ["j"])["j"]
    assert vote.value.tolist()[:2] == [3.0, -3.0]
    assert np.isnan(vote.value[2])
    assert vote.asked.tolist() == [True, True, False]
    assert vote.spread[0] == pytest.approx(0.5)


def test_the_stages_and_the_evaluation_read_one_judge_alike():
    judged = [said(0, score=5.0), said(0, score=1.0), said(0, score=1.0), said(1, score=2.0)]
    judged += [{**said(0, score=1.0), "aspect": "t"}, {**said(1, score=1.0), "aspect": "t"}]
    judged[0]["aspect"] = "u"
    data = table(judged, pairs=[[(0, 1)]], texts=(("x", "y"),))
    pairs = comparisons(data)
    vote = judge_votes(data, pairs, ["j"])["j"]
    staged = pair_votes(read_judgments(data["judgments"], np.array([2])), pairs.a, pairs.b, 2)
    assert vote.value[0] == staged.margin[0, 0] == pytest.approx((5 + 1 + 1) / 3 - (2 + 1) / 2)


def test_people_stand_for_all_of_them_and_a_column_for_itself():
    judged = [{**said(0), "judge": name} for name in ("people:2", "people:1", "peoples")]
    data = table(judged)
    assert voters_of(data, ["people", "label"]) == ["people:1", "people:2", "label"]
    assert voters_of(data, ["peoples", "people:1"]) == ["peoples", "people:1"]


def test_both_orders_are_told_apart_whichever_way_the_pair_is_written():
    judged = [
        said(0, 1, 1.0, "ab"),  # 0 shown first and preferred
        said(0, 1, -1.0, "ba"),  # 1 shown first and preferred: the judge likes the first
    ]
    data = table(judged, pairs=[[(0, 1), (1, 0), (1, 2)]])
    vote = judge_votes(data, comparisons(data), ["j"])["j"]
    assert vote.a_first[:2].tolist() == [1.0, 1.0]
    assert vote.b_first[:2].tolist() == [-1.0, -1.0]
    assert vote.value[:2].tolist() == [0.0, 0.0]
    assert np.isnan(vote.value[2])


def test_the_margin_of_two_orders_is_their_mean_and_flips_with_the_pair():
    judged = [said(1, 0, 1.0, "ab"), said(1, 0, 0.0, "ba")]  # one order decides, the other ties
    data = table(judged, pairs=[[(0, 1), (1, 0)]])
    vote = judge_votes(data, comparisons(data), ["j"])["j"]
    assert vote.value.tolist() == [-0.5, 0.5]
    assert (vote.a_first.tolist(), vote.b_first.tolist()) == ([0.0, 1.0], [-1.0, 0.0])


def test_an_unreadable_verdict_was_asked_for_and_says_nothing():
    data = table([said(0, 1, None, "ab", "parse_error")], pairs=[[(0, 1)]])
    vote = judge_votes(data, comparisons(data), ["j"])["j"]
    assert np.isnan(vote.value).all()
    assert vote.asked.all()


def test_stored_verdicts_read_their_words_and_nothing_else():
    words = ["1", 2, "Tie", "garbage", None, "A", " b "]
    meta = ["{}" if w is None else f'{{"v": "{w}"}}' for w in words]
    data = table(meta=meta, pairs=[[(0, 1)]] * 7, texts=(("x", "y"),) * 7)
    vote = votes(data, comparisons(data), ["v"], VERDICTS)["v"]
    assert vote.value == pytest.approx([1, -1, 0, N, N, 1, -1], nan_ok=True)
    assert vote.asked.tolist() == [True, True, True, True, False, True, True]
    turned = table(meta=meta, pairs=[[(1, 0)]] * 7, texts=(("x", "y"),) * 7)
    back = votes(turned, comparisons(turned), ["v"], VERDICTS)["v"]
    assert back.value == pytest.approx([-1, 1, 0, N, N, -1, 1], nan_ok=True)
    assert np.isnan(back.a_first).all()
    assert back.b_first == pytest.approx(back.value, nan_ok=True)


def test_an_unknown_voter_is_an_error_with_a_hint():
    data = table([said(0)], pairs=[[(0, 1)]], meta=['{"annotator1": 1}'])
    with pytest.raises(ConfigError, match="did you mean 'annotator1'"):
        votes(data, comparisons(data), ["anotator1"], VERDICTS)


def test_the_majority_counts_ties_and_an_open_vote_is_none():
    ballots = [np.array([1, 1, 1, N, 2.5]), np.array([1, -1, 0, N, N]), np.array([0, 0, 0, N, N])]
    assert majority(ballots) == pytest.approx([1, N, 0, N, 1], nan_ok=True)


def test_the_mean_of_scores_can_be_the_truth():
    ballots = [np.array([3.0, 1.0, N, N]), np.array([-1.0, -1.0, -2.0, N])]
    assert truth_of(ballots, "mean") == pytest.approx([1, 0, -1, N], nan_ok=True)
    assert truth_of(ballots, "majority") == pytest.approx([N, N, -1, N], nan_ok=True)


def test_features_change_their_sign_with_the_pair_or_keep_it():
    judged = [said(0, 1, 1.0, "ab"), said(0, 1, -1.0, "ba")]
    texts = (("a longer answer to ask 0 here", "no", "one two three one two three"),)
    one, two = (table(judged, pairs=[[p, (1, 2)]], texts=texts) for p in ((0, 1), (1, 0)))
    found = [
        pair_features(t, comparisons(t), judge_votes(t, comparisons(t), ["j"])) for t in (one, two)
    ]
    assert found[0].sided[0] == pytest.approx(-found[1].sided[0])
    assert found[0].even[0] == pytest.approx(found[1].even[0])
    swayed = 3  # after the constant, the judge's ties and the missing verdicts
    assert found[0].even[0, swayed] > 0
    assert found[0].even[1, swayed] == 0
