"""Where memory is limited, a process that a library ends still has last words."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate.lookout import STOPPED, roomy

pytestmark = pytest.mark.timeout(60)
LIMIT = 1 << 40
CODE = """
import os, signal, sys, threading, time
from curate.errors import enough_memory
from curate.lookout import watched

def work():
    with enough_memory("stage `x`, over 8 rows,"):
        print("begun", flush=True)
        END

watched(work)
print("after", flush=True)
"""


def started(end, limit=LIMIT):
    code = CODE.replace("END", end)
    limits = [f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"]
    return subprocess.Popen(
        [sys.executable, "-c", (limits[0] if limit else "") + code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def ended(end, limit=LIMIT):
    process = started(end, limit)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("os.abort()", "signal 6"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("threading.Thread(target=os._exit, args=(1,)).start(); time.sleep(30)", "exit code 1"),
        ("os._exit(0)", "exit code 0"),
    ],
)
def test_an_end_from_within_is_said(end, how):
    code, out, err = ended(end)
    assert (code, out) == (STOPPED, "begun\n")
    last = err.splitlines()[-1]
    assert last.startswith("error: stage `x`, over 8 rows: a library ended the process")
    assert how in last
    assert f"{LIMIT >> 20} MiB" in last
    assert "run the same command again" in last


@pytest.mark.parametrize("limit", [0, LIMIT])
def test_any_other_end_is_as_it_was(limit):
    assert ended("pass", limit) == (0, "begun\nafter\n", "")
    assert ended("sys.exit(7)", limit) == (7, "begun\n", "")
    code, _, err = ended("{}['no']", limit)
    assert code == 1
    assert err.endswith("KeyError: 'no'\n")
    assert err.count("Traceback") == 1


def test_what_runs_out_in_words_is_an_error_in_words():
    for text in ("MemoryError()", 'RuntimeError("can\'t start new thread")', "OSError(12, 'no')"):
        code, _, err = ended(f"raise {text}")
        assert code == 1  # the command line gives it its exit code
        last = err.splitlines()[-1]
        assert last.startswith("curate.errors.OutOfMemory: stage `x`, over 8 rows, ran out of mem")


def test_room_is_asked_for_without_being_used():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    roomy()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16  # kilobytes
    code, _, err = ended("from curate.lookout import roomy; roomy()", 200 << 20)
    assert code == 1
    assert "ran out of memory" in err.splitlines()[-1]


DEAF = """
        import concurrent.futures as f
        def lost(*given):
            raise MemoryError
        f.Future.set_result = f.Future.set_exception = lost
        f.ThreadPoolExecutor(1).submit(int).result()
"""


def test_a_thread_that_is_gone_without_a_word_ends_the_process():
    code, out, err = ended(DEAF.strip())
    assert (code, out) == (STOPPED, "begun\n")
    assert "a library ended the process (exit code 1)" in err.splitlines()[-1]


STILLBORN = """
        from curate import lookout
        lookout.BORN_WITHIN = 0.2
        threading._start_new_thread = lambda *given: 1
        threading.Timer(0, print).start()
"""


def test_the_start_of_a_thread_that_ends_at_its_first_step_is_an_error():
    code, _, err = ended(STILLBORN.strip())
    assert code == 1
    assert err.splitlines()[-1].startswith("curate.errors.OutOfMemory: stage `x`, over 8 rows, ran")


def test_signals_reach_the_one_that_works():
    end = (
        "signal.signal(signal.SIGTERM, lambda *given: sys.exit(9)); print(os.getpid(), flush=True);"
        " time.sleep(30)"
    )
    process = started(end)
    assert process.stdout.readline() == "begun\n"
    child = int(process.stdout.readline())
    assert child != process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 9


def test_the_one_that_works_ends_with_the_one_that_looks_on():
    process = started("print(os.getpid(), flush=True); time.sleep(30)")
    process.stdout.readline()
    child = int(process.stdout.readline())
    process.kill()
    process.wait(timeout=30)
    until = time.monotonic() + 20
    while alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(child)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_tests_run_without_a_limit():
    """Else every one of them would prove less than it says."""
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
