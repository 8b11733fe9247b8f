"""What is counted of an answer, and what is said of it: weights, intervals and shares."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.audit.properties import (
    PROPERTIES,
    holm,
    leanings,
    share_more,
    text_properties,
)


def test_intervals_hold_the_truth_as_often_as_they_say():
    draws = np.random.default_rng(0)
    weight, held = 0.6, 0
    for _ in range(200):
        x = draws.normal(size=(400, len(PROPERTIES))) * np.eye(len(PROPERTIES))[0]
        won = draws.random(400) < 1 / (1 + np.exp(-weight * x[:, 0]))
        x[~won] *= -1
        row = leanings(x, np.arange(400))[0]
        scale = np.sqrt((x[:, 0] ** 2).mean())
        held += row["low"] <= weight * scale <= row["high"]
    assert 0.91 <= held / 200 <= 0.99


def test_properties_are_counted():
    texts = pa.array(
        [
            "# A\n- one\n- **two**\n```\ncode\n```\n",
            "I'm sorry, I can't. It may be!",
            None,
            "Привет",
        ]
    )
    found = dict(zip(PROPERTIES, text_properties(texts).T, strict=True))
    assert np.expm1(found["lists"]).round(6).tolist() == [2, 0, 0, 0]
    assert np.expm1(found["code"]).round(6).tolist() == [2, 0, 0, 0]
    assert np.expm1(found["bold"]).round(6).tolist() == [1, 0, 0, 0]
    for name in ("refusal", "apology", "hedging", "exclamation"):
        assert np.expm1(found[name]).round(6).tolist() == [0, 1, 0, 0], name
    assert found["other scripts"].tolist() == [0, 0, 0, 1]


def test_a_rare_property_has_no_weight():
    x = np.zeros((50, len(PROPERTIES)))
    x[:9, 0] = 1.0
    assert "weight" not in leanings(x, np.arange(50))[0]
    x[9, 0] = 1.0
    assert "weight" in leanings(x, np.arange(50))[0]


def test_holm_and_the_share():
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == [True, False, False]
    assert holm(np.array([])).tolist() == []
    alone = share_more(np.array([1.0, 1.0, -1.0, 1.0, 0.0]), np.arange(5))
    together = share_more(np.array([1.0, 1.0, -1.0, 1.0, 0.0]), np.array([0, 0, 1, 0, 0]))
    assert alone["share"] == together["share"] == 0.75
    assert together["high"] - together["low"] > alone["high"] - alone["low"]
    assert share_more(np.zeros(3), np.arange(3)) is None
