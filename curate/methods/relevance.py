"""How far an answer is about what was asked, how much it says, and how often it repeats itself.

The parts of R3, a reward of features that can be read off an answer (Kim and Seo, "Rethinking
the Role of Proxy Rewards", 2024, arXiv:2402.03469).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from curate.arrays import Floats

_TOKEN = re.compile(r"\w+|[^\w\s]+")


def tokens(text: str) -> list[str]:
    """Return a text's runs of word characters, and its runs of other signs."""
    return _TOKEN.findall(text)


def distinct_share(words: Sequence[str], n: int) -> float:
    """Return the share of a text's n-grams that are different ones; 1 where it has none."""
    size = len(words) - n + 1
    if size < 1:
        return 1.0
    return len(set(zip(*(words[k : k + size] for k in range(n)), strict=True))) / size


def relevance(
    cosine: Floats, words: Floats, distinct: Floats, per_words: float | None, most: float
) -> Floats:
    """Return the relevance of answers, all arguments of one shape.

    `cosine` is how near the answer lies to what it should be about; below 0 counts as 0, since
    a longer answer must not be worse for it. It is multiplied by `words` / `per_words`, at most
    `most` and 1 where `per_words` is None, and by `distinct`, the share of different n-grams.
    """
    length = 1.0 if per_words is None else np.minimum(words / per_words, most)
    return np.asarray(np.maximum(cosine, 0.0) * length * distinct)
