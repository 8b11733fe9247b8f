"""A stage that sees every row, whole or in pieces: `near_dedup` and memory of its own.

Run `python benchmarks/divided.py [rows ...]`. Each way runs in a process of its own over the same
store, which already holds the source; two workers. What counts is the peak of the memory that no
file backs (RssAnon, looked at every 20 ms), since pages of mapped parts can be dropped. Both ways
must leave the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import curate.engines
import curate.stages  # noqa: F401 - registers the stages
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline

PIPELINE = """\
name: divided
source: {jsonl: {path: ROWS, shard_rows: 2048, columns: {id: id, prompt: prompt}}}
stages: [near_dedup]
export: null
"""
NEVER = 1 << 60


def rows(path: Path, count: int) -> None:
    """Write prompts of about 50 words; every tenth is a near-copy of an earlier one."""
    draw = np.random.default_rng(0)
    words = np.array([f"{'bcdfgklmnprst'[k % 13]}{k:x}" for k in range(60_000)])
    texts: list[str] = []
    with path.open("w") as file:
        for number in range(count):
            if number % 10 == 9:
                text = f"{texts[draw.integers(len(texts))]} again"
            else:
                text = " ".join(words[draw.integers(60_000, size=draw.integers(30, 70))])
            if len(texts) < 50_000:
                texts.append(text)
            file.write(json.dumps({"id": f"r{number}", "prompt": text}) + "\n")


def anonymous() -> int:
    """Return the memory of this process that no file backs, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def measure(root: Path, divide_from: int, until: str | None = None) -> dict[str, float]:
    """Run; return seconds, peak of own memory above that before the run, and rows dropped."""
    peak, ended, before = [0], threading.Event(), anonymous()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    pipeline = Pipeline.loads(PIPELINE.replace("ROWS", str(root / "rows.jsonl")))
    executor = Local(workers=2, divide_from=divide_from)
    thread = threading.Thread(target=watch)
    thread.start()
    started = time.perf_counter()
    outcome = run(pipeline, root, executor=executor, until=until)
    seconds = time.perf_counter() - started
    ended.set()
    thread.join()
    executor.close()
    return {
        "seconds": round(seconds, 1),
        "own_mb": (peak[0] - before) >> 20,
        "dropped": sum(outcome.accounting["dropped"].values()),
    }


def left(root: Path) -> dict[str, str]:
    """Return what the stage left, by key."""
    parts = (root / "store/near_dedup").glob("*.arrow")
    return {p.name.split(".")[0]: hashlib.sha256(p.read_bytes()).hexdigest() for p in parts}


def main(sizes: list[int]) -> None:
    """Print one JSON line a size and way."""
    for count in sizes:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            rows(root / "rows.jsonl", count)
            measure(root, NEVER, until="unique_id")
            found = []
            for way, divide_from in (("whole", NEVER), ("pieces", 1)):
                command = [sys.executable, __file__, "--one", str(root), str(divide_from)]
                said = subprocess.run(command, capture_output=True, text=True, check=True)
                print(
                    json.dumps({"rows": count, "way": way, **json.loads(said.stdout)}), flush=True
                )
                found.append(left(root))
                for path in (root / "store/near_dedup").iterdir():
                    path.unlink()
            assert found[0] == found[1]
            assert found[0]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main([int(size) for size in sys.argv[1:]] or [50_000, 200_000])
