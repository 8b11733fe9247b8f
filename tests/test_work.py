"""What a stage is shown of a shard, folded from its parts."""

from pathlib import Path

import pyarrow as pa

from curate.schema import COLUMNS, JUDGMENT
from curate.store import Record, Store
from curate.work import Shard, view


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
