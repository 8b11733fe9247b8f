import numpy as np
import pyarrow as pa
import pytest
from fake_engine import table

from curate.errors import StageError
from curate.methods.verdicts import rubric_score
from curate.schema import JUDGMENTS
from curate.stage import Context
from curate.stages.check_scores import CheckScores, checked_scores


def test_a_ten_is_kept_made_a_one_or_unknown_by_the_aspects():
    aspects = [[1, 2, 2], [3, 3, 4, 4], [5, 5, 4, 5], [1, 2, 2]]  # N/A is left out
    means = np.array([np.mean(row) for row in aspects])
    assert means[0] == pytest.approx(1.667, abs=1e-3)
    found = checked_scores(np.array([10.0, 10, 10, 7]), means, 10, 1, 2, 4)
    assert found[[0, 2, 3]].tolist() == [1, 10, 7]
    assert np.isnan(found[1])
    edges = checked_scores(np.full(3, 10.0), np.array([2.0, 4.0, np.nan]), 10, 1, 2, 4)
    assert edges[0] == 1
    assert np.isnan(edges[1:]).all()


@pytest.mark.parametrize(
    ("text", "score"), [("Overall Score: 1", 1.0), ("Score: 8.5", 8.5), ("Overall Score: 8/10", 8)]
)
def test_the_parser_makes_no_such_ten(text, score):
    assert rubric_score(text, 1, 10) == (score, "ok")


def entry(judge, a, score, **fields):
    status = "ok" if score is not None else "parse_error"
    return {"judge": judge, "aspect": "s", "a": a, "score": score, "status": status, **fields}


def apply(rows, **fields):
    view = table([["x", "y"]] * len(rows), judgments=pa.array(rows, JUDGMENTS))
    ctx = Context()
    made = CheckScores(judge="overall", against=["marks"], **fields).apply(view, ctx)["judgments"]
    assert made.type == JUDGMENTS
    return [
        [(j["judge"], j["a"], j["score"], j["status"]) for j in r] for r in made.to_pylist()
    ], ctx


def test_the_scores_are_appended_under_a_new_name():
    rows = [
        [entry("overall", 0, 10), entry("overall", 1, 10), entry("marks#0", 0, 1),
         entry("marks#1", 0, 2), entry("marks#2", 0, None), entry("marks#0", 1, 5)],
        [entry("overall", 0, 10), entry("overall", 1, None), entry("other", 0, 1),
         entry("duel", 0, 1, b=1, order="ab")],
        [entry("overall", 1, 3), entry("marks", 1, 1)],
    ]  # fmt: skip
    name = "overall:checked"
    found, ctx = apply(rows)
    assert found == [
        [(name, 0, 1.0, "ok"), (name, 1, 10.0, "ok")],
        [(name, 0, None, "parse_error"), (name, 1, None, "parse_error")],
        [(name, 1, 3.0, "ok")],
    ]
    assert (ctx.counts["scores corrected"], ctx.counts["scores taken back"]) == (1, 1)
    assert apply(rows, name="fixed")[0][2] == [("fixed", 1, 3.0, "ok")]
    assert apply([])[0] == []


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(StageError, match="no index"):
        apply([[entry("overall", 2, 10)]])
    with pytest.raises(ValueError, match="no check on itself"):
        CheckScores(judge="a", against=["a"])
    with pytest.raises(ValueError, match="is above high"):
        CheckScores(judge="a", against=["b"], low=5)
