"""Reading a judge's answer: pure functions that never raise and never invent a number.

Whatever is not clearly a verdict is a status. The lesson is that of many judging tools whose
failure value (-1, 0, a middle score, a tie) later entered a mean as if it had been measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.schema import JudgmentStatus

Verdict = Literal["A", "B", "tie"]

_REASONING = re.compile(r"<(?P<close>/?)(?:think|thinking|thought|reasoning)>", re.I | re.A)
_NUMBER = r"[-+]?[0-9]{1,6}(?:\.[0-9]{1,6})?"
# The marker may start the last line or stand inside it; what follows the number must end it.
_SCORE = re.compile(
    r"(?:\[result\]|(?<![a-z])(?:score|rating|result)[\s*_]{0,4}[:=])"
    rf"[\s*_]{{0,4}}(?P<bracket>[\[(])?\s?(?P<score>{_NUMBER})"
    rf"(?:\s?(?:/|out\sof)\s?(?P<top>\d{{1,6}}))?\s?(?P<close>[\])])?"
    r"[\s*_]{0,4}\.?[\s*_]{0,4}$",
    re.I | re.A,
)
_BARE = re.compile(rf"(?P<score>{_NUMBER})")
_MARKER = re.compile(r"\[\[\s?(a|b|c|tie)\s?\]\]", re.I | re.A)
# A marker in double brackets may end a sentence; "Verdict: A" must be the whole line, as lines such
# as "the correct answer: A" are about the question and not about the two answers.
_PAIR = re.compile(
    r"(?:\[\[\s?(?P<double>a|b|c|tie)\s?\]\]"
    r"|^[\s*_#>-]{0,8}(?:(?:my|the|final|overall)\s){0,2}(?:verdict|winner)[\s*_]{0,4}[:=][\s*_]{0,4}"
    r"(?P<open>\[)?(?:answer\s)?(?P<plain>a|b|tie)(?(open)\]))[\s*_]{0,4}\.?[\s*_]{0,4}$",
    re.I | re.A,
)
_GRADE = re.compile(
    r"\[{1,2}\s?(?P<grade>a(?:>>|>|=)b|b(?:>>|>|=)a)\s?\]{1,2}[\s*_]{0,4}\.?[\s*_]{0,4}$",
    re.I | re.A,
)
_GRADES = {"a>>b": 1.0, "a>b": 0.5, "a=b": 0.0, "b=a": 0.0, "b>a": -0.5, "b>>a": -1.0}
_REFUSAL = re.compile(
    r"^\W{0,3}(?:i['\u2019]?m sorry|i am sorry|sorry|i apologi[sz]e|as an ai\b[^.]{0,80})?"
    r"[,.;: ]{0,3}"
    r"(?:but )?i (?:can(?:not|['\u2019]t| not)|am (?:unable|not able) to|won['\u2019]t|will not) "
    r"(?:help|assist|rate|score|evaluate|judge|grade|compare|comply|fulfil|fulfill|provide|do)\b",
    re.I,
)
_TAIL = 400  # characters of the last line that are looked at; a verdict is short


def without_reasoning(text: str) -> str | None:
    """Return the text after its `<think>...</think>` blocks; None where one is never closed.

    A close tag without an open one counts: chat templates often put the open tag in the prompt.
    """
    if "<" not in text:
        return text
    end, unclosed = 0, False
    for tag in _REASONING.finditer(text):
        unclosed = not tag["close"]
        end = end if unclosed else tag.end()
    return None if unclosed else text[end:]


def is_refusal(text: str) -> bool:
    """Whether the judge declined to answer: a short list of openings, nothing cleverer."""
    return _REFUSAL.match(text.lstrip()[:300]) is not None


def rubric_score(text: str, low: float, high: float) -> tuple[float | None, JudgmentStatus]:
    """Read a score in [low, high] from the end of a judge's answer.

    Accepts `Score: 4`, `[RESULT] 4`, `**Rating: 4/5**`, `Score: [4]` and the like as the end of
    the last line, or a lone number as the whole answer (a prompt that ends in "Score:" gets
    one). After Prometheus 2 (Kim et al. 2024): the marker is anchored at the end, and anything
    else, a score out of range or a scale other than `high` included, is `parse_error`.
    """
    visible = without_reasoning(text)
    if visible is None:
        return None, "truncated"
    visible = visible.strip()
    if "<" not in text and visible.isdigit() and len(visible) < 4 and visible.isascii():
        value = float(visible)  # the common answer, read without a regular expression
        return (value, "ok") if low <= value <= high else (None, "parse_error")
    line = visible.rsplit("\n", 1)[-1][-_TAIL:]
    found = _BARE.fullmatch(visible) or _SCORE.search(line)
    if found is None:
        return None, "refused" if is_refusal(visible) else "parse_error"
    groups = found.groupdict()
    if {"[": "]", "(": ")"}.get(groups.get("bracket") or "") != groups.get("close"):
        return None, "parse_error"
    if groups.get("top") is not None and float(groups["top"]) != high:
        return None, "parse_error"
    value = float(groups["score"])
    return (value, "ok") if low <= value <= high else (None, "parse_error")


def pair_verdict(text: str) -> Verdict | None:
    """Read which of two answers won: `A`, `B` or `tie`; None where there is no clear verdict.

    Markers are `[[A]]`, `[[B]]`, `[[tie]]` (or `[[C]]`) at the very end of the answer, a last line
    that is `Verdict: A` (or `Winner: A`) and nothing else, and an answer that is A, B or tie and
    nothing else. So a rationale that mentions a marker, or quotes one from an answer, does not
    decide (a known fault of first-match parsers), nor does the key of a multiple-choice question.
    Two different markers on the last line decide nothing. A reasoning block that is never closed
    gives None.
    """
    closing = closing_verdict(text)
    return None if closing is None else closing[1]


def closing_verdict(text: str) -> tuple[str, Verdict] | None:
    """Return what stands before the verdict of an answer, and the verdict; see `pair_verdict`."""
    visible = without_reasoning(text)
    if visible is None:
        return None
    whole = visible.strip()
    if len(whole) <= 12:
        lone = _LONE.get(whole.strip("[]*_. ").lower())
        if lone is not None:
            return "", lone
    line = whole.rsplit("\n", 1)[-1][-_TAIL:].lstrip()
    found = _PAIR.search(line)
    if found is None or len({name.lower() for name in _MARKER.findall(line)}) > 1:
        return None
    before = whole[: len(whole) - len(line) + found.start()].rstrip(" \n\t*_#>-")
    return before, _LONE.get((found["double"] or found["plain"]).lower(), "tie")


def pair_outcome(text: str) -> tuple[Verdict | None, JudgmentStatus]:
    """Return `pair_verdict(text)` with a status that says why there is none."""
    verdict = pair_verdict(text)
    if verdict is not None:
        return verdict, "ok"
    visible = without_reasoning(text)
    if visible is None:
        return None, "truncated"
    return None, "refused" if is_refusal(visible) else "parse_error"


_LONE: dict[str, Verdict] = {"a": "A", "b": "B", "tie": "tie"}


def pair_grade(text: str) -> tuple[float | None, JudgmentStatus]:
    """Read a five-grade comparison: 1 and 0.5 where the first answer is much or slightly better.

    The labels are `[[A>>B]]`, `[[A>B]]`, `[[A=B]]`, `[[B>A]]` and `[[B>>A]]` (or in single
    brackets), at the very end of the answer. The scores are half of Arena-Hard's grades
    (Li et al. 2024), so the mean over both orders is its margin in [-1, 1].
    """
    visible = without_reasoning(text)
    if visible is None:
        return None, "truncated"
    found = _GRADE.search(visible.strip().rsplit("\n", 1)[-1][-_TAIL:])
    if found is None:
        return None, "refused" if is_refusal(visible) else "parse_error"
    return _GRADES[found["grade"].lower()], "ok"


def slight_wins_tied(
    scores: npt.ArrayLike, longer: npt.ArrayLike, at_most: float
) -> npt.NDArray[np.float64]:
    """Return the five-grade scores with a slight win of a much longer answer as a tie.

    `scores` is positive where a won and NaN where nobody did; `longer` is the length of a minus
    the length of b in characters; a winner of a slight win may be longer by `at_most`.
    WildBench's rule (Lin et al. 2024): clear wins stay, and concise losers are not promoted.
    """
    score, length = np.asarray(scores, dtype=np.float64), np.asarray(longer, dtype=np.float64)
    tied = (np.abs(score) == 0.5) & (np.sign(score) * length > at_most)
    return np.where(tied, 0.0, score)


class ExpectedScore(NamedTuple):
    """Moments of a score's distribution; each has the shape of the logprobs but their last axis."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]  # population standard deviation under p / sum p
    mass: npt.NDArray[np.float64]  # sum of p before normalising, in [0, 1]


