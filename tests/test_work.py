"""What a stage is shown of a shard, folded from its parts."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import StageError
from curate.schema import COLUMNS, DROP, JUDGMENT
from curate.stage import Context, Stage
from curate.store import Record, Store
from curate.work import Shard, Task, check_result, run_task, view


def part(key: str, appends: tuple[str, ...] = ()) -> Record:
    return Record("judge", key, "", "", ("judgments",), appends, 2, 2)


def test_an_older_part_without_a_later_field_is_read_with_nulls_in_it(tmp_path: Path) -> None:
    later = {"prompt_tokens", "tokens"}
    old = pa.list_(pa.struct([field for field in JUDGMENT if field.name not in later]))
    given = [[{"judge": "old", "a": 0, "score": 1.0, "status": "ok"}], None]
    more = [[{"judge": "new", "a": 0, "score": 2.0, "tokens": 4}]] * 2
    store = Store(tmp_path)
    first = store.commit(part("aa"), {"judgments": pa.array(given, old)})
    second = store.commit(
        part("bb", ("judgments",)), {"judgments": pa.array(more, COLUMNS["judgments"])}
    )
    seen = view(store, Shard(0).advance(first).advance(second), ["judgments"])["judgments"]
    assert seen.type == COLUMNS["judgments"]
    rows = [[(j["judge"], j["score"], j["tokens"]) for j in row] for row in seen.to_pylist()]
    assert rows == [[("old", 1.0, None), ("new", 2.0, 4)], [("new", 2.0, 4)]]


class Writing(Stage, name="writing_in_tests"):
    """Return what the test says."""

    writes = ("x",)

    def apply(self, view: pa.Table, ctx: Context) -> dict[str, pa.Array]:
        return RESULT[0](view, ctx)


RESULT: list[Any] = [None]


def write(store: Store, result: Any) -> Record:
    """Run the stage over one shard of three rows and return its record."""
    RESULT[0] = result
    ids = pa.array(["a", "b", "c"])
    source = store.commit(Record("source", "aa", "", "", ("id",), (), 3, 3), {"id": ids})
    task = Task((Shard(0).advance(source),), ("bb",))
    return run_task(store, Writing(), task, {}, 0)[0]


def test_a_stage_that_needs_nothing_is_told_the_number_of_rows(tmp_path: Path) -> None:
    def result(view: pa.Table, ctx: Context) -> dict[str, pa.Array]:
        assert view.column_names == []
        return {"x": pa.array(range(view.num_rows))}

    assert write(Store(tmp_path), result).rows_in == 3


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        (pa.array(["p", None, "q"], pa.large_string()), pa.string()),
        (pa.array(["p", None, "q"], pa.string_view()), pa.string()),
        (pa.array([b"p", None, b"q"], pa.large_binary()), pa.binary()),
        (pa.array(["p", None, "p"]).dictionary_encode(), pa.string()),
        (pa.array([["p"], None, []], pa.large_list(pa.large_string())), pa.list_(pa.string())),
        (
            pa.array([{"a": ["p"]}] * 3, pa.struct([("a", pa.large_list(pa.large_string()))])),
            pa.struct([("a", pa.list_(pa.string()))]),
        ),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_a_layout_of_the_same_values_is_stored_as_the_plain_one(
    tmp_path: Path, column: pa.Array, stored: pa.DataType
) -> None:
    store = Store(tmp_path)
    read = store.read(write(store, lambda view, ctx: {"x": column}), ["x"])["x"]
    assert read.type == stored
    assert read.to_pylist() == column.to_pylist()


@pytest.mark.parametrize(
    "kind",
    [
        pa.decimal128(5, 2), pa.null(), pa.map_(pa.string(), pa.int8()), pa.list_(pa.null()),
        pa.month_day_nano_interval(), pa.struct([("a", pa.decimal128(5, 2))]), pa.binary(2),
    ],
    ids=str,
)  # fmt: skip
def test_a_type_that_cannot_be_stored_is_named_with_stage_and_column(
    tmp_path: Path, kind: pa.DataType
) -> None:
    with pytest.raises(StageError, match=r"stage `writing_in_tests`: 'x' is .*cannot be stored"):
        write(Store(tmp_path), lambda view, ctx: {"x": pa.nulls(3, kind)})


def test_a_column_of_another_type_is_still_refused() -> None:
    with pytest.raises(StageError, match="'drop' is int64, not string"):
        check_result(Writing(), {DROP: pa.array([1])}, 1)


def test_counters_of_any_library_are_plain_numbers(tmp_path: Path) -> None:
    def count(number: Any) -> Any:
        def result(view: pa.Table, ctx: Context) -> dict[str, pa.Array]:
            ctx.counts["n"] += number
            return {"x": pa.array([1, 2, 3])}

        return result

    record = write(Store(tmp_path / "a"), count(np.int64(4)))
    assert json.loads(json.dumps(record.counts)) == {"n": 4}
    with pytest.raises(StageError, match="`writing_in_tests`: a counter is no whole number"):
        write(Store(tmp_path / "b"), count(np.float32(0.5)))


def test_a_stage_that_leaves_the_process_stops_the_run_with_a_word(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"`writing_in_tests` asked the process to exit \(0\)"):
        write(Store(tmp_path), lambda view, ctx: sys.exit(0))
