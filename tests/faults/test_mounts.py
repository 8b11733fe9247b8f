"""A disk that is really full, and one that is really read-only: small file systems in memory."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Calm, Runs, left

STOPPED = 3


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not shutil.which("mount") or not mount("-t", "tmpfs", "-o", "size=16k", "none", str(disk)):
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_full_again_and_again(
    runs: Runs, steps_pipeline: Path, calm_steps: Calm, small_disk: Path
) -> None:
    stops = 0
    for size in range(16, 2000, 24):  # KiB
        assert mount("-o", f"remount,size={size}k", str(small_disk))
        ended = runs(small_disk, "--workers", "1", pipeline=[steps_pipeline])
        if ended.code == 0:
            break
        assert ended.code == STOPPED, ended.said
        assert "Traceback" not in ended.said
        assert "No space left" in ended.said.strip().splitlines()[-1]
        stops += 1
    assert ended.code == 0
    assert stops >= 5
    assert left(small_disk, "steps") == calm_steps.left


def test_a_store_that_cannot_be_written_to_can_be_looked_at(
    runs: Runs,
    steps_pipeline: Path,
    ends_as_ever: Callable[[Path, str], None],
    small_disk: Path,
    tmp_path: Path,
) -> None:
    assert mount("-o", "remount,size=20m", str(small_disk))
    ends_as_ever(small_disk, "nothing")
    assert mount("-o", "remount,ro", str(small_disk))
    root = ("--root", str(small_disk))
    for command in (
        ("status", "steps", *root),
        ("show", "steps", "--id", "r1", *root),
        ("plan", str(steps_pipeline), *root),
        ("export", "steps", str(tmp_path / "elsewhere"), "--format", "preference", *root),
    ):
        looked = runs.wait(runs.command(*command))
        assert looked.code == 0, (command, looked.said)
    for command in (("run", str(steps_pipeline), *root), ("gc", *root)):
        refused = runs.wait(runs.command(*command))
        assert refused.code == STOPPED, (command, refused.said)
        assert "Read-only file system" in refused.said.strip().splitlines()[-1]
        assert "Traceback" not in refused.said
    assert mount("-o", "remount,rw", str(small_disk))
    ends_as_ever(small_disk, "a time of reading alone")
