from __future__ import annotations

import pyarrow as pa
import pytest

from curate.errors import StageError
from curate.methods.columns import base_column, column_of, own_keys, values_of
from curate.methods.vectors import best_of

META = pa.array(
    ['{"a": {"b": 2, "c": "x"}, "n": 1, "t": "u", "l": [1, 3]}', None, '{"a.b": 7, "n": 2.5}']
)
VIEW = pa.table({"meta": META, "n": [4, 5, 6]})


def test_names_and_the_columns_behind_them():
    assert [base_column(name) for name in ("meta.a.b", "n", "meta")] == ["meta", "n", "meta"]
    assert values_of(VIEW, "meta.a.b") == [2, None, 7]  # a key that holds the dot comes first
    assert values_of(VIEW, "meta.a.b.c") == [None] * 3
    assert own_keys(META) == ["a", "a.b", "l", "n", "t"]
    assert values_of(VIEW, "n") == [4, 5, 6]


def test_values_become_a_column_of_their_kind():
    assert column_of(VIEW, "n").to_pylist() == [4, 5, 6]
    assert column_of(VIEW, "meta.n").to_pylist() == [1.0, None, 2.5]
    assert column_of(VIEW, "meta.t").type == pa.string()
    assert column_of(VIEW, "meta.l").to_pylist() == [[1.0, 3.0], None, None]
    assert column_of(VIEW, "meta.a").to_pylist() == ['{"b":2,"c":"x"}', None, None]
    mixed = pa.table({"meta": ['{"k": 1}', '{"k": "one"}', '{"k": true}']})
    assert column_of(mixed, "meta.k").to_pylist() == ["1", "one", "true"]


def test_what_no_row_has():
    assert column_of(VIEW, "meta.nn").to_pylist() == [None] * 3
    with pytest.raises(StageError, match="no row has 'nn' in `meta`; did you mean 'n'"):
        column_of(VIEW, "meta.nn", required=True)
    assert len(column_of(VIEW.slice(0, 0), "meta.nn", required=True)) == 0


def test_the_best_number_of_a_key():
    assert best_of(VIEW, "meta.n").tolist() == [1.0, -float("inf"), 2.5]
    assert best_of(VIEW, "meta.l").tolist() == [3.0, -float("inf"), -float("inf")]
    with pytest.raises(StageError, match="cannot rank rows"):
        best_of(VIEW, "meta.t")
