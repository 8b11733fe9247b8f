"""What can be wrong with preference pairs whatever they are about: checks over whole columns.

Texts are looked at one batch at a time; what compares rows with each other works on 64-bit
hashes of them, so a set may be far larger than memory. Blanks around a text do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Bools, Floats, hashes, mix
from curate.methods.edit_ratio import above_ratio
from curate.methods.judgments import true
from curate.methods.languages import differ_in_language

Codes: TypeAlias = npt.NDArray[np.uint64]

FINDINGS: Mapping[str, str] = {
    "empty_response": "chosen or rejected is null or blank",
    "identical_pair": "chosen and rejected are the same text",
    "contradictory_pair": "another row prefers the same two answers the other way round",
    "prompt_mismatch": "chosen and rejected do not answer the same prompt",
    "empty_prompt": "nobody asks anything",
    "prefix_pair": "one answer is the beginning of the other",
    "near_identical_pair": "19 of 20 characters of chosen and rejected are the same, in order",
    "language_mismatch": "chosen and rejected are in different scripts or languages",
    "duplicate_pair": "an earlier one has the same prompt and answers",
    "repeated_response": "an answer that three or more different prompts share",
    "refusal": "chosen or rejected declines to answer",
    "refusal_preferred": "chosen declines and rejected does not",
    "truncated": "chosen or rejected stops in mid-sentence or inside a code block",
    "control_characters": "control, zero-width or text-direction characters in an answer",
    "special_tokens": "chat-template tokens in an answer",
    "role_marker": "an answer goes on with another speaker's turn",
    "verdict_syntax": "a judge's verdict such as [[A]] in an answer",
    "length_skew": "the longer (or the shorter) answer is chosen in 3 of 4 rows or more",
    "one_model_wins": "a model that is chosen in 19 of 20 of its rows or more",
    "order_imbalance": "the first (or the second) answer is chosen in 3 of 5 rows or more",
}
"""Every finding and its meaning; the last three are about the set, and count the leaning rows."""

ERRORS = frozenset(
    {"empty_response", "identical_pair", "contradictory_pair", "prompt_mismatch", "empty_prompt"}
)
"""Findings that no training set should have; the others are warnings, to be looked at."""

OF_THE_SET = frozenset({"length_skew", "one_model_wins", "order_imbalance"})

NEARLY = 0.95  # the edit ratio above which two answers hardly differ
REPEATS = 3  # prompts that share an answer
ENOUGH = 50  # rows below which a leaning of the set says little

_TEMPLATE = r"<\||\[/?INST\]|<<SYS>>|<(?:start|end)_of_turn>|</s>"
_REFUSAL = (  # \W stands for an apostrophe of either kind, or none
    r"(?is)^\W{0,3}(?:(?:i\W?m|i am|we\W?re)\s+(?:\w+\s+)?sorry|sorry|i apologi[sz]e|"
    r"unfortunately|my apologies)?[.,;:!\s]{0,3}\s*(?:but|however)?,?\s*"
    r"(?:as an? (?:\w+ )?(?:ai|language model)\b[^.,]{0,40},?)?\s*"
    r"(?:i can\s?not|i can\Wt|i cant|i won\W?t|i will not|(?:i am|i\W?m) (?:unable|not able) to|"
    r"i (?:must|have to) decline|i (?:do not|don\W?t) feel comfortable)\b"
)
_MID_SENTENCE = (  # no "a", which is also an answer's letter, nor words that do end sentences
    r"(?:[,(\[&\x{2013}\x{2014}]|[^-]-|[\s(](?:the|an|and|or|but|of|to|for|with|from|into|its|their|"
    r"because|than|while|if|whose))$"
)
_NO_STOP = r"(?:^|\n)[^\n#|*>`=\d\"-][^\n|`=]*[a-z]{2}[.!?][\"')]?\s+[^\n|`={}<]*\w\s+\w+$"
_OPEN_END = r"(?:^|\n)(?:[^\s#|*>`={}<:]+ ){7,}[a-z]+$"  # a line of prose without a stop
_STOP = r"[.!?][\"')]*$"
_VERDICT = r"\[\[\s?(?:[ABCabc]|[Tt]ie|\d{1,2})\s?\]\]|\[(?:RESULT|Result|result)\]\s*\d"
_ROLE = r"\n\s*(?:(?:#{2,3} ?)?(?:Human|User|Assistant)\s?:\s|#{2,3} ?(?:Instruction|Input)\s?:)"
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{200b}\x{202a}-\x{202e}\x{2066}-\x{2069}\x{feff}]"


class PairTexts(NamedTuple):
    """Pairs as columns, large_string unless said otherwise; what is not known is None.

    Answers that stand against no other have no `rejected`, and prompts alone no `chosen` either:
    then only what concerns an answer, or a prompt, is looked for.
    """

    prompt: pa.Array
    chosen: pa.Array | None = None
    rejected: pa.Array | None = None
    mismatch: Bools | None = None  # chosen and rejected answer different prompts
    models: tuple[pa.Array, pa.Array] | None = None  # who wrote chosen, and rejected
    cut: Bools | None = None  # an answer's finish_reason was `length`
    first: Floats | None = None  # 1 where chosen was shown first, -1 second, NaN unknown
    other: pa.Array | None = None  # the prompt under which the same answer is the rejected one


class Facts(NamedTuple):
    """What is kept of a batch: its rows' findings, and numbers to compare rows by."""

    found: dict[str, Bools]
    prompt: Codes
    chosen: Codes
    rejected: Codes
    longer: Floats  # 1 where chosen is longer, -1 where rejected is
    models: tuple[pa.Array, pa.Array]
    first: Floats


