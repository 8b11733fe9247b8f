"""What a log holds: a line now and then, and with `--quiet` errors and the last line alone."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from curate import progress


def curate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "curate", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], every: float, clock: list[float]) -> list[str]:
    """Play a run of three stages, a second between events."""
    with progress.listener(json=False) as tell:
        for stage, todo in (("first", 0), ("second", 40), ("third", 2)):
            clock[0] += 1
            tell(
                {"event": "stage", "stage": stage, "todo": todo, "rows": 200, "rows_todo": todo * 5}
            )
            for _ in range(todo):
                clock[0] += 1
                tell({"event": "part", "stage": stage, "rows": 5, "counts": {}})
    out = capsys.readouterr()
    assert out.out == ""
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in out.err.splitlines()]


def test_a_line_every_so_often_and_none_without_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    lines = told(capsys, 10, clock)
    assert lines == [
        f"second: {rows} of 200 rows; 0:00:{left:02} left"
        for rows, left in ((40, 32), (90, 22), (140, 12), (190, 2))
    ]


def test_a_line_says_speed_and_losses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.listener(json=False) as tell:
        tell({"event": "stage", "stage": "judge", "todo": 9, "rows": 90, "rows_todo": 90})
        clock[0] = 20.0
        counts = {"tokens": 30_000, "errors": 2}
        tell({"event": "part", "stage": "judge", "rows": 10, "kept": 7, "counts": counts})
    line = capsys.readouterr().err[len("00:00:00 ") :]
    assert line == "judge: 10 of 90 rows; 0:02:40 left, 1,500 tokens/s, 3 gone, 2 errors\n"


def test_a_long_shard_is_not_silence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is told while a shard is at work; a clock speaks all the same, until work is over."""
    monkeypatch.setattr(progress, "EVERY", 0.2)
    with progress.listener(json=False) as tell:
        tell({"event": "source", "rows": 90})
        for stage in ("judge", "judge"):
            tell({"event": "stage", "stage": stage, "todo": 1, "rows": 90, "rows_todo": 90})
            time.sleep(0.7)
            tell({"event": "part", "stage": stage, "rows": 90, "counts": {}})
        capsys.readouterr()
        time.sleep(0.5)  # the export has rows to write and none to do
        assert capsys.readouterr().err == ""
        tell({"event": "source", "rows": 9})
        tell({"event": "stage", "stage": "judge", "todo": 1, "rows": 9, "rows_todo": 9})
        time.sleep(0.7)
        lines = [line[len("00:00:00 ") :] for line in capsys.readouterr().err.splitlines()]
    assert 2 <= len(lines) <= 4
    assert set(lines) <= {
        f"judge: 0 of 9 rows; no shard done yet, 0:00:0{second} so far" for second in (0, 1)
    }


def test_a_model_that_loads_is_named_until_it_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    stage = {"event": "stage", "stage": "judge", "todo": 2, "rows": 9, "rows_todo": 9}
    work = progress._Work().after(stage)
    loading = {"event": "loading", "stage": "judge", "engine": "big\x1b[1m"}
    for over in ("loaded", "retry"):  # a process that dies as it loads does not say that it ended
        assert progress._first_facts(work) == ["at work"]
        work = work.after(loading)
        (said,) = progress._first_facts(work)
        assert re.fullmatch("engine big.*m.* is loading", said)
        assert "\x1b" not in said
        work = work.after({"event": over, "stage": "judge", "engine": "big", "why": ""})
    with progress.listener(json=False) as tell:
        tell(stage)
        tell(loading | {"engine": "big"})
        clock[0] = 20.0
        tell({"event": "part", "stage": "judge", "rows": 0, "counts": {}})
        clock[0] = 40.0
        tell({"event": "part", "stage": "judge", "rows": 3, "counts": {}})
        tell({"event": "loaded", "stage": "judge", "engine": "big"})
        clock[0] = 60.0
        tell({"event": "part", "stage": "judge", "rows": 3, "counts": {}})
    lines = [line[len("00:00:00 ") :] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "judge: 0 of 9 rows; engine big is loading, 0:00:20 so far",
        "judge: 3 of 9 rows; 0:01:20 left, engine big is loading",
        "judge: 6 of 9 rows; 0:00:30 left",
    ]


