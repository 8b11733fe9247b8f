"""Length and markup that judges like, as numbers, and what of a preference they explain."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from curate.arrays import Column, Floats
from curate.methods.crowd import logistic

Form: TypeAlias = Literal["length", "share", "density"]

_MARKUP = {
    "headers": r"(?m)^#{1,6} ",
    "lists": r"(?m)^\s*(?:[-*+]|\d{1,3}[.)]) ",
    "bold": r"\*\*[^*\n]+\*\*|__[^_\n]+__",
}


class Fit(NamedTuple):
    """A logistic model: one weight a column, its standard error beside it."""

    weight: Floats
    error: Floats


def text_style(texts: Column) -> Floats:
    """Return (texts, 5): characters, words, and Markdown headers, list items and bold spans.

    Code fences are left out of the markup. A null text reads as empty.
    """
    filled = pc.fill_null(texts, "")
    prose = pc.replace_substring_regex(filled, r"(?s)```.*?(?:```|$)", "")
    counts = [pc.utf8_length(filled), pc.count_substring_regex(filled, r"\S+")]
    counts += [pc.count_substring_regex(prose, pattern) for pattern in _MARKUP.values()]
    columns = [np.asarray(count.to_numpy(zero_copy_only=False)) for count in counts]
    return np.column_stack(columns).astype(np.float64)


def style_difference(first: Floats, second: Floats, form: Form = "share") -> Floats:
    """Return (pairs, k): how the first texts' style differs from the second's.

    The inputs are rows of `text_style`; every column changes its sign when the two trade places.
    "length" is one column, the characters' difference (AlpacaEval's length control). "share" is
    words, headers, lists, bold as (a - b) / (a + b + 1) (Chatbot Arena's style control).
    "density" is the words' (a - b) / (a + b) and the markup per word, 0 where both are empty
    (Arena-Hard).
    """
    if form == "length":
        return np.asarray((first - second)[:, :1])
    a, b = first[:, 1:], second[:, 1:]
    if form == "share":
        return np.asarray((a - b) / (a + b + 1.0))
    words_a, words_b = a[:, :1], b[:, :1]
    words = (words_a - words_b) / np.maximum(words_a + words_b, 1.0)
    marks_a, marks_b = a[:, 1:] / (words_a + 1.0), b[:, 1:] / (words_b + 1.0)
    return np.hstack([words, (marks_a - marks_b) / (marks_a + marks_b + 1.0)])


def style_effect(difference: npt.ArrayLike, margin: npt.ArrayLike, form: Form) -> Floats:
    """Return (pairs,) the part of each margin that the difference in style explains.

    Least squares without intercept on the columns over their root mean square: turning a pair
    round turns its effect, and equal styles explain nothing. (Centring, as some leaderboards
    do, would favour one side of two answers in the same style.) Length goes through tanh, so
    that a very long answer counts no more than a long one. Leaderboards fit outcomes by
    logistic regression; margins say more than outcomes, and least squares takes all of a linear
    effect out of them, where the logistic weights are too small if pairs differ otherwise too.
    """
    columns, y = np.asarray(difference, dtype=np.float64), np.asarray(margin, dtype=np.float64)
    unit = np.sqrt((columns**2).sum(axis=0) / max(len(columns), 1))
    columns = columns / np.where(unit > 0, unit, 1.0)
    if form == "length":
        columns = np.tanh(columns)
    # A pair's worth of ridge: columns that say the same, or nothing, share or get no weight.
    gram = columns.T @ columns + np.eye(columns.shape[1])
    return np.asarray(columns @ np.linalg.solve(gram, columns.T @ y))


def fit_logistic(
    columns: Floats, p: npt.ArrayLike, ridge: float = 0.5, iterations: int = 50
) -> Fit:
    """Return the logistic model of `p` (n,), in [0, 1], on `columns` (n, k), without intercept.

    Newton's method on the cross-entropy with soft labels plus ridge / 2 times the squared
    weights. The errors are those of the inverse information.
    """
    x, y = np.asarray(columns, dtype=np.float64), np.asarray(p, dtype=np.float64)
    weight = np.zeros(x.shape[1])
    information = ridge * np.eye(x.shape[1])
    for _ in range(iterations):
        chance = logistic(x @ weight)
        information = (x.T * (chance * (1.0 - chance))) @ x + ridge * np.eye(x.shape[1])
        step = np.linalg.solve(information, x.T @ (y - chance) - ridge * weight)
        size = np.abs(step).max(initial=0.0)
        weight = weight + step / max(size / 2.0, 1.0)
        if size < 1e-10:
            break
    return Fit(weight, np.sqrt(np.diag(np.linalg.inv(information))))


def length_controlled_win_rate(length_difference: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Return the win rate that two equally long answers would have (AlpacaEval 2, 2024).

    `length_difference` (n,) is the first answer's length less the other's, `p` (n,) how far
    the first was preferred. Fits log-odds = theta + phi tanh(difference / its deviation) and
    predicts at difference 0: the smaller of AlpacaEval's models, for theirs with a difficulty of
    each prompt needs answers of many models to it.
    """
    delta = np.asarray(length_difference, dtype=np.float64)
    columns = np.column_stack([np.ones_like(delta), np.tanh(delta / delta.std())])
    return float(logistic(fit_logistic(columns, p, ridge=1e-6).weight[:1])[0])
