"""Candidates of a source, wide or a row each, with their scores and ranks."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import jsonl, load

from curate.errors import InputError
from curate.export.catalogue import form_named
from curate.schema import CANDIDATES, PROMPT
from curate.sources.files import Parquet

DATA = Path(__file__).parents[2] / "../shared/data"


def real(name):
    if not (DATA / name).exists():
        pytest.skip(f"no data set {name}")
    return str(DATA / name)


def test_wide_candidates_scores_and_ranks(tmp_path):
    rows = [
        {
            "prompt": "p",
            "c": ["a", "", None, {"response": "d", "model": "m", "x": 1}],
            "s": [1, [2.5, None], None, 4],
            "r": [2, 1, None, 3],
        }
    ]
    (row,) = jsonl(tmp_path, *rows, candidates="c", scores="s", ranks="r")
    assert [c["text"] for c in row["candidates"]] == ["a", "", "", "d"]
    assert [c["drop"] for c in row["candidates"]] == [None, "empty", "null", None]
    assert row["candidates"][3]["model"] == "m"
    assert json.loads(row["meta"]) == {"c": [{}, {}, {}, {"x": 1}]}
    got = [(j["judge"], j["a"], j["score"], j["status"]) for j in row["judgments"]]
    assert got == [
        ("s", 0, 1.0, "ok"),
        ("s#0", 1, 2.5, "ok"),
        ("s#1", 1, None, "parse_error"),
        ("s", 2, None, "parse_error"),
        ("s", 3, 4.0, "ok"),
        ("rank", 0, -2.0, "ok"),
        ("rank", 1, -1.0, "ok"),
        ("rank", 2, None, "parse_error"),
        ("rank", 3, -3.0, "ok"),
    ]


def test_scores_within_fields_of_the_candidates_and_as_text(tmp_path):
    """Raw UltraFeedback: each completion's annotations hold a rating, as text."""
    rated = [
        {"response": "a", "annotations": {"help": {"Rating": "4", "Why": "x"}, "n": 1}},
        {"response": "b", "annotations": {"help": {"Rating": " N/A", "Why": None}, "n": 2}},
        {"response": "c", "annotations": None},
        {"response": "d", "annotations": "none"},
        "e",
    ]
    columns = {"candidates": "c", "scores": ["annotations.help.Rating", "annotations.n"]}
    (row,) = jsonl(tmp_path, {"prompt": "p", "c": rated}, **columns)
    judged = [(j["judge"], j["a"], j["score"]) for j in row["judgments"]]
    assert judged == [
        *(("annotations.help.Rating", k, score) for k, score in enumerate([4, *[None] * 4])),
        *(("annotations.n", k, score) for k, score in enumerate([1, 2, *[None] * 3])),
    ]
    assert json.loads(row["meta"]) == {
        "c": [
            {"annotations": {"help": {"Why": "x"}}}, {"annotations": {"help": {"Why": None}}}, {},
            {"annotations": "none"}, {},
        ]
    }  # fmt: skip
    for wrong, said in (
        ("annotations.help.rating", r"did you mean 'annotations.help.Rating'"),
        ("annotations", "must be a number, or one of its fields named, as in 'annotations.help'"),
    ):
        with pytest.raises(InputError, match=said):
            jsonl(tmp_path, {"prompt": "p", "c": rated}, candidates="c", scores=wrong)


@pytest.mark.parametrize(
    ("text", "number"),
    [("4", 4), (" -2.50 ", -2.5), (".5", 0.5), ("+1e2", 100), ("1e999", None), ("", None),
     ("N/A", None), ("na", None), ("nan", None), ("None", None), ("null", None)],
)  # fmt: skip
def test_a_number_as_text_is_one_and_what_says_there_is_none_is_null(tmp_path, text, number):
    (row,) = jsonl(tmp_path, {"prompt": "p", "r": "a", "s": text}, response="r", scores="s")
    assert row["judgments"][0]["score"] == number


@pytest.mark.parametrize("text", ["4/5", "four", "1,5", "1_0", "0x10", "inf", "-", "4 5", "٤"])
def test_other_text_is_no_number(tmp_path, text):
    with pytest.raises(InputError, match="must be a number, or text that is nothing but one"):
        jsonl(tmp_path, {"prompt": "p", "r": "a", "s": text}, response="r", scores="s")


def test_several_rankings_are_a_judge_each(tmp_path):
    row = {"prompt": "p", "c": ["a", "b", "c"], "r": [[1, 2, 3], None, [2, None, 1]]}
    (found,) = jsonl(tmp_path, row, candidates="c", ranks="r")
    got = [(j["judge"], j["a"], j["score"]) for j in found["judgments"]]
    assert got == [
        ("rank#0", 0, -1), ("rank#0", 1, -2), ("rank#0", 2, -3),
        ("rank#1", 0, None), ("rank#1", 1, None), ("rank#1", 2, None),
        ("rank#2", 0, -2), ("rank#2", 1, None), ("rank#2", 2, -1),
    ]  # fmt: skip
    for ranks, error in (
        ([[1, 2]], "has 2 entries for 3 candidates"),
        ([[1, 2, 3], 4], "must be a list aligned with the candidates"),
        ([[1, 2, [3]]], "must be a number"),
    ):
        with pytest.raises(InputError, match=error):
            jsonl(tmp_path, row | {"r": ranks}, candidates="c", ranks="r")


