"""Read what a run left behind: its state, its rows, and one prompt's whole history."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.attempt import Attempt, last_attempt
from curate.errors import ConfigError, StoreError
from curate.export.catalogue import form_named
from curate.export.records import lost_rows
from curate.guard import OPEN
from curate.manifest import FORMAT
from curate.pipeline import Pipeline
from curate.printable import printable
from curate.schema import DROP, FAIL
from curate.store import Record, Store, folder_name
from curate.work import Shard, live_tables, stacked, view


def manifest(root: Path, name: str) -> dict[str, Any]:
    """Return the run's manifest.

    Raises ConfigError where there is no such run, StoreError for a manifest that is damaged or of
    a newer format.
    """
    path = root / "runs" / name / "manifest.json"
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        if (path.parent / OPEN).exists():
            state = last_attempt(path.parent).text() or "its manifest is gone; run it again"
            raise ConfigError(f"run {name!r} has no books yet: {state}") from None
        runs = sorted(p.parent.name for p in (root / "runs").glob("*/manifest.json"))
        raise ConfigError(
            f"no run {name!r} below {root}; runs: {', '.join(runs) or 'none'}"
        ) from None
    except orjson.JSONDecodeError:
        found = {}
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise StoreError(f"{path} is damaged; run the pipeline again to rewrite it")
    if found["format"] > FORMAT:
        raise StoreError(
            f"{path} was written in format {found['format']}, and this curate reads {FORMAT}; "
            "upgrade curate"
        )
    if not found.keys() >= {"finished", "stages", "accounting", "shards"}:
        raise StoreError(f"{path} is damaged; run the pipeline again to rewrite it")
    return found


def runs(root: Path) -> list[str]:
    """Return the names of all runs below `root`, those that have no books yet too."""
    begun = (path.parent for path in (root / "runs").glob("*/events.jsonl"))
    return sorted({path.name for path in begun})


def is_of(found: dict[str, Any], attempt: Attempt) -> bool:
    """Whether the manifest tells of this attempt, and not of one before it."""
    if attempt.state == "failed":  # where the source cannot be read the older one stays
        return found.get("error") == attempt.error
    return attempt.state == "ended"


def caution(root: Path, name: str, found: dict[str, Any]) -> str:
    """Say in a line why the manifest is not what the run comes to; "" for one that has finished.

    The last attempt may have left none, or one of a run that is not at its end.
    """
    attempt = last_attempt(root / "runs" / name)
    state = printable(attempt.text().partition("\n")[0])
    if not is_of(found, attempt):
        return f"{state}; what is shown is of an earlier attempt, perhaps with another pipeline"
    if found["finished"]:
        return ""
    left = ", ".join(stages_left(root, name, found)) or "the export"
    return f"{state or 'unfinished'}; what is shown is as far as it came: still to do: {left}"


def shards(root: Path, found: dict[str, Any]) -> tuple[Store, list[Shard]]:
    """Return the store and the run's shards. Raises StoreError for a part that is gone."""
    store = Store(root / "store")
    return store, [_found(store, index, parts) for index, parts in enumerate(found["shards"])]


def live_table(store: Store, all_shards: Sequence[Shard], columns: Sequence[str]) -> pa.Table:
    """Return the named columns, as far as every shard has them, of all live rows in one table."""
    names = [name for name in columns if all(name in shard.columns for shard in all_shards)]
    return stacked(store, all_shards, names)


def stages_left(root: Path, name: str, found: dict[str, Any]) -> list[str]:
    """Return the kinds of the stages that an unfinished run has still to come to.

    None where it has finished or its pipeline cannot be read any more.
    """
    if found["finished"]:
        return []
    try:
        given = pipeline_of(root, name, found)
    except ConfigError:
        return []
    done = len(found["stages"]) - 1  # `unique_id` stands before the pipeline's own
    return [stage.kind for stage in given.stages[max(0, done) :]]


def pipeline_of(root: Path, name: str, found: dict[str, Any]) -> Pipeline:
    """Return the pipeline of which the manifest tells. Raises ConfigError.

    Early manifests do not hold it; then it is the one in the run's folder.
    """
    if "pipeline" in found:
        return Pipeline.loads(str(found["pipeline"]))
    return Pipeline.load(root / "runs" / name / "pipeline.yaml", [])


def seed_of(found: dict[str, Any], given: Pipeline) -> int:
    """Return the seed of the run; early manifests do not name it, and then it is the pipeline's."""
    return int(found.get("seed", given.seed))


def with_losses(root: Path, found: dict[str, Any]) -> Iterator[Shard]:
    """Yield the run's shards that lost rows; the parts of the others are not read.

    `shards` holds every part to its hash, which takes seconds a gigabyte. Raises StoreError.
    """
    store = Store(root / "store")
    for index, parts in enumerate(found["shards"]):
        if any(record.rows_in != record.rows_out for record in _peeked(store, parts)):
            yield _found(store, index, parts)


