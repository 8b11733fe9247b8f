"""Directions in embeddings: recovered where they were planted, and which of them lean."""

from __future__ import annotations

import numpy as np
import pytest

from curate.audit.autoencoder import batch_top_k, train
from curate.audit.concepts import concepts, words
from curate.audit.properties import (
    PROPERTIES,
)


def test_batch_top_k_keeps_the_largest_of_the_batch():
    z = np.array([[0.1, -0.9, 0.2], [0.5, 0.05, -0.4]])
    assert batch_top_k(z, 1).tolist() == [[0, -0.9, 0], [0.5, 0, 0]]


def planted(draws, n=1500, d=48, atoms=8):
    basis = np.linalg.qr(draws.normal(size=(d, atoms)))[0].T
    on = draws.random((n, atoms)) < 0.2
    code = on * draws.normal(size=(n, atoms)) * 2
    return code, code @ basis + 0.02 * draws.normal(size=(n, d)), basis


def test_planted_directions_are_recovered_and_the_model_is_odd():
    _, x, basis = planted(np.random.default_rng(0))
    model = train(x, 16, 3, seed=1)
    assert model.explained > 0.8
    cosines = np.abs(model.decoder @ basis.T).max(axis=0)
    assert (cosines > 0.75).all(), cosines  # of random directions the best is about 0.4
    assert (model.activations(-x) == -model.activations(x)).all()
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (len(x), 1))
    turned = train(x * signs, 16, 3, seed=1)  # whichever answer was preferred
    assert np.allclose(turned.decoder, model.decoder)
    assert (train(x, 16, 3, seed=1).decoder == model.decoder).all()
    with pytest.raises(ValueError, match="too few"):
        train(x[:10], 16)


def test_a_preferred_direction_leans_and_a_lot_does_not():
    draws = np.random.default_rng(3)
    code, x, _ = planted(draws)
    texts = [(f"p{i}", "chosen text", "rejected text") for i in range(len(x))]
    properties = draws.normal(size=(len(x), len(PROPERTIES)))
    won = draws.random(len(x)) < 1 / (1 + np.exp(-1.5 * code[:, 0]))
    signs = np.where(won, 1.0, -1.0)[:, None]
    found, activations = concepts(x * signs, properties, texts, np.arange(len(x)))
    assert activations.shape == (len(x), len(found["features"]))
    assert (np.sign(activations[:, 0]) != 0).sum() == found["features"][0]["pairs"]
    assert found["features"][0]["leans"]
    assert found["features"][0]["low"] > 0
    assert len(found["features"][0]["examples"]) == 3
    lot = np.where(draws.random(len(x)) < 0.5, 1.0, -1.0)[:, None]
    nothing, _ = concepts(x * lot, properties, texts, np.arange(len(x)))
    assert not [row for row in nothing["features"] if row["leans"]]


def test_words_of_the_favoured_side():
    texts = [("p", "the answer praises kindly", "the answer")] * 5
    assert set(words(np.ones(5), texts)) == {"praises", "kindly"}
    assert words(-np.ones(5), texts) == []
