"""What can be counted in an answer, and how far each of it goes with being preferred.

Words, lists, headings and bold as Chatbot Arena's style control counts them; the other
properties are patterns of English phrases, so they say little about other languages. Of the
language itself only the script is seen: French for English would go unnoticed (`LIMITS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import erfc, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Column, Floats
from curate.methods.crowd import logistic
from curate.methods.order import Z95, wilson
from curate.methods.style import fit_logistic, text_style

_COUNTED: Mapping[str, str] = {
    "code": r"(?m)^\s*```",
    "links": r"https?://",
    "numbers": r"\d+",
    "exclamation": r"!",
    "questions": r"\?",
    "hedging": (
        r"(?i)\b(?:may|might|could|perhaps|possibly|probably|likely|generally|usually|often|"
        r"it depends|seems?|appears?|i think|i believe|not sure)\b"
    ),
    "flattery": (
        r"(?i)\b(?:(?:great|excellent|good|wonderful|fantastic|insightful|brilliant) "
        r"(?:question|point|idea|choice|thinking|observation)|you(?:'re| are) (?:absolutely |so |"
        r"completely )?(?:right|smart|brilliant|correct)|happy to help|glad you asked)\b"
    ),
    "apology": r"(?i)\b(?:sorry|apologi[sz]e|my apologies|regret)\b",
    "refusal": (
        r"(?i)\b(?:i (?:can(?:no|')t|am (?:not able|unable)|won't)|i'm (?:not able|unable)|"
        r"as an ai\b|against my (?:guidelines|policy))"
    ),
}
PROPERTIES = ("words", "headings", "lists", "bold", *_COUNTED, "other scripts")
LIMITS = (
    "Hedging, flattery, apology and refusal are found by English phrases. Of an answer's language "
    "only the script is seen (other scripts): a preference for French over English does not show."
)
RARE = 10  # pairs; a property that differs in fewer is not fitted
ALIKE = 0.7  # cosine of two properties' differences from which their weights are hard to tell apart
_RIDGE = 0.5


def text_properties(texts: Column) -> Floats:
    """Return (texts, PROPERTIES): counts as log(1 + n), and the share of letters not Latin.

    The logarithm makes ten words more count less in a long answer. A null text reads as empty.
    """
    filled = pc.fill_null(texts, "")
    counts = [text_style(filled)[:, 1:].T]
    counts += [_count(filled, pattern)[None] for pattern in _COUNTED.values()]
    return np.column_stack([np.log1p(np.concatenate(counts).T), _other_scripts(filled)])


def leanings(difference: Floats, prompts: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return, for each property, how often the chosen answer has more of it, and its weight.

    `difference` (pairs, PROPERTIES) is chosen less rejected; `prompts` (pairs,) says which pairs
    belong together. `weight` is that of a logistic model of the preference on all properties at
    once, without intercept, each over its root mean square: the log-odds of one typical
    difference with the others held equal (Bradley-Terry with style, after Chatbot Arena).
    `low` and `high` bound 95 %, the larger of the model's own error and the one that lets pairs
    of a prompt go together. `leans` is true where the weight is not 0 at 5 % after Holm's
    correction over all properties. A property that differs in fewer than 10 pairs has no weight.

    Properties that go together share a weight between them, and one may take it all. So the share
    is tested by itself (`share_leans`, Holm likewise), and `alike` names the properties whose
    differences have a cosine of 0.7 or more, in size, with this one's.
    """
    differs = (difference != 0).sum(axis=0)
    fitted = np.flatnonzero(differs >= RARE)
    weight, error = clustered_fit(difference[:, fitted], prompts)
    p = two_sided(weight, error)
    leans = holm(p)
    shares = [share_more(column, prompts) for column in difference.T]
    share_leans = holm(np.array([_chance(shares[column]) for column in fitted]))
    cosine = _cosines(difference[:, fitted])
    place = {int(column): k for k, column in enumerate(fitted)}
    rows = []
    for column, name in enumerate(PROPERTIES):
        row: dict[str, Any] = {"property": name, "pairs": int(differs[column])}
        row |= {"more_chosen": shares[column], "share_leans": False, "alike": []}
        k = place.get(column)
        if k is not None:
            row |= interval(weight[k], error[k]) | {"p": float(p[k]), "leans": bool(leans[k])}
            row["share_leans"] = bool(share_leans[k])
            others = np.flatnonzero(np.abs(cosine[k]) >= ALIKE).tolist()
            row["alike"] = [PROPERTIES[fitted[other]] for other in others if other != k]
        rows.append(row)
    return rows


