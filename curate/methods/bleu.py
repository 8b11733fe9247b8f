"""BLEU of one answer against one reference or several."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_TOKEN = re.compile(r"\w+|[^\w\s]")


def sentence_bleu(answer: str, references: Sequence[str], order: int = 4) -> float:
    """Return the smoothed BLEU in [0, 1] of an answer: 1 for one of the references, 0 if empty.

    Tokens are words and punctuation marks in their own case. The geometric mean of the n-gram
    precisions up to `order`, each with one added above and below (Lin and Och 2004), which is
    kind to very short texts, times exp(1 - reference / answer) where the answer is shorter than
    the shortest reference. An n-gram counts as often as the reference that has it most often
    (Papineni et al. 2002). References without a word are left out.
    """
    mine = _TOKEN.findall(answer)
    wanted = [tokens for text in references if (tokens := _TOKEN.findall(text))]
    if not mine or not wanted:
        return 0.0
    total = 0.0
    for n in range(1, order + 1):
        found, known = _ngrams(mine, n), Counter[tuple[str, ...]]()
        for reference in wanted:
            known |= _ngrams(reference, n)
        total += math.log(((found & known).total() + 1) / (found.total() + 1))
    short = min(0.0, 1.0 - min(map(len, wanted)) / len(mine))
    return math.exp(total / order + short)


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
