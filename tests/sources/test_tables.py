"""How a stream of batches is cut into shards."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from curate.sources.tables import shards


def batches(*sizes: int, seen: list[int] | None = None) -> Iterator[pa.Table]:
    start = 0
    for size in sizes:
        if seen is not None:
            seen.append(size)
        numbers = pa.array(range(start, start + size), pa.int64())
        yield pa.table({"n": numbers, "drop": pa.nulls(size, pa.string())})
        start += size


@pytest.mark.parametrize(
    ("sizes", "cut"),
    [
        ((), []),
        ((0, 0), []),
        ((1,), [1]),
        ((3,), [3]),
        ((4,), [3, 1]),
        ((3, 3), [3, 3]),
        ((2, 2, 2), [3, 3]),
        ((1, 1, 1, 1), [3, 1]),
        ((10, 2), [3, 3, 3, 3]),
        ((3, 0), [3]),
        ((2, 0, 5, 0), [3, 3, 1]),
    ],
)
def test_all_are_full_but_the_last_and_only_that_says_so(
    sizes: tuple[int, ...], cut: list[int]
) -> None:
    found = list(shards(batches(*sizes), 3))
    assert [table.num_rows for table, _ in found] == cut
    assert [is_last for _, is_last in found] == [False] * (len(cut) - 1) + [True] * bool(cut)
    assert [n for table, _ in found for n in table["n"].to_pylist()] == list(range(sum(sizes)))


def test_a_shard_is_there_once_it_is_known_not_to_be_the_last() -> None:
    """So that it is written while the next one is read."""
    seen: list[int] = []
    stream = shards(batches(2, 2, 2, 2, 2, seen=seen), 4)
    next(stream)
    assert len(seen) == 3
    next(stream)
    assert len(seen) == 5
