"""What hostile code cannot do in the sandbox. Oracles stand outside: files, sockets, processes.

"machine" promises less than "namespaces": there files are as they are for any process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from curate.errors import ConfigError
from curate.sandbox import Limits, run_tests

QUICK = Limits(seconds=1, wall_seconds=60.0, memory_mb=256, file_mb=4)


@pytest.fixture(autouse=True, scope="module")
def _isolates() -> None:
    try:
        assert run_tests("", "", QUICK).how == "passed"
    except ConfigError as error:
        pytest.skip(str(error))


places = pytest.mark.parametrize("place", ["namespaces", "machine"])


def marked(mark: str) -> list[int]:
    """Return the processes whose command line holds the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def gone(mark: str) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if not marked(mark):
            return True
        time.sleep(0.02)
    return False


DAEMON = """
import os, signal, sys, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        alive = "open('alive', 'w').close()\\nimport time\\ntime.sleep(300)"
        os.execv(PYTHON, [PYTHON, "-S", "-c", alive, MARK])
    os._exit(0)
while not os.path.exists("alive"):
    time.sleep(0.05)
time.sleep(0.3)  # for the one who watches from outside
"""


@places
def test_a_daemon_that_forks_twice_is_dead_afterwards(place: str) -> None:
    mark = f"daemon-{place}-{os.getpid()}"
    code = f"import sys\nPYTHON, MARK = sys.executable, {mark!r}\n" + DAEMON
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.extend(marked(mark))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    ended = run_tests(code, "pass", QUICK, place)
    done.set()
    watcher.join()
    assert ended.how == "passed"
    assert seen, "the daemon never ran, so the test shows nothing"
    assert gone(mark)


@places
def test_a_loop_that_ignores_signals_ends_in_time(place: str) -> None:
    code = """
import signal
for number in range(1, 65):
    try: signal.signal(number, lambda *a: None)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
"""
    patient = QUICK.model_copy(update={"wall_seconds": 7200.0})  # its processor time ends it
    assert run_tests(code, "", patient, place).how == "timeout"


def test_a_fork_bomb_meets_its_limit_and_leaves_nothing() -> None:
    mark = f"bomb-{os.getpid()}"
    code = f"""
import os, sys, time
made = 0
try:
    while made < 500:
        if os.fork() == 0:
            program = [sys.executable, "-S", "-c", "import time\\ntime.sleep(300)", {mark!r}]
            os.execv(program[0], program)
        made += 1
except BlockingIOError:
    pass
time.sleep(0.3)
"""
    assert run_tests(code, f"assert 0 < made <= {QUICK.processes}, made", QUICK).how == "passed"
    assert gone(mark)
    endless = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    assert run_tests(endless, "", Limits(wall_seconds=1.0)).how == "timeout"


@places
def test_there_is_no_network_not_even_loopback(place: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # from here it answers
            server.accept()[0].close()
        server.settimeout(0.3)
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
        assert run_tests(code, "", QUICK, place).how == "failed"
        for family in (socket.AF_INET, socket.AF_INET6, 16, 38, 40):  # netlink, alg, vsock
            code = f"import socket\nsocket.socket({int(family)}, socket.SOCK_DGRAM)"
            assert run_tests(code, "", QUICK, place).detail == "PermissionError"
        with pytest.raises(TimeoutError):
            server.accept()


@places
def test_no_secret_of_the_environment_is_there(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-4711")
    tests = "import os\nassert 'canary' not in repr(dict(os.environ)), os.environ\n"
    tests += "assert set(os.environ) <= {'PYTHONHASHSEED', 'LC_CTYPE'}"
    assert run_tests("", tests, QUICK, place).how == "passed"


@places
def test_a_file_cannot_outgrow_its_limit(place: str) -> None:
    code = """
with open("big", "wb") as file:
    while True:
        file.write(b"x" * 65536)
        file.flush()
"""
    ended = run_tests(code, "", QUICK, place)
    assert (ended.how, ended.detail) in {("failed", "OSError"), ("killed", "signal 25")}


def test_all_files_together_meet_the_limit_too() -> None:
    code = """
for k in range(100):
    with open(f"part{k}", "wb") as file:
        file.write(b"x" * (1 << 20))
"""
    assert run_tests(code, "", QUICK).detail == "OSError"


def test_endless_output_costs_nothing() -> None:
    code = "import sys\nwhile True:\n    print('x' * 10000)\n    sys.stderr.write('y' * 10000)"
    assert run_tests(code, "", QUICK).how == "timeout"
    flood = "import os\nos.set_blocking(3, False)\n"
    flood += "try:\n    while True: os.write(3, b'z' * 4096)\nexcept BlockingIOError: pass\n"
    assert run_tests(flood, "", QUICK).how in ("no_verdict", "failed")


@places
def test_a_memory_bomb_is_a_typed_ending(place: str) -> None:
    code = "held = []\nwhile True:\n    held.append(bytearray(10 << 20))"
    assert run_tests(code, "", QUICK, place).how == "memory"


def test_nothing_of_this_machine_can_be_read_or_written(tmp_path: Path) -> None:
    store, keys = tmp_path / "store", tmp_path / "home" / ".ssh"
    store.mkdir()
    keys.mkdir(parents=True)
    (keys / "id_ed25519").write_text("canary-4711")
    for folder in (tmp_path, store, keys.parent, keys):
        folder.chmod(0o777)
    hidden = [store, keys, Path(__file__).resolve(), Path.home() / ".ssh", Path.home() / ".cache"]
    tests = f"""
import os
system = ["/etc/passwd", "/proc", "/sys", "/var", "/bin/sh"]
for path in [*system, *{[str(path) for path in hidden]!r}]:
    assert not os.path.exists(path), path
library = os.path.dirname(os.__file__)
for path in ({str(store / "planted")!r}, "/planted", os.__file__, library + "/planted"):
    try:
        open(path, "a")
    except OSError:
        pass
    else:
        raise SystemError(path)
assert os.getuid() != 0 and os.listdir(".") == []
"""
    ended = run_tests("", tests, QUICK)
    assert ended.how == "passed", ended
    assert list(store.iterdir()) == []
    assert (keys / "id_ed25519").read_text() == "canary-4711"


def test_there_is_no_way_to_new_privileges() -> None:
    tests = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == -1 and ctypes.get_errno() == 1  # a user namespace
assert libc.mount(b"none", b"/work", b"tmpfs", 0, b"") == -1
assert libc.ptrace(16, 1, 0, 0) == -1
assert libc.prctl(39, 0, 0, 0, 0) == 1  # no_new_privs holds
for call in (os.setuid, os.setgid):
    try: call(0)
    except OSError: pass
    else: raise SystemError(call)
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError: pass
"""
    assert run_tests("", tests, QUICK).how == "passed"


@places
def test_when_curate_is_killed_the_program_dies(place: str) -> None:
    mark = f"orphan-{place}-{os.getpid()}"
    program = f"""
import os, sys
command = [sys.executable, "-S", "-c", "import time\\ntime.sleep(300)", {mark!r}]
os.execv(command[0], command)
"""
    driver = f"""
from curate.sandbox import Limits, run_tests
run_tests({program!r}, "", Limits(wall_seconds=60), {place!r})
"""
    child = subprocess.Popen([sys.executable, "-c", driver])
    try:
        end = time.monotonic() + 60
        while not any(
            "-S" in Path(f"/proc/{p}/cmdline").read_text().split("\0")[1:2]
            for p in marked(mark)
            if p != child.pid
        ):
            assert time.monotonic() < end, "the program never ran"
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert gone(mark)
