"""Starting the program: a fresh interpreter without privileges, within its limits."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from .calls import NO_NEW_PRIVS, PDEATHSIG, Refused, filter_calls, libc, prctl

_NO_RANDOM_ADDRESSES = 0x0040000
_VERDICT, _SPARE, _LAST = 3, 9, 256


def executable() -> str:
    """Return the interpreter's own file."""
    return os.path.realpath(sys.executable)


def start(order: dict[str, Any], folder: str, user: int | None, running: int, pipe: int) -> int:
    """Start the program in `folder` and return its process id; `pipe` becomes descriptor 3.

    `user` is who the program shall be (None: who we are), `running` how many processes of that
    user are there already. Raises Refused where the program cannot be held as it must.
    """
    for name, text in order["task"].items():
        if text is not None:
            Path(folder, name).write_bytes(text.encode("utf-8", "surrogatepass"))
    failed_out, failed_in = os.pipe()  # both close when the interpreter has started
    pid = os.fork()
    if not pid:
        _become_the_program(order, folder, user, running, pipe, failed_in)
    os.close(failed_in)
    if failure := os.read(failed_out, 4096):
        os.waitpid(pid, 0)
        raise Refused(failure.decode("utf-8", "replace"))
    os.close(failed_out)
    return pid


def _become_the_program(
    order: dict[str, Any], folder: str, user: int | None, running: int, pipe: int, failed: int
) -> None:
    try:
        os.setsid()
        os.chdir(folder)
        null = os.open("/dev/null", os.O_RDWR)
        failed, spare = os.dup2(failed, _LAST, inheritable=False), os.dup2(pipe, _SPARE)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.dup2(spare, _VERDICT)
        os.closerange(_VERDICT + 1, _LAST)
        libc.personality(ctypes.c_ulong(_NO_RANDOM_ADDRESSES))  # so that ids repeat; not vital
        prctl(NO_NEW_PRIVS, 1, "no new privileges")
        if user is not None and os.getuid() != user:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        prctl(PDEATHSIG, signal.SIGKILL, "death signal")  # a change of user clears it
        filter_calls()
        _set_limits(order["limits"], running)
        command = [executable(), "-s", "-S", "-P", "-B", "-c", order["harness"]]
        os.execve(command[0], command, {"PYTHONHASHSEED": "0"})  # noqa: S606
    except BaseException as error:
        os.write(failed, f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
    finally:
        os._exit(1)


def _set_limits(limits: dict[str, Any], running: int) -> None:
    for kind, most in (
        (resource.RLIMIT_AS, limits["memory_mb"] << 20),
        (resource.RLIMIT_FSIZE, limits["file_mb"] << 20),
        (resource.RLIMIT_NPROC, limits["processes"] + running),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    seconds = limits["seconds"]  # first SIGXCPU, then SIGKILL
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