def test_calls_say_how_far_a_long_shard_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time and speed count from the first calls on: before them the engine was loading."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.listener(json=False) as tell:

        def at(second: float, **event: object) -> None:
            clock[0] = second
            tell({"stage": "judge", "unit": "calls", **event})

        at(0.0, event="stage", todo=2, rows=200, rows_todo=200)
        at(50.0, event="progress", rows=100, asked=400, ended=4, failed=0, tokens=200)
        at(69.0, event="progress", rows=100, asked=400, ended=100, failed=3, tokens=5_000)
        at(69.0, event="part", rows=0, counts={})  # a moment for the next line
        at(89.0, event="part", rows=100, kept=90, counts={"calls": 400, "tokens": 20_000})
        at(99.0, event="progress", rows=100, asked=500, ended=450, failed=3, tokens=22_500)
        at(99.0, event="part", rows=0, counts={})
        at(100.0, event="part", rows=100, counts={"calls": 400})
    lines = [line[len("00:00:00 ") :] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "judge: 0 of 200 rows; 0:02:20 left, 250 tokens/s, 3 errors, 100 of 400 calls",
        "judge: 100 of 200 rows; 0:00:40 left, 500 tokens/s, 10 gone, 3 errors, 100 of 400 calls",
        "judge: 100 of 200 rows; 0:00:39 left, 450 tokens/s, 10 gone, 3 errors, 450 of 500 calls",
    ]


def test_texts_that_are_encoded_have_a_speed_of_their_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.listener(json=False) as tell:
        tell({"event": "stage", "stage": "embed", "todo": 1, "rows": 900, "rows_todo": 900})
        far = {"stage": "embed", "rows": 900, "unit": "texts", "failed": 0, "tokens": 0}
        tell({"event": "progress", **far, "asked": 600, "ended": 0})
        for second, ended in ((19.0, 100), (39.0, 300)):
            clock[0] = second
            tell({"event": "progress", **far, "asked": 600, "ended": ended})
            tell({"event": "part", "stage": "embed", "rows": 0, "counts": {}})
    lines = [line[len("00:00:00 ") :] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "embed: 0 of 900 rows; 0:01:40 left, 5.0 texts/s, 100 of 600 texts",
        "embed: 0 of 900 rows; 0:00:40 left, 7.5 texts/s, 300 of 600 texts",
    ]


@pytest.mark.parametrize("shards", [1, 3])
def test_what_is_shown_never_goes_back(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first shard asks in rounds that nobody knew of: the bar waits, and no time left is said."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    work = progress._Work()
    rows = 10 * shards
    work = work.after({"event": "stage", "stage": "t", "rows": rows, "rows_todo": rows})
    seen: list[list[float]] = []
    for shard in range(shards):
        seen.append([])
        for before in range(32 * shard, 32 * (shard + 1), 8):  # four rounds of eight calls
            for ended in range(0, 9, 2):
                clock[0] += 2.0
                asked = {"asked": before + 8, "ended": before + ended, "failed": 0, "tokens": 0}
                work = work.after(
                    {"event": "progress", "stage": "t", "rows": 10, "unit": "calls", **asked}
                )
                seen[-1].append(work.far)
                if shard == 0 and before and ended < 8:
                    assert not any("left" in fact for fact in work.facts())
                elif shard and work.far < rows:
                    assert "left" in work.facts()[0]  # the first has shown what a shard asks
        work = work.after({"event": "part", "rows": 10, "counts": {"calls": 32}})
        seen[-1].append(work.far)
        assert work.far == 10 * (shard + 1)
    every = [far for shard_seen in seen for far in shard_seen]
    assert every == sorted(every)
    assert all(len(set(later)) == 17 for later in seen[1:])  # they move with each call


def test_time_left_runs_down_without_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """And speeds are those of the last news; what was stopped has no time left."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    far = {"event": "progress", "rows": 50, "unit": "calls", "asked": 50, "failed": 0}
    work = progress._Work().after({"event": "stage", "stage": "j", "rows": 50, "rows_todo": 50})
    work = work.after({**far, "ended": 0, "tokens": 0})
    clock[0] = 3.0
    work = work.after({**far, "ended": 4, "tokens": 4})
    assert work.facts() == ["1.0 calls/s", "4 of 50 calls"]  # those that began with them end soon
    clock[0] = 9.0
    work = work.after({**far, "ended": 20, "tokens": 20})  # a token each, of which none is said
    said = []
    for second in (9.0, 14.0, 23.0, 24.0, 99.0):
        clock[0] = second
        said.append(work.facts())
    rest = ["2.0 calls/s", "20 of 50 calls"]
    assert said == [["0:00:15 left", *rest], ["0:00:10 left", *rest], ["0:00:01 left", *rest],
                    rest, rest]  # fmt: skip
    clock[0] = 9.0
    work.over = True
    assert work.facts() == ["2.0 calls/s"]


def test_one_is_no_plural() -> None:
    work = progress._Work().after({"event": "stage", "stage": "j", "rows": 9, "rows_todo": 9})
    work = work.after({"event": "part", "rows": 5, "counts": {"errors": 1, "retries": 1}})
    assert work.facts() == ["1 error", "1 retry"]
    work = work.after({"event": "part", "rows": 1, "counts": {"errors": 1, "retries": 1}})
    assert work.facts() == ["2 errors", "2 retries"]


def screen(raw: str, width: int) -> list[str]:
    """Play what a program wrote to a terminal; return the lines as they stand at the end."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]", raw):
        if piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            column = 0
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            row -= int(piece[2:-1] or 1)
            assert row >= 0
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif not piece.startswith("\x1b"):
            lines[row] = lines[row].ljust(column)[:column] + piece + lines[row][column + 1 :]
            column += 1
            assert column < width or "━" not in lines[row], f"a bar wraps: {lines[row]!r}"
    return [line.rstrip() for line in lines if line.strip()]


