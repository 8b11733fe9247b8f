import numpy as np
import pytest

from curate.methods.relevance import distinct_share, relevance, tokens


def test_the_parts_multiply():
    """150 words have 148 trigrams; with 111 different ones and a cosine of 0.8 it is 0.9."""
    words = [f"w{k % 111}" for k in range(150)]
    assert distinct_share(words, 3) == pytest.approx(111 / 148)
    found = relevance(np.array([0.8]), np.array([150.0]), np.array([111 / 148]), 100, 3.0)
    assert found == pytest.approx([0.9])


def test_length_has_an_end_and_can_be_left_out():
    cosine, words, distinct = np.full(3, 0.5), np.array([50.0, 300, 5000]), np.ones(3)
    assert relevance(cosine, words, distinct, 100, 3.0) == pytest.approx([0.25, 1.5, 1.5])
    assert relevance(cosine, words, distinct, None, 3.0) == pytest.approx([0.5] * 3)
    away = relevance(-cosine, words, distinct, 100, 3.0)
    assert (away == 0).all()


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 1), ("one two", 1), ("a b c", 1), ("a a a a", 0.5), ("a b a b a", 2 / 3)],
)
def test_repetition_shows_in_the_trigrams(text, share):
    assert distinct_share(tokens(text), 3) == pytest.approx(share)


def test_punctuation_is_a_token_of_its_own():
    assert tokens("Don't stop... now!") == ["Don", "'", "t", "stop", "...", "now", "!"]
