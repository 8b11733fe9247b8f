"""`status` without a name lists the runs, whatever state they are in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.errors import ConfigError
from curate.executors import Local
from curate.guard import OPEN
from curate.loop import run
from curate.pipeline import Pipeline
from curate.portion import Portion


def status(root: Path, *more: str) -> list[str]:
    done = CliRunner().invoke(app, ["status", "--root", str(root), *more])
    if done.exception is not None:
        raise done.exception
    return done.stdout.splitlines()


def test_every_run_is_a_line(scripted_pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run below .*; `curate run PIPELINE` begins one"):
        status(tmp_path)
    pipeline = Pipeline.load(scripted_pipeline)
    executor = Local(workers=1)
    share = run(pipeline, tmp_path, executor=executor, portion=Portion(number=1, of=2)).accounting
    books = run(pipeline, tmp_path, executor=executor).accounting
    executor.close()
    killed = tmp_path / "runs/killed"
    killed.mkdir()
    (killed / "events.jsonl").write_text('{"event":"source","time":1.0,"shards":2,"rows":9}\n')
    (killed / OPEN).touch()
    first, whole, part = status(tmp_path)
    assert first.startswith("killed: stopped: killed or crashed at source")
    rows = f"60 rows = {books['rows_exported']} kept"
    assert whole.startswith(f"small: finished; {rows}")
    assert whole.endswith(f"; {books['records']} records in {tmp_path}/runs/small/dataset")
    assert part.startswith("small-shard-1-of-2: unfinished; a run without --shard finishes; ")
    assert f"{share['rows_in']} rows = " in part
    found = {one["run"]: one for one in map(json.loads, status(tmp_path, "--json"))}
    assert found["small"]["finished"]
    assert found["small"]["rows_exported"] == books["rows_exported"]
    assert not found["killed"]["finished"]
    assert found["killed"]["state"] == "killed"
