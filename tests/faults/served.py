"""Runs against a server on loopback, and what is found of them below their root."""

import json

from serving import address

from curate import history
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.work import live_tables

SECRET = "sk-canary-7d1f0c"
PIPELINE = """
name: served
source: {jsonl: {path: PATH, shard_rows: SHARD, columns: {id: id, prompt: prompt}}}
engines:
  served: {openai: {model: tiny, base_url: "URL", retries: 2, timeout_s: 1.0, concurrency: 4}}
stages:
  - generate: {engine: served, n: 1, max_error_rate: RATE}
export: null
"""


class Served:
    """Starts the pipeline below `folder` over prompts p0, p1...; `rows` says how many."""

    def __init__(self, folder):
        self.folder, self._path = folder, folder / "prompts.jsonl"
        self.rows(8)

    def rows(self, count):
        lines = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(count)]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def __call__(self, server, rate="0.0", root=None, host=None, shard_rows=4):
        """Run to the end and return how it ended; `host` stands in for the server's address."""
        url = f"http://{host}/v1" if host else f"{address(server)}/v1"
        text = PIPELINE.replace("PATH", str(self._path)).replace("SHARD", str(shard_rows))
        text = text.replace("URL", url).replace("RATE", rate)
        executor = Local(workers=1)
        try:
            return run(Pipeline.loads(text), root or self.folder, executor=executor)
        finally:
            executor.close()


def shards(root):
    """The shards of the run below `root`."""
    return history.shards(root, history.manifest(root, "served"))[1]


def answers(root):
    """The candidate of each row that is alive, by the row's id."""
    rows = [
        row
        for table in live_tables(*history.shards(root, history.manifest(root, "served")))
        for row in table.to_pylist()
    ]
    return {row["id"]: row["candidates"][0] for row in rows}


def gone(root):
    """The rows that were dropped, or that failed."""
    return history.dropped(*history.shards(root, history.manifest(root, "served")))
