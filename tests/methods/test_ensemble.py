import itertools

import numpy as np
import pytest

from curate.methods.ensemble import (
    centre,
    closest,
    log_odds,
    log_sigmoid,
    pool,
    standardise,
    vote_score,
)


def of_one(scores, how, caution=0.5, **columns):
    shaped = {name: np.array(values)[:, None] for name, values in columns.items()}
    return pool(np.array(scores, dtype=float)[:, None], how, caution=caution, **shaped)[0]


def test_the_ensemble_card():
    scores = [1, 2, 6]
    assert of_one(scores, "mean") == 3
    assert of_one(scores, "median") == 2
    assert of_one(scores, "min") == 1
    assert of_one(scores, "mean_std", 1.0) == pytest.approx(0.839753, abs=1e-6)
    assert of_one(scores, "mean_var", 0.5) == pytest.approx(3 - 0.5 * 14 / 3)


def test_the_robust_card_trusts_the_surest_head():
    assert of_one([1, 0.4, 0.8], "robust", 0.4, stds=[0.5, 0.6, 0.3]) == pytest.approx(0.64)
    assert of_one([1, 0.4, 0.8], "robust", 0.0, stds=[0.5, 0.6, 0.3]) == pytest.approx(0.8)
    assert of_one([1, 0.4, np.nan], "robust", 0.4, stds=[0.5, 0.6, 0.1]) == pytest.approx(0.76)
    assert np.isnan(of_one([1, 0.4], "robust", 0.4, stds=[np.nan, np.nan]))
    with pytest.raises(ValueError, match="deviation"):
        of_one([1], "robust")


def test_absent_judges_do_not_count_and_nobody_gives_nan():
    nan = np.nan
    scores = np.array([[1, nan, nan], [nan, 4, nan], [3, 6, nan], [8, nan, nan]])
    assert np.array_equal(pool(scores, "mean"), [4, 5, nan], equal_nan=True)
    assert np.array_equal(pool(scores, "median"), [3, 5, nan], equal_nan=True)
    assert np.array_equal(pool(scores, "min"), [1, 4, nan], equal_nan=True)
    assert np.array_equal(pool(scores, "sum"), [12, 10, nan], equal_nan=True)
    weights = np.array([[3.0] * 3, [1.0] * 3, [1.0] * 3, [0.0] * 3])
    assert np.array_equal(pool(scores, "mean", weights=weights), [1.5, 5, nan], equal_nan=True)
    for how in ("mean", "sum", "median", "min", "mean_std"):
        assert np.isnan(pool(np.empty((0, 2)), how)).all()


def test_the_log_sigmoid_card():
    prompt = np.zeros(3, dtype=int)
    u, slope = log_sigmoid(np.array([0.0, 1, 2]), np.ones(3), prompt)
    assert u == pytest.approx([-1.992791, -1.203235, -0.619222], abs=2e-6)
    reference = np.array([0.0, 1, 2]) - log_odds(np.exp(u), u)[0]
    assert reference == pytest.approx([1.846244] * 3, abs=1e-6)
    reference = reference[0]
    step = 1e-6
    for k in range(3):
        z = np.array([0.0, 1, 2])[k] - reference
        numeric = (-np.logaddexp(0, -(z + step)) + np.logaddexp(0, -z)) / step
        assert slope[k] == pytest.approx(numeric, abs=1e-5)


def test_a_sum_of_log_probabilities_is_a_logical_and():
    p = np.array([[0.9, 0.99], [0.9, 0.6]])
    total = pool(np.log(p), "sum")
    assert total == pytest.approx([-0.210721, -0.520876], abs=1e-6)
    raw = pool(log_odds(p, p)[0], "sum")
    assert raw == pytest.approx([4.394449, 5.000585], abs=1e-5)
    assert total[0] > total[1]
    assert raw[0] < raw[1]


