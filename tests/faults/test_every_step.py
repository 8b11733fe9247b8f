"""A small run with a fault at each of its steps in turn; the same command gives the same bytes.

No step is left out: every file below the root that is opened, synced, linked, renamed or removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from harness import Calm, Runs

KILLED, STOPPED = -9, 3


FEWER = 6  # steps: threads that commit at once may each try to make a folder, or find it there
PARTS = 8  # several tests, so that processes which share the suite share these steps too


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_step(
    runs: Runs,
    steps_pipeline: Path,
    calm_steps: Calm,
    ends_as_ever: Callable[[Path, str], None],
    tmp_path: Path,
    part: int,
) -> None:
    for at in range(1 + part, len(calm_steps.steps) + 1, PARTS):
        root = tmp_path / str(at)
        root.mkdir()
        ended = runs(root, "--workers", "1", pipeline=[steps_pipeline], at=at)
        if ended.code == 0:  # it had no such step
            assert len(ended.steps) < at > len(calm_steps.steps) - FEWER, f"step {at}: {ended.said}"
        else:
            assert ended.code == KILLED, f"step {at}: {ended.said}"
        ends_as_ever(root, f"SIGKILL at step {at}")


def kinds(steps: Sequence[str]) -> list[str]:
    """Return each kind of step once: what is done to which file, less its key or random name."""
    named = re.compile(r"/\.?[0-9a-f]{8,}|\.[0-9a-f]{8}$|-[0-9a-f]{8,}")
    return list(dict.fromkeys(named.split(step)[0] for step in steps))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("what", ["ENOSPC", "EIO"])
def test_a_disk_that_refuses_every_kind_of_step(
    runs: Runs,
    steps_pipeline: Path,
    calm_steps: Calm,
    ends_as_ever: Callable[[Path, str], None],
    tmp_path: Path,
    what: str,
    part: int,
) -> None:
    for number, kind in enumerate(kinds(calm_steps.steps)[part::PARTS]):
        root = tmp_path / str(number)
        root.mkdir()
        ended = runs(root, "--workers", "1", pipeline=[steps_pipeline], at=1, of=kind, what=what)
        assert ended.code in (0, STOPPED), f"{kind}: {ended.said}"
        assert "Traceback" not in ended.said, f"{kind}: {ended.said}"
        if ended.code:
            assert "run the same command again" in ended.said, kind
        else:  # rubbish that stays is no reason to stop
            assert kind.startswith("os.remove store/"), kind
        ends_as_ever(root, f"{what} at {kind}")
