import numpy as np
import pyarrow as pa
import pytest
from judged_rows import odds, score, versus

from curate.errors import StageError
from curate.methods.judgments import by_sample, read_judgments
from curate.methods.votes import order_consistency, pair_votes, unselected
from curate.schema import JUDGMENTS

COUNTS = np.array([3, 2])


def asked(*rows):
    return read_judgments(pa.array(rows, JUDGMENTS), COUNTS)


def votes(judgments, first, second):
    return pair_votes(judgments, np.array(first), np.array(second), 5)


def same(found, expected):
    return np.array_equal(found, np.array(expected, dtype=float), equal_nan=True)


NAN = np.nan


def test_scores_give_margins_and_their_signs():
    judged = asked([score("x", 0, 4), score("x", 1, 2), score("y", 1, 3), score("y", 2, 3)],
                   [score("x", 0, 1), score("x", 0, 3), score("x", 1, 2)])  # fmt: skip
    found = votes(judged, [0, 1, 1, 3], [1, 0, 2, 4])
    assert same(found.margin, [[2, NAN], [-2, NAN], [NAN, 0], [0, NAN]])
    assert same(found.vote, [[1, NAN], [-1, NAN], [NAN, 0], [0, NAN]])
    assert np.isnan(found.forward).all()


def test_means_that_differ_in_the_last_bit_are_a_tie():
    thirds = [score("x", 0, v) for v in (0.1, 0.2, 0.3)] + [
        score("x", 1, v) for v in (0.3, 0.2, 0.1)
    ]
    assert votes(asked(thirds, []), [0], [1]).vote == 0


def test_comparisons_are_turned_to_the_pair_and_to_the_order():
    judged = asked([versus("c", 0, 1, 1, "ab"), versus("c", 1, 0, 1, "ab")], [])
    found = votes(judged, [0, 1], [1, 0])
    # 0 won when it was shown first, 1 won when it was shown first.
    assert same(found.margin, [[0], [0]])
    assert same(found.forward, [[1], [1]])
    assert same(found.backward, [[-1], [-1]])
    judged = asked([versus("c", 0, 1, 1, "ba")], [versus("c", 0, 1, 0.5, None)])
    found = votes(judged, [0, 1, 4], [1, 0, 3])
    assert same(found.margin, [[1], [-1], [-0.5]])
    assert same(found.forward, [[NAN], [-1], [NAN]])
    assert same(found.backward, [[1], [NAN], [NAN]])


def test_both_orders_weigh_the_same_however_often_each_was_asked():
    calls = [versus("c", 0, 1, 1, "ab")] * 3 + [versus("c", 0, 1, -1, "ba")]
    assert same(votes(asked(calls, []), [0], [1]).margin, [[0]])


def test_the_consistency_card():
    outcome = {1: 1.0, 2: -1.0, "t": 0.0}
    verdicts = [(1, 1), (1, 2), (2, 2), (2, 1), ("t", "t"), (1, 1), (1, 2), (1, 2)]
    found = []
    for ab, ba in verdicts:
        calls = [versus("c", 0, 1, outcome[ab], "ab"), versus("c", 0, 1, outcome[ba], "ba")]
        found.append(order_consistency(votes(asked(calls, []), [0], [1]))[0][0])
    assert np.mean(found) == 0.5


def test_consistency_is_the_share_of_judges_and_unknown_without_both_orders():
    calls = [versus(j, 0, 1, 1, "ab") for j in "abc"]
    calls += [versus("a", 0, 1, 1, "ba"), versus("b", 0, 1, 0, "ba")]
    share, n = order_consistency(votes(asked(calls, []), [0, 0], [1, 2]))
    assert same(share, [0.5, NAN])
    assert n.tolist() == [2, 0]


def test_unselected_pairs_are_near_or_compared_and_within_their_row():
    none = asked([], [])
    first, second = unselected(none, COUNTS, reach=1)
    assert sorted(zip(first, second, strict=True)) == [(0, 1), (1, 2), (3, 4)]
    compared = asked([versus("c", 2, 0, 1), versus("c", 1, 0, 1)], [])
    first, second = unselected(compared, COUNTS, reach=1)
    assert list(zip(first, second, strict=True)) == [(0, 1), (0, 2), (1, 2), (3, 4)]
    assert len(unselected(none, np.array([2, 5]), reach=3)[0]) == 1 + 9


def test_many_annotators_give_the_same_votes_as_a_dense_table():
    rng = np.random.default_rng(0)
    counts = np.full(60, 3)
    rows = [[score(f"w{rng.integers(400)}", a, float(rng.integers(1, 6))) for a in (0, 1, 2)]
            + [score("all", a, float(rng.integers(1, 6))) for a in (0, 1, 2)]
            for _ in range(60)]  # fmt: skip
    many = read_judgments(pa.array(rows, JUDGMENTS), counts)
    few = read_judgments(pa.array(rows, JUDGMENTS), counts, ("all",))
    first = np.arange(0, 180, 3)
    wide, narrow = (pair_votes(j, first, first + 1, 180) for j in (many, few))
    assert wide.margin.shape[1] > 50
    assert (wide.margin[:, many.judges.index("all")] == narrow.margin[:, 0]).all()


def test_log_odds_are_read_by_sign_as_a_vote_and_by_probability_as_a_belief():
    calls = [odds("c", 0, 1, 0.2), odds("c", 0, 1, -0.1, "ba"), odds("d", 0, 1, 3.0)]
    found = votes(asked(calls, []), [0, 1], [1, 0])
    assert found.margin[0] == pytest.approx([0.05, 3.0])
    assert same(found.vote, [[1, 1], [-1, -1]])
    assert found.log_odds.tolist() == [True, True]
    assert found.probability[0] == pytest.approx([1 / (1 + np.exp(-0.05)), 1 / (1 + np.exp(-3))])
    assert found.probability.sum(axis=0) == pytest.approx([1, 1])
    assert found.leaning == pytest.approx(2 * found.probability - 1)
    graded = votes(asked([versus("c", 0, 1, 1), versus("c", 0, 1, 0, "ba")], []), [0], [1])
    assert same(graded.probability, [[0.75]])
    assert same(graded.leaning, [[0.5]])


def test_a_judge_of_grades_and_log_odds_cannot_be_averaged():
    with pytest.raises(StageError, match="both as grades and as log-odds; give them different"):
        asked([odds("c", 0, 1, 0.2), versus("c", 0, 1, 1)], [])


def test_aspects_weigh_the_same_however_often_each_was_read():
    calls = [versus("c", 0, 1, 1), versus("c", 0, 1, 1), versus("c", 0, 1, -1) | {"aspect": "t"}]
    assert same(votes(asked(calls, []), [0], [1]).margin, [[0]])


def test_a_scoring_judges_margin_has_the_deviation_of_both_scores():
    calls = [score("x", 0, 4, spread=0.3), score("x", 1, 2, spread=0.4), score("y", 0, 1)]
    found = votes(asked(calls, []), [0], [1])
    assert found.spread[0] == pytest.approx([0.5, NAN], nan_ok=True)


def test_samples_become_judges_of_their_own():
    calls = [versus("c", 0, 1, v, o) for v in (1, -1) for o in ("ab", "ba")]
    judged = by_sample(asked([*calls, score("s", 0, 2)], [score("s", 0, 3)]))
    found = votes(judged, [0], [1])
    assert judged.judges == ("c 1", "c 2", "s 1", "s 2")
    assert same(found.vote, [[1, -1, NAN, NAN]])
    assert by_sample(asked([], [])).judges == ()
