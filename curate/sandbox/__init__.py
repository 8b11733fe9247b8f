"""Run a program that a model wrote, where it can do no harm, and be done with it in time.

With `isolation: namespaces` (Linux 5.14 or later) the program has: its own process, mount, network,
IPC and host-name namespaces; a file system that holds the interpreter's own library (read-only)
and a small folder in memory, and nothing else of this machine; no network, not even loopback; an
empty environment and no standard input; its output is thrown away; limits on memory, time, files
and processes; no privileges and no way to new ones. When the first process of a PID namespace
ends, the kernel kills all others in it, so nothing outlives its time. If curate itself is killed,
so is the program.

What this does not do: it shares the machine's kernel, so a fault in the kernel is a way out; a
machine for strangers' code deserves a virtual machine around it. Memory is limited a process and
not for all together. And the program runs in one process with its tests, so one that sets out to
deceive its tests can: a verdict says what tests say of honest mistakes.

With `isolation: machine` the caller says that the machine itself is the sandbox (a container or a
virtual machine without network and secrets, made for this). There are then the limits, an empty
environment, a fresh folder and the killing of all descendants, and nothing else: files and network
are as they are for any process of this user.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from curate.errors import ConfigError

Isolation = Literal["namespaces", "machine"]
Ending = Literal["passed", "failed", "no_verdict", "timeout", "memory", "killed"]

_HERE = Path(__file__).parent
_LONGEST = 200_000  # characters of a program with its tests
_GRACE = 10.0  # seconds beyond the wall limit before the launcher itself is killed


class Limits(BaseModel):
    """What a program may use. All but `wall_seconds` count for each process apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: int = Field(default=5, ge=1, le=3600)
    """Processor time."""
    wall_seconds: float = Field(default=30.0, gt=0, le=7200)
    """Time by the clock; it ends what sleeps or waits. Generous, as machines are busy at times."""
    memory_mb: int = Field(default=512, ge=64)
    """Address space."""
    file_mb: int = Field(default=16, ge=1)
    """Size of a file, and of all files together where the folder is in memory."""
    processes: int = Field(default=8, ge=1, le=1024)
    """Processes and threads of one program."""
    open_files: int = Field(default=64, ge=16, le=4096)
    """File descriptors of a process."""


class Ended(NamedTuple):
    """How a program ended.

    passed, failed (a test or the solution raised; `detail` is the exception's class), no_verdict
    (it left before its tests had run), timeout, memory, or killed (by the signal in `detail`).
    """

    how: Ending
    detail: str = ""


def run_tests(
    code: str | None, tests: str, limits: Limits, isolation: Isolation = "namespaces"
) -> Ended:
    """Run `tests` after `code` in one fresh module and interpreter, in the sandbox.

    Both are Python. Without code (None) every unknown name is a function that returns None: tests
    that pass so test nothing. Raises ConfigError where this machine cannot isolate a program.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError("running code needs Linux; run the pipeline in a container or a VM")
    if len(tests) + len(code or "") > _LONGEST:
        return Ended("no_verdict", "too long")
    token = secrets.token_hex(16)
    folder = tempfile.mkdtemp(prefix="curate-sandbox-")
    try:
        order = {
            "folder": folder,
            "isolation": isolation,
            "limits": limits.model_dump(),
            "harness": (_HERE / "inside" / "harness.py").read_text(encoding="utf-8"),
            "prefix": sys.base_prefix,
            "task": {"code": code, "tests": tests, "token": token},
        }
        said = _launch(json.dumps(order), limits.wall_seconds + _GRACE)
    finally:
        _remove(folder)
    if "refused" in said:
        raise ConfigError(
            f"this machine cannot isolate a program: {said['refused']}. Let user namespaces be "
            "made here (in a container they may be forbidden), or run the pipeline in a container "
            "or VM without network and secrets and set `isolation: machine`"
        )
    return _read(said, token, limits)


def _launch(order: str, seconds: float) -> dict[str, str | int | float | bool]:
    """Start the launcher and return its report; it and all below it are dead afterwards."""
    python = getattr(sys, "_base_executable", sys.executable)  # not the virtual environment's
    command = [python, "-s", "-S", "-P", "-m", "inside.launcher"]
    try:
        done = subprocess.run(  # noqa: S603 - our own file
            command,
            input=order.encode("utf-8", "replace"),
            capture_output=True,
            env={"PYTHONPATH": str(_HERE)},
            timeout=seconds,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"timeout": True}
    try:
        found = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:200]
        return {"refused": f"the launcher ended with {done.returncode} ({last})"}
    return dict(found)


def _remove(folder: str) -> None:
    """Remove what a program may have left; nested without end, it is too deep for `shutil`."""
    with contextlib.suppress(OSError):
        Path(folder).rmdir()
        return
    subprocess.run(["rm", "-rf", "--", folder], capture_output=True, check=False)  # noqa: S603, S607


def _read(said: dict[str, str | int | float | bool], token: str, limits: Limits) -> Ended:
    killer = int(said.get("signal", 0))
    # One that ignores SIGXCPU is killed a second later; the kernel's clocks differ a little.
    spent = killer == signal.SIGKILL and float(said["cpu"]) >= limits.seconds
    if said.get("timeout") or killer == signal.SIGXCPU or spent:
        return Ended("timeout")
    first, _, verdict = str(said.get("verdict", "")).partition(" ")
    if first == token:
        how, _, name = verdict.partition(" ")
        if how == "passed":
            return Ended("passed")
        if name == "MemoryError":
            return Ended("memory")
        return Ended("failed", name if name.isidentifier() and len(name) <= 80 else "")
    return Ended("killed", f"signal {killer}") if killer else Ended("no_verdict")


__all__ = ["Ended", "Ending", "Isolation", "Limits", "run_tests"]
