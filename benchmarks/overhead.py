"""Framework overhead: generate, judge, filter over many rows with the scripted engine.

Run `python benchmarks/overhead.py [rows] [workers] [rows a shard] [arrow|jsonl]`. There are two
alternatives in the same run. A bare loop writes the same rows as 1,000-row Arrow shards with fsync
and rename: what the disk allows. `datasets` maps three functions of a line over batches of the same
rows, each to a file: no checksums, no sync, no books, and the answers are not even made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from curate.executors.local import Local
from curate.loop import run
from curate.pipeline import Pipeline

PIPELINE = """\
name: overhead
source: {FORM: {path: ROWS, shard_rows: ROWS_A_SHARD, columns: {id: id, prompt: prompt}}}
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


def write_lines(rows: Path, path: Path) -> None:
    """Write the same rows as lines of JSON."""
    with pa.memory_map(str(rows)) as mapped, path.open("w") as file:
        reader = pa.ipc.open_file(mapped)
        for index in range(reader.num_record_batches):
            for row in reader.get_batch(index).to_pylist():
                file.write(json.dumps(row) + "\n")


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


def datasets_map(source: Path, folder: Path) -> float:
    """Add an answer and a score to the rows with `datasets`, and filter them; return seconds."""
    import datasets

    datasets.disable_progress_bars()
    with pa.memory_map(str(source)) as mapped:
        rows = datasets.Dataset(pa.ipc.open_file(mapped).read_all())
        started = time.perf_counter()
        rows = rows.map(
            lambda batch: {"answer": ["amber basin cedar delta"] * len(batch["prompt"])},
            batched=True, cache_file_name=str(folder / "answers.arrow"),
        )  # fmt: skip
        rows = rows.map(
            lambda batch: {"score": [3.0] * len(batch["prompt"])},
            batched=True, cache_file_name=str(folder / "scores.arrow"),
        )  # fmt: skip
        rows.filter(
            lambda batch: [score >= 3 for score in batch["score"]],
            batched=True, cache_file_name=str(folder / "kept.arrow"),
        )  # fmt: skip
        return time.perf_counter() - started


def watched(command: list[str]) -> tuple[list[float], dict[str, int]]:
    """Run the command; return what it printed, and its peak memory in MB.

    That is what it owns (anonymous memory) beside what it has mapped of files, looked at from
    outside 50 times a second: a thread within would take turns with the threads that work.
    """
    peak = {"RssAnon": 0, "RssFile": 0}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                name, _, size = line.partition(":")
                if name in peak:
                    peak[name] = max(peak[name], int(size.split()[0]) // 1024)
            time.sleep(0.02)
        assert process.stdout is not None
        assert process.returncode == 0
        return json.loads(process.stdout.read()), peak


def measure(rows: Path, workers: int, shard_rows: str) -> None:
    """Run the pipeline five times on fresh folders; print the seconds as JSON."""
    text = PIPELINE.replace("ROWS_A_SHARD", shard_rows).replace("ROWS", str(rows))
    text = text.replace("FORM", rows.suffix[1:])
    pipeline = Pipeline.loads(text)
    seconds = []
    for attempt in range(5):
        executor = Local(workers=workers)
        folder = rows.parent / f"try{attempt}"
        started = time.perf_counter()
        ended = run(pipeline, folder, executor=executor)
        seconds.append(time.perf_counter() - started)
        executor.close()
        assert ended.finished
        shutil.rmtree(folder)
    print(json.dumps(seconds))


def main() -> None:
    """Measure in a process of its own, so that its memory is its own; print one line of JSON."""
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    shard_rows = sys.argv[3] if len(sys.argv) > 3 else "25000"
    form = sys.argv[4] if len(sys.argv) > 4 else "arrow"
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        rows = folder / "rows.arrow"
        write_rows(rows, count)
        bare, mapped = bare_loop(rows, folder), datasets_map(rows, folder)
        if form == "jsonl":
            write_lines(rows, rows.with_suffix(".jsonl"))
        rows = rows.with_suffix(f".{form}")
        command = [sys.executable, __file__, "--measure", str(rows), str(workers), shard_rows]
        seconds, peak = watched(command)
        median = sorted(seconds)[2]
        result = {
            "rows": count,
            "source": form,
            "workers": workers,
            "rows_a_shard": int(shard_rows),
            "curate_rows_per_s": round(count / median),
            "best_rows_per_s": round(count / min(seconds)),
            "bare_loop_rows_per_s": round(count / bare),
            "datasets_map_rows_per_s": round(count / mapped),
            "peak_own_mb": peak["RssAnon"],
            "peak_mapped_mb": peak["RssFile"],
        }
        print(json.dumps(result))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
