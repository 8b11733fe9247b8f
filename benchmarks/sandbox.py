"""What a program costs in the sandbox, beside an interpreter that is started for it bare.

    python benchmarks/sandbox.py [programs]

Each program defines a function and meets two asserts. "Bare" runs the same text with
`python -S -c` and no isolation at all, one process each. The three take turns, so that other load
on the machine meets them alike; medians are shown, and the processor time of all processes, which
other load changes little.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from curate.sandbox import Isolation, Limits, run_tests

CODE = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\n"


def bare() -> None:
    """Run the program without any protection."""
    subprocess.run([sys.executable, "-S", "-c", CODE + TESTS], check=True)


def sandboxed(place: Isolation) -> Callable[[], None]:
    """Return what runs the program in this place, and sees that it passes."""

    def run() -> None:
        assert run_tests(CODE, TESTS, Limits(), place).how == "passed"

    return run


def main(programs: int) -> None:
    """Measure and print a table, alone and with four programs at once."""
    ways = {"bare": bare, "machine": sandboxed("machine"), "namespaces": sandboxed("namespaces")}
    alone: dict[str, list[float]] = {name: [] for name in ways}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(programs):
        for name, run in ways.items():
            started, used = time.perf_counter(), of_children()
            run()
            alone[name].append(time.perf_counter() - started)
            spent[name].append(of_children() - used)
    rate: dict[str, float] = {}
    with ThreadPoolExecutor(4) as pool:
        for name, run in ways.items():
            started = time.perf_counter()
            list(pool.map(lambda _, run=run: run(), range(programs)))
            rate[name] = programs / (time.perf_counter() - started)
    print("| way | ms | CPU ms | CPU, times bare | programs/s, 4 at once |\n|---|---|---|---|---|")
    for name in ways:
        ms, cpu = (1000 * statistics.median(times[name]) for times in (alone, spent))
        ratio = cpu / (1000 * statistics.median(spent["bare"]))
        print(f"| {name} | {ms:.0f} | {cpu:.0f} | {ratio:.1f} | {rate[name]:.1f} |")


def of_children() -> float:
    """Return the processor time in seconds of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
