"""Which labels are worth a person's time: features of a pair, their gain, and a budget.

After hybrid preferences (Miranda et al. 2024, arXiv:2410.19133): the score of a model trained
on a mix of labels is regressed on how many instances with each feature people labelled; the sum
of an instance's coefficients is then what its own label by people is expected to add.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats

LEVELS = ("low", "middle", "high")
CUTS: Mapping[str, tuple[float, float]] = {
    "prompt_words": (15.0, 60.0),
    "shorter_words": (25.0, 120.0),
    "longer_words": (50.0, 250.0),
    "length_gap": (0.15, 0.5),
    "words_in_common": (0.15, 0.4),
}
"""The measures of a pair and where "middle" and "high" begin. Fixed, so that a pair's features
do not depend on what else is in the set, and with each bound in the bin above it, so that every
value is in one bin."""


def levels(values: npt.ArrayLike, cuts: tuple[float, float]) -> npt.NDArray[np.int64]:
    """Return the bin of each value: 0 below the first cut, 1 below the second, else 2."""
    return np.digitize(np.asarray(values, dtype=np.float64), cuts)


def measures(
    prompt: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> dict[str, Floats]:
    """Return each measure of `CUTS` for n pairs of answers (n,), whichever answer is first.

    Words are split at white space. `length_gap` is 1 - shorter / longer, `words_in_common` the
    Jaccard index of the two sets of words in lower case; both are 0 for two empty answers.
    """
    sizes = np.array(
        [[len(a.split()), len(b.split())] for a, b in zip(first, second, strict=True)], dtype=float
    ).reshape(-1, 2)
    shorter, longer = sizes.min(axis=1, initial=np.inf), sizes.max(axis=1, initial=0.0)
    common = [_jaccard(a, b) for a, b in zip(first, second, strict=True)]
    return {
        "prompt_words": np.array([len(text.split()) for text in prompt], dtype=float),
        "shorter_words": shorter,
        "longer_words": longer,
        "length_gap": (longer - shorter) / np.maximum(longer, 1.0),
        "words_in_common": np.array(common, dtype=float),
    }


def gain(features: Iterable[str], coefficients: Mapping[str, float]) -> float:
    """Return the sum of the coefficients of an instance's features; unknown ones add nothing."""
    return float(sum(coefficients.get(name, 0.0) for name in features))


def doubt(p_correct: npt.ArrayLike, group: npt.ArrayLike | None = None) -> Floats:
    """Return each label's entropy in bits (n,), over the root of how many share its group.

    What to rank by where no coefficients are known: labels that could be either, of kinds that
    there are few of. `group` (n,) holds numbers; NaN where the probability is not known.
    """
    p = np.asarray(p_correct, dtype=np.float64)
    inside = np.clip(p, 1e-12, 1.0 - 1e-12)
    entropy = -(inside * np.log2(inside) + (1.0 - inside) * np.log2(1.0 - inside))
    entropy = np.where((p == 0.0) | (p == 1.0), 0.0, entropy)
    if group is None:
        return np.asarray(entropy)
    _, member, size = np.unique(group, return_inverse=True, return_counts=True)
    return np.asarray(entropy / np.sqrt(size[member]))


def within_budget(gains: npt.ArrayLike, size: int, keys: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return which `size` instances (n,) have the most to gain; `keys` decides between equals.

    An instance that has nothing to gain, or whose gain is not known (NaN), is never among them.
    """
    value = np.asarray(gains, dtype=np.float64)
    usable = np.flatnonzero(value > 0.0)
    order = usable[np.lexsort((np.asarray(keys)[usable], -value[usable]))]
    chosen = np.zeros(len(value), dtype=bool)
    chosen[order[:size]] = True
    return chosen


def fit_gains(counts: npt.ArrayLike, scores: npt.ArrayLike, ridge: float = 1.0) -> Floats:
    """Return each feature's coefficient (features,) from trial runs (linear ridge regression).

    `counts` (runs, features) says how many of the instances that people labelled in a run had
    each feature, and `scores` (runs,) what the model trained on that run's mix reached. The
    coefficients are in the scores' unit an instance; `ridge` (above 0) is worth that many runs in
    which nothing changed, on counts scaled to a deviation of one. Counts that never vary get 0.
    """
    x, y = np.asarray(counts, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    spread = x.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    z = (x - x.mean(axis=0)) / scale
    inner = z.T @ z + ridge * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(inner, z.T @ (y - y.mean())) / scale * (spread > 0))


def _jaccard(one: str, two: str) -> float:
    a, b = set(one.lower().split()), set(two.lower().split())
    return len(a & b) / len(a | b) if a | b else 0.0
