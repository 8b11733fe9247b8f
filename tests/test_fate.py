"""What became of rows, and of the pairs and candidates inside those that stay."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.fate import INNER, dropped_inside, tally
from curate.schema import COLUMNS, DROP, FAIL

OLD = [["too short", None, None], [None], []]


def pairs(reasons: list[list[str | None] | None]) -> pa.Array:
    rows = [None if row is None else [{"drop": why} for why in row] for row in reasons]
    return pa.array(rows, COLUMNS["pairs"])


def test_what_was_dropped_before_does_not_count_again() -> None:
    now = pairs([["too short", "margin below 1: 0.5", None], ["margin below 1: 0.2"], []])
    chunks = pa.chunked_array([pairs(OLD[:1]), pairs(OLD[1:])])
    counted = dropped_inside({"pairs": now}, pa.table({"pairs": chunks}), 3)
    assert counted == {"pairs": {"margin below 1": 2}}
    assert dropped_inside({"pairs": pairs(OLD)}, pa.table({"pairs": chunks}), 3) == {}


def test_pairs_of_rows_that_leave_are_not_inside_rows_that_stay() -> None:
    now = pairs([["a", None], ["b"], ["c"], None])
    why = pa.array([None, "no pair left", None, None])
    failed = pa.array([None, None, "no answer", None])
    assert dropped_inside({"pairs": now, DROP: why, FAIL: failed}, None, 4) == {"pairs": {"a": 1}}


@pytest.mark.parametrize("before", [None, pairs([["a"], [None], []])], ids=["unseen", "others"])
def test_new_pairs_count_from_the_first_to_the_last(before: pa.Array | None) -> None:
    given = None if before is None else pa.table({"pairs": before})
    assert dropped_inside({"pairs": pairs(OLD)}, given, 3) == {"pairs": {"too short": 1}}


def test_what_cannot_be_dropped_is_told_from_what_was_not() -> None:
    assert {"candidates", "pairs"} == INNER
    assert dropped_inside({"split": pa.array(["train"])}, None, 1) is None
    assert dropped_inside({"pairs": pairs([[None]])}, None, 1) == {}


def test_reasons_are_grouped_by_what_stands_before_their_detail() -> None:
    given = {
        "exact prompt duplicate of row: 1": "exact prompt duplicate",
        "near prompt duplicate of x (95%)": "near prompt duplicate",
        "exact repetition of x": "exact repetition",
        "over the cap of 3 pairs for prompts like that of x": (
            "over the cap of 3 pairs for prompts like that"
        ),
        "lack of detail": "lack of detail",
        "too short: 3 words": "too short",
        "all 2 answers failed; first: no (such) host: x": "all 2 answers failed",
        "a (b): c\nd": "a",
    }
    assert tally(pa.array([*given, None])) == dict.fromkeys(sorted(given.values()), 1)
