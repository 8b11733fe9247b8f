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
    with pytest.raises(ValidationError, match="at_least, at_most, lowest or highest"):
        Bound(column="n")
    with pytest.raises(ValidationError, match="less than"):
        Bound(column="n", at_least=2, at_most=1)
    with pytest.raises(ValidationError, match="another name"):
        Bound(column="n", at_least=2, to="scores")
    with pytest.raises(StageError, match="numbers, texts or lists"):
        reasons(Bound(column="n", at_least=2), n=[{"a": 1}])


def test_so_many_rows_of_the_lowest_or_highest_numbers():
    table = {"id": ["d", "c", "b", "a", "e"], "n": [1.0, 2.0, 2.0, None, 0.0]}
    lost, none = "not among the 2 of lowest n", "no n"
    assert reasons(Bound(column="n", lowest=2), **table) == [None, lost, lost, none, None]
    assert reasons(Bound(column="n", lowest=3), **table)[1:3] == [
        "not among the 3 of lowest n",
        None,
    ]
    # A share is one of the rows that are inside the bounds.
    found = reasons(Bound(column="n", at_least=1, highest=0.5), **table)
    assert found == ["not among the 2 of highest n", None, None, none, "n below 1"]
    assert reasons(Bound(column="n", lowest=9), **table) == [None, None, None, none, None]
    stage = Bound(column="n", lowest=2)
    assert (stage.needed(), stage.view_scope()) == (("n", "id"), "dataset")
    with pytest.raises(ValidationError, match="exclude each other"):
        Bound(column="n", lowest=2, highest=2)


def test_hard_prompts_are_those_of_the_lowest_mean_score():
    scores = pa.array([[0.9, 0.1], [0.2, None, 0.4], [0.8], [None], None], pa.list_(pa.float32()))
    ids = ["a", "b", "c", "d", "e"]
    stage = Bound(column="scores", of_list="mean", lowest=1, to="hardness")
    made = stage.apply(pa.table({"id": ids, "scores": scores}), Context())
    lost, none = "not among the 1 of lowest mean of scores", "no mean of scores"
    assert made["drop"].to_pylist() == [lost, None, lost, none, none]
    assert made["hardness"].to_pylist() == pytest.approx([0.5, 0.3, 0.8, None, None])
    for of_list, expected in (("least", [0.1, 0.2, 0.8]), ("most", [0.9, 0.4, 0.8])):
        found = Bound(column="scores", of_list=of_list, at_least=0, to="x")
        values = found.apply(pa.table({"scores": scores}), Context())["x"].to_pylist()
        assert values[:3] == pytest.approx(expected)
    with pytest.raises(StageError, match="lists of numbers"):
        reasons(Bound(column="n", of_list="mean", at_least=1), n=[1.0])


def test_the_sources_own_numbers():
    meta = ['{"stars": 3}', '{"stars": 1}', "{}"]
    assert reasons(Bound(column="meta.stars", at_least=2), meta=meta) == [
        None, "meta.stars below 2", "no meta.stars",
    ]  # fmt: skip
    assert Bound(column="meta.stars", at_least=2).needed() == ("meta",)