def test_a_ranked_export_is_read_back(tmp_path):
    texts = [("p", ["a", "b", "c"], [1, 3, 3]), ("q", ["d", "e"], [0, 1])]
    table = pa.table(
        {
            "id": [prompt for prompt, _, _ in texts],
            "prompt": pa.array([[{"role": "user", "content": p}] for p, _, _ in texts], PROMPT),
            "candidates": pa.array([[{"text": t} for t in a] for _, a, _ in texts], CANDIDATES),
            "scores": pa.array([scores for _, _, scores in texts], pa.list_(pa.float32())),
        }
    )
    pq.write_table(form_named("ranked").build(table).table, tmp_path / "r.parquet")
    columns = {"id": "id", "candidates": "answers", "ranks": "rank"}
    rows = load(Parquet(path=str(tmp_path / "r.parquet"), columns=columns))
    assert [r["prompt"][0]["content"] for r in rows] == ["p", "q"]
    assert [[c["text"] for c in r["candidates"]] for r in rows] == [["b", "c", "a"], ["e", "d"]]
    assert [[j["score"] for j in r["judgments"]] for r in rows] == [[-1, -1, -3], [-1, -2]]
    assert [list(json.loads(r["meta"])) for r in rows] == [["answers", "messages"]] * 2
    with pytest.raises(InputError, match="no column 'ranq', and no candidate in 'answers'"):
        load(Parquet(path=str(tmp_path / "r.parquet"), columns=columns | {"ranks": "ranq"}))


def test_a_candidate_without_a_field_has_none_and_a_wrong_name_is_said_with_the_fields(tmp_path):
    answers = [{"text": "a", "votes": 3, "best": True}, {"text": "b", "votes": 1}, None]
    row = {"id": "x", "prompt": "p", "answers": answers}
    (found,) = jsonl(tmp_path, row, candidates="answers", scores=["votes", "best"])
    got = [(j["judge"], j["score"], j["status"]) for j in found["judgments"]]
    assert got == [
        ("votes", 3, "ok"), ("votes", 1, "ok"), ("votes", None, "parse_error"),
        ("best", 1, "ok"), ("best", None, "parse_error"), ("best", None, "parse_error"),
    ]  # fmt: skip
    with pytest.raises(
        InputError, match="no candidate in 'answers' has such a field; did you mean 'best'"
    ):
        jsonl(tmp_path, row, candidates="answers", scores="bests")
    with pytest.raises(InputError, match=r"row 1: no column 'q'.*known: best, text, votes"):
        jsonl(tmp_path, row, candidates="answers", scores="q")
    assert jsonl(tmp_path, row | {"answers": []}, candidates="answers", scores="q")


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e300", "null"])
def test_a_score_that_is_no_number_never_becomes_one(tmp_path, score):
    (row,) = jsonl(tmp_path, f'{{"prompt":"p","r":"a","s":{score}}}', response="r", scores="s")
    assert [(j["score"], j["status"]) for j in row["judgments"]] == [(None, "parse_error")]


def test_long_format_keeps_what_is_constant_in_meta(tmp_path):
    rows = [{"prompt": p, "t": p, "r": f"{p}{i}", "n": i} for i in range(2) for p in "ab"]
    one, two = jsonl(tmp_path, *rows, group="prompt", response="r")
    assert [c["text"] for c in one["candidates"]] == ["a0", "a1"]
    assert one["meta"] == '{"n":[0,1],"t":"a"}'
    assert two["prompt"][0]["content"] == "b"


def test_real_prometheus_scores():
    path = real("prometheus_gpt4x3/responses.parquet")
    columns = {"group": ["bench", "prompt"], "response": "response", "model": "model"}
    rows = load(Parquet(path=path, columns=columns | {"scores": "gpt4_scores"}))
    vicuna = [r for r in rows if json.loads(r["meta"])["bench"] == "vicuna"]
    assert len(vicuna) == 80
    assert all(len(r["candidates"]) == 4 and len(r["judgments"]) == 12 for r in vicuna)
    assert sum(len(r["candidates"]) for r in rows) == 640


def test_real_long_candidates():
    path = real("selfinstruct_eval/candidates.parquet")
    columns = {"group": "prompt_id", "response": "response", "model": "model"}
    rows = load(Parquet(path=path, columns=columns))
    assert [len(r["candidates"]) for r in rows] == [8] * 252
    path = real("pandalm/candidates.parquet")
    columns = {"prompt": "instruction", "input": "input", "group": ["instruction", "input"]}
    rows = load(Parquet(path=path, columns=columns | {"response": "response", "model": "model"}))
    assert (len(rows), sum(len(r["candidates"]) for r in rows)) == (170, 800)
