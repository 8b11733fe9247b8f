"""The row: one prompt with its candidates, judgments, scores and pairs, as Arrow types.

Lists are one deep (`answer_vectors` is the one exception), so all about one prompt is in one row
and per-prompt work needs no group-by. `conversation`, `candidates` and so on below are the
types that every stage reads and writes; a column with another type is an error.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

PROMPT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
"""Conversation up to the answer."""

CANDIDATE = pa.struct(
    [
        ("text", pa.string()),
        ("model", pa.string()),
        ("finish_reason", pa.string()),  # stop, length, refusal, too_long, error; null: unknown
        ("tokens", pa.int32()),  # output tokens; null where unknown
        ("drop", pa.string()),  # null, or why this candidate must not be used
    ]
)
CANDIDATES = pa.list_(CANDIDATE)

JUDGMENT = pa.struct(
    [
        ("judge", pa.string()),
        ("aspect", pa.string()),
        ("a", pa.int32()),  # index into candidates
        ("b", pa.int32()),  # the other candidate; null for a pointwise judgment
        ("order", pa.string()),  # ab or ba: which was shown first; null for pointwise
        ("score", pa.float32()),  # pointwise: the score; pairwise: + favours a. Null unless ok
        ("spread", pa.float32()),  # standard deviation of the score, where the judge gives one
        ("status", pa.string()),  # one of JudgmentStatus
        ("text", pa.string()),  # the raw answer
        ("prompt_tokens", pa.int32()),  # of the call, which several judgments may share
        ("tokens", pa.int32()),  # of its answer; both null where no call was made, or not told
        ("scale", pa.string()),  # log_odds: the score is log P(a) - log P(b); null: a grade
    ]
)
JUDGMENTS = pa.list_(JUDGMENT)

PAIR = pa.struct(
    [
        ("chosen", pa.int32()),
        ("rejected", pa.int32()),
        ("margin", pa.float32()),
        ("p_correct", pa.float32()),
        ("weight", pa.float32()),
        ("source", pa.string()),
        ("drop", pa.string()),
    ]
)
PAIRS = pa.list_(PAIR)

STEP = pa.struct(
    [
        ("candidate", pa.int32()),  # index of the solution; its steps stand in order
        ("text", pa.string()),
        ("right", pa.bool_()),
        ("tries", pa.int32()),  # solutions that begin so and whose outcome is known
        ("ended_right", pa.int32()),  # how many of them end right
    ]
)
STEPS = pa.list_(STEP)

STEP_PAIR = pa.struct(
    [
        ("prefix", pa.string()),  # what the chosen step follows; "" where the first steps differ
        ("chosen", pa.string()),  # the better next step
        ("rejected", pa.string()),
        ("q_chosen", pa.float32()),  # share of the solutions through it that end right
        ("q_rejected", pa.float32()),
        ("n_chosen", pa.int32()),  # solutions through it
        ("n_rejected", pa.int32()),
        ("confidence", pa.float32()),  # n_chosen against n_rejected, see `label_confidence`
    ]
)
STEP_PAIRS = pa.list_(STEP_PAIR)

COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "prompt": PROMPT,
    "reference": pa.string(),
    "meta": pa.string(),
    "candidates": CANDIDATES,
    "judgments": JUDGMENTS,
    "scores": pa.list_(pa.float32()),
    "score_std": pa.list_(pa.float32()),
    "pairs": PAIRS,
    "rationales": pa.list_(pa.string()),
    "steps": STEPS,
    "step_pairs": STEP_PAIRS,
    "other_prompt": PROMPT,
    "goals": pa.list_(pa.string()),
    "split": pa.string(),
}
"""Columns with a fixed type. `embedding` (fixed_size_list of float16 or float32) and any
column of a user's own stage are free."""

DROP, FAIL = "drop", "fail"
"""Reserved result columns: why a row leaves the pipeline (a decision, or an error)."""

_DETAIL = r"(?s)(?:(?:; first)?: | \(|( duplicate| repetition| that) of ).*$"

CompletionStatus = Literal["ok", "truncated", "refused", "too_long", "api_error"]
JudgmentStatus = Literal[
    "ok", "not_applicable", "parse_error", "refused", "truncated", "too_long", "api_error"
]
"""`too_long`: the prompt does not fit the model's window, which no rerun changes; `api_error`: the
engine failed, and another run may do better."""


def reason_kinds(reasons: pa.Array) -> pa.Array:
    """Return each reason without its detail, as they are counted.

    Detail is what follows the first ": ", "; first: " or " (", and the row that follows "duplicate
    of", "repetition of" or "that of".
    """
    return pc.replace_substring_regex(reasons, _DETAIL, r"\1")