def facts(texts: PairTexts) -> Facts:
    """Return a batch's own findings and what is needed to compare it with the rest."""
    prompt = _trimmed(texts.prompt)
    size = len(prompt)
    answered, paired = texts.chosen is not None, texts.rejected is not None
    # A missing side reads as its neighbour: what compares the two then finds nothing.
    chosen = _trimmed(texts.chosen) if answered else pa.repeat(pa.scalar("", prompt.type), size)
    rejected = _trimmed(texts.rejected) if paired else chosen
    length = [_lengths(column) for column in (chosen, rejected)]
    same = true(pc.equal(chosen, rejected))
    blank = (length[0] == 0) | (length[1] == 0) if answered else np.zeros(size, dtype=bool)
    sides = (chosen, rejected) if answered else (prompt, prompt)
    codes = (hashes(prompt), hashes(sides[0]), hashes(sides[1]))
    unasked = _lengths(prompt) == 0
    if texts.other is not None:
        other = _trimmed(texts.other)
        codes = _of_prompts(codes[1], codes[0], hashes(other))
        same &= true(pc.equal(prompt, other))
        unasked |= _lengths(other) == 0
    refusing = [true(pc.match_substring_regex(column, _REFUSAL)) for column in (chosen, rejected)]
    found = {
        "empty_response": blank,
        "identical_pair": same & paired,
        "empty_prompt": unasked,
        "prompt_mismatch": np.zeros(size, bool) if texts.mismatch is None else texts.mismatch,
        "prefix_pair": _prefix(chosen, rejected, length) & true(pc.not_equal(chosen, rejected)),
        "near_identical_pair": above_ratio(chosen, rejected, NEARLY, length),
        "language_mismatch": differ_in_language(chosen, rejected),
        "refusal": refusing[0] | refusing[1],
        "refusal_preferred": refusing[0] & ~refusing[1],
    }
    inside = [_in_texts(column) for column in (chosen, rejected)]
    found |= {name: inside[0][name] | inside[1][name] for name in inside[0]}
    found["truncated"] |= _unlike(chosen, rejected) | _unlike(rejected, chosen)
    if texts.cut is not None:
        found["truncated"] |= texts.cut
    unknown = pa.nulls(size, pa.string())
    return Facts(
        found,
        *codes,
        np.sign(length[0] - length[1]).astype(np.float64),
        texts.models or (unknown, unknown),
        np.full(size, np.nan) if texts.first is None else texts.first,
    )


def _of_prompts(answer: Codes, prompt: Codes, other: Codes) -> tuple[Codes, Codes, Codes]:
    """Return the codes of an answer that belongs to one prompt rather than to the other.

    The sides are the prompts with the answer, so that it is contradicted by the same prompts the
    other way round, and repeated nowhere.
    """
    return answer, mix(prompt, answer), mix(other, answer)


def joined(batches: Iterable[Facts]) -> Facts:
    """Return the facts of all batches as one."""
    nothing = pa.array([], pa.large_string())
    parts = list(batches) or [facts(PairTexts(nothing, nothing, nothing))]
    winner, loser = (
        pa.concat_arrays([part.models[side].cast(pa.string()) for part in parts]) for side in (0, 1)
    )
    names = ("prompt", "chosen", "rejected", "longer", "first")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    found = {name: np.concatenate([part.found[name] for part in parts]) for name in parts[0].found}
    return Facts(found, models=(winner, loser), **columns)


def findings(batches: Iterable[Facts]) -> dict[str, Bools]:
    """Return, for each finding in the order of FINDINGS, the mask (rows,) of the rows it is on."""
    found, prompt, chosen, rejected, longer, models, first = joined(batches)
    usable = ~found["identical_pair"] & ~found["empty_response"]
    found["contradictory_pair"] = contradictory(prompt, chosen, rejected) & usable
    found["duplicate_pair"] = _seen_before(mix(prompt, chosen, rejected))
    found["repeated_response"] = repeated(prompt, chosen, rejected) & ~found["empty_response"]
    found["length_skew"] = leaning(np.where(longer == 0, np.nan, longer), 0.75)
    found["order_imbalance"] = leaning(first, 0.6)
    found["one_model_wins"] = always_wins(*models)
    return {name: found[name] for name in FINDINGS}


