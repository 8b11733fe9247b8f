"""What a command says of its run: to a machine, when it is quiet, and when it is asked to stop."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from command_line import curate


def test_calls_under_way_are_events_for_a_machine(scripted_pipeline: Path, tmp_path: Path) -> None:
    slow = ("--set", "engines.small.delay_s=3", "--root", tmp_path, "--until", "generate")
    ended = curate("run", scripted_pipeline, *slow, "--json")
    assert ended.returncode == 0, ended.stderr
    told = [
        e for line in ended.stdout.splitlines() if (e := json.loads(line))["event"] == "progress"
    ]
    assert told
    for event in told:
        assert event.keys() == {
            "event", "time", "stage", "rows", "unit", "asked", "ended", "failed", "tokens",
        }  # fmt: skip


def test_a_run_that_is_asked_to_stop_says_that_it_does(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    """At once, not when the shards in flight have ended, which may take long."""
    command = [sys.executable, "-m", "curate", "run", str(scripted_pipeline), "--root",
               str(tmp_path), "--set", "engines.small.delay_s=5"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        events = tmp_path / "runs/small/events.jsonl"
        while not (events.exists() and '"stage":"generate"' in events.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)  # the event comes just before the first shard is handed out
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert re.sub(r"^[\d:]{8} ", "", line) == (
            "generate: stopping after the shards in flight; a second Ctrl-C stops at once\n"
        )
        assert process.stderr.read() == "stopped; the same command resumes\n"
    assert process.returncode == 130
    told = [json.loads(line) for line in events.read_text().splitlines()]
    order = [event["event"] for event in told if event.get("stage") == "generate"]
    assert order[:3] == ["stage", "stopping", "part"]


def test_quiet_is_one_line_or_one_error(scripted_pipeline: Path, tmp_path: Path) -> None:
    readable = scripted_pipeline.read_text().replace("  - rationale: {engine: small}\n", "")
    scripted_pipeline.write_text(readable)  # replies of no use are a line of their own
    run = ("run", scripted_pipeline, "--root", tmp_path, "--quiet")
    folder, said = tmp_path / "runs/small/dataset", []
    # A run that works, one with nothing to do, one with fewer rows, one of another form.
    stricter = ("--set", "margin.at_least=0.2")
    for change in ((), (), stricter, (*stricter, "--set", "export=implicit")):
        ended = curate(*run, *change)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
        (line,) = ended.stderr.splitlines()
        parts = re.fullmatch(rf"60 rows = .*; (\d+) records in {re.escape(str(folder))}(.*)", line)
        assert parts is not None, line
        said.append((int(parts[1]), parts[2]))
    (first, new), (again, same), (fewer, gone), (_, other) = said
    assert (again, new, same) == (first, "", " (as it was)")
    assert gone == f" (since the last one: 0 added, {first - fewer} removed)" != new
    assert fewer < first
    assert other == " (of the same rows as the last one; records or card differ)"
    wrong = curate(*run, "--set", "margin.at_leas=1")
    assert wrong.returncode == 2
    (line,) = wrong.stderr.splitlines()
    assert line.startswith("error: ")


def test_json_stays_json_when_quiet(scripted_pipeline: Path, tmp_path: Path) -> None:
    ended = curate("run", scripted_pipeline, "--root", tmp_path, "--quiet", "--json")
    assert ended.stderr == ""
    assert json.loads(ended.stdout.splitlines()[-1])["finished"]


def test_a_second_run_is_told_who_works_and_exits_75(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    slow = ("--set", "engines.small={scripted: {delay_s: 1}}", "--workers", "1", "--json")
    command = ["run", str(scripted_pipeline), "--root", str(tmp_path)]
    live = subprocess.Popen(
        [sys.executable, "-m", "curate", *command, *slow], stdout=subprocess.PIPE, text=True
    )
    assert live.stdout is not None
    live.stdout.readline()  # it has the lock
    second = curate(*command, "--quiet")
    live.kill()
    live.wait()
    assert second.returncode == 75
    assert re.fullmatch(
        r"error: another run works in .*/runs/small: process "
        + str(live.pid)
        + r" on \S+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(0 h 0 min\); "
        r"wait for it or use another name\n",
        second.stderr,
    )
    assert curate(*command, "--quiet").returncode == 0  # the lock of a dead owner is free
