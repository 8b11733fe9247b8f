"""Stages that see every row, in pieces on a real local Ray cluster."""

import json
import os
import signal
import threading
import time

import pytest
from ray_runs import parts

from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline

pytest.importorskip("ray", reason="needs the extra `ray`")
from curate.executors.ray import Ray

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.mark.usefixtures("own_components")
def test_a_stage_that_sees_every_row_survives_the_loss_of_a_worker(tmp_path):
    """Its pieces run in several processes; one is killed in each of two steps."""
    marks = tmp_path / "marks"
    marks.mkdir()
    source = tmp_path / "prompts.jsonl"
    text = "Why is {} so much of a thing for everybody here, {}?"
    rows = [{"id": f"r{i}", "prompt": text.format(i // 2, i % 2)} for i in range(200)]
    source.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[7]]))
    pipeline = Pipeline.loads(
        f"name: t\nsource: {{jsonl: {{path: {source}, shard_rows: 10}}}}\nexport: null\n"
        f"stages:\n  - exact_dedup\n"
        f"  - 'slow_dedup:SlowDedup': {{threshold: 0.7, folder: {marks}}}\n"
    )
    whole = run(pipeline, tmp_path / "local", executor=Local())
    expected = parts(whole, tmp_path / "local")
    assert whole.accounting["dropped"]["slow_dedup:SlowDedup: near prompt duplicate"] > 50
    killed = []

    def kill():
        for step in ("shingles", "texts compare"):
            deadline = time.monotonic() + 120
            while not (seen := list(marks.glob(f"{step}-*"))) and time.monotonic() < deadline:
                time.sleep(0.01)
            number = int(seen[0].name.rpartition("-")[2])
            os.kill(number, signal.SIGKILL)
            killed.append(number)

    thread = threading.Thread(target=kill)
    thread.start()
    executor = Ray(workers=3, num_cpus=0.5, divide_from=1)
    try:
        ended = run(pipeline, tmp_path / "ray", executor=executor)
    finally:
        thread.join()
        executor.close()
    assert parts(ended, tmp_path / "ray") == expected
    assert ended.accounting == whole.accounting
    books = ended.accounting
    assert books["rows_in"] == 201 == books["rows_alive"] + sum(books["dropped"].values())
    done = [mark.name.split("-") for mark in marks.iterdir()]
    assert len(killed) == 2
    assert len({pid for _, _, pid in done}) >= 4  # three at once, and a new one for each killed
    again = {(step, number) for step, number, pid in done if int(pid) in killed}
    assert any((step, number) in again for step, number, pid in done if int(pid) not in killed)
    assert not list((tmp_path / "ray/store/.pieces").iterdir())


OVER_ALL = """
name: t
source: {jsonl: {path: PATH, shard_rows: 10, columns: {id: id, prompt: prompt}}}
stages:
  - vectors_stage:Vectors
  - semantic_dedup: {threshold: 0.99, exact_up_to: 0, probes: 4, keep: farthest}
  - diverse: {keep: 30, method: knn_density, k: 3}
  - near_dedup: {method: minhash, threshold: 0.95}
  - bound: {column: meta.rank, lowest: 15}
  - split
export: null
"""


@pytest.mark.usefixtures("own_components")
def test_stages_over_all_rows_leave_the_same_parts_in_pieces(tmp_path):
    """Pieces of each kind: of vectors in clusters, of a graph, of few numbers a row, of words.

    Of bands of minhashes too, and of the source's own columns.
    """
    pytest.importorskip("datasketch")
    source = tmp_path / "prompts.jsonl"
    rows = [{"id": f"r{k}", "prompt": f"What of {k} things and {k % 7}?"} for k in range(90)]
    for k, row in enumerate(rows):
        row["rank"] = str(k) if k == 80 else k * 37 % 90  # one text makes a column of texts
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pipeline = Pipeline.loads(OVER_ALL.replace("PATH", str(source)))
    whole = run(pipeline, tmp_path / "local", executor=Local())
    expected = parts(whole, tmp_path / "local")
    assert whole.accounting["rows_alive"] == 15
    assert len(whole.accounting["dropped"]) == 3
    executor = Ray(workers=2, num_cpus=0.5, divide_from=1)
    try:
        ended = run(pipeline, tmp_path / "ray", executor=executor)
    finally:
        executor.close()
    assert parts(ended, tmp_path / "ray") == expected
    assert ended.accounting == whole.accounting
