from __future__ import annotations

import numpy as np
import pytest

from curate.errors import ConfigError
from curate.methods.coverage import farthest_first
from curate.methods.selection_report import selection_report
from curate.methods.vectors import unit


def test_numbers_of_a_small_selection():
    angle = np.array([0.0, 0.1, 1.0, 3.0])
    vectors = 5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    report = selection_report(vectors, [0, 2], labels=["a", "a", "b", None])
    assert report.size == 2
    assert report.neighbour_cosine.value == pytest.approx(np.cos(1.0), abs=1e-6)
    nearest = [1.0, np.cos(0.1), 1.0, np.cos(2.0)]
    assert report.coverage_cosine.value == pytest.approx(np.mean(nearest), abs=1e-6)
    assert report.radius.value == pytest.approx(2 * np.sin(1.0), abs=1e-6)
    shares = np.array([1 + np.cos(1.0), 1 - np.cos(1.0)]) / 2
    assert report.vendi.value == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), abs=1e-5)
    # Each one's other is at distance 1 - cos 1, and is scaled by that one's own density.
    away = 1 - np.cos([[0.1, 1.0, 3.0], [1.0, 0.9, 2.0]])
    density = (1 / away.mean(axis=1)) ** 0.5
    assert report.novelty.value == pytest.approx((1 - np.cos(1.0)) * density.mean(), abs=1e-6)
    assert report.labels is not None
    assert report.labels.value == 2


def test_a_diverse_selection_is_told_from_a_random_one():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 40, 600) * rng.integers(0, 2, 600)
    vectors = unit(rng.normal(size=(40, 16))[labels] + 0.2 * rng.normal(size=(600, 16)))
    chosen, _ = farthest_first(vectors, 40, 0)
    report = selection_report(vectors, chosen, labels.tolist())
    assert report.neighbour_cosine.value < report.neighbour_cosine.low
    assert report.radius.value < report.radius.low
    assert report.labels.value > report.labels.high
    assert report.vendi.value > report.vendi.high
    assert report == selection_report(vectors, chosen, labels.tolist())
    random = selection_report(vectors, rng.choice(600, 40, replace=False), labels.tolist())
    assert random.labels.low - 2 <= random.labels.value <= random.labels.high + 2


def test_what_cannot_be_compared():
    vectors = np.eye(3)
    none = selection_report(vectors, [])
    assert np.isnan(none.radius.value)
    assert none.labels is None
    assert np.isnan(selection_report(vectors, [1]).neighbour_cosine.value)
    with pytest.raises(ConfigError, match="distinct"):
        selection_report(vectors, [1, 1])
    with pytest.raises(ConfigError, match="0 to 2"):
        selection_report(vectors, [3])
