import itertools

import numpy as np
import pytest

from curate.methods.crowd import vote_share
from curate.methods.ensemble import deviation, pool
from curate.methods.noise import (
    agreed,
    bald,
    label_doubt,
    margin_moments,
    rank_agreement,
    smoothing_threshold,
    strength_bands,
)


def test_the_bald_card():
    found = bald([[0.9, 0.5], [0.7, 0.7], [1, 0], [np.nan, 1], [np.nan, np.nan]])
    assert found[:4] == pytest.approx([0.101749, 0, 0.693147, 0], abs=1e-6)
    assert np.isnan(found[4])
    # What the source prints trusts the turned label: all its alphas are above one half.
    assert label_doubt(found[:3]) == pytest.approx([0.073397, 0, 0.5], abs=1e-6)


def test_the_ten_judges_of_the_published_row():
    rejected = [3.546875, 0.9921875, 2.125, -0.330078125, 1.171875, 1.2578125, 1.078125, 1.0546875,
                3.546875, 2.265625]  # fmt: skip
    chosen = [3.71875, 0.58984375, 3.390625, 0.006805419921875, -0.6953125, 1.0390625, 1.4140625,
              0.8359375, 3.078125, 2]  # fmt: skip
    margin = np.array(chosen) - rejected
    assert pool(margin[:, None], "mean") == pytest.approx([-0.133109], abs=1e-6)
    assert deviation(margin[:, None]) == pytest.approx([0.755961], abs=1e-6)
    # Four of ten votes for the label, smoothed by half a vote on each side.
    assert vote_share(np.sign(margin)[None])[0] == pytest.approx([4.5 / 11])
    # Ten equal pairs: each judge's unit is then its margin's size, so put the units back.
    mean, std, n = margin_moments([margin, -margin])
    signs = np.sign(margin)
    assert mean == pytest.approx([signs.mean(), -signs.mean()])
    assert std == pytest.approx([signs.std()] * 2)
    assert n.tolist() == [10, 10]
    assert not strength_bands([margin, -margin], wrong=1.0).wrong.any()  # |mean| < std


def test_only_certain_negative_margins_of_the_bottom_are_wrong():
    mean = np.linspace(-1, 3, 10)
    sure = np.column_stack([mean - 0.01, mean + 0.01])
    bands = strength_bands(sure, wrong=0.2, doubtful=0.2, strong=0.1)
    assert np.flatnonzero(bands.wrong).tolist() == [0, 1]
    assert np.flatnonzero(bands.doubtful).tolist() == [2, 3]
    assert np.flatnonzero(bands.strong).tolist() == [9]
    # 5 in 10 are asked for, but only those below 0 may be called wrong.
    assert np.flatnonzero(strength_bands(sure, wrong=0.5).wrong).tolist() == [0, 1, 2]
    torn = np.column_stack([mean - 5, mean + 5])
    assert not strength_bands(torn).wrong.any()
    assert np.flatnonzero(strength_bands(torn).doubtful).tolist() == [0, 1, 2, 3]


def test_one_judge_or_none_convicts_nobody():
    assert not strength_bands(-np.ones((4, 1))).wrong.any()
    bands = strength_bands([[np.nan, np.nan], [-1, -2]])
    assert not (bands.doubtful | bands.strong)[0]
    assert strength_bands(np.empty((0, 2))).wrong.shape == (0,)


def test_a_judges_unit_does_not_matter():
    rng = np.random.default_rng(0)
    margins = rng.normal(size=(200, 3))
    one, other = strength_bands(margins), strength_bands(margins * [1, 10, 0.01])
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_the_smoothing_card():
    margins = np.arange(50.0)
    threshold = smoothing_threshold(np.random.default_rng(0).permutation(margins))
    assert threshold == 5.5
    assert (margins < threshold).sum() == 6
    assert smoothing_threshold([3.0, np.nan]) == 3
    assert np.isnan(smoothing_threshold([]))


def test_the_truth_table_of_the_agreement_rule():
    table = np.array(list(itertools.product([1.0, -1.0], repeat=3)))  # gold, llm, best
    kept = agreed(table[:, :1], table[:, 1:])
    expected = [(g > 0) and (l > 0 or b > 0) for g, l, b in table]  # noqa: E741
    assert kept.tolist() == expected
    assert kept.sum() == 3
    assert not agreed([[0.0]], [[1.0]])[0]
    assert not agreed([[np.nan]])[0]
    assert agreed([[1.0]], [[np.nan, 1.0]])[0]


def test_the_consistency_card_of_two_probabilities():
    margins = np.array([[0.8, 0.7], [0.8, 0.4], [0.52, 0.9]]) - 0.5
    assert agreed(margins, at_least=0.1).tolist() == [True, False, False]


def test_one_adjacent_swap_in_five():
    tau = rank_agreement(np.array([5]), np.arange(5.0), np.array([0, 2, 1, 3, 4.0]))
    assert tau[0] == pytest.approx(0.8)
    assert (tau[0] + 1) / 2 == pytest.approx(0.9)


def test_tau_b_with_ties_and_absent_scores():
    nan = np.nan
    first = np.array([1, 2, 2, 3, 9, 1, 1, 5, nan, 4, 1, 3, 2])
    second = np.array([1, 2, 3, 3, 9, 2, 3, 5, 1, nan, 1, 3, 2])
    tau = rank_agreement(np.array([4, 0, 1, 2, 3, 3]), first, second)
    assert tau[0] == pytest.approx(0.8)
    assert np.isnan(tau[1:5]).all()  # nothing, one, all tied, one with both
    assert tau[5] == 1