def losses(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how many rows each stage lost and why: {stage, dropped or failed (the reason), rows}.

    From the manifest alone. Rows that stayed and gave no record stand under the stage `export`;
    `unexported` says which they are.
    """
    return [
        {"stage": stage, fate: reason, "rows": rows}
        for fate in ("dropped", "failed")
        for key, rows in found["accounting"][fate].items()
        for stage, _, reason in [key.partition(": ")]
    ]


def dropped(
    store: Store, all_shards: Iterable[Shard], most: int = 1000, stage: str = ""
) -> list[dict[str, str]]:
    """Return up to `most` rows that were dropped or failed: id, stage, outcome and reason.

    Of one kind of `stage` alone, where it is given.
    """
    rows: list[dict[str, str]] = []
    for shard in all_shards:
        for depth, record in enumerate(shard.parts):
            if record.rows_in == record.rows_out or len(rows) >= most:
                continue
            if stage and record.stage != stage:
                continue
            before = earlier(shard, depth)
            ids = view(store, before, ["id"])["id"] if depth else store.read(record, ["id"])["id"]
            for outcome, reasons in store.read(record, [DROP, FAIL]).items():
                gone = reasons.is_valid()
                for row_id, why in zip(ids.filter(gone), reasons.filter(gone), strict=True):
                    fate = "dropped" if outcome == DROP else "failed"
                    rows.append({"id": row_id.as_py(), "stage": record.stage, fate: why.as_py()})
        if len(rows) >= most:
            break
    return rows[:most]


def unexported(root: Path, name: str, found: dict[str, Any], most: int) -> list[dict[str, str]]:
    """Return up to `most` rows that no stage lost and that gave no record, as `dropped` does.

    They are shaped once more, for what is exported holds only the others. Raises ConfigError for
    a pipeline that cannot be read any more, StoreError for parts that are gone.
    """
    if most < 1 or not any(entry["stage"] == "export" for entry in losses(found)):
        return []
    form = pipeline_of(root, name, found).export or "preference"
    store = Store(root / "store")
    alive = (_found(store, index, parts) for index, parts in enumerate(found["shards"]))
    lost = lost_rows(live_tables(store, alive), form_named(form))
    return [
        {"id": row_id, "stage": "export", "dropped": why.removeprefix("export: ")}
        for row_id, why in islice(lost, most)
    ]


def locate(root: Path, found: dict[str, Any], row_id: str) -> tuple[Store, Shard]:
    """Return the store, and the first shard whose source holds the row, held to its hashes.

    Of the other shards only the ids are read. Raises ConfigError where no shard has the row.
    """
    store = Store(root / "store")
    wanted = pa.scalar(row_id, pa.string())
    for index, parts in enumerate(found["shards"]):
        if pc.index(_source_ids(store, *parts[0]), wanted).as_py() >= 0:
            return store, _found(store, index, parts)
    raise ConfigError(
        f"no row with id {row_id!r} in this run; `curate show NAME --dropped` and the exported "
        "dataset's column `id` have ids to choose from"
    )


def trace(store: Store, shard: Shard, row_id: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the row's place in each part, as far as it came, and what was written: {stage,
    columns...}.
    """
    steps: list[tuple[int, dict[str, Any]]] = []
    for depth, record in enumerate(shard.parts):
        ids = view(store, earlier(shard, depth), ["id"]) if depth else store.read(record, ["id"])
        where = pc.index(ids["id"], pa.scalar(row_id, ids["id"].type)).as_py()
        if where < 0:
            break
        columns = store.read(record, record.columns)
        facts = {name: column[where].as_py() for name, column in columns.items()}
        steps.append((where, {"stage": record.stage, **facts}))
    return steps


def earlier(shard: Shard, depth: int) -> Shard:
    """Return the shard as it was before its part number `depth`."""
    before = Shard(shard.index)
    for record in shard.parts[:depth]:
        before = before.advance(record)
    return before


def _found(store: Store, index: int, parts: Iterable[Sequence[str]]) -> Shard:
    shard = Shard(index)
    for stage, key in parts:
        record = store.find(stage, key)
        if record is None:
            raise StoreError(f"part {key[:12]} of `{stage}` is gone; run the pipeline again")
        shard = shard.advance(record)
    return shard


def _source_ids(store: Store, stage: str, key: str) -> pa.ChunkedArray:
    """Return the ids of a source's part; as fast as can be, for this is done thousands of times.

    Nothing is held to a hash: the part that has the row will be. Raises StoreError.
    """
    folder = folder_name(stage)
    try:
        with open(f"{store.root}/{folder}/{_plain(key)}.json", "rb") as record:  # noqa: PTH123
            file = orjson.loads(record.read())["file"]
        with pa.memory_map(f"{store.root}/{_part(file)}") as source:
            return pa.ipc.open_file(source.read_buffer()).read_all().column("id")
    except (OSError, ValueError, TypeError, KeyError, StoreError) as error:
        why = getattr(error, "strerror", None) or error
        raise StoreError(
            f"cannot read part {key[:12]} of `{stage}`: {why}; run the pipeline again"
        ) from None


def _plain(key: str) -> str:
    if not re.fullmatch(r"\w{1,100}", key):
        raise StoreError("no such part")  # a manifest must not lead outside the store
    return key


def _part(file: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[0-9a-f]+\.[0-9a-f]+\.arrow", file):
        raise StoreError("it names no part")  # nor must a record
    return file


def _peeked(store: Store, parts: Iterable[Sequence[str]]) -> Iterator[Record]:
    """Yield the parts' records as they are; the parts are not read and not held to their hashes."""
    for stage, key in parts:
        path = store.root / folder_name(stage) / f"{key}.json"
        try:
            _plain(key)
            record = Record.unpack(path.read_bytes())
            _part(record.file)
            yield record
        except (OSError, StoreError) as error:
            why = getattr(error, "strerror", None) or error
            raise StoreError(f"cannot read {path}: {why}; run the pipeline again") from None
