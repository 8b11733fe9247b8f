"""What a log holds: a line now and then, with how far a stage is, how fast, and what was lost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from curate import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that progress goes by, in seconds: as it is set here."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines said since it was last called, without the time that each begins with."""

    def lines() -> list[str]:
        out, err = capsys.readouterr()
        assert out == ""
        every = err.splitlines()
        assert all(re.match(r"\d\d:\d\d:\d\d .", line) for line in every), err
        return [line[len("00:00:00 ") :] for line in every]

    return lines


def test_a_line_every_so_often_and_none_without_work(
    clock: list[float], said: Callable[[], list[str]]
) -> None:
    """Three stages, of which the first finds all done, a second between events."""
    with progress.listener(json=False) as tell:
        for stage, todo in (("first", 0), ("second", 40), ("third", 2)):
            clock[0] += 1
            tell(
                {"event": "stage", "stage": stage, "todo": todo, "rows": 200, "rows_todo": todo * 5}
            )
            for _ in range(todo):
                clock[0] += 1
                tell({"event": "part", "stage": stage, "rows": 5, "counts": {}})
    assert said() == [
        f"second: {rows} of 200 rows; 0:00:{left:02} left"
        for rows, left in ((40, 32), (90, 22), (140, 12), (190, 2))
    ]


def test_a_line_says_speed_and_losses(clock: list[float], said: Callable[[], list[str]]) -> None:
    with progress.listener(json=False) as tell:
        tell({"event": "stage", "stage": "judge", "todo": 9, "rows": 90, "rows_todo": 90})
        clock[0] = 20.0
        counts = {"tokens": 30_000, "errors": 2}
        tell({"event": "part", "stage": "judge", "rows": 10, "kept": 7, "counts": counts})
    assert said() == ["judge: 10 of 90 rows; 0:02:40 left, 1,500 tokens/s, 3 gone, 2 errors"]


def test_a_long_shard_is_not_silence(
    clock: list[float], said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is told while a shard is at work; a clock speaks all the same, until work is over."""
    monkeypatch.setattr(progress, "EVERY", 0.02)

    def soon() -> list[str]:
        clock[0] += 1
        until = time.perf_counter() + 60
        while not (lines := said()):
            assert time.perf_counter() < until, "silence"
            time.sleep(0.01)
        return lines

    with progress.listener(json=False) as tell:
        tell({"event": "source", "rows": 90})
        for name in ("judge", "judge 2"):
            tell({"event": "stage", "stage": "judge", "todo": 1, "rows": 90, "rows_todo": 90})
            said()
            assert soon() == [f"{name}: 0 of 90 rows; no shard done yet, 0:00:01 so far"]
            tell({"event": "part", "stage": "judge", "rows": 90, "counts": {}})
        clock[0] += 9
        time.sleep(0.2)  # the export has rows to write and none to do
        assert said() == []
        tell({"event": "source", "rows": 9})
        tell({"event": "stage", "stage": "judge", "todo": 1, "rows": 9, "rows_todo": 9})
        said()
        assert soon() == ["judge: 0 of 9 rows; no shard done yet, 0:00:01 so far"]


def test_a_model_that_loads_is_named_until_it_is_there(
    clock: list[float], said: Callable[[], list[str]]
) -> None:
    stage = {"event": "stage", "stage": "judge", "todo": 2, "rows": 9, "rows_todo": 9}
    work = progress._Work().after(stage)
    loading = {"event": "loading", "stage": "judge", "engine": "big\x1b[1m"}
    for over in ("loaded", "retry"):  # a process that dies as it loads does not say that it ended
        assert progress._first_facts(work) == ["at work"]
        work = work.after(loading)
        (fact,) = progress._first_facts(work)
        assert re.fullmatch("engine big.*m.* is loading", fact)
        assert "\x1b" not in fact
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
    assert said() == [
        "judge: 0 of 9 rows; engine big is loading, 0:00:20 so far",
        "judge: 3 of 9 rows; 0:01:20 left, engine big is loading",
        "judge: 6 of 9 rows; 0:00:30 left",
    ]


def test_calls_say_how_far_a_long_shard_is(
    clock: list[float], said: Callable[[], list[str]]
) -> None:
    """Time and speed count from the first calls on: before them the engine was loading."""
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
    assert said() == [
        "judge: 0 of 200 rows; 0:02:20 left, 250 tokens/s, 3 errors, 100 of 400 calls",
        "judge: 100 of 200 rows; 0:00:40 left, 500 tokens/s, 10 gone, 3 errors, 100 of 400 calls",
        "judge: 100 of 200 rows; 0:00:39 left, 450 tokens/s, 10 gone, 3 errors, 450 of 500 calls",
    ]


def test_texts_that_are_encoded_have_a_speed_of_their_own(
    clock: list[float], said: Callable[[], list[str]]
) -> None:
    with progress.listener(json=False) as tell:
        tell({"event": "stage", "stage": "embed", "todo": 1, "rows": 900, "rows_todo": 900})
        far = {"stage": "embed", "rows": 900, "unit": "texts", "failed": 0, "tokens": 0}
        tell({"event": "progress", **far, "asked": 600, "ended": 0})
        for second, ended in ((19.0, 100), (39.0, 300)):
            clock[0] = second
            tell({"event": "progress", **far, "asked": 600, "ended": ended})
            tell({"event": "part", "stage": "embed", "rows": 0, "counts": {}})
    assert said() == [
        "embed: 0 of 900 rows; 0:01:40 left, 5.0 texts/s, 100 of 600 texts",
        "embed: 0 of 900 rows; 0:00:40 left, 7.5 texts/s, 300 of 600 texts",
    ]


@pytest.mark.parametrize("shards", [1, 3])
def test_what_is_shown_never_goes_back(shards: int, clock: list[float]) -> None:
    """A first shard asks in rounds that nobody knew of: the bar waits, and no time left is said."""
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


def test_time_left_runs_down_without_news(clock: list[float]) -> None:
    """And speeds are those of the last news; what was stopped has no time left."""
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


def test_a_retry_is_said_at_once(said: Callable[[], list[str]]) -> None:
    with progress.listener(json=False) as tell:
        tell({"event": "retry", "stage": "judge", "why": "the child died"})
    assert said() == ["judge: trying again: the child died"]
