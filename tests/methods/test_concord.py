"""How far judges agree: over any number of tables, of judges of whom few have met."""

from itertools import combinations

import numpy as np
import pyarrow as pa

from curate.methods import concord
from curate.methods.concord import Agreement, Waiting, verdict_table
from curate.schema import CANDIDATES, JUDGMENTS


def crowd(judges, comparisons, seed=0):
    """Each judge's verdicts on comparisons, NaN on most: -1, 0 or 1."""
    draw = np.random.default_rng(seed)
    said = draw.integers(-1, 2, (judges, comparisons)).astype(float)
    said[draw.random(said.shape) < 0.9] = np.nan
    return {f"person:{k}": row for k, row in enumerate(said)}


def test_judges_that_met_are_counted_as_all_pairs_of_them_would_be():
    signs, whole, parts = crowd(12, 60), Agreement(), Agreement()
    whole.add(signs)
    for some in (slice(0, 7), slice(7, 40), slice(40, 60)):
        parts.add({name: row[some] for name, row in signs.items()})
    found = {row["judges"]: (row["n"], row["same"]) for row in whole.rows()}
    assert parts.rows() == whole.rows()
    assert 0 < len(found) < 66
    for pair in combinations(sorted(signs), 2):
        table = verdict_table(*(signs[name] for name in pair))
        met = int(table.sum())
        assert found.get(pair) == ((met, np.trace(table) / met) if met else None)


def test_one_judge_or_none_agrees_with_nobody():
    agreement = Agreement()
    for signs in ({}, crowd(1, 5)):
        agreement.add(signs)
    assert agreement.rows() == []


def test_rows_wait_until_they_are_many_and_are_drawn_by_their_ids(monkeypatch):
    monkeypatch.setattr(concord, "ROWS_AT_ONCE", 5)
    table = pa.table(
        {
            "id": [f"r{k}" for k in range(8)],
            "candidates": pa.array([[{"text": str(k)}] for k in range(8)], CANDIDATES),
            "judgments": pa.array([[]] * 8, JUDGMENTS),
        }
    )
    held = {}
    for share in (1.0, 0.5):
        for size in (1, 3, 8):
            waiting, found = Waiting(share), []
            for start in range(0, 8, size):
                found += waiting.add(table.slice(start, size))
            found += waiting.rest()
            assert not list(waiting.rest())
            held[share, size] = pa.concat_tables(found).to_pylist()
    assert held[1.0, 1] == held[1.0, 3] == held[1.0, 8]
    assert held[0.5, 1] == held[0.5, 3] == held[0.5, 8]
    assert 0 < len(held[0.5, 1]) < len(held[1.0, 1]) == 8