def test_log_odds_hold_the_ends_and_refuse_what_is_no_probability():
    odds, spread = log_odds(np.array([0.8, 1.0, 0.0]), np.array([0.1, 0.1, np.nan]))
    assert odds[0] == pytest.approx(1.386294, abs=1e-6)
    assert spread[0] == pytest.approx(0.1 / 0.16)
    assert np.isfinite(odds).all()
    assert odds[1] == pytest.approx(-odds[2])
    with pytest.raises(ValueError, match="between 0 and 1"):
        log_odds(np.array([1.5]), np.array([0.0]))


def test_a_constant_a_prompt_changes_min_and_median_unless_judges_are_centred():
    rng = np.random.default_rng(0)
    prompts, judges = np.repeat(np.arange(30), 4), 3
    scores = rng.normal(size=(judges, 120))
    shifted = scores + rng.normal(0, 5, (judges, 30))[:, prompts]

    def centred(table):
        cells = table.T.reshape(-1)
        judge = np.tile(np.arange(judges), 120)
        key = np.repeat(prompts, judges) * judges + judge
        unit, _ = standardise(cells, np.zeros_like(cells), judge, within=key)
        return unit.reshape(120, judges).T

    for how in ("min", "median", "mean_std"):
        best = pool(centred(scores), how).reshape(30, 4).argmax(axis=1)
        assert (pool(centred(shifted), how).reshape(30, 4).argmax(axis=1) == best).all()
    raw = pool(scores, "min").reshape(30, 4).argmax(axis=1)
    assert (pool(shifted, "min").reshape(30, 4).argmax(axis=1) != raw).any()


def test_centre_takes_off_the_mean_of_each_group():
    assert centre(np.array([1.0, 3, 5]), np.array([7, 7, 2])).tolist() == [-1, 1, 0]


def test_the_forum_card():
    votes = vote_score([0, 1, 2, 5, 7, 10, -3])
    assert votes.tolist() == [0, 1, 2, 3, 3, 3, -1]
    assert vote_score([7]) + vote_score([1]) == 4  # 7 votes and accepted
    assert np.isnan(vote_score([np.nan])).all()


def test_the_helpsteer2_preference_card():
    kept = closest(np.array([[2.0, 2, 3, 3, -1]]).T)
    assert sorted(kept[~np.isnan(kept)].tolist()) == [2, 2, 3]
    assert round(pool([[2.0], [2], [3], [3], [-1]], "closest")[0]) == 2
    # Two sets of spread 1 in 2, 3, -1, 2, 3: the one nearer to the median, 2, is taken.
    assert pool([[2.0], [3], [-1], [2], [3]], "closest") == pytest.approx([7 / 3])
    assert pool([[-2.0], [-3], [1], [-2], [-3]], "closest") == pytest.approx([-7 / 3])
    assert np.ptp(closest([[-3.0], [0], [3]])) == 6
    # A spread of at most 2 among three whole marks is a deviation of at most 0.95.
    marks = list(itertools.product(range(5), repeat=3))
    assert all((np.ptp(m) <= 2) == (np.std(m) <= 0.95) for m in marks)


def test_the_closest_strengths_do_not_depend_on_which_answer_stood_first():
    strengths = np.array(list(itertools.product(range(-3, 4), repeat=5)), dtype=float).T
    strengths[4, ::3] = np.nan
    found = pool(strengths, "closest")
    assert pool(-strengths, "closest") == pytest.approx(-found, abs=1e-12)
    kept = closest(strengths)
    three = (~np.isnan(kept)).sum(axis=0) == 3
    assert three.mean() > 0.95
    # Whatever is kept is no wider than any three of the values.
    wide = [min(np.ptp(c) for c in itertools.combinations(v[~np.isnan(v)], 3)) for v in strengths.T]
    span = np.nanmax(kept, axis=0) - np.nanmin(kept, axis=0)
    assert (span == wide)[three].all()
    assert (found[~three] == 0).all()  # two sets on either side of 0, and nothing between them


def test_closest_leaves_out_the_absent():
    scores = np.array([[1.0, 5], [4, np.nan], [np.nan, np.nan], [4.5, 1], [4, np.nan]])
    assert np.isnan(closest(scores)).tolist() == [
        [True, False], [False, True], [True, True], [False, False], [False, True],
    ]  # fmt: skip
    assert pool(scores, "closest") == pytest.approx([12.5 / 3, 3])
