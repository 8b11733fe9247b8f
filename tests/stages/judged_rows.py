"""Small tables of candidates, judgments and pairs for the tests of what judges say."""

import pyarrow as pa

from curate.arrays import structs
from curate.schema import CANDIDATE, CANDIDATES, JUDGMENTS, PAIR, PAIRS


def score(judge, a, value, **fields):
    """A judge's score of candidate `a`."""
    return {"judge": judge, "aspect": "s", "a": a, "score": value, "status": "ok"} | fields


def versus(judge, a, b, value, order="ab"):
    """A judge's comparison: 1 favours a."""
    return score(judge, a, value, b=b, order=order)


def odds(judge, a, b, value, order="ab"):
    """A judge's comparison in log-odds: above 0 favours a."""
    return versus(judge, a, b, value, order) | {"scale": "log_odds"}


def pair(chosen, rejected, **fields):
    return structs(PAIR, 1, chosen=[chosen], rejected=[rejected]).to_pylist()[0] | fields


def rows(*judgments, pairs, candidates=2, models=None, **columns):
    answers = structs(
        CANDIDATE, candidates, text=[f"t{i}" for i in range(candidates)], model=models
    ).to_pylist()
    table = {
        "candidates": pa.array([answers] * len(pairs), CANDIDATES),
        "judgments": pa.array(judgments or [[]] * len(pairs), JUDGMENTS),
        "pairs": pa.array(pairs, PAIRS),
    }
    for name, values in columns.items():
        table[name] = pa.array(values, pa.list_(pa.float32()))
    return pa.table(table)


def of_judgments(result, *names):
    """Fields of every judgment, row by row."""
    assert result["judgments"].type == JUDGMENTS
    return [[tuple(j[n] for n in names) for j in row] for row in result["judgments"].to_pylist()]


def of_pairs(result, name):
    """A field of every pair, row by row."""
    assert result["pairs"].type == PAIRS
    return [[p[name] for p in row] for row in result["pairs"].to_pylist()]