def contradictory(prompt: Codes, chosen: Codes, rejected: Codes) -> Bools:
    """Return for which rows (n,) some row prefers the same two answers the other way round.

    Prompts and answers come as hashes (n,).
    """
    pair = mix(prompt, np.minimum(chosen, rejected), np.maximum(chosen, rejected))
    _, member = np.unique(pair, return_inverse=True)
    up = np.bincount(member[chosen > rejected], minlength=member.max(initial=-1) + 1) > 0
    down = np.bincount(member[chosen < rejected], minlength=len(up)) > 0
    return np.asarray((up & down)[member])


def repeated(prompt: Codes, chosen: Codes, rejected: Codes, prompts: int = REPEATS) -> Bools:
    """Return which rows (n,) have an answer that at least `prompts` different prompts have."""
    answers, member = np.unique(np.concatenate([chosen, rejected]), return_inverse=True)
    uses = np.unique(np.stack([member.astype(np.uint64), np.tile(prompt, 2)], axis=1), axis=0)
    often = np.bincount(uses[:, 0].astype(np.int64), minlength=len(answers)) >= prompts
    return np.asarray(often[member].reshape(2, -1).any(axis=0))


def leaning(side: Floats, share: float) -> Bools:
    """Return the rows on the side (1 or -1) that holds at least `share` of those with a side."""
    for one in (1.0, -1.0):
        rows, known = side == one, int((~np.isnan(side)).sum())
        if known >= ENOUGH and rows.sum() >= share * known:
            return np.asarray(rows)
    return np.zeros(len(side), dtype=bool)


def always_wins(winner: pa.Array, loser: pa.Array, share: float = 0.95, rows: int = 20) -> Bools:
    """Return which rows (n,) a model won that wins `share` of its `rows` or more against others."""
    differ = true(pc.not_equal(winner, loser))
    both = pa.concat_arrays([winner.filter(pa.array(differ)), loser.filter(pa.array(differ))])
    coded = both.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    wins = np.bincount(coded[: len(coded) // 2], minlength=coded.max(initial=-1) + 1)
    games = np.bincount(coded, minlength=len(wins))
    always = (games >= rows) & (wins >= share * games)
    mask = np.zeros(len(winner), dtype=bool)
    mask[differ] = always[coded[: len(coded) // 2]]
    return mask


def _seen_before(keys: Codes) -> Bools:
    mask = np.ones(len(keys), dtype=bool)
    mask[np.unique(keys, return_index=True)[1]] = False
    return mask


def _trimmed(column: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(pc.fill_null(column, ""))


def _lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(pc.utf8_length(column).to_numpy(zero_copy_only=False), dtype=np.int64)


def _prefix(one: pa.Array, two: pa.Array, length: list[npt.NDArray[np.int64]]) -> Bools:
    """Return where one text begins with the other; both are read only if they begin alike."""
    short = np.minimum(length[0], length[1])
    mask = np.zeros(len(short), dtype=bool)
    start = [pc.utf8_slice_codeunits(column, 0, 8) for column in (one, two)]
    for at in np.flatnonzero((true(pc.equal(*start)) | (short < 8)) & (short > 0)).tolist():
        a, b = one[at].as_py(), two[at].as_py()
        mask[at] = a.startswith(b) or b.startswith(a)
    return mask


def _unlike(one: pa.Array, two: pa.Array) -> Bools:
    """Return where one text ends in a long line without a stop, and the other with a stop.

    Alone it proves nothing, since many sets leave out the last stop; beside an answer that has
    one it does.
    """
    tail = pc.utf8_slice_codeunits(one, -240)
    mask = true(pc.match_substring_regex(tail, _OPEN_END))
    at = np.flatnonzero(mask)
    mask[at] = true(pc.match_substring_regex(two.take(pa.array(at)), _STOP))
    return mask


def _in_texts(column: pa.Array) -> dict[str, Bools]:
    """Return what is found inside of one column's texts.

    One expression that knows every mark picks the texts to look at closely: most have none.
    """
    found = {name: np.zeros(len(column), dtype=bool) for name in (*_MARKS, "truncated")}
    at = np.flatnonzero(true(pc.match_substring_regex(column, _ANY_MARK)))
    suspects = column.take(pa.array(at))
    for name, pattern in _MARKS.items():
        found[name][at] = true(pc.match_substring_regex(suspects, pattern))
    fences = pc.count_substring(suspects, "```").cast(pa.int64())
    found["truncated"][at] = true(pc.equal(pc.bit_wise_and(fences, 1), 1))
    tail = pc.utf8_slice_codeunits(column, -240)
    for pattern in (_MID_SENTENCE, _NO_STOP):
        found["truncated"] |= true(pc.match_substring_regex(tail, pattern))
    return found


_MARKS: Mapping[str, str] = {
    "control_characters": _CONTROL,
    "special_tokens": _TEMPLATE,
    "role_marker": _ROLE,
    "verdict_syntax": _VERDICT,
}
_ANY_MARK = "|".join([*_MARKS.values(), "```"])
