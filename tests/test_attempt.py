"""What `status` and `show` say of a run that is under way, was killed, failed, or ended."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.attempt import last_attempt
from curate.errors import LockHeld
from curate.guard import locked

Curate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def curate(tmp_path: Path) -> Curate:
    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "curate", *map(str, arguments), "--root", str(tmp_path)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return call


def slow_run(pipeline: Path, root: Path, *changes: str) -> subprocess.Popen[bytes]:
    """Start a run, and return once a shard of `generate` is done and others are not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "curate", "run", str(pipeline), "--root", str(root), "--workers",
         "1", "--quiet", "--set", "engines.small.delay_s=2", *changes],
        start_new_session=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        attempt = last_attempt(root / "runs/small")
        if attempt.pid == process.pid and attempt.stage == "generate" and attempt.shards_done:
            return process
        time.sleep(0.02)
    raise AssertionError("the run ended too early, or did not begin")


def test_a_run_without_a_manifest_under_way_then_killed(
    scripted_pipeline: Path, tmp_path: Path, curate: Curate
) -> None:
    process = slow_run(scripted_pipeline, tmp_path)
    who = f"(process {process.pid} on {socket.gethostname()})"
    live = curate("status", "small")
    assert live.stdout.startswith("small: under way at generate, ")
    assert live.stdout.endswith(f"{who}\n")
    assert " of 8 shards, since 20" in live.stdout
    facts = json.loads(curate("status", "small", "--json").stdout)
    assert facts.items() >= {
        "state": "running", "finished": False, "stage": "generate", "shards": 8, "rows": 59,
        "pid": process.pid,
    }.items()  # fmt: skip
    assert 0 < facts["rows_done"] < 59
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    killed = json.loads(curate("status", "small", "--json").stdout)
    assert killed["state"] == "killed"
    assert 1 <= killed["shards_done"] < 8
    text = (
        f"stopped: killed or crashed at generate after {killed['shards_done']} of 8 shards; "
        "the same command resumes\n"
    )
    assert curate("status", "small").stdout == f"small: {text}"
    shown = curate("show", "small", "--dropped")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == f"error: run 'small' has no books yet: {text}"


def test_books_of_an_earlier_attempt_are_said_to_be_that(
    scripted_pipeline: Path, tmp_path: Path, curate: Curate
) -> None:
    assert curate("run", scripted_pipeline).returncode == 0
    before = curate("status", "small")
    assert before.stdout.startswith("small: finished\n")
    process = slow_run(scripted_pipeline, tmp_path, "--set", "generate.n=2")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    after = curate("status", "small").stdout.splitlines()
    assert after[0].startswith("small: stopped: killed or crashed at generate after ")
    assert after[1:3] == [
        "what follows is of an earlier attempt, perhaps with another pipeline:", "finished",
    ]  # fmt: skip
    assert after[3:] == before.stdout.splitlines()[1:]
    facts = json.loads(curate("status", "small", "--json").stdout)
    assert (facts["finished"], facts["books"]) == (False, "an earlier attempt")
    said = f"{after[0]}; what is shown is of an earlier attempt, perhaps with another pipeline\n"
    shown = curate("show", "small", "--dropped")
    assert (shown.returncode, shown.stderr) == (0, said)
    for command in (
        "report small", "audit small --encoder none", f"ask small {tmp_path / 'tasks.json'}",
        f"export small {tmp_path / 'out'}", "report small --against small",
    ):  # fmt: skip
        shown = curate(*command.split())
        assert shown.returncode == 0, shown.stderr
        assert said in shown.stderr
    page = (tmp_path / "runs/small/report.html").read_text()
    (banner,) = set(re.findall(r'<p class="caution".*?</p>', page))
    assert "small has not come to its end." in banner
    assert "Stopped: killed or crashed at generate after" in banner
    assert "is of an earlier attempt" in banner
    assert curate("run", scripted_pipeline).returncode == 0
    assert curate("status", "small").stdout == before.stdout
    again = curate("report", "small")
    assert again.stderr == ""
    assert 'class="caution"' not in (tmp_path / "runs/small/report.html").read_text()


def test_what_is_shown_of_an_unfinished_run_is_said_to_be_that(
    scripted_pipeline: Path, tmp_path: Path, curate: Curate
) -> None:
    assert curate("run", scripted_pipeline, "--until", "margin").returncode == 0
    assert re.search(
        r"^60 rows = \d+ kept \+ \d+ dropped \+ 0 failed so far$",
        curate("status", "small").stdout, re.MULTILINE,
    )  # fmt: skip
    out = tmp_path / "rows.jsonl"
    exported = curate("export", "small", out)
    assert exported.stderr.splitlines()[0] == (
        "small: unfinished; what is shown is as far as it came: "
        "still to do: near_dedup, rationale, split"
    )
    assert curate("run", scripted_pipeline, "--set", "engines.small.fail_every=1").returncode == 3
    pushed = curate("push", "small", "me/mine")
    assert pushed.returncode == 2
    assert pushed.stderr.startswith("small: stopped at generate")
    assert "what is shown is as far as it came: still to do: generate, " in pushed.stderr


def test_an_error_is_told_from_a_kill_with_a_manifest_of_its_own_or_of_an_earlier_attempt(
    scripted_pipeline: Path, curate: Curate
) -> None:
    assert curate("run", scripted_pipeline, "--set", "engines.small.fail_every=1").returncode == 3
    facts = json.loads(curate("status", "small", "--json").stdout)
    assert (facts["state"], facts["stage"]) == ("failed", "generate")
    assert facts["books"] == "this attempt"
    assert facts["rows_alive"] == 59
    assert curate("run", scripted_pipeline).returncode == 0
    prompts = scripted_pipeline.with_name("prompts.jsonl")
    prompts.write_text(prompts.read_text() + "not JSON\n")
    wrong = curate("run", scripted_pipeline, "--set", "seed=3")
    assert wrong.returncode == 2
    facts = json.loads(curate("status", "small", "--json").stdout)
    assert (facts["state"], facts["stage"], facts["books"]) == (
        "failed", "source", "an earlier attempt",
    )  # fmt: skip
    said = curate("status", "small").stdout.splitlines()
    assert said[0] == f"small: stopped at source: {wrong.stderr.strip().removeprefix('error: ')}"


def test_all_that_status_says_is_on_stdout(scripted_pipeline: Path, curate: Curate) -> None:
    assert curate("run", scripted_pipeline).returncode == 0
    said = curate("status", "small")
    assert said.stderr == ""
    assert re.search(r"^60 rows = .* 0 failed$", said.stdout, re.MULTILINE)
    assert "exact_dedup: exact prompt duplicate" in said.stdout
    assert " records in " in said.stdout


@pytest.mark.parametrize(
    "damaged",
    ['{"pid": 7, "host": "h", "started": 1e300}', '{"pid": [], "host": "h", "started": 1}', "[]"],
)
def test_who_began_is_left_out_where_it_cannot_be_read(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "open").touch()
    with locked(tmp_path):
        attempt = last_attempt(tmp_path)
        assert (attempt.pid, attempt.host) == (os.getpid(), socket.gethostname()[:60])
        assert f"(process {os.getpid()} on " in attempt.text()
        (tmp_path / "owner.json").write_text(damaged)
        assert last_attempt(tmp_path).text() == "under way at source"
        with (
            pytest.raises(LockHeld, match=re.escape(f"works in {tmp_path}; wait")),
            locked(tmp_path),
        ):
            pass
