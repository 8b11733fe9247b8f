import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.errors import StageError
from curate.schema import CANDIDATES, PROMPT
from curate.stage import Context
from curate.stages.bound import Bound


def reasons(stage, **columns):
    return stage.apply(pa.table(columns), Context())["drop"].to_pylist()


def test_numbers_texts_and_lists():
    found = reasons(Bound(column="n", at_least=1, at_most=2), n=[0.5, 1, 2, 2.5, None])
    assert found == ["n below 1", None, None, "n above 2", "no n"]
    assert reasons(Bound(column="t", at_least=3), t=["äöü", "ab", None]) == [
        None,
        "t below 3",
        "no t",
    ]
    assert reasons(Bound(column="l", at_most=1), l=[["a"], [], ["a", "b"], None]) == [
        None, None, "l above 1", "no l",
    ]  # fmt: skip
    turns = [[{"role": "system", "content": "abc"}, {"role": "user", "content": "de"}]]
    prompt = pa.array(turns, PROMPT)
    assert reasons(Bound(column="prompt", at_least=6), prompt=prompt) == [None]  # and a line break
    assert reasons(Bound(column="prompt", at_least=7), prompt=prompt) == ["prompt below 7"]
    answers = pa.array([[{"text": "a"}, {"text": "b", "drop": "empty"}]], CANDIDATES)
    assert reasons(Bound(column="candidates", at_least=2), candidates=answers) == [
        "candidates below 2"
    ]


def test_four_prompts_of_two_topics():
    # Criteria met 7, 6 (mean 6.5) and 6, 0 (mean 3): the bounds 5 and 3.5 leave the first topic.
    criteria = [["c"] * n for n in (7, 6, 6, 0)]
    by_topic = Bound(column="criteria", mean_by="topic", at_least=3.5, to="topic_score")
    made = by_topic.apply(pa.table({"criteria": criteria, "topic": [4, 4, 9, 9]}), Context())
    weak = "mean criteria by topic below 3.5"
    assert made["drop"].to_pylist() == [None, None, weak, weak]
    assert made["topic_score"].to_pylist() == [6.5, 6.5, 3, 3]
    assert by_topic.view_scope() == "dataset"
    own = Bound(column="criteria", at_least=5)
    assert own.view_scope() == "shard"
    assert reasons(own, criteria=criteria) == [None, None, None, "criteria below 5"]


def test_means_leave_out_what_has_no_number():
    stage = Bound(column="n", mean_by="g", at_least=2, to="mean")
    view = pa.table({"n": [1.0, 3.0, None, None, 9.0], "g": ["a", "a", "a", "b", None]})
    view = pa.concat_tables([view.slice(0, 2), view.slice(2)])
    made = stage.apply(view, Context())
    missing = "no mean n by g"
    assert made["mean"].to_pylist() == [2, 2, 2, None, None]
    assert made["drop"].to_pylist() == [None, None, None, missing, missing]


def test_wrong_fields_and_columns_are_refused():
    with pytest.raises(ValidationError, match="at_least, at_most or both"):
        Bound(column="n")
    with pytest.raises(ValidationError, match="less than"):
        Bound(column="n", at_least=2, at_most=1)
    with pytest.raises(ValidationError, match="another name"):
        Bound(column="n", at_least=2, to="scores")
    with pytest.raises(StageError, match="numbers, texts or lists"):
        reasons(Bound(column="n", at_least=2), n=[{"a": 1}])
