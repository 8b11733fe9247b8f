"""Evidence about pairs of answers as numbers: what takes a side, and what takes none.

Few and plain on purpose: a handful of weights can be fitted on a few hundred labels. Stronger
evidence (a reward model, likelihoods, one more judge) enters as a judge of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curate.arrays import Floats, flat, text_of
from curate.methods.evidence import Comparisons, Votes, chunks

_WORD = re.compile(r"\w+")


class Features(NamedTuple):
    """Evidence on n comparisons; each column has a root mean square of 1 (or is all zero).

    `sided` (n, k) changes sign when the answers trade places, `even` (n, m) does not and begins
    with a column of ones.
    """

    sided: Floats
    even: Floats


def pair_features(table: pa.Table, pairs: Comparisons, voters: Mapping[str, Votes]) -> Features:
    """Return the evidence of the judges' votes and of the texts.

    `table` has candidates and prompt, and the reference where there is one. No label is used.
    """
    return features(*text_evidence(table, pairs), voters)


def features(
    sided: Mapping[str, Floats], even: Mapping[str, Floats], voters: Mapping[str, Votes]
) -> Features:
    """Return the evidence of the votes and that of the texts, from `text_evidence`."""
    size = len(next(iter(sided.values())))
    said: dict[str, Floats] = {}
    unsaid: dict[str, Floats] = {"constant": np.ones(size)}
    for name, vote in voters.items():
        said |= _sided_votes(name, vote)
        unsaid |= _even_votes(name, vote)
    unsaid |= _conflicts(voters)
    return Features(
        _columns((said | {**sided}).values(), size), _columns((unsaid | {**even}).values(), size)
    )


def _sided_votes(name: str, vote: Votes) -> dict[str, Floats]:
    """Which side the judge takes, and by how much where it says so in more than one size."""
    value = np.nan_to_num(vote.value)
    found = {f"{name}: side": np.sign(value)}
    if len(np.unique(np.abs(value[value != 0]))) > 1:
        found[f"{name}: margin"] = value
    return found


def _even_votes(name: str, vote: Votes) -> dict[str, Floats]:
    both = ~np.isnan(vote.a_first) & ~np.isnan(vote.b_first)
    swayed = both & (np.sign(vote.a_first) != np.sign(vote.b_first))
    return {
        f"{name}: tie": np.asarray(vote.value == 0, dtype=np.float64),
        f"{name}: no verdict": np.isnan(vote.value).astype(np.float64),
        f"{name}: swayed by order": swayed.astype(np.float64),
        f"{name}: size of margin": np.abs(np.nan_to_num(vote.value)),
        f"{name}: spread": np.nan_to_num(vote.spread),
    }


def _conflicts(voters: Mapping[str, Votes]) -> dict[str, Floats]:
    """Return the share of pairs of judges that take opposite sides."""
    sides = [np.sign(np.nan_to_num(vote.value)) for vote in voters.values()]
    if len(sides) < 2:
        return {}
    clashes = [x * y < 0 for i, x in enumerate(sides) for y in sides[:i]]
    return {"judges in conflict": np.mean(clashes, axis=0)}


def text_evidence(
    table: pa.Table, pairs: Comparisons
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return what the texts of each comparison (n) say by themselves, sided and even."""
    texts = [text for c in chunks(table["candidates"]) for text in flat(c, "text").to_pylist()]
    words = [_WORD.findall((text or "").lower()) for text in texts]
    bags = [frozenset(found) for found in words]
    size = np.array([len(text or "") for text in texts], dtype=np.float64)
    fresh = np.array([_fresh(found) for found in words], dtype=np.float64)
    prompts = [text for c in chunks(table["prompt"]) for text in text_of(c).to_pylist()]
    a, b = pairs.a, pairs.b
    longer = np.tanh(np.log1p(size[a]) - np.log1p(size[b]))
    sided = {
        "length": longer,
        "empty": (size[b] == 0).astype(np.float64) - (size[a] == 0),
        "new word sequences": fresh[a] - fresh[b],
        "words of the prompt": _shared(prompts, bags, pairs),
    }
    if "reference" in table.column_names:
        sided["words of the reference"] = _shared(table["reference"].to_pylist(), bags, pairs)
    alike = [_overlap(bags[i], bags[j]) for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    same = [texts[i] == texts[j] for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    even = {
        "difference in length": np.abs(longer),
        "words in common": np.array(alike, dtype=np.float64),
        "same text": np.array(same, dtype=np.float64),
    }
    return sided, even


def _shared(texts: Sequence[str | None], bags: list[frozenset[str]], pairs: Comparisons) -> Floats:
    """Return how much more a's words overlap with the row's text than b's do; 0 without one."""
    known = [frozenset(_WORD.findall((text or "").lower())) for text in texts]
    values = [
        _overlap(bags[i], known[row]) - _overlap(bags[j], known[row])
        for row, i, j in zip(pairs.row.tolist(), pairs.a.tolist(), pairs.b.tolist(), strict=True)
    ]
    return np.array(values, dtype=np.float64)


def _overlap(one: frozenset[str], two: frozenset[str]) -> float:
    """Return the Jaccard index of two sets of words; 0 where both are empty."""
    common = len(one & two)
    union = len(one) + len(two) - common
    return common / union if union else 0.0


def _fresh(words: list[str]) -> float:
    """Return the share of three-word sequences that are new: low in an answer that loops."""
    n = len(words) - 2
    return len(set(zip(words, words[1:], words[2:], strict=False))) / n if n > 0 else 1.0


def _columns(values: object, n: int) -> Floats:
    columns = list(values)  # type: ignore[call-overload]
    if not columns:
        return np.zeros((n, 0))
    stacked = np.stack(columns, axis=1)
    scale = np.sqrt((stacked**2).mean(axis=0)) if n else np.ones(len(columns))
    return np.asarray(stacked / np.where(scale > 0, scale, 1.0))