def _chance(share: Mapping[str, float] | None) -> float:
    """Return the chance of a share at least as far from one half if that were the truth.

    The score test, whose 95 % interval is Wilson's, with as many pairs as that counts.
    """
    if share is None:
        return 1.0
    return float(
        two_sided(np.array([share["share"] - 0.5]), np.array([0.5 / share["size"] ** 0.5]))[0]
    )


def _cosines(columns: Floats) -> Floats:
    """Return the cosine of every two columns (k, k); uncentred, as turning a pair turns both."""
    unit = columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12)
    return np.asarray(unit.T @ unit)


def clustered_fit(columns: Floats, prompts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the weights (k,) of a logistic model in which every pair is a win, and their errors.

    Columns (pairs, k) are put over their root mean square. The error is the larger of the
    inverse information's and the sandwich's over prompts: the latter is too small where a
    property is rare.
    """
    if not columns.size:
        return np.zeros(columns.shape[1]), np.zeros(columns.shape[1])
    x = columns / np.maximum(np.sqrt((columns**2).mean(axis=0)), 1e-12)
    fit = fit_logistic(x, np.ones(len(x)), _RIDGE)
    chance = logistic(x @ fit.weight)
    information = (x.T * (chance * (1.0 - chance))) @ x + _RIDGE * np.eye(x.shape[1])
    scores = x * (1.0 - chance)[:, None]
    by_prompt = np.stack([np.bincount(prompts, column) for column in scores.T], axis=1)
    bread = np.linalg.inv(information)
    sandwich = bread @ (by_prompt.T @ by_prompt) @ bread
    return fit.weight, np.maximum(fit.error, np.sqrt(np.diag(sandwich)))


def share_more(values: Floats, prompts: npt.NDArray[np.int64]) -> dict[str, float] | None:
    """Return {share, low, high, size} of how often a difference (n,), where not 0, is above it.

    Wilson's 95 % interval for as many independent pairs (`size`) as would vary as much: pairs of
    one prompt that go together count as fewer. None where every difference is 0.
    """
    there = values != 0
    n = int(there.sum())
    if not n:
        return None
    more = values[there] > 0
    share = float(more.mean())
    by_prompt = np.bincount(prompts[there], more - share)
    spread = float((by_prompt**2).sum()) / n**2
    groups = float(len(np.unique(prompts[there])))
    alone = share * (1 - share) / spread if spread > 0 else groups
    size = min(float(n), max(alone, 1.0))
    low, high = wilson(share, size)
    return {"share": share, "low": low, "high": high, "size": size}


def interval(weight: float, error: float) -> dict[str, float]:
    """Return {weight, low, high}: a weight and its 95 % interval."""
    return {
        "weight": float(weight),
        "low": float(weight - Z95 * error),
        "high": float(weight + Z95 * error),
    }


def two_sided(weight: Floats, error: Floats) -> Floats:
    """Return the chance of a weight at least as far from 0 if it were 0 (normal)."""
    z = np.abs(weight) / np.where(error > 0, error, np.inf)
    return np.array([erfc(value / sqrt(2.0)) for value in z.tolist()])


def holm(p: Floats, level: float = 0.05) -> npt.NDArray[np.bool_]:
    """Return which hypotheses, of p-values `p` (n,), Holm's step-down test (1979) rejects.

    The chance that any of these is true is at most `level`.
    """
    order = np.argsort(p, kind="stable")
    limits = level / (len(p) - np.arange(len(p)))
    passed = np.logical_and.accumulate(p[order] <= limits) if len(p) else np.zeros(0, dtype=bool)
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order] = passed
    return rejected


def _other_scripts(texts: Column) -> Floats:
    """Return the share of each text's letters that are not Latin; 0 where it has none.

    To count letters one by one takes longer than all other properties together, so texts in
    ASCII are not looked at, and of the others the length of what is left is taken.
    """
    share = np.zeros(len(texts))
    at = np.flatnonzero(~np.asarray(pc.string_is_ascii(texts)))
    some = texts.take(pa.array(at))
    letters, latin = (
        np.asarray(pc.utf8_length(pc.replace_substring_regex(some, pattern, "")), dtype=np.float64)
        for pattern in (r"\P{L}+", r"\P{Latin}+")
    )
    share[at] = np.where(letters > 0, (letters - latin) / np.maximum(letters, 1.0), 0.0)
    return share


def _count(texts: pa.Array, pattern: str) -> Floats:
    found = pc.count_substring_regex(texts, pattern)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.float64)
