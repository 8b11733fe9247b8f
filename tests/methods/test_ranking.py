import math
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import StageError
from curate.methods.ranking import bradley_terry, games_of_scores, largest_component, ranked_pairs
from curate.schema import COLUMNS, JUDGMENTS
from curate.stage import Context
from curate.stages.rank import Rank

FLAT = 1e5  # a prior so wide that it does not show


def test_three_to_one_twice_is_log_three_apart():
    a, b = [0] * 4 + [1] * 4, [1] * 4 + [2] * 4
    found = bradley_terry([3], a, b, [1, 1, 1, 0] * 2, prior=FLAT)
    assert found.strength == pytest.approx([math.log(3), 0, -math.log(3)], abs=1e-6)
    assert found.component.tolist() == [0, 0, 0]
    # The information of each pair is 4 * 3/16, so the middle has variance 2/9 * 4/3.
    assert found.std[1] == pytest.approx(math.sqrt(8 / 27), rel=1e-4)


def test_ties_and_halves_are_shares_of_a_win():
    tie = bradley_terry([2], [0], [1], [0.5])
    assert tie.strength == pytest.approx([0, 0], abs=1e-12)
    whole = bradley_terry([2], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0])
    shared = bradley_terry([2], [0, 1, 0, 0], [1, 0, 1, 1], [0.75, 0.25, 0.75, 0.75])
    assert whole.strength == pytest.approx(shared.strength)


def test_an_undefeated_item_stays_finite_and_the_prior_says_how_far():
    near, far = (bradley_terry([2], [0, 0], [1, 1], [1, 1], prior=p) for p in (1.0, 4.0))
    assert 0 < near.strength[0] < far.strength[0] < 4
    assert near.strength[0] == pytest.approx(2 / (1 + math.exp(2 * near.strength[0])))


def test_more_comparisons_make_the_deviation_smaller():
    few, many = (bradley_terry([3], [0, 1, 0] * n, [1, 2, 2] * n, [1, 0.5, 0] * n) for n in (1, 10))
    assert (many.std < few.std).all()


def test_what_no_comparison_links_has_no_common_scale():
    found = bradley_terry([5, 1, 0, 2], [0, 1, 3, 6], [1, 2, 4, 7], [1, 1, 1, 0])
    assert found.component.tolist() == [0, 0, 0, 3, 3, 5, 6, 6]
    assert found.strength[:3].sum() == pytest.approx(0, abs=1e-9)
    usable = largest_component(np.array([5, 1, 0, 2]), found.component)
    assert usable.tolist() == [True] * 3 + [False] * 3 + [True] * 2
    even = bradley_terry([4], [2, 0], [3, 1], [1, 1]).component
    assert largest_component(np.array([4]), even).tolist() == [True, True, False, False]


def test_strengths_come_back_from_many_comparisons():
    rng = np.random.default_rng(0)
    truth = np.array([1.0, 0.4, 0.0, -0.3, -1.1])
    a, b = np.array(list(combinations(range(5), 2)) * 4000).T
    won = rng.random(len(a)) < 1 / (1 + np.exp(truth[b] - truth[a]))
    found = bradley_terry([5], a, b, won * 1.0, prior=FLAT)
    assert found.strength == pytest.approx(truth, abs=4 * found.std.max())
    assert found.std.max() < 0.03


def test_a_group_does_not_depend_on_its_company():
    rng = np.random.default_rng(1)
    a, b = np.array(list(combinations(range(4), 2))).T
    shares = rng.integers(0, 3, (50, len(a))) / 2
    together = bradley_terry(
        [4] * 50,
        (np.arange(50)[:, None] * 4 + a).ravel(),
        (np.arange(50)[:, None] * 4 + b).ravel(),
        shares.ravel(),
    )
    for group in range(50):
        alone = bradley_terry([4], a, b, shares[group])
        where = slice(group * 4, group * 4 + 4)
        assert alone.strength.tobytes() == together.strength[where].tobytes()
        assert alone.std.tobytes() == together.std[where].tobytes()


@pytest.mark.parametrize(
    ("counts", "a", "b", "share", "prior"),
    [
        ([2], [0], [1], [1.5], 1.0),
        ([2], [0], [1], [float("nan")], 1.0),
        ([2], [0], [0], [1.0], 1.0),
        ([1, 1], [0], [1], [1.0], 1.0),
        ([2], [0], [1], [1.0], 0.0),
    ],
)
def test_nonsense_is_refused(counts, a, b, share, prior):
    with pytest.raises(ValueError, match="must be"):
        bradley_terry(counts, a, b, share, prior=prior)


def judged(*rows):
    """Rows of (a, b, score, status); b None is a score of a alone."""
    names = ("a", "b", "score", "status")
    judgments = [
        [
            {"judge": "p" if j[1] is not None else "s", **dict(zip(names, j, strict=True))}
            for j in row
        ]
        for row in rows
    ]
    candidates = [[{"text": str(i)} for i in range(3)] for _ in rows]
    return pa.table(
        {
            "candidates": pa.array(candidates, COLUMNS["candidates"]),
            "judgments": pa.array(judgments, JUDGMENTS),
        }
    )


