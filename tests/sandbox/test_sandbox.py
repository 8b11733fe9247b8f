"""How programs end in the sandbox, in both places, and what the first one hides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from curate.errors import ConfigError
from curate.sandbox import Ended, Limits, run_tests

QUICK = Limits(seconds=1, wall_seconds=60.0)
ADD = "def add(a, b):\n    return a + b\n"


def isolates() -> bool:
    try:
        return run_tests(ADD, "", QUICK).how == "passed"
    except ConfigError:
        return False


pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="running code needs Linux"
)
places = pytest.mark.parametrize(
    "place",
    [
        pytest.param(
            "namespaces",
            marks=pytest.mark.skipif(not isolates(), reason="this machine allows no namespaces"),
        ),
        "machine",
    ],
)


@places
@pytest.mark.parametrize(
    ("code", "tests", "ended"),
    [
        (ADD, "assert add(1, 2) == 3", Ended("passed")),
        (ADD, "from solution import add\nassert add(1, 2) == 3", Ended("passed")),
        (ADD, "assert add(1, 2) == 4", Ended("failed", "AssertionError")),
        ("def add(a, b):", "pass", Ended("failed", "IndentationError")),
        ("import numpy", "pass", Ended("failed", "ModuleNotFoundError")),
        ("\ud800 = 1", "pass", Ended("failed", "UnicodeEncodeError")),
        ("class Odd(Exception): pass\nraise Odd", "pass", Ended("failed", "Odd")),
        ("import sys\nsys.exit(0)", "assert False", Ended("failed", "SystemExit")),
        ("import os\nos._exit(0)", "assert False", Ended("no_verdict")),
        ("import os\nos._exit(127)", "assert False", Ended("no_verdict")),
        ("import os\nos.write(3, b'0 passed')\nos._exit(0)", "pass", Ended("no_verdict")),
        ("while True: pass", "pass", Ended("timeout")),
        ("x = bytearray(1 << 31)", "pass", Ended("memory")),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
            "",
            Ended("killed", "signal 11"),
        ),
        ("x = input()", "pass", Ended("failed", "EOFError")),
        ("x" * 300_000, "pass", Ended("no_verdict", "too long")),
        ("if __name__ == '__main__':\n    raise ValueError", "pass", Ended("passed")),
    ],
)
def test_how_a_program_ends(place: str, code: str, tests: str, ended: Ended) -> None:
    assert run_tests(code, tests, QUICK, place) == ended


@places
def test_what_only_waits_is_ended_by_the_clock(place: str) -> None:
    limits = Limits(wall_seconds=1.0)
    assert run_tests("import time\ntime.sleep(600)", "", limits, place) == Ended("timeout")


@places
def test_nothing_is_left_of_its_folder(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import os\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\n"
    assert run_tests(code + "open('left', 'w').close()", "pass", QUICK, place).how == "passed"
    assert list(tmp_path.iterdir()) == []


@places
@pytest.mark.parametrize(
    ("tests", "passes"),
    [("assert add(1, 2) == 3", False), ("add(1, 2)", True), ("assert True", True),
     ("import solution\nsolution.add(1)", True), ("assert len([1]) == 1", True),
     ("def check(f):\n    assert f(1) == other(2)\ncheck(add)", True),
     ("assert isinstance(add(1, 2), int)", False)],
)  # fmt: skip
def test_tests_that_pass_on_stubs_test_nothing(place: str, tests: str, passes: bool) -> None:
    assert (run_tests(None, tests, QUICK, place).how == "passed") is passes


@places
def test_what_python_draws_is_the_same_every_time(place: str) -> None:
    code = "import random\nmine = [hash('a'), random.random()]"
    seen = run_tests(code, "assert mine == [0, 0], mine", QUICK, place)
    assert seen == Ended("failed", "AssertionError")
    drawn = "import random\nrandom.seed(0)\nwanted = random.random()\n"
    late = "import random\nassert (random.seed(0), random.random())[1] == first"
    assert run_tests("import random\nfirst = random.random()", late, QUICK, place).how == "passed"
    assert run_tests(drawn, "assert wanted", QUICK, place).how == "passed"


def test_a_machine_that_cannot_isolate_is_named_and_nothing_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "curate.sandbox._launch", lambda order, seconds: {"refused": "unshare: not permitted"}
    )
    with pytest.raises(ConfigError, match="isolation: machine"):
        run_tests(ADD, "", QUICK)
