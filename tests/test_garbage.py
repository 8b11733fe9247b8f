"""`curate gc`: what no run needs goes, and nothing that a finished run uses."""

from __future__ import annotations

import functools
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import curate
from swept import files, go

from curate.errors import ConfigError, LockHeld, StageError, StoreError
from curate.garbage import sweep
from curate.guard import OPEN, locked, open_run


def test_what_only_an_older_version_of_a_run_needed_goes(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    go(scripted_pipeline, tmp_path)
    first = files(tmp_path)
    go(scripted_pipeline, tmp_path, "margin.at_least=0.02")
    both = files(tmp_path)
    size = sum(p.stat().st_size for p in both)
    told = sweep(tmp_path, dry_run=True)
    assert files(tmp_path) == both
    assert sweep(tmp_path) == told
    left = files(tmp_path)
    assert 0 < told.parts == (len(both) - len(left)) // 2
    assert told.bytes == size - sum(p.stat().st_size for p in left)
    assert told.kept == len(left) // 2
    assert both - left < first  # the older ones
    inodes = {p: p.stat().st_ino for p in left}
    go(scripted_pipeline, tmp_path, "margin.at_least=0.02")
    assert {p: p.stat().st_ino for p in files(tmp_path)} == inodes


def test_another_runs_parts_stay(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    go(scripted_pipeline, tmp_path, "name=other", "margin.at_least=0.02")
    assert sweep(tmp_path).parts == 0
    with pytest.raises(ConfigError, match="no such run; runs: other, small"):
        sweep(tmp_path, forget=["../small"])
    before = files(tmp_path)
    told = sweep(tmp_path, forget=["other"], dry_run=True)
    assert (files(tmp_path), (tmp_path / "runs/other/manifest.json").exists()) == (before, True)
    assert sweep(tmp_path, forget=["other"]) == told
    assert told.parts
    assert (tmp_path / "runs/other/dataset/README.md").exists()
    go(scripted_pipeline, tmp_path)
    assert sweep(tmp_path).parts == 0


def test_a_run_that_is_forgotten_must_not_be_at_work(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    go(scripted_pipeline, tmp_path)
    with (
        locked(tmp_path / "runs/small"),
        pytest.raises(LockHeld, match=f"process {os.getpid()} on "),
    ):
        sweep(tmp_path, forget=["small"])
    assert (tmp_path / "runs/small/manifest.json").exists()
    with locked(tmp_path / "store", "sweep"), pytest.raises(LockHeld, match="another sweep"):
        sweep(tmp_path)


def test_left_over_files_go_and_foreign_ones_stay(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    before = files(tmp_path)
    folder = tmp_path / "store/margin"
    key = next(folder.glob("*.json")).stem
    record = (folder / f"{key}.json").read_bytes()
    junk = [f"{key}.ab12.arrow", f"{key}.cd.tmp", f"{key}.00ff00ff.damaged", "f" * 64 + ".1.arrow"]
    for name in junk:
        (folder / name).write_bytes(b"x" * 10)
    (folder / ("e" * 64 + ".12345678.gone")).write_bytes(record.replace(key.encode(), b"e" * 64))
    notes = folder / "notes.txt"
    notes.write_text("mine")
    secret = tmp_path / "elsewhere.txt"
    secret.write_text("mine")
    (folder / ("d" * 64 + ".tmp")).symlink_to(secret)
    (tmp_path / "store/linked").symlink_to(tmp_path / "runs")
    swept = sweep(tmp_path)
    assert swept.leftovers == len(junk)
    assert swept.parts == 1  # what a sweep that was killed had set aside
    assert notes.exists()
    assert secret.exists()
    assert {p for p in files(tmp_path) if not p.is_symlink()} - {notes} == before


def test_a_part_used_a_short_time_ago_stays_for_as_long_as_asked(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    go(scripted_pipeline, tmp_path)
    go(scripted_pipeline, tmp_path, "margin.at_least=0.02")
    told = sweep(tmp_path, dry_run=True)
    assert sweep(tmp_path, older_than=1).parts == 0
    for path in files(tmp_path):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert sweep(tmp_path, older_than=1, dry_run=True) == told


def test_a_manifest_that_cannot_be_read_stops_the_sweep(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    go(scripted_pipeline, tmp_path)
    (tmp_path / "runs/small/manifest.json").write_text("{")
    before = files(tmp_path)
    with pytest.raises(StoreError, match="run its pipeline again"):
        sweep(tmp_path)
    assert files(tmp_path) == before


def test_the_command_prints_bytes(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    command = ("gc", "--root", tmp_path, "--forget", "small")
    said = curate(*command, "--dry-run")
    assert said.stdout.startswith("would remove ")
    gone = curate(*command, "--json")
    counts = json.loads(gone.stdout)
    assert f"would remove {counts['bytes']:,} bytes: {counts['parts']:,} parts" in said.stdout
    assert not files(tmp_path)


def test_a_run_that_never_had_a_manifest_is_named_and_can_be_forgotten(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs/broken").mkdir(parents=True)
    open_run(tmp_path / "runs/broken")
    go(scripted_pipeline, tmp_path, "name=whole")
    go(scripted_pipeline, tmp_path, "name=whole", "margin.at_least=0.02")
    said = curate("gc", "--root", tmp_path).stdout
    assert "run broken has not ended: whatever was used since 20" in said
    assert "give it up with --forget broken" in said
    assert list(sweep(tmp_path).open) == ["broken"]
    told = curate("gc", "--root", tmp_path, "--json", "--forget", "broken")
    assert json.loads(told.stdout)["open"] == {}
    assert json.loads(told.stdout)["parts"] > 0
    with pytest.raises(ConfigError, match="no such run; runs: whole"):
        sweep(tmp_path, forget=["broken"])


@pytest.mark.parametrize("forget", [[], ["whole"]])
def test_a_sweep_makes_room_where_nothing_more_can_be_written(
    scripted_pipeline: Path, tmp_path: Path, forget: list[str]
) -> None:
    """A limit on the size of files refuses each byte, as a full disk does."""
    go(scripted_pipeline, tmp_path, "name=whole")
    go(scripted_pipeline, tmp_path, "name=whole", "margin.at_least=0.02")
    with locked(tmp_path / "store", "sweep"):
        pass  # an earlier one has left its name
    told = sweep(tmp_path, forget=forget, dry_run=True)
    command = [sys.executable, "-B", "-m", "curate", "gc", "--root", str(tmp_path), "--json"]
    for name in forget:
        command += ["--forget", name]
    full = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (0, 0))
    said = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=full)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["bytes"] == told.bytes > 0
    assert not (tmp_path / "store/owner.json").exists()


def test_what_the_last_finished_run_needed_stays_until_the_next_one_finishes(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    """A change that fails, or that stops early, costs none of what was paid for."""
    go(scripted_pipeline, tmp_path)
    made = files(tmp_path)
    with pytest.raises(StageError):
        go(scripted_pipeline, tmp_path, "seed=1", "engines.small.fail_every=1")
    go(scripted_pipeline, tmp_path, "seed=1", until="exact_dedup")  # it ends, and by itself
    assert not (tmp_path / "runs/small" / OPEN).exists()
    sweep(tmp_path)
    assert made <= files(tmp_path)
    go(scripted_pipeline, tmp_path, "seed=1")
    sweep(tmp_path)
    assert not made <= files(tmp_path)
