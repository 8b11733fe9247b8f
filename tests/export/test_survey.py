"""What stands beside a form's own columns, and of what type it is."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from export_rows import row, table

from curate.errors import ConfigError
from curate.export.catalogue import FORMS
from curate.export.survey import Again, survey
from curate.export.trainer_files import Layout, write_form
from curate.loop import run
from curate.pipeline import Pipeline


def with_meta(*metas):
    """Rows of one pair each, cut into a table a row: each alone would give another type."""
    rows = table([row(f"r{i}") for i in range(len(metas))])
    texts = pa.array([None if m is None else json.dumps(m) for m in metas], pa.string())
    whole = rows.append_column("meta", texts)
    return [whole.slice(i, 1) for i in range(len(metas))]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], [1.0, 2.5, None]),
        (["a", None, "b"], ["a", None, "b"]),
        ([{"a": 1}, None, {"a": 2, "b": "x"}],
         [{"a": 1, "b": None}, None, {"a": 2, "b": "x"}]),
        ([[1], [], [2, 3]], [[1], [], [2, 3]]),
        ([[{"a": 1}], [], [{"b": []}]], ['[{"a":1}]', "[]", '[{"b":[]}]']),
        ([{"a": {"b": 1}}, "text", None], ['{"a":{"b":1}}', "text", None]),
    ],
)  # fmt: skip
def test_a_field_of_the_source_has_one_type_over_all_tables(tmp_path, values, expected):
    tables = with_meta(*({"x": value} for value in values))
    write_form(iter(tables), tmp_path / "o.parquet", "unpaired", Layout(keep=["x"]))
    found = pq.read_table(tmp_path / "o.parquet")["x"].to_pylist()
    assert found == [value for value in expected for _ in range(2)]


def test_a_column_of_the_rows_is_kept_as_it_is(tmp_path):
    write_form([table([row("a")])], tmp_path / "o.jsonl", "openrlhf", Layout(keep=["reference"]))
    assert json.loads((tmp_path / "o.jsonl").read_text())["reference"] == "truth of a"


@pytest.mark.parametrize(
    ("metas", "keep", "message"),
    [
        ([{"tool": 1}], "tools", r"no row has a value; did you mean 'tool'\?"),
        ([None, {"x": None}], "x", "keep x: no row has a value$"),
        (
            [{"x": 1}, {"x": "one"}],
            "x",
            "of several kinds: a whole number in row 'r0', text in row",
        ),
        ([{"chosen": 1}], "chosen", "the form has a column of that name"),
    ],
)
def test_what_cannot_be_kept_is_said_before_a_file_is_there(tmp_path, metas, keep, message):
    with pytest.raises(ConfigError, match=message):
        write_form(with_meta(*metas), tmp_path / "o.jsonl", "openrlhf", Layout(keep=[keep]))
    assert not list(tmp_path.iterdir())


def test_of_no_rows_a_kept_column_is_empty(tmp_path):
    write_form(iter([table([])]), tmp_path / "o.parquet", "openrlhf", Layout(keep=["tools"]))
    found = pq.read_table(tmp_path / "o.parquet")
    assert (found.num_rows, found.column_names[-1]) == (0, "tools")


PIPELINE = """
name: kept
source:
  jsonl: {path: PATH, columns: {id: id, prompt: prompt, chosen: good, rejected: bad}}
stages: [split]
keep: [tools, ref_chosen_logps]
"""


def test_a_run_keeps_columns_in_its_own_dataset(tmp_path):
    """What `push` uploads has them too, and another choice writes the dataset anew."""
    path = tmp_path / "rows.jsonl"
    rows = [
        {"id": f"r{i}", "prompt": f"p{i}", "good": "yes", "bad": "no", "tools": [{"name": f"t{i}"}],
         "ref_chosen_logps": -1.5 - i}
        for i in range(4)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = PIPELINE.replace("PATH", str(path))
    pipeline = Pipeline.loads(text)
    assert Pipeline.loads(pipeline.dumps()) == pipeline
    data = run(pipeline, tmp_path).dataset()["train"]
    found = {row["id"]: row for row in data}
    assert json.loads(found["r2"]["tools"]) == [{"name": "t2"}]
    assert found["r3"]["ref_chosen_logps"] == -4.5
    pushed = pq.read_table(next((tmp_path / "runs/kept/dataset/data").glob("train-*.parquet")))
    assert pushed.column_names[-2:] == ["tools", "ref_chosen_logps"]
    fewer = Pipeline.loads(text, ["keep=[tools]"])
    assert "ref_chosen_logps" not in run(fewer, tmp_path).dataset()["train"].column_names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("keep=[margin]", "keep margin: the form has a column of that name already"),
        ("export=null", "`keep` says what a dataset holds, and `export: null` writes none"),
        ("keep=tools", "`keep` must be a list of columns"),
        ("keep=[1]", "`keep` must be a list of columns"),
    ],
)
def test_what_a_pipeline_cannot_keep_is_said_before_anything_runs(tmp_path, change, message):
    with pytest.raises(ConfigError) as error:
        Pipeline.loads(PIPELINE, [change]).check()
    assert message in str(error.value)


def test_a_dropped_pair_has_no_say_in_whether_there_are_margins():
    lost = row("a")
    lost["pairs"] = [lost["pairs"][0] | {"margin": None}, lost["pairs"][0] | {"drop": "why"}]
    known, _ = survey([table([lost])], FORMS["implicit"])
    assert not known.margins
    known, _ = survey([table([lost]), table([row("b")])], FORMS["implicit"])
    assert known.margins


@pytest.mark.parametrize(
    "scores", [[[4.5, 3.0, 1.0]] * 3, [[4.5, 3.0, 1.0], [4.5, None, 1.0], None], None]
)
def test_rewards_are_there_for_all_pairs_or_for_none(tmp_path, scores):
    """NeMo-Aligner turns them into numbers whatever they are, and has defaults where none are."""
    rows = [row(f"r{i}") for i in range(3)]
    for place, one in enumerate(rows):
        one["scores"] = scores[place] if scores else [1.0] * 3
    whole = table(rows) if scores else table(rows).drop_columns(["scores"])
    tables = [whole.slice(i, 1) for i in range(3)]
    write_form(iter(tables), tmp_path / "o.jsonl", "nemo-aligner")
    found = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    given = {"chosen_reward", "rejected_reward"} & {name for one in found for name in one}
    assert bool(given) is (scores == [[4.5, 3.0, 1.0]] * 3)
    assert all(isinstance(one[name], float) for one in found for name in given)


def test_tables_that_can_be_read_again_are_not_held():
    reads = []

    def read():
        reads.append(1)
        yield table([row("a")])

    tables = Again(read)
    for _ in range(2):
        _, tables = survey(tables, FORMS["implicit"])
    assert isinstance(tables, Again)
    assert len(reads) == 2
