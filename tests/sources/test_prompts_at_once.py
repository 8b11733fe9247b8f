"""Whole columns at once give what row by row gives, and errors name the row."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import load

from curate.errors import InputError
from curate.sources.columns import Columns
from curate.sources.files import Jsonl, Parquet
from curate.sources.json_lines import parse_line
from curate.sources.mapping import canonical_row
from curate.sources.prompts import prompt_table
from curate.sources.tables import tabulate
from curate.sources.values import Raw

MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant"]), "content": st.sampled_from("a \x1c")}
)
PROMPTS = st.one_of(st.none(), st.text(max_size=5), st.just(" \u2003"), st.lists(MESSAGE))
VALUES = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.floats(), st.lists(st.none()))
REST = st.dictionaries(st.sampled_from(["b", "a", "é"]), VALUES)


@given(st.lists(st.tuples(PROMPTS, REST), min_size=1, max_size=6), st.booleans())
def test_columns_at_once_are_what_rows_one_by_one_are(rows, named):
    raw = [
        Raw({**rest, "prompt": prompt, **({"k": place} if named else {})}, "f")
        for place, (prompt, rest) in enumerate(rows)
    ]
    columns = Columns(id="k" if named else None)
    found = prompt_table(raw, columns)
    expected = tabulate([canonical_row([row], columns) for row in raw], columns)
    assert found is not None
    assert found.to_pylist() == expected.to_pylist()
    assert found.schema == expected.schema


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a\ud83d"},
        {"prompt": [{"role": "user", "content": "a", "name": "kept in meta"}]},
        {"prompt": 3},
        {"other": "a"},
        {"prompt": "a", "k": True},
        {"prompt": "a", "k": ""},
        {"prompt": "a", "k": "\ud83d"},
    ],
)
def test_what_needs_a_closer_look_goes_row_by_row(row):
    columns = Columns(id="k" if "k" in row else None)
    assert prompt_table([Raw({"prompt": "fine", "k": 1}, "f"), Raw(row, "f")], columns) is None


def test_numbers_keep_every_digit():
    for text in ("9223372036854775808", "18446744073709551616", "-9223372036854775809", "1e300"):
        found = parse_line(b'{"n": [%s]}' % text.encode(), "f, row 1")["n"][0]
        assert found == json.loads(text)
        assert type(found) is type(json.loads(text))


def test_two_columns_of_one_name_and_bad_utf8_are_one_line(tmp_path):
    path = tmp_path / "a.parquet"
    twice = pa.Table.from_arrays([pa.array(["a"])] * 2, names=["prompt", "prompt"])
    pq.write_table(twice, path)
    with pytest.raises(InputError, match="two columns have one name"):
        load(Parquet(path=str(path)))
    bad = pa.array([b"fine", None, b"\xff"], pa.binary()).view(pa.string())
    for more in ({}, {"n": pa.array([1, 2, 3])}):
        pq.write_table(pa.table({"prompt": bad, **more}), path)
        with pytest.raises(InputError, match="row 3: column 'prompt': text is not valid UTF-8"):
            load(Parquet(path=str(path)))


def test_a_dot_leads_into_a_column_unless_a_column_is_called_so(tmp_path):
    rows = [
        {"data": {"prompt": "a", "more": {"x": 1}}, "n": 1},
        {"data": {"prompt": "inner", "y": 2}, "data.prompt": "literal"},
        {"data": None},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load(Jsonl(path=str(path), columns={"prompt": "data.prompt"}))
    assert [row["prompt"][0]["content"] for row in found] == ["a", "literal", ""]
    assert [json.loads(row["meta"]) for row in found] == [
        {"data": {"more": {"x": 1}}, "n": 1},
        {"data": {"prompt": "inner", "y": 2}},
        {},
    ]
    assert found[2]["drop"] == "prompt is null"
    with pytest.raises(InputError, match=r"row 1: no column 'data\.promt'"):
        load(Jsonl(path=str(path), columns={"prompt": "data.promt"}))
