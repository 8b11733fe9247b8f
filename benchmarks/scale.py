"""Scheduler overhead against the number of shards: the real loop, store and executor, tiny parts.

Run `python benchmarks/scale.py [shards ...]`. Every shard holds one row, so nearly all that is
measured is what a shard costs whatever it holds; parts lie on /dev/shm. Three runs each: from
nothing, again (all is looked up, nothing done), and again with a threshold changed. The engine
is the scripted one. The alternative in the same run commits the same number of parts in a bare
loop over `Store.commit`: what the store alone takes.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from curate.executors.local import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.store import Record, Store, digest

PIPELINE = """\
name: scale
source: {jsonl: {path: ROWS, shard_rows: 1, columns: {id: id, prompt: prompt}}}
engines: {fast: {scripted: {}}}
stages:
  - exact_dedup
  - generate: {engine: fast, n: 2}
  - likelihood: {engine: fast}
  - combine
  - min_score: {at_least: -4}
export: null
"""
PARTS = 7  # a shard: the source's, unique_id's and one of each stage


def once(root: Path, shards: int, *changes: str) -> float:
    """Run and return seconds; hold the books to what went in."""
    executor = Local(workers=2)
    pipeline = Pipeline.loads(PIPELINE.replace("ROWS", str(root / "rows.jsonl")), changes)
    started = time.perf_counter()
    ended = run(pipeline, root, executor=executor)
    seconds = time.perf_counter() - started
    executor.close()
    books = ended.accounting
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert ended.finished
    assert books["rows_in"] == shards == books["rows_alive"] + lost
    return seconds


def bare(root: Path, parts: int) -> float:
    """Commit so many parts of one row and nothing else; return seconds."""
    store, column = Store(root / "bare"), pa.array(["some text of a few words"])
    started = time.perf_counter()
    for number in range(parts):
        record = Record("part", digest(number), "", "", ("x",), (), 1, 1)
        store.commit(record, {"x": column})
    return time.perf_counter() - started


def main(sizes: list[int]) -> None:
    """Print one JSON line a size: microseconds a part, and the peak of memory so far."""
    for shards in sizes:
        folder = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a RAM disk
        root = Path(tempfile.mkdtemp(dir=folder))
        try:
            with (root / "rows.jsonl").open("w") as file:
                for number in range(shards):
                    row = {"id": f"r{number}", "prompt": f"What is {number} times {number % 7}?"}
                    file.write(json.dumps(row) + "\n")
            first, again = once(root, shards), once(root, shards)
            changed = once(root, shards, "min_score.at_least=-3")
            alone = bare(root, min(shards, 20_000)) / min(shards, 20_000)
            each = 1e6 / shards / PARTS
            result = {
                "shards": shards,
                "first_us_a_part": round(first * each),
                "again_us_a_part": round(again * each),
                "changed_us_a_part": round(changed * each),
                "bare_commit_us": round(alone * 1e6),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            print(json.dumps(result), flush=True)
        finally:
            shutil.rmtree(root)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000, 10_000, 100_000])
