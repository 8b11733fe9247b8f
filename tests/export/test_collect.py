"""Answers of people from both tools, in one file that the stage reads."""

from __future__ import annotations

import orjson
import pytest

from curate.errors import InputError
from curate.export.collect import collect
from curate.stages.people import read_answers

DATA = {"row": "r1", "a": 1, "b": 0, "texts": "abc"}


def label_studio(person, choice):
    said = {"from_name": "better", "value": {"choices": [choice]}}
    return {"data": DATA, "annotations": [{"completed_by": person, "result": [said]}]}


def argilla(person, choice, **refer):
    said = [{"user_id": person, "value": choice}]
    return {"id": "x", "metadata": DATA | refer, "responses": {"better": said}}


def write(path, *tasks):
    path.write_bytes(orjson.dumps(list(tasks)))
    return path


def test_answers_add_up_and_a_later_one_counts(tmp_path):
    into = tmp_path / "answers.json"
    one = write(tmp_path / "1.json", label_studio(7, "first"), label_studio(8, "tie"))
    assert collect([one], into) == (2, 2, 2)
    two = write(tmp_path / "2.json", label_studio(7, "second"), argilla("u", "first", row="r2"))
    assert collect([two], into) == (3, 2, 3)
    found = read_answers(into.read_bytes(), "there")
    assert {(a.row, a.person): a.score for a in found} == {
        ("r1", "7"): -1.0, ("r1", "8"): 0.0, ("r2", "u"): 1.0,
    }  # fmt: skip
    assert {(a.a, a.b, a.texts) for a in found} == {(1, 0, "abc")}
    before = into.read_bytes()
    assert collect([two], into) == (3, 0, 3)
    assert into.read_bytes() == before


def test_a_file_of_another_shape_leaves_the_answers_alone(tmp_path):
    into = tmp_path / "answers.json"
    collect([write(tmp_path / "1.json", label_studio(7, "first"))], into)
    before = into.read_bytes()
    with pytest.raises(InputError, match="task 1: not an answer"):
        collect([write(tmp_path / "2.json", {"data": {}})], into)
    with pytest.raises(InputError, match=r"cannot read .*none\.json"):
        collect([tmp_path / "none.json"], into)
    assert into.read_bytes() == before