def expected_score(logprobs: npt.ArrayLike, values: npt.ArrayLike) -> ExpectedScore:
    """Return mean, standard deviation and mass of scores from their tokens' probabilities.

    `logprobs[..., i]` is the natural log-probability that the judge's next token is
    `values[i]`, -inf where not held. mean = sum p v / sum p, and mass = sum p says how much of
    the distribution the scores hold (the weighted form of G-Eval, Liu et al. 2023). Where
    nothing is held, or an input is not a log-probability, mean and std are NaN and mass is 0.
    """
    logp = np.asarray(logprobs, dtype=np.float64)
    v = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        p = np.exp(logp)
        mass = p.sum(axis=-1)
        valid = (logp <= 1e-3).all(axis=-1) & (mass > 0.0) & (mass <= 1.01)  # NaN is not valid
        mean = np.where(valid, (p * v).sum(axis=-1) / mass, np.nan)
        variance = (p * (v - mean[..., None]) ** 2).sum(axis=-1) / mass
        std = np.where(valid, np.sqrt(variance), np.nan)
    return ExpectedScore(mean, std, np.where(valid, np.minimum(mass, 1.0), 0.0))


class SwapStatistics(NamedTuple):
    """Shares of the pairs that were judged in both orders."""

    consistency: float
    first_bias: float
    second_bias: float


def swap_consistent(verdicts: Sequence[tuple[float, float]]) -> SwapStatistics | None:
    """Return how often a judge agrees with itself when two answers trade places.

    Each item is (score in order ab, score in order ba), both mapped back so that + favours a.
    A pair is consistent where the signs agree; otherwise the judge leans to what was shown
    first where order ab favours a more than order ba does, and to the second where less.
    After MT-Bench (Zheng et al. 2023). None for no pairs, since a share of nothing is no number.
    """
    if not verdicts:
        return None
    leanings = [(ab > 0) - (ab < 0) - ((ba > 0) - (ba < 0)) for ab, ba in verdicts]
    n = len(leanings)
    return SwapStatistics(
        sum(x == 0 for x in leanings) / n,
        sum(x > 0 for x in leanings) / n,
        sum(x < 0 for x in leanings) / n,
    )
