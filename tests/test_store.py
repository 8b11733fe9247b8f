"""The store: exclusive records, canonical bytes, damage found and set aside."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.arrays import concat_lists
from curate.canonical import canonical
from curate.disk import serialize
from curate.errors import StoreError
from curate.store import Record, Store


def record(key: str = "ab12", columns: tuple[str, ...] = ("x",), rows: int = 3) -> Record:
    return Record("stage", key, "", "", columns, (), rows, rows)


def test_commit_then_find_and_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.commit(record(), {"x": pa.array(["a", None, "c"])})
    fresh = Store(tmp_path)
    assert fresh.find("stage", "ab12") == made
    assert fresh.read(made, ["x"])["x"].to_pylist() == ["a", None, "c"]
    assert store.find("stage", "ffff") is None


def test_a_process_forked_from_one_that_has_committed_commits_too(tmp_path: Path) -> None:
    """Threads do not outlast a fork: whoever waits for one of the parent's waits for ever."""
    store = Store(tmp_path)
    store.commit(record(), {"x": pa.array([1, 2, 3])})
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends it where it hangs
        try:
            store.commit(record("cd34"), {"x": pa.array([4, 5, 6])})
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.find("stage", "cd34") is not None


def test_the_first_record_wins_and_the_loser_leaves_no_file(tmp_path: Path) -> None:
    stores = [Store(tmp_path) for _ in range(8)]
    results: list[Record] = []
    threads = [
        threading.Thread(
            target=lambda i=i, s=s: results.append(s.commit(record(), {"x": pa.array([i, i, i])}))
        )
        for i, s in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({r.sha256 for r in results}) == 1
    assert len(list(tmp_path.glob("*/*.arrow"))) == 1
    assert not list(tmp_path.glob("*/*.tmp"))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "record"])
def test_damage_is_found_and_the_part_can_be_made_again(tmp_path: Path, damage: str) -> None:
    made = Store(tmp_path).commit(record(), {"x": pa.array([1, 2, 3])})
    part = tmp_path / made.file
    raw = part.read_bytes()
    if damage == "flip":
        part.write_bytes(raw[:100] + bytes([raw[100] ^ 1]) + raw[101:])
    elif damage == "cut":
        part.write_bytes(raw[:-1])
    elif damage == "gone":
        part.unlink()
    else:
        (tmp_path / "stage" / "ab12.json").write_text("{")
    store = Store(tmp_path)
    assert store.find("stage", "ab12") is None
    again = store.commit(record(), {"x": pa.array([1, 2, 3])})
    assert again.sha256 == made.sha256
    assert Store(tmp_path).find("stage", "ab12") == again


def test_a_record_cannot_lead_outside_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = store.commit(record(), {"x": pa.array([1, 2, 3])})
    path = tmp_path / "store" / "stage" / "ab12.json"
    path.write_text(path.read_text().replace(made.file, "../secret/ab12.00.arrow"))
    assert Store(tmp_path / "store").find("stage", "ab12") is None


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "stage").write_text("in the way")
    with pytest.raises(StoreError, match="run the same command again"):
        Store(tmp_path).commit(record(), {"x": pa.array([1, 2, 3])})


rows = st.lists(
    st.none()
    | st.lists(
        st.fixed_dictionaries(
            {"a": st.none() | st.text(max_size=5), "b": st.none() | st.integers(-9, 9)}
        ),
        max_size=3,
    ),
    max_size=8,
)
TYPE = pa.list_(pa.struct([("a", pa.string()), ("b", pa.int32())]))


@given(rows, rows, rows)
def test_equal_values_give_equal_bytes(
    before: list[object], values: list[object], after: list[object]
) -> None:
    plain = pa.array(values, TYPE)
    sliced = pa.array([*before, *values, *after], TYPE).slice(len(before), len(values))
    taken = pa.concat_arrays([plain, pa.array(after, TYPE)]).take(
        pa.array(range(len(values)), pa.int64())
    )
    assert canonical(sliced).to_pylist() == values
    canonical(sliced).validate(full=True)
    assert serialize({"x": plain}) == serialize({"x": sliced}) == serialize({"x": taken})


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.5, None, 2.5], pa.float32()),
        pa.array([True, None, False]),
        pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6), pa.float16()), 2),
        pa.array([None, [1, 2]], pa.list_(pa.int8(), 2)),
    ],
)
def test_canonical_keeps_the_values_of_every_type(values: pa.Array) -> None:
    for part in (values, values.slice(1)):
        assert canonical(part).equals(part)
        canonical(part).validate(full=True)


@given(st.lists(st.tuples(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))))
def test_concat_lists_joins_row_by_row(pairs: list[tuple[list[int], list[int]]]) -> None:
    kind = pa.list_(pa.int64())
    joined = concat_lists(
        pa.array([a for a, _ in pairs], kind), pa.array([b for _, b in pairs], kind)
    )
    assert joined.to_pylist() == [a + b for a, b in pairs]
