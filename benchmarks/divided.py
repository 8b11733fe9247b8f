"""A stage that sees every row, whole or in pieces: its time and memory of its own.

Run `python benchmarks/divided.py STAGE [rows ...]`, with a stage of `BEFORE`. Each way runs in a
process of its own over the same store, which already holds what the stage reads; two workers. What
counts is the peak of the memory that no file backs (RssAnon, looked at every 20 ms), since pages of
mapped files can be dropped. Both ways must leave the same bytes.
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
import pyarrow as pa

from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS
from curate.stage import Context, Stage

PIPELINE = """\
name: divided
source: {jsonl: {path: ROWS, shard_rows: 2048, columns: {id: id, prompt: prompt}}}
stages: [STAGES]
export: null
"""
BEFORE = {
    "near_dedup": [],
    "semantic_dedup": ["divided:Vectors"],
    "retrieve": ["divided:Vectors", "divided:Choices"],
    "few_shot": ["divided:Choices"],
}
FIELDS: dict[str, dict[str, object]] = {
    "retrieve": {"labels": ["people"]},
    "few_shot": {"by": "who"},
}
NEVER = 1 << 60
WIDTH = 384


class Vectors(Stage):
    """Vectors in place of an encoder's; every tenth is near that of 19 others."""

    needs = ("id",)
    writes = ("embedding",)

    def apply(self, view: pa.Table, ctx: Context) -> dict[str, pa.Array]:
        """Return the vectors in float16, as `embed` does."""
        numbers = [int(name[1:]) for name in view["id"].to_pylist()]
        draw = np.random.default_rng(numbers[0])
        vectors = draw.normal(size=(len(numbers), WIDTH))
        for row, number in enumerate(numbers):
            if number % 10 == 9:
                vectors[row] *= 0.3
                vectors[row] += np.random.default_rng(number // 200).normal(size=WIDTH)
        flat = pa.array(vectors.astype(np.float16).ravel())
        return {"embedding": pa.FixedSizeListArray.from_arrays(flat, WIDTH)}


class Choices(Stage):
    """Two answers of some 50 words, one pair, whose it is; and a label on every fiftieth row."""

    needs = ("id", "prompt")
    writes = ("candidates", "pairs", "judgments", "who")

    def apply(self, view: pa.Table, ctx: Context) -> dict[str, pa.Array]:
        """Return answers made of the prompt's words; twenty rows are one person's."""
        numbers = [int(name[1:]) for name in view["id"].to_pylist()]
        texts = [turns[-1]["content"].split() for turns in view["prompt"].to_pylist()]
        answers = [[{"text": " ".join(w[::-1])}, {"text": " ".join(sorted(w))}] for w in texts]
        pairs = [[{"chosen": n % 2, "rejected": 1 - n % 2}] for n in numbers]
        said = {"judge": "people", "aspect": "s", "a": 0, "b": 1, "score": 1.0, "status": "ok"}
        return {
            "candidates": pa.array(answers, CANDIDATES),
            "pairs": pa.array(pairs, PAIRS),
            "judgments": pa.array([[said] if n % 50 == 0 else [] for n in numbers], JUDGMENTS),
            "who": pa.array([f"p{n // 20}" for n in numbers]),
        }


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


def measure(root: Path, stage: str, divide_from: int, until: str | None = None) -> dict[str, float]:
    """Run; return seconds, peak of own memory above that before the run, and rows dropped."""
    peak, ended, before = [0], threading.Event(), anonymous()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    stages = [*BEFORE[stage], {stage: FIELDS.get(stage, {})}]
    text = PIPELINE.replace("[STAGES]", json.dumps(stages))
    pipeline = Pipeline.loads(text.replace("ROWS", str(root / "rows.jsonl")))
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


def left(root: Path, stage: str) -> dict[str, str]:
    """Return what the stage left, by key."""
    parts = (root / "store" / stage).glob("*.arrow")
    return {p.name.split(".")[0]: hashlib.sha256(p.read_bytes()).hexdigest() for p in parts}


def main(stage: str, sizes: list[int]) -> None:
    """Print one JSON line a size and way."""
    for count in sizes:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            rows(root / "rows.jsonl", count)
            measure(root, stage, NEVER, until=(["unique_id"] + BEFORE[stage])[-1])
            found = []
            for way, divide_from in (("whole", NEVER), ("pieces", 1)):
                command = [sys.executable, __file__, "--one", str(root), stage, str(divide_from)]
                said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                facts = {"stage": stage, "rows": count, "way": way, **json.loads(said.stdout)}
                print(json.dumps(facts), flush=True)
                found.append(left(root, stage))
                for path in (root / "store" / stage).iterdir():
                    path.unlink()
            assert found[0] == found[1]
            assert found[0]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
    else:
        named, sizes = sys.argv[1:2] or ["near_dedup"], sys.argv[2:] or ["50000", "200000"]
        main(named[0], [int(size) for size in sizes])
