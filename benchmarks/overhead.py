"""Framework overhead: generate, judge, filter over many rows with the scripted engine.

Run `python benchmarks/overhead.py [rows] [workers]`. The alternative in the same run is a bare
loop that writes the same rows as 1,000-row Arrow shards with fsync and rename: what the disk
allows.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

import curate.engines
import curate.stages  # noqa: F401 - registers the stages
from curate.executors.local import Local
from curate.loop import run
from curate.pipeline import Pipeline

PIPELINE = """\
name: overhead
source: {arrow: {path: ROWS, shard_rows: 5000, columns: {id: id, prompt: prompt}}}
engines:
  fast: {scripted: {}}
stages:
  - generate: {engine: fast, n: 1}
  - judge: {engine: fast, score: expected}
  - min_score: {at_least: 3}
export: null
"""


def write_rows(path: Path, count: int) -> None:
    """Write `count` prompts of about 1.5 KB, a shard at a time so that memory stays small."""
    text = "The quick brown fox jumps over the lazy dog and keeps on running. " * 23
    schema = pa.schema([("id", pa.string()), ("prompt", pa.string())])
    with pa.ipc.new_file(str(path), schema) as writer:
        for start in range(0, count, 5000):
            rows = range(start, min(start + 5000, count))
            columns = [[f"r{i}" for i in rows], [f"{i} {text}" for i in rows]]
            writer.write_batch(pa.record_batch([pa.array(c) for c in columns], schema=schema))


def bare_loop(source: Path, folder: Path) -> float:
    """Write the rows as shards with fsync and rename, nothing else; return seconds."""
    started = time.perf_counter()
    with pa.memory_map(str(source)) as mapped:
        table = pa.ipc.open_file(mapped).read_all()
        for start in range(0, table.num_rows, 1000):
            scratch = folder / f"{start}.tmp"
            with scratch.open("wb") as file:
                with pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table.slice(start, 1000))
                file.flush()
                os.fsync(file.fileno())
            scratch.rename(folder / f"{start}.arrow")
    return time.perf_counter() - started


def main() -> None:
    """Measure five times and print the median as JSON."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        write_rows(folder / "rows.arrow", count)
        bare = bare_loop(folder / "rows.arrow", folder)
        pipeline = Pipeline.loads(PIPELINE.replace("ROWS", str(folder / "rows.arrow")))
        seconds = []
        for attempt in range(5):
            executor = Local(workers)
            started = time.perf_counter()
            ended = run(pipeline, folder / f"try{attempt}", executor=executor)
            seconds.append(time.perf_counter() - started)
            executor.close()
            assert ended.accounting["rows_in"] == count
        median = sorted(seconds)[2]
        result = {
            "rows": count,
            "workers": workers,
            "curate_rows_per_s": round(count / median),
            "best_rows_per_s": round(count / min(seconds)),
            "bare_loop_rows_per_s": round(count / bare),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(result))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