def in_a_terminal(command: list[str], width: int) -> tuple[list[str], str]:
    """Run a command in a terminal of this width; return its screen at the end, and all it wrote."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "curate", *command], stdin=inner, stdout=inner, stderr=inner,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""},
    ) as process:  # fmt: skip
        os.close(inner)
        raw = b""
        with contextlib.suppress(OSError):  # Linux says so at the end
            while piece := os.read(outer, 65536):
                raw += piece
        assert process.wait() == 0, raw.decode()
    os.close(outer)
    return screen(raw.decode(), width), raw.decode()


@pytest.mark.parametrize("width", [60, 80, 110])
def test_bars_in_a_terminal_under_two_workers(
    scripted_pipeline: Path, tmp_path: Path, width: int
) -> None:
    judges = "  - judge: {engine: small}\n  - judge: {engine: small, name: other}\n  - combine\n"
    text = scripted_pipeline.read_text().replace("  - combine\n", judges)
    text = text.replace("  - likelihood: {engine: small}\n", "")  # one more that is waited for
    scripted_pipeline.write_text(text)
    slow = ("--set", "engines.small.delay_s=0.7", "--workers", "2", "--root", str(tmp_path))
    command = ["run", str(scripted_pipeline), *slow, "--until", "combine"]
    lines, raw = in_a_terminal(command, width)
    bars = {line.split("  ")[0].split(" ━")[0].strip(): line for line in lines if "━" in line}
    assert {"generate", "judge", "judge 2"} <= set(bars)
    for name in ("generate", "judge", "judge 2"):
        assert re.search(r" 59/59 +0:00:0\d", bars[name]), bars[name]
        assert "tokens/s" in bars[name]
    assert re.search(r"0:00:0\d left", raw)
    assert sum(line.startswith("judge 2 ") for line in lines) == 1
    again, _ = in_a_terminal(command, width)
    assert re.search(r"^generate +━+ +59/59 .* done before$", "\n".join(again), re.M)


def test_a_bar_moves_within_one_long_shard(scripted_pipeline: Path, tmp_path: Path) -> None:
    slow = ("--set", "engines.small.delay_s=4", "--set", "source.shard_rows=64")
    lines, raw = in_a_terminal(
        ["run", str(scripted_pipeline), *slow, "--until", "generate", "--root", str(tmp_path)], 110
    )
    (bar,) = [line for line in lines if line.startswith("generate ")]
    assert re.search(r" 59/59 +0:00:0\d", bar)
    assert "calls" not in bar
    seen = re.findall(r" (\d+)/59 .*?0:00:0(\d) left, .*? tokens/s, (\d+) of 177 calls", raw)
    assert len({calls for _, _, calls in seen}) >= 2
    assert {rows for rows, _, _ in seen} == {"0"}


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
        asked = time.monotonic()
        assert process.stderr is not None
        line = process.stderr.readline()
        assert time.monotonic() - asked < 2.5
        assert re.sub(r"^[\d:]{8} ", "", line) == (
            "generate: stopping after the shards in flight; a second Ctrl-C stops at once\n"
        )
        assert process.stderr.read() == "stopped; the same command resumes\n"
    assert process.returncode == 130


def test_a_retry_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.listener(json=False) as tell:
        tell({"event": "retry", "stage": "judge", "why": "the child died"})
    assert capsys.readouterr().err.endswith("judge: trying again: the child died\n")


def test_quiet_is_one_line_or_one_error(scripted_pipeline: Path, tmp_path: Path) -> None:
    run = ("run", scripted_pipeline, "--root", tmp_path, "--quiet")
    folder, said = tmp_path / "runs/small/dataset", []
    # A run that works, one with nothing to do, and one whose dataset differs.
    for change in ((), (), ("--set", "margin.at_least=0.2")):
        ended = curate(*run, *change)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
        (line,) = ended.stderr.splitlines()
        parts = re.fullmatch(rf"60 rows = .*; (\d+) records in {re.escape(str(folder))}(.*)", line)
        assert parts is not None, line
        said.append((int(parts[1]), parts[2]))
    (first, new), (again, same), (fewer, gone) = said
    assert (again, new, same) == (first, "", " (as it was)")
    assert gone == f" (since the last one: 0 added, {first - fewer} removed)" != new
    assert fewer < first
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
