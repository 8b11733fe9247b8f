"""What answers claim, and how sure a model is of each claim when it is asked again.

A model that knows something says it again; what it made up differs from sample to sample. So
samples of the answer to a question about a claim, put in groups that say the same, tell how
certain the claim is (FactTune, Tian et al. 2023, arXiv:2311.08401).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from curate.arrays import Bools, Floats, Ints
from curate.methods.answers import json_object, unfenced
from curate.methods.verdicts import is_refusal, without_reasoning
from curate.schema import JudgmentStatus

Measure: TypeAlias = Literal["largest", "collision", "entropy", "match"]

_FILLERS = frozenset(("a", "an", "the", "it", "this", "that", "is", "was", "are", "were", "answer"))
_UNKNOWN = re.compile(
    r"(?:the answer is )?(?:unknown|uncertain|unsure|unclear|not known|n a|none)|"
    r"i (?:do not|don t|dont|cannot|can t) (?:know|say|tell)\b.*|i am not sure\b.*|i m not sure\b.*"
)


class Claim(NamedTuple):
    """One statement of an answer, a question that asks for it, and what the answer gives."""

    text: str
    question: str
    answer: str


def read_claims(text: str, most: int) -> tuple[list[Claim], JudgmentStatus]:
    """Read {"claims": [{"claim", "question", "answer"}, ...]}, of which the first `most` count.

    An empty list is an answer that claims nothing, and a claim made twice is one. A claim that
    lacks a part, or has one without a letter or digit, makes the whole a `parse_error`: a list
    with holes is another list.
    """
    found, status = json_object(unfenced(text))
    if found is None:
        return [], status
    given = found.get("claims")
    if not isinstance(given, list):
        return [], "parse_error"
    claims = [_claim(one) for one in given[:most]]
    whole = [claim for claim in claims if claim is not None]
    if len(whole) < len(claims):
        return [], "parse_error"
    first: dict[str, Claim] = {}
    for claim in whole:
        first.setdefault(claim.text.casefold(), claim)
    return list(first.values()), "ok"


def _claim(given: object) -> Claim | None:
    if not isinstance(given, dict):
        return None
    parts = [given.get(name) for name in ("claim", "question", "answer")]
    texts = [" ".join(part.split()) for part in parts if isinstance(part, str)]
    if len(texts) < 3 or not all(any(map(str.isalnum, text)) for text in texts):
        return None
    return Claim(*texts)


def short_form(text: str, question: str = "") -> str | None:
    """Return what a short answer says: its first line without what says nothing.

    Case, punctuation, articles and the words of the question are left out, unless nothing else
    is there: "The capital of France is Paris" says "paris" when asked for that capital. None for
    an answer that says nothing: empty, a refusal, "unknown" or "I do not know".
    """
    visible = (without_reasoning(text) or "").strip()
    if is_refusal(visible):
        return None
    words = _words(visible.partition("\n")[0])
    if not words or _UNKNOWN.fullmatch(" ".join(words)):
        return None
    empty = _FILLERS.union(_words(question))
    kept = [word for word in words if word not in empty]
    return " ".join(kept or [word for word in words if word not in _FILLERS] or words)


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c if c.isalnum() else " " for c in folded).split()


def answer_groups(answers: Iterable[Hashable | None]) -> Ints:
    """Return a code for each answer: equal answers share one, and None is alike to nothing.

    Not to know is no certainty, so two who do not know do not agree.
    """
    known: dict[object, int] = {}
    found = [known.setdefault(object() if a is None else a, len(known)) for a in answers]
    return np.array(found, dtype=np.int64)


def certainty(claim: Ints, group: Ints, claims: int, measure: Measure = "largest") -> Floats:
    """Return (claims,) how certain each claim is, NaN for those without a sample.

    `claim` (samples,) is the claim that each sample is about, `group` (samples,) the group that
    it falls in. With p the shares of a claim's groups: "largest" is max p, "collision" the chance
    that two samples agree (sum of p squared), "entropy" is sum of p log p, in nats and at most 0.
    """
    width = int(group.max(initial=0)) + 1
    key, count = np.unique(claim * width + group, return_counts=True)
    owner = key // width
    p = count / np.bincount(owner, count, claims)[owner]
    value: Floats = np.zeros(claims)
    if measure == "largest":
        np.maximum.at(value, owner, p)
    else:
        np.add.at(value, owner, p * p if measure == "collision" else p * np.log(p))
    return np.where(np.bincount(claim, minlength=claims) > 0, value, np.nan)


def agreement(claim: Ints, same: Bools, claims: int) -> Floats:
    """Return (claims,) the share of each claim's samples that say what it says; NaN without any.

    `same` (samples,) is whether a sample says it ("match": how often the answer's own word
    comes again).
    """
    with np.errstate(invalid="ignore"):
        said = np.bincount(claim, same, claims)
        return np.asarray(said / np.bincount(claim, minlength=claims))


def claim_score(owner: Ints, value: Floats, answers: int, at_least: float | None = None) -> Floats:
    """Return (answers,) the mean value of each answer's claims, NaN for those without one.

    `owner` (claims,) is the answer that a claim is of; claims whose `value` is NaN are left out.
    With `at_least` it is the share of the claims whose value is that or more.
    """
    known = ~np.isnan(value)
    each = value if at_least is None else (value >= at_least - 1e-9).astype(np.float64)
    with np.errstate(invalid="ignore"):
        total = np.bincount(owner[known], each[known], answers)
        return np.asarray(total / np.bincount(owner[known], minlength=answers))
