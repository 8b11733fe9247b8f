import numpy as np
import pytest

from curate.errors import ConfigError
from curate.methods import spread
from curate.methods.coverage import Quota
from curate.methods.spread import determinantal, novel_sum, vendi, vendi_of_cosines

POINTS = np.array([[0, 0], [0.1, 0], [0, 0.1], [5, 5], [5, 5.1], [10, 0]], dtype=float)


def kernel_of(vectors, width=2.0):
    square = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    return np.exp(-square / (2 * width**2))


def test_worked_numbers():
    assert determinantal(POINTS, 3, width=2.0).tolist() == [0, 5, 4]
    assert vendi(kernel_of(POINTS)) == pytest.approx(2.767070, abs=1e-6)
    half = np.sqrt(0.5)
    corner = np.array([[1, 0], [0, 1], [half, half]])
    assert novel_sum(corner, itself=True) == pytest.approx(0.218843, abs=1e-6)
    assert novel_sum(corner) == pytest.approx(0.450028, abs=1e-6)


@pytest.mark.parametrize("weighed", [False, True])
def test_each_pick_has_the_largest_determinant(weighed):
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(60, 5))
    bonus = rng.random(60) if weighed else np.zeros(60)
    kernel, chosen = kernel_of(vectors, 1.5), []
    for _ in range(12):
        gains = []
        for row in range(60):
            rows = [*chosen, row]
            det = np.linalg.slogdet(kernel[np.ix_(rows, rows)])[1] + bonus[rows].sum()
            gains.append(-np.inf if row in chosen else det)
        chosen.append(int(np.argmax(gains)))
    assert determinantal(vectors, 12, 1.5, bonus if weighed else None).tolist() == chosen


def test_copies_come_last_and_groups_keep_their_room():
    copies = np.repeat(np.eye(3), 2, axis=0)
    assert sorted(determinantal(copies, 3).tolist()) == [0, 2, 4]
    assert sorted(determinantal(copies, 9).tolist()) == [0, 1, 2, 3, 4, 5]
    quota = Quota(np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1]))
    assert determinantal(copies, 5, quota=quota).tolist() == [0, 3]
    assert determinantal(np.zeros((0, 2)), 3).tolist() == []


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(spread, "MOST_BYTES", 6 * 3 * 8 - 1)
    with pytest.raises(ConfigError, match=r"3 of 6 rows .* keep fewer rows"):
        determinantal(POINTS, 3)


def test_vendi_counts_what_is_distinct():
    assert vendi_of_cosines(np.repeat(np.eye(4), [1, 1, 1, 1], axis=0)) == pytest.approx(4)
    assert vendi_of_cosines(np.ones((50, 8))) == pytest.approx(1)
    vectors = np.random.default_rng(1).normal(size=(40, 6))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vendi_of_cosines(vectors) == pytest.approx(vendi(units @ units.T))
    assert np.isnan(vendi(np.zeros((0, 0))))
    assert np.isnan(vendi_of_cosines(np.zeros((0, 3))))


def test_novelty_weighs_by_the_density_of_the_other():
    corner = np.array([[1.0, 0.0], [0.0, 1.0]])
    # Each row's one other is at distance 1; its density 4 to the power .5 doubles that.
    assert novel_sum(corner, np.array([4.0, 4.0])) == pytest.approx(2.0)
    assert novel_sum(corner, np.array([4.0, 4.0]), power=0.0) == pytest.approx(1.0)
    assert np.isnan(novel_sum(corner[:1]))
