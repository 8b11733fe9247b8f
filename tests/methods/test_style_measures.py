import numpy as np
import pyarrow as pa
import pytest

from curate.methods.crowd import logistic
from curate.methods.style import (
    fit_logistic,
    length_controlled_win_rate,
    style_difference,
    style_effect,
    text_style,
)

A, B = np.array([[2000, 400, 2, 10, 6.0]]), np.array([[900, 200, 0, 4, 2.0]])


def test_the_style_card():
    share = style_difference(A, B, "share")
    assert share[0] == pytest.approx([0.332779, 0.666667, 0.4, 0.444444], abs=1e-6)
    density = style_difference(A, B, "density")
    assert density[0] == pytest.approx([0.333333, 0.004963, 0.004821, 0.004891], abs=1e-6)
    assert style_difference(A, B, "length")[0] == [1100]


def test_styles_are_antisymmetric_and_nothing_is_divided_by_nothing():
    empty = np.zeros((1, 5))
    for form in ("length", "share", "density"):
        one, other = style_difference(A, B, form), style_difference(B, A, form)
        assert np.allclose(one, -other)
        assert (style_difference(empty, empty, form) == 0).all()
        effect = style_effect(np.vstack([one, other, 3 * one, 0 * one]), [1, -1, 2, 9], form)
        assert effect[0] == pytest.approx(-effect[1])
        assert effect[3] == 0


def test_markup_is_counted_outside_of_code():
    text = "# Title\n\n- one **bold**\n2. two __bold__\n```\n# no\n- no **no**\n```\nend é"
    found = text_style(pa.array([text, None, "```\n# unclosed"]))
    assert found[0].tolist() == [len(text), 17, 1, 2, 2]
    assert found[1].tolist() == [0] * 5
    assert found[2].tolist() == [14, 3, 0, 0, 0]


def test_the_length_control_card():
    rng = np.random.default_rng(0)
    delta, difficulty = rng.normal(150, 400, 20_000), rng.normal(size=20_000)
    odds = 0.4 + 1.2 * np.tanh(delta / delta.std()) + 0.5 * difficulty
    won = (rng.random(20_000) < logistic(odds)).astype(float)
    assert won.mean() == pytest.approx(0.637, abs=0.01)
    truth = logistic(0.4 + 0.5 * difficulty).mean()
    assert truth == pytest.approx(0.5925, abs=0.005)
    assert length_controlled_win_rate(delta, won) == pytest.approx(truth, abs=0.015)


def test_weights_and_their_errors_are_found_from_soft_labels():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 2))
    truth = np.array([1.5, -0.5])
    soft = fit_logistic(x, logistic(x @ truth), ridge=1e-9)
    assert soft.weight == pytest.approx(truth, abs=1e-6)
    hard = [
        fit_logistic(x, rng.random(4000) < logistic(x @ truth), ridge=1e-9).weight
        for _ in range(60)
    ]
    assert np.std(hard, axis=0) == pytest.approx(soft.error, rel=0.3)
    assert fit_logistic(np.zeros((0, 2)), []).weight.tolist() == [0, 0]
