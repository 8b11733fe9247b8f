"""A full or failing disk is one clear line and exit code 3, and the same command resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Calm, Ended, Runs

STOPPED = 3


def says_so(ended: Ended, reason: str) -> None:
    assert ended.code == STOPPED, ended.said
    assert "Traceback" not in ended.said
    last = ended.said.strip().splitlines()[-1]
    assert last.startswith("error: cannot write to ")
    assert reason in last
    assert "run the same command again" in last


@pytest.mark.parametrize("at", [1, 8, 200, 505])
def test_no_space_left(
    runs: Runs, calm: Calm, resumes: Callable[[Path], None], tmp_path: Path, at: int
) -> None:
    assert at < len(calm.steps)
    says_so(runs(tmp_path, "--workers", "1", at=at, what="ENOSPC"), "No space left")
    resumes(tmp_path)


REFUSALS = {
    "EACCES": "Permission denied",
    "EROFS": "Read-only file system",
    "EDQUOT": "Disk quota exceeded",
    "EMFILE": "Too many open files",
    "ESTALE": "Stale file handle",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_every_refusal_is_said_as_the_system_says_it(
    runs: Runs, calm: Calm, tmp_path: Path, name: str
) -> None:
    opened = sum(step.startswith("open store") for step in calm.steps)
    ended = runs(tmp_path, "--workers", "1", at=opened // 2, of="open store", what=name)
    says_so(ended, REFUSALS[name])


def test_a_process_that_may_open_few_files_stops_and_resumes(
    runs: Runs, resumes: Callable[[Path], None], tmp_path: Path
) -> None:
    ended = runs(tmp_path, "--workers", "2", open_files=9)
    assert ended.code == STOPPED, ended.said
    assert "Traceback" not in ended.said
    assert "Too many open files" in ended.said
    resumes(tmp_path)


@pytest.mark.parametrize("size", [1500, 8000])
def test_the_kernel_refuses_to_write_more(
    runs: Runs, resumes: Callable[[Path], None], tmp_path: Path, size: int
) -> None:
    """A limit on the size of files is met inside Arrow's own writers too."""
    says_so(runs(tmp_path, "--workers", "1", file_size=size), "File too large")
    resumes(tmp_path)


@pytest.mark.long  # what a library does without memory differs from run to run
@pytest.mark.parametrize("mebibytes", [4, 16, 48, 80, 112, 208, 304, 480, 576])
def test_the_kernel_gives_no_more_memory(
    runs: Runs, resumes: Callable[[Path], None], tmp_path: Path, mebibytes: int
) -> None:
    """A limit on the address space is met by whatever library asks first.

    Some say so, some end the process, and threads may end at their first step: the run ends all the
    same, and in one line that says where and what to do.
    """
    ended = runs(tmp_path, "--workers", "2", memory=mebibytes << 20)
    if ended.code:
        assert ended.code == STOPPED, ended.said
        (said,) = (text for text in ended.said.splitlines() if text.startswith("error: "))
        assert "Traceback" not in ended.said
        assert "memory" in said
        assert "run the same command again" in said
    resumes(tmp_path)
