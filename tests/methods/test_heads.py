import numpy as np
import pytest

from curate.arrays import mix
from curate.methods.heads import agreement, bootstrap, cross_fitted_rewards, fit_head


def made_up(pairs=600, d=5, noise=0.2, seed=0):
    """Two answers a prompt whose quality is linear, and which labels were turned."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2 * pairs, d))
    quality = features @ np.arange(1.0, d + 1)
    first = np.arange(pairs) * 2
    better = quality[first] > quality[first + 1]
    turned = rng.random(pairs) < noise
    chosen = np.where(better ^ turned, first, first + 1)
    keys = mix(np.repeat(np.arange(pairs), 2))
    return (
        features,
        chosen,
        2 * first + 1 - chosen,
        np.repeat(np.arange(pairs) % 5, 2),
        keys,
        turned,
    )


def test_the_fit_is_the_maximum():
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(200, 4)), rng.integers(0, 4, 200).astype(float)
    found = fit_head(x, weight, ridge=2.0)
    slope = 2.0 * found - x.T @ (weight / (1 + np.exp(x @ found)))
    assert np.abs(slope).max() < 1e-3
    twice = fit_head(np.repeat(x, weight.astype(int), axis=0), np.ones(int(weight.sum())), 2.0)
    assert found == pytest.approx(twice, abs=1e-5)


def test_two_answers_with_odds_of_three_to_one():
    # The card's A over B, 3 to 1: the reward's difference is ln 3 without a ridge.
    assert fit_head(np.array([[1.0], [-1.0]]), np.array([3.0, 1.0]), 1e-9) == pytest.approx(
        [np.log(3)], abs=1e-4
    )


def test_unseen_heads_find_turned_labels():
    features, chosen, rejected, fold, keys, turned = made_up()
    rewards = cross_fitted_rewards(features, chosen, rejected, fold, keys, heads=4, ridge=1.0)
    margin = (rewards[chosen] - rewards[rejected]).mean(axis=1)
    assert (margin[turned] < 0).mean() > 0.9
    assert (margin[~turned] > 0).mean() > 0.9
    assert len({tuple(column) for column in rewards.T.tolist()}) == 4


def test_a_label_has_no_part_in_its_own_margin():
    features, chosen, rejected, fold, keys, _ = made_up(60)
    before = cross_fitted_rewards(features, chosen, rejected, fold, keys, heads=8)
    other_chosen, other_rejected = chosen.copy(), rejected.copy()
    other_chosen[0], other_rejected[0] = rejected[0], chosen[0]
    after = cross_fitted_rewards(features, other_chosen, other_rejected, fold, keys, heads=8)
    same = fold == fold[chosen[0]]
    assert np.array_equal(before[same], after[same])
    assert not np.array_equal(before[~same], after[~same])


def test_the_order_of_the_rows_does_not_matter():
    features, chosen, rejected, fold, keys, _ = made_up(80)
    order = np.random.default_rng(2).permutation(len(features))
    place = np.argsort(order)
    whole = cross_fitted_rewards(features, chosen, rejected, fold, keys, heads=2)
    mixed = cross_fitted_rewards(
        features[order], place[chosen], place[rejected], fold[order], keys[order], heads=2
    )
    assert np.array_equal(mixed, whole[order])


def test_what_cannot_be_scored_is_nan():
    features, chosen, rejected, fold, keys, _ = made_up(20)
    features[3] = np.nan
    rewards = cross_fitted_rewards(features, chosen, rejected, fold, keys, heads=1)
    assert np.flatnonzero(np.isnan(rewards[:, 0])).tolist() == [3]
    alone = cross_fitted_rewards(features, chosen, rejected, fold * 0, keys, heads=1)
    assert np.isnan(alone).all()


def test_the_bootstrap_draws_one_on_average_and_groups_together():
    keys = mix(np.arange(20_000))
    drawn = bootstrap(keys, 3)
    assert drawn.mean() == pytest.approx(1, abs=0.03)
    assert drawn.var() == pytest.approx(1, abs=0.05)
    assert not np.array_equal(drawn, bootstrap(keys, 4))
    assert len(set(bootstrap(np.repeat(keys[:1], 9), 0))) == 1


def test_agreement_counts_only_the_pairs_that_every_head_rates():
    rewards = np.array([[1.0, 3.0], [2.0, 0.0], [0.0, 0.0], [np.nan, np.nan]])
    chosen, rejected = np.array([0, 1, 2, 0]), np.array([1, 2, 0, 3])
    assert agreement(rewards, chosen, rejected) == (2, 3)
    assert agreement(rewards, chosen[:0], rejected[:0]) == (0, 0)
