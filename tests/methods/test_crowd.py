from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.methods.crowd import (
    dawid_skene,
    flip_rate,
    label_posterior,
    label_reliability,
    posterior,
    row_sums,
    vote_share,
)
from curate.methods.ensemble import log_odds

DATA = Path(__file__).parents[2] / "../shared/data/pandalm/pairs.parquet"


def simulated(accuracies, pairs=4000, seed=0, missing=0.0, ties=0.0):
    """Votes of judges that err apart, oriented at random, and which side is better."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([-1.0, 1.0], pairs)
    right = rng.random((pairs, len(accuracies))) < np.array(accuracies)
    votes = np.where(right, truth[:, None], -truth[:, None])
    votes[rng.random(votes.shape) < ties] = 0.0
    votes[rng.random(votes.shape) < missing] = np.nan
    return votes, truth


def test_the_jury_card():
    assert posterior([[1, 1, -1]], [0.8, 0.8, 0.6])[0] == pytest.approx(0.914286, abs=1e-6)


def test_accuracies_are_found_with_missing_votes_and_ties_and_p_is_calibrated():
    accuracies = [0.9, 0.8, 0.75, 0.6, 0.55]
    votes, truth = simulated(accuracies, 20_000, missing=0.3, ties=0.1)
    crowd = dawid_skene(votes)
    assert np.abs(crowd.accuracy - accuracies).max() < 0.02
    right = truth > 0
    for low in (0.05, 0.3, 0.5, 0.7, 0.9):
        bin_ = (crowd.p_correct >= low) & (crowd.p_correct < low + 0.1)
        assert abs(right[bin_].mean() - crowd.p_correct[bin_].mean()) < 0.04
    equal_weights = ((np.nansum(votes, axis=1) > 0) == right).mean()
    assert ((crowd.p_correct > 0.5) == right).mean() > equal_weights + 0.02


def test_swapping_the_answers_of_a_pair_swaps_its_probability():
    votes, _ = simulated([0.8, 0.7, 0.6], 500)
    sign = np.where(np.arange(500) % 3 == 0, -1.0, 1.0)
    p, swapped = dawid_skene(votes).p_correct, dawid_skene(votes * sign[:, None]).p_correct
    assert np.allclose(np.where(sign < 0, 1 - p, p), swapped)


def test_one_judge_keeps_its_prior_and_no_votes_are_even_odds():
    crowd = dawid_skene([[1.0], [-1.0], [0.0], [np.nan]] * 50, prior_accuracy=0.7)
    assert np.allclose(crowd.p_correct[:4], [0.7, 0.3, 0.5, 0.5], atol=1e-3)
    assert dawid_skene(np.empty((0, 3))).p_correct.shape == (0,)
    assert dawid_skene(np.empty((2, 0))).p_correct.tolist() == [0.5, 0.5]


def test_a_judge_worse_than_chance_is_ignored_and_none_is_infallible():
    votes, _ = simulated([0.9, 0.9, 0.2], 5000)
    assert dawid_skene(votes).accuracy[2] == 0.5
    agreed = np.ones((1000, 3))
    crowd = dawid_skene(agreed)
    assert crowd.accuracy.tolist() == [0.99] * 3
    assert crowd.p_correct.max() < 1


def test_votes_out_of_range_or_shape_are_an_error():
    for bad in ([[2.0]], [1.0, -1.0]):
        with pytest.raises(ValueError, match="votes"):
            dawid_skene(bad)


def test_a_jurys_share_is_never_certain():
    share, n = vote_share([[1, 1, -1], [1, 1, 1], [0, np.nan, np.nan], [np.nan] * 3])
    assert np.allclose(share, [2.5 / 4, 3.5 / 4, 0.5, 0.5])
    assert n.tolist() == [3, 3, 1, 0]
    # the empirical preference of iREPO: 7.5 wins of 9 votes
    share, _ = vote_share([[1] * 7 + [0] + [-1]])
    assert log_odds(share, share * 0)[0] == pytest.approx([1.386294], abs=1e-6)


def test_judges_of_other_shards_leave_no_trace_in_the_last_bit():
    votes = np.random.default_rng(5).normal(size=(200, 12))
    among_others = np.full((200, 60), np.nan)
    among_others[:, ::5] = votes
    assert (row_sums(among_others) == row_sums(votes)).all()
    assert (np.nansum(among_others, axis=1) != votes.sum(axis=1)).any()  # why it is not NumPy's


def test_the_reliability_card():
    h = [2.0, 2.0, -1.0]
    first = label_posterior(h, 0.8)
    assert np.allclose(first, [0.967273, 0.967273, 0.595390], atol=1e-6)
    assert first.mean() == pytest.approx(0.843312, abs=1e-6)
    assert label_posterior(h, first.mean()).mean() == pytest.approx(0.871790, abs=1e-6)
    assert label_posterior([np.nan], 0.8) == pytest.approx([0.8])
    weight, share = label_reliability(h, 0.8)
    assert label_posterior(h, share) == pytest.approx(weight)
    assert weight.mean() == pytest.approx(share, abs=1e-4)  # it has settled


def test_reliability_finds_the_share_of_flipped_labels():
    rng = np.random.default_rng(0)
    h = rng.normal(0, 3, 50_000)  # log-odds of the first answer, calibrated
    better = rng.random(50_000) < 1 / (1 + np.exp(-h))
    label = better ^ (rng.random(50_000) < 0.2)
    weight, share = label_reliability(np.where(label, h, -h), 0.7)
    assert share == pytest.approx(0.8, abs=0.01)
    assert weight.mean() == pytest.approx(0.8, abs=0.01)
    assert label_reliability([])[0].shape == (0,)


def test_the_flip_rate_is_the_mean_doubt_and_its_interval_covers_it():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.6, 1.0, 2000)
    found = flip_rate(p)
    assert found.estimate == pytest.approx((1 - p).mean())
    assert found.low < found.estimate < found.high
    half = 1.645 * p.std() / np.sqrt(2000)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.2)
    assert flip_rate(p) == found
    assert flip_rate([0.9, np.nan]).estimate == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no pair"):
        flip_rate([np.nan])


def test_pairs_of_one_prompt_are_drawn_together():
    p = np.repeat(np.random.default_rng(2).uniform(0.5, 1, 100), 10)
    prompts = np.repeat(np.arange(100), 10)
    together, apart = flip_rate(p, prompts), flip_rate(p)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_a_held_out_annotator_agrees_with_em_more_than_with_a_plain_vote():
    if not DATA.exists():
        pytest.skip("PandaLM's annotated pairs are not beside this repository")
    names = ["annotator1", "annotator2", "annotator3", "gpt_result", "pandalm_result"]
    table = pq.read_table(DATA, columns=names)
    side = {"1": 1.0, "2": -1.0, "0": 0.0, "Tie": 0.0}
    votes = {n: np.array([side.get(str(v), np.nan) for v in table[n].to_pylist()]) for n in names}
    for held_out in names[:3]:
        others = np.column_stack([votes[n] for n in names if n != held_out])
        decided = votes[held_out] != 0
        right = votes[held_out][decided] > 0
        em = dawid_skene(others)
        plain, _ = vote_share(others)
        agree = [((p[decided] > 0.5) == right).mean() for p in (em.p_correct, plain)]
        assert agree[0] > agree[1] + 0.01
        # People outdo the two models, and the votes alone say so.
        assert em.accuracy[:2].min() > em.accuracy[2:].max() + 0.1
