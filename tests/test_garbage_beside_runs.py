"""Sweeps beside runs that are at work, that were killed, or that end meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from swept import files, go

from curate import garbage
from curate.errors import LockHeld
from curate.executors.local import Local
from curate.garbage import sweep
from curate.guard import OPEN, open_run
from curate.loop import run
from curate.pipeline import Pipeline
from curate.store import PIECES, Store


def test_a_part_looked_up_while_it_is_being_taken_comes_back(
    scripted_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run starts between the sweep's look at the files and its last look at each record."""
    go(scripted_pipeline, tmp_path)
    (tmp_path / "runs/small/manifest.json").unlink()
    before = {p: p.read_bytes() for p in files(tmp_path)}
    changed = garbage._changed

    def used_meanwhile(path: Path) -> float:
        if path.suffix == ".gone":
            os.utime(path)  # a look-up's stamp, set just before the record was moved aside
        return changed(path)

    monkeypatch.setattr(garbage, "_changed", used_meanwhile)
    swept = sweep(tmp_path)
    assert (swept.parts, swept.kept) == (0, len(before) // 2)
    assert {p: p.read_bytes() for p in files(tmp_path)} == before


def test_what_an_open_run_looks_up_stays(scripted_pipeline: Path, tmp_path: Path) -> None:
    """A part that no manifest names, older than the run that comes to use it again."""
    go(scripted_pipeline, tmp_path, until="generate")
    (tmp_path / "runs/small/manifest.json").unlink()
    open_run(tmp_path / "runs/small")
    record = min((tmp_path / "store/generate").glob("*.json"))
    assert Store(tmp_path / "store").find("generate", record.stem) is not None
    swept = sweep(tmp_path)
    assert swept.kept == 1
    assert swept.parts > 8
    assert files(tmp_path) == {record, *record.parent.glob(f"{record.stem}.*.arrow")}


def parts(root: Path) -> dict[str, bytes]:
    """The bytes of each part, by its key."""
    return {p.name.split(".")[0]: p.read_bytes() for p in files(root) if p.suffix == ".arrow"}


def start(path: Path, root: Path, *changes: str) -> subprocess.Popen[str]:
    sets = [word for change in changes for word in ("--set", change)]
    return subprocess.Popen(
        [sys.executable, "-m", "curate", "run", str(path), "--root", str(root), "--workers", "1",
         "--json", *sets],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def events(process: subprocess.Popen[str], until: str) -> dict[str, object]:
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, object] = json.loads(line)
        if event["event"] == "part" and event["stage"] == until:
            return event
    raise AssertionError("the run ended too early")


SLOW = ("engines.small={scripted: {delay_s: 0.15}}",)


def test_sweeps_beside_a_live_run_and_after_its_death(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    """The first attempt is killed, the second works while sweeps go on: no engine call is lost."""
    go(scripted_pipeline, tmp_path, "name=calm")
    calm = parts(tmp_path)
    root = tmp_path / "other"
    go(scripted_pipeline, root, "name=old", until="exact_dedup")
    killed = start(scripted_pipeline, root, *SLOW)
    events(killed, "generate")
    killed.kill()
    killed.wait()
    committed = set((root / "store/generate").glob("*.json"))
    assert committed
    sweep(root)
    assert committed <= files(root)
    assert (root / f"runs/small/{OPEN}").exists()
    live = start(scripted_pipeline, root, *SLOW)
    events(live, "generate")
    kept = sweep(root)
    events(live, "likelihood")
    sweep(root)
    assert kept.parts == 0
    with pytest.raises(LockHeld, match=rf"process {live.pid} on .*since 20.* UTC \(0 h 0 min\)"):
        go(scripted_pipeline, root)
    assert live.stdout is not None
    rest = [json.loads(line) for line in live.stdout]
    live.wait()
    assert rest[-1]["finished"]
    assert committed <= files(root)
    assert not (root / f"runs/small/{OPEN}").exists()
    stale = files(root)
    assert sweep(root, forget=["old"]).parts == 0  # the other run names the same parts
    assert files(root) == stale
    assert parts(root) == calm


def test_sweeps_beside_a_stage_that_is_done_in_pieces(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    """What its workers share stays while they work; what a killed run left of it goes."""
    go(scripted_pipeline, tmp_path / "calm")
    calm = parts(tmp_path / "calm")
    root = tmp_path / "root"
    dead = root / "store" / PIECES / "dead"
    dead.mkdir(parents=True)
    (dead / "marks-0.npy").write_bytes(b"x" * 10)
    for path in (dead / "marks-0.npy", dead):
        os.utime(path, (0, 0))
    assert sweep(root, dry_run=True).leftovers == 1
    assert dead.exists()
    ended, beside = threading.Event(), list[int]()

    def keep_sweeping() -> None:
        while not ended.is_set():
            with contextlib.suppress(FileNotFoundError):  # the stage ends meanwhile
                beside.append(len(list((root / "store" / PIECES).glob("*/*.npy"))))
            sweep(root)

    thread = threading.Thread(target=keep_sweeping)
    thread.start()
    try:
        outcome = run(
            Pipeline.load(scripted_pipeline), root, executor=Local(workers=2, divide_from=1)
        )
    finally:
        ended.set()
        thread.join()
    assert outcome.finished
    assert any(beside), "no sweep fell into a step"
    assert not dead.exists()
    assert parts(root) == calm


def test_a_stopped_run_keeps_its_claim_until_it_ends(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    live = start(scripted_pipeline, tmp_path, *SLOW)
    events(live, "generate")
    live.terminate()
    live.wait()
    assert live.returncode == 143
    committed = files(tmp_path)
    assert (tmp_path / f"runs/small/{OPEN}").exists()
    assert sweep(tmp_path).parts == 0
    assert files(tmp_path) == committed
    go(scripted_pipeline, tmp_path)
    assert not (tmp_path / f"runs/small/{OPEN}").exists()


def test_a_clock_that_goes_back_takes_nothing_of_a_run_that_has_not_ended(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    """The run began an hour later than now, by the clock that has been set right since."""
    go(scripted_pipeline, tmp_path, until="generate")
    (tmp_path / "runs/small/manifest.json").unlink()
    open_run(tmp_path / "runs/small")
    os.utime(tmp_path / "runs/small" / OPEN, (time.time() + 3600,) * 2)
    before = files(tmp_path)
    assert sweep(tmp_path, dry_run=True).parts == 0
    assert sweep(tmp_path).parts == 0
    time.sleep(0.05)
    assert sweep(tmp_path).parts == 0  # once the clock has caught up, too
    assert files(tmp_path) == before
    sweep(tmp_path, forget=["small"])
    assert not files(tmp_path)


def test_a_run_that_ends_while_its_claim_is_looked_at(
    scripted_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(scripted_pipeline, tmp_path)
    before = files(tmp_path)
    open_run(tmp_path / "runs/small")
    changed = garbage._changed

    def ends_meanwhile(path: Path) -> float:
        if path.name == OPEN:
            path.unlink()
        return changed(path)

    monkeypatch.setattr(garbage, "_changed", ends_meanwhile)
    assert sweep(tmp_path).open == {}
    assert files(tmp_path) == before
