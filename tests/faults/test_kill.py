"""SIGKILL of the whole process group at counted steps, then the same command: the same bytes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Calm, Runs, left

KILLED = -9
Resumes = Callable[[Path], None]


@pytest.mark.parametrize(("what", "workers", "stride"), [("kill", "2", 43), ("torn", "1", 37)])
def test_the_quickstart_killed_again_and_again(
    runs: Runs, resumes: Resumes, tmp_path: Path, what: str, workers: str, stride: int
) -> None:
    """The same command, killed after ever more steps, gets to the end all the same."""
    kills = 0
    while (ended := runs(tmp_path, "--workers", workers, at=stride, what=what)).code == KILLED:
        kills, stride = kills + 1, stride + 2
        assert kills < 40, "no progress"
    assert ended.code == 0, ended.said
    assert kills >= 8
    resumes(tmp_path)


@pytest.mark.parametrize(
    "at",
    [19, 222, 333, 444, *(pytest.param(k, marks=pytest.mark.long) for k in range(2, 534, 7))],
)
def test_the_quickstart_killed_once(
    runs: Runs, calm: Calm, resumes: Resumes, tmp_path: Path, at: int
) -> None:
    assert at <= len(calm.steps)
    assert runs(tmp_path, "--workers", "1", at=at).code == KILLED
    resumes(tmp_path)


@pytest.mark.parametrize(
    ("what", "code", "at"),
    [
        ("SIGTERM", 143, 9), ("SIGINT", 130, 77), ("SIGTERM", 143, 250),
        *(pytest.param("SIGTERM", 143, k, marks=pytest.mark.long) for k in range(2, 480, 31)),
    ],
)  # fmt: skip
def test_the_quickstart_asked_to_stop_at_a_step(
    runs: Runs, calm: Calm, resumes: Resumes, tmp_path: Path, what: str, code: int, at: int
) -> None:
    ended = runs(tmp_path, "--workers", "2", at=at, what=what)
    if at > 20:
        late = any("dataset" in step for step in ended.steps)  # all stages were done by then
        assert ended.code == (0 if late else code), ended.said
        assert late or "the same command resumes" in ended.said
    else:  # while the lock is taken there is nothing to drain, and the signal ends the process
        assert ended.code in (code, 128 - code)
    resumes(tmp_path)


@pytest.mark.parametrize("part", [0, *(pytest.param(k, marks=pytest.mark.long) for k in (1, 2))])
def test_killed_at_the_steps_of_an_export_over_an_older_one(
    runs: Runs, calm: Calm, tmp_path: Path, part: int
) -> None:
    """At any instant the dataset is the old one, the new one, or set aside whole."""
    change = ("--set", "license=mit")

    def root(name: str) -> Path:
        return shutil.copytree(calm.root, tmp_path / name, copy_function=os.link)

    ended = runs(root("new"), *change, at=0)
    assert ended.code == 0, ended.said
    old, new = left(calm.root), left(tmp_path / "new")
    assert old != new
    assert sum("dataset" in step for step in ended.steps) > 25
    for at in range(1 + part, len(ended.steps) + 1, 3):
        here = root(f"{at}")
        assert runs(here, *change, at=at).code == KILLED, ended.steps[at - 1]
        again = runs(here, *change)
        assert again.code == 0, again.said
        assert left(here) == new, ended.steps[at - 1]
        assert not (here / "runs/quickstart/.dataset.old").exists()
        shutil.rmtree(here)


def test_a_dataset_set_aside_by_a_crash_comes_back_before_anything_else(
    runs: Runs, calm: Calm, tmp_path: Path
) -> None:
    root = shutil.copytree(calm.root, tmp_path / "root")
    folder = root / "runs/quickstart"
    (folder / "dataset").rename(folder / ".dataset.old")
    stopped = runs(root, "--set", "margin.at_least=0.1", at=30)  # long before the export
    assert stopped.code == KILLED
    assert (folder / "dataset/train").is_dir()
    assert not (folder / ".dataset.old").exists()


def test_a_stale_marker_never_stands_beside_a_newer_dataset(
    runs: Runs, calm: Calm, tmp_path: Path
) -> None:
    """Killed between the new dataset and its marker, then back to the old pipeline."""
    root = shutil.copytree(calm.root, tmp_path / "root")
    change = ("--set", "license=mit")
    probe = shutil.copytree(calm.root, tmp_path / "probe")
    steps = runs(probe, *change, at=0).steps
    marks = [i for i, s in enumerate(steps, 1) if s.startswith("open runs/quickstart/.dataset.js")]
    at = marks[-1]  # the first says that the old dataset is about to be replaced
    assert runs(root, *change, at=at).code == KILLED
    back = runs(root)
    assert back.code == 0, back.said
    assert left(root) == calm.left


def test_array_tasks_at_once_of_which_one_is_killed(
    runs: Runs, calm: Calm, resumes: Resumes, tmp_path: Path
) -> None:
    """Shares of one run in processes side by side; one dies and is queued again, as Slurm would."""
    shares = [("--shard", f"{number}/3", "--workers", "1") for number in (1, 2, 3)]
    fault = {"root": str(tmp_path), "at": 60, "what": "kill"}
    started = [runs.start(tmp_path, *shares[0], fault=fault)]
    started += [runs.start(tmp_path, *share) for share in shares[1:]]
    ended = [runs.wait(one) for one in started]
    assert [one.code for one in ended] == [KILLED, 0, 0], ended
    assert not (tmp_path / "runs/quickstart/dataset").exists()
    again = runs(tmp_path, *shares[0])
    assert again.code == 0, again.said
    resumes(tmp_path)


def test_killed_while_a_stage_is_done_in_pieces(
    runs: Runs, calm: Calm, resumes: Resumes, tmp_path: Path
) -> None:
    """What its workers shared is left behind and not taken up again."""
    how = ("--executor", "{local: {workers: 1, divide_from: 1}}")
    whole = runs(tmp_path / "whole", *how, at=0)
    assert whole.code == 0, whole.said
    assert left(tmp_path / "whole") == calm.left
    kind = "open store/.pieces/"
    shared = sum(step.startswith(kind) for step in whole.steps)
    assert shared > 50
    for at in (5, shared // 2):
        root = tmp_path / str(at)
        assert runs(root, *how, at=at, of=kind).code == KILLED
        again = runs(root, *how)
        assert again.code == 0, again.said
        resumes(root)
        assert list((root / "store/.pieces").iterdir())  # `curate gc` takes it
