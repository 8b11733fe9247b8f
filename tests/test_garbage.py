"""`curate gc`: what no run needs goes, and nothing that a run uses or could go on from."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from curate import garbage
from curate.errors import ConfigError, LockHeld, StageError, StoreError
from curate.executors.local import Local
from curate.garbage import sweep
from curate.guard import OPEN, locked, open_run
from curate.loop import run
from curate.pipeline import Pipeline
from curate.store import PIECES, Store


def go(path: Path, root: Path, *changes: str, **more: object) -> None:
    executor = Local(workers=1)
    try:
        run(Pipeline.load(path, changes), root, executor=executor, **more)
    finally:
        executor.close()


def files(root: Path) -> set[Path]:
    return {p for p in (root / "store").rglob("*") if p.is_file()} - {
        root / "store/lock", root / "store/owner.json"
    }  # fmt: skip


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
    calm = {p.relative_to(tmp_path): p.read_bytes() for p in files(tmp_path)}
    calm = {k: v for k, v in calm.items() if k.suffix == ".arrow"}
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
    ours = {p.name.split(".")[0]: p.read_bytes() for p in files(root) if p.suffix == ".arrow"}
    assert ours == {p.name.split(".")[0]: raw for p, raw in calm.items()}


def test_sweeps_beside_a_stage_that_is_done_in_pieces(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    """What its workers share stays while they work; what a killed run left of it goes."""
    go(scripted_pipeline, tmp_path / "calm")
    made = [p for p in files(tmp_path / "calm") if p.suffix == ".arrow"]
    calm = {p.name.split(".")[0]: p.read_bytes() for p in made}
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
    ours = {p.name.split(".")[0]: p.read_bytes() for p in files(root) if p.suffix == ".arrow"}
    assert ours == calm


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


def test_the_command_prints_bytes(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    command = [sys.executable, "-m", "curate", "gc", "--root", str(tmp_path), "--forget", "small"]
    said = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("would remove ")
    gone = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    counts = json.loads(gone.stdout)
    assert f"would remove {counts['bytes']:,} bytes: {counts['parts']:,} parts" in said.stdout
    assert not files(tmp_path)


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


def test_a_run_that_never_had_a_manifest_is_named_and_can_be_forgotten(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs/broken").mkdir(parents=True)
    open_run(tmp_path / "runs/broken")
    go(scripted_pipeline, tmp_path, "name=whole")
    go(scripted_pipeline, tmp_path, "name=whole", "margin.at_least=0.02")
    command = [sys.executable, "-m", "curate", "gc", "--root", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "run broken has not ended: whatever was used since 20" in said
    assert "give it up with --forget broken" in said
    assert list(sweep(tmp_path).open) == ["broken"]
    told = subprocess.run(
        [*command, "--json", "--forget", "broken"], capture_output=True, text=True, check=True
    )
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