def test_the_stage_counts_usable_comparisons_only():
    view = judged(
        [(0, 1, 1.0, "ok"), (1, 2, 1.0, "ok"), (0, 2, None, "api_error"), (2, None, 5.0, "ok")],
        [(0, 2, 0.0, "ok")],
        [(1, None, 3.0, "ok")],
        [],
    )
    made = Rank().apply(view, Context())
    scores, std = (made[name].to_pylist() for name in ("scores", "score_std"))
    assert made["scores"].type == made["score_std"].type == COLUMNS["scores"]
    assert scores[0][0] > 0 > scores[0][2]
    assert scores[0][1] == pytest.approx(0, abs=1e-6)
    assert scores[1] == [0.0, None, 0.0]
    assert scores[2:] == std[2:] == [[None] * 3] * 2
    assert Rank(judges=("other",)).apply(view, Context())["scores"].null_count == 0


def test_a_verdict_out_of_range_is_an_error():
    with pytest.raises(StageError, match="outside"):
        Rank().apply(judged([(0, 1, 2.0, "ok")]), Context())


# The ballots of the card: a > b > c by four people, b > c > a by three, c > a > b by two.
BALLOTS = [(1, 2, 3)] * 4 + [(3, 1, 2)] * 3 + [(2, 3, 1)] * 2


def ballots_as_games(ballots, items=3):
    cells = [
        (k, judge, -rank) for judge, ranks in enumerate(ballots) for k, rank in enumerate(ranks)
    ]
    candidate, judge, score = (np.array(column) for column in zip(*cells, strict=True))
    return games_of_scores(np.array([items]), candidate, judge, score.astype(float))


def test_ranked_pairs_leave_out_the_majority_that_would_close_a_circle():
    games = ballots_as_games(BALLOTS)
    assert len(games[0]) == 27
    assert ranked_pairs([3], *games).share.tolist() == [1, 0.5, 0]
    # Bradley-Terry counts wins, and a and b have ten each.
    even = bradley_terry([3], *games, prior=FLAT).strength
    assert even[0] == pytest.approx(even[1])


def test_nothing_depends_on_the_order_of_equal_majorities():
    circle = ballots_as_games([(1, 2, 3), (3, 1, 2), (2, 3, 1)])
    assert ranked_pairs([3], *circle).share.tolist() == [0.5] * 3
    rng = np.random.default_rng(3)
    for _ in range(200):
        n = int(rng.integers(2, 6))
        ballots = rng.integers(1, n + 1, (int(rng.integers(1, 6)), n))
        order = rng.permutation(n)
        one = ranked_pairs([n], *ballots_as_games(ballots.tolist(), n))
        other = ranked_pairs([n], *ballots_as_games(ballots[:, order].tolist(), n))
        assert one.share[order] == pytest.approx(other.share)
        assert one.share.sum() == pytest.approx(n / 2)


def test_ranked_pairs_elect_whoever_beats_all_others_and_say_ties():
    rng = np.random.default_rng(4)
    for _ in range(200):
        ballots = np.stack([rng.permutation(5) + 1 for _ in range(7)])
        beats = (ballots[:, :, None] < ballots[:, None, :]).sum(axis=0) > 3
        found = ranked_pairs([5], *ballots_as_games(ballots.tolist(), 5)).share
        for winner in np.flatnonzero(beats.sum(axis=1) == 4):
            assert found[winner] == 1
    assert ranked_pairs([2], *ballots_as_games([(1, 2), (2, 1)], 2)).share.tolist() == [0.5, 0.5]
    # Majorities of six widths, with circles in them: one ranking comes out all the same.
    a, b = np.array(list(combinations(range(4), 2))).T
    for k in range(64):
        side = np.where((k >> np.arange(6)) & 1, 1, -1)
        share = 0.5 + side * np.array([5, 3, 1, 6, 4, 2]) / 20
        assert sorted(ranked_pairs([4], a, b, share).share) == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_ranked_pairs_hold_to_what_games_link():
    found = ranked_pairs([5, 1, 0, 2], [0, 1, 3, 6], [1, 2, 4, 7], [1, 1, 1, 0])
    assert found.component.tolist() == [0, 0, 0, 3, 3, 5, 6, 6]
    assert found.share == pytest.approx([1, 0.5, 0, 1, 0, np.nan, 0, 1], nan_ok=True)
    with pytest.raises(ValueError, match="one group"):
        ranked_pairs([1, 1], [0], [1], [1])


def test_a_judges_scores_are_games_of_its_own_answers_only():
    games = games_of_scores(
        np.array([2, 0, 3]),
        np.array([0, 1, 2, 4, 3, 2]),
        np.array([0, 0, 0, 0, 1, 1]),
        np.array([2.0, 2, 1, 5, 9, 7]),
    )
    assert [values.tolist() for values in games] == [[0, 2, 2], [1, 4, 3], [0.5, 0, 0]]


def test_the_stage_takes_peoples_rankings_where_it_is_told_to():
    row = [
        {"judge": f"rank#{k}", "a": a, "score": -float(place), "status": "ok"}
        for k, ranks in enumerate(BALLOTS)
        for a, place in enumerate(ranks)
    ]
    view = judged([], []).set_column(1, "judgments", pa.array([row, row[:1]], JUDGMENTS))
    made = Rank(method="ranked_pairs", scored=True).apply(view, Context())
    assert made["scores"].to_pylist() == [[1, 0.5, 0], [None] * 3]
    assert made["score_std"].to_pylist() == [[None] * 3] * 2
    assert Rank(method="ranked_pairs").apply(view, Context())["scores"].to_pylist()[0] == [None] * 3
    mixed = pa.array([[*row, {"judge": "p", "a": 2, "b": 0, "score": 1.0, "status": "ok"}], []],
                     JUDGMENTS)  # fmt: skip
    view = view.set_column(1, "judgments", mixed)
    assert Rank(scored=True).apply(view, Context())["scores"].to_pylist()[0][0] is not None
