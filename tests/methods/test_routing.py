import numpy as np
import pytest

from curate.methods.routing import CUTS, doubt, fit_gains, gain, levels, measures, within_budget


def test_the_worked_numbers():
    assert gain(["a", "c"], {"a": 0.3, "b": -0.1, "c": 0.2}) == pytest.approx(0.5)
    assert within_budget([0.1, 0.5, -0.1, 0.2], 1, [0, 1, 2, 3]).tolist() == [
        False, True, False, False,
    ]  # fmt: skip


def test_every_value_is_in_one_bin_edges_too():
    assert levels([0.0, 0.15, 0.4999, 0.5, 1.0], (0.15, 0.5)).tolist() == [0, 1, 1, 2, 2]


def test_equal_gains_are_drawn_and_nothing_to_gain_is_left_out():
    assert within_budget([0.2, 0.2, 0.0, -1.0, np.nan], 1, [9, 3, 1, 1, 1]).tolist() == [
        False, True, False, False, False,
    ]  # fmt: skip
    assert within_budget([0.2, 0.2, 0.0, -1.0, np.nan], 5, [9, 3, 1, 1, 1]).sum() == 2
    assert within_budget([], 3, []).tolist() == []


def test_the_measures_do_not_depend_on_which_answer_is_first():
    one = measures(["ask me"], ["a b c d"], ["A x"])
    two = measures(["ask me"], ["A x"], ["a b c d"])
    assert one == two
    assert set(one) == set(CUTS)
    assert {name: values.tolist() for name, values in one.items()} == {
        "prompt_words": [2.0], "shorter_words": [2.0], "longer_words": [4.0],
        "length_gap": [0.5], "words_in_common": [0.2],
    }  # fmt: skip
    assert {v.tolist()[0] for v in measures([""], [""], [""]).values()} == {0.0}
    assert [len(v) for v in measures([], [], []).values()] == [0] * 5


def test_planted_gains_are_found_again():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 100, (200, 4)).astype(float)
    counts[:, 3] = 7  # never varies: nothing can be said about it
    planted = np.array([0.3, -0.1, 0.0, 0.0])
    scores = counts @ planted + rng.normal(0, 1, 200)
    assert fit_gains(counts, scores, ridge=1e-6) == pytest.approx(planted, abs=0.01)
    strong = fit_gains(counts, scores, ridge=200.0)
    assert abs(strong[0]) < 0.2
    assert strong[3] == 0.0


def test_doubt_is_entropy_in_bits_and_less_where_a_kind_is_common():
    assert doubt([0.5, 1.0, 0.0, 0.25]).tolist() == pytest.approx([1.0, 0.0, 0.0, 0.811278])
    assert np.isnan(doubt([np.nan]))
    shared = doubt([0.5] * 5, [7, 7, 7, 7, 3])
    assert shared.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 1.0])
