"""Threads that cannot be started, or that end in the midst of their work: nobody waits for them."""

import _thread
import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pytest

from curate import threads
from curate.executors.local import in_flight
from curate.threads import Pool, Thread

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def stillborn(monkeypatch):
    """Every new thread ends before it says that it runs, as one does that finds no memory."""
    monkeypatch.setattr(threads, "BORN_WITHIN", 0.2)
    monkeypatch.setattr(threading, "_start_new_thread", lambda *more: _thread.get_ident())


@pytest.fixture
def refused(monkeypatch):
    """The machine refuses every new thread."""

    def refuse(*more):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "_start_new_thread", refuse)


def test_the_start_of_a_thread_that_ends_at_once_is_an_error(stillborn):
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Thread(lambda: None, "t").start()


def test_starts_of_threads_of_libraries_can_be_bound_too(stillborn, monkeypatch):
    monkeypatch.setattr(threading.Thread, "__init__", threading.Thread.__init__)  # put back after
    threads.bound_all_starts()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        threading.Timer(0, lambda: None).start()


@pytest.mark.parametrize("none", ["stillborn", "refused"])
def test_without_threads_the_caller_does_the_work(none, request):
    request.getfixturevalue(none)
    here = threading.get_ident()
    with Pool[tuple[int, int]](3, "t") as pool:
        found = list(pool.map(lambda k: (k, threading.get_ident()), range(9), 4))
    assert found == [(k, here) for k in range(9)]
    done = [task for task, _ in in_flight(lambda task: [], range(5), 3, lambda: False)]
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_a_few_threads_do_what_more_would_do(monkeypatch):
    start, started = threading._start_new_thread, []

    def twice(*more):
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(1)
        return start(*more)

    monkeypatch.setattr(threading, "_start_new_thread", twice)
    with Pool[int](8, "t") as pool:
        futures = [pool.submit(lambda k=k: time.sleep(0.01) or k) for k in range(20)]
        assert [pool.result(future) for future in futures] == list(range(20))
    assert len(started) == 2


def test_a_thread_that_ends_in_the_midst_of_its_work_ends_the_wait(monkeypatch):
    """Without memory even the word of an error cannot be left."""

    def lost(future, call):
        raise MemoryError

    monkeypatch.setattr(threads, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(threads, "_do", lost)
    monkeypatch.setattr(threading, "excepthook", lambda seen: None)
    with Pool[int](2, "t") as pool, pytest.raises(MemoryError):
        list(pool.map(lambda k: k, range(4), 2))
    with pytest.raises(MemoryError):
        list(in_flight(lambda task: [], range(3), 2, lambda: False))


def test_results_come_in_order_and_errors_with_them():
    def work(k):
        time.sleep(0.01 * (k % 3))
        if k == 7:
            raise TimeoutError("seven")
        return k

    got = []
    with Pool[int](4, "t") as pool, pytest.raises(TimeoutError, match="seven"):
        got.extend(pool.map(work, range(12), 6))
    assert got == list(range(7))
    assert list(Pool[int](2, "t").map(lambda k: -k, range(5), 2)) == [0, -1, -2, -3, -4]


def test_never_more_threads_than_asked_for_and_idle_ones_are_used_again():
    seen, lock = set(), threading.Lock()
    at_once = most = 0

    def work():
        nonlocal at_once, most
        with lock:
            seen.add(threading.get_ident())
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1

    with Pool[None](3, "t") as pool:
        for _ in range(10):
            wait([pool.submit(work) for _ in range(7)])
    assert most <= 3
    assert len(seen) <= 3


def test_an_end_with_cancel_begins_nothing_more():
    gate, begun = threading.Event(), []
    pool = Pool[None](1, "t")
    first = pool.submit(lambda: begun.append(1) or gate.wait(10))
    while not begun:
        time.sleep(0.001)
    others = [pool.submit(lambda: begun.append(2)) for _ in range(3)]
    pool.end(wait=False, cancel=True)
    gate.set()
    pool.end()
    assert first.done()
    assert all(future.cancelled() for future in others)
    assert begun == [1]


def test_a_pool_that_is_left_behind_does_not_keep_the_process():
    code = (
        "from curate.threads import Pool\n"
        "pool = Pool(2, 't')\n"
        "left = pool.map(lambda k: k, range(99), 2)\n"
        "print(next(left))\n"
        "raise SystemExit(5)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (5, b"0\n")


FIRST_STEP = """
import os, resource, threading
from curate.threads import Pool
from curate import threads
threads.BORN_WITHIN = 1.0

def mapped():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

threading.stack_size(1 << 20)
with Pool(2, "warm") as pool:
    list(pool.map(abs, range(3), 2))
size = mapped() + (1 << 20) + 4096 + (ROOM << 10)
resource.setrlimit(resource.RLIMIT_AS, (size, size))
pool = Pool(1, "t")
print(pool.result(pool.submit(lambda: 7)), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("room", [0, 8, 16, 64])
def test_a_limit_on_memory_that_leaves_room_for_little_more_than_a_stack(room):
    """The threads of `concurrent.futures` wait for ever here, at some of these sizes."""
    code = FIRST_STEP.replace("ROOM", str(room))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, text=True)
    assert (ended.returncode, ended.stdout) == (0, "7\n"), ended.stderr
