"""Looking at a large run: `show` of one row, `show --dropped`, `report`, as commands of their own.

Run `python benchmarks/look.py [rows]` (default 1,000,000). A run of the scripted engine is made in
/tmp (512 rows a shard, four answers, a pointwise and a pairwise judge; about 2.5 GB for a million
rows) and looked at by the command line, each command in a fresh process, so that starting Python
and importing count. The alternative in the same run reads and hashes every part first, as `report`
must and as `show` did before.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = (
    "river stone cloud maple ember north quiet field harbour lantern meadow winter answer number "
    "model reason proof garden engine paper light water window market"
)
PIPELINE = """\
name: big
source: {jsonl: {path: ROOT/rows.jsonl, shard_rows: 512, columns: {id: id, prompt: prompt}}}
engines:
  a: {scripted: {model: model-a, replies: REPLIES}}
  b: {scripted: {model: model-b, replies: REPLIES}}
  j: {scripted: {model: model-a, replies: ["Good.\\nScore: 4", "Poor.\\nScore: 2", "Score: 3"]}}
  p: {scripted: {model: model-b, replies: ["One. [[A]]", "Two. [[B]]", "Same. [[tie]]"]}}
stages:
  - exact_dedup
  - generate: {engine: [a, b], n: 2}
  - judge: {engine: j}
  - combine
  - best_worst
  - judge_pairs: {engine: p}
  - margin: {at_least: 0.5}
export: null
"""
HASH_ALL = (
    "from curate import history; import sys; from pathlib import Path; r = Path(sys.argv[1]); \
history.shards(r, history.manifest(r, 'big'))"
)


def prepare(root: Path, rows: int) -> None:
    """Write the prompts and the pipeline, and run it."""
    draws = random.Random(0)  # noqa: S311
    with (root / "rows.jsonl").open("w") as file:
        for number in range(rows):
            text = f"Question {number}: {' '.join(draws.choices(WORDS.split(), k=40))}"
            file.write(json.dumps({"id": f"r{number}", "prompt": text}) + "\n")
    replies = [
        f"Answer {k}. " + " ".join(draws.choices(WORDS.split(), k=30 + draws.randrange(60)))
        for k in range(8)
    ]
    text = PIPELINE.replace("ROOT", str(root)).replace("REPLIES", json.dumps(replies))
    (root / "big.yaml").write_text(text)
    curate("run", str(root / "big.yaml"), "--quiet", "--root", str(root))


def curate(*arguments: str) -> tuple[float, float]:
    """Run a command; return seconds by the wall clock and of the processor."""
    return timed([sys.executable, "-m", "curate", *arguments])


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; return seconds by the wall clock and of the processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main(rows: int) -> None:
    """Print one JSON line a command: the best of three, or one run of what takes long."""
    root = Path(tempfile.mkdtemp())
    at = ("--root", str(root))
    try:
        prepare(root, rows)
        looks = {
            "show the first row": ("show", "big", "--id", "r1", *at),
            "show the last row": ("show", "big", "--id", f"r{rows - 1}", *at),
            "show --dropped": ("show", "big", "--dropped", *at),
            "report": ("report", "big", *at),
            "audit --encoder none": ("audit", "big", "--encoder", "none", *at),
        }
        for name, command in looks.items():
            times = [curate(*command) for _ in range(3 if command[0] == "show" else 1)]
            report(name, min(times), rows)
        report("hash every part", timed([sys.executable, "-c", HASH_ALL, str(root)]), rows)
        page = (root / "runs" / "big" / "report.html").stat().st_size
        print(json.dumps({"report_kb": page // 1000, "load": os.getloadavg()[0]}))
    finally:
        shutil.rmtree(root)


def report(name: str, seconds: tuple[float, float], rows: int) -> None:
    """Print one measurement."""
    wall, processor = (round(value, 2) for value in seconds)
    print(json.dumps({"what": name, "rows": rows, "wall_s": wall, "cpu_s": processor}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
