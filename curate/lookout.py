"""A process that waits for the one that works, and says how it ended where that cannot.

Under a limit on memory (`ulimit -v`) many libraries do not raise an error: they end the process
from within, by a signal or an exit code of their own. So the command does its work in a child
there, and what is left behind says in one line what happened, where, and what to do.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import resource
import signal
import threading
from collections.abc import Callable
from typing import Any

ROOM = 256 << 20
BORN_WITHIN = 20.0  # seconds; the start of a thread takes microseconds
STOPPED = 3  # as for a run that ran out of memory and could say so
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PARENT_DIED = 1  # prctl's PR_SET_PDEATHSIG
_slate: mmap.mmap | None = None  # what the child is at; both see it


def doing(what: str) -> None:
    """Note what the process is at, for the words of its end; "" when it ends by itself."""
    if _slate is not None:
        raw = what.encode("utf-8", "replace")[:1000]
        _slate[: len(raw) + 1] = raw + b"\0"


def roomy() -> None:
    """Raise OSError (ENOMEM) where the process would get no `ROOM` bytes more.

    For numbers that hang on there being memory: oneDNN, without any for the code that it writes for
    a product, computes it in another way, without an error and with other last bits.
    """
    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    mmap.mmap(-1, ROOM, flags=kind, prot=mmap.PROT_READ).close()


class _Born(threading.Event):
    """What a start waits for: not for ever."""

    def wait(self, timeout: float | None = None) -> bool:
        if super().wait(BORN_WITHIN if timeout is None else timeout):
            return True
        if timeout is None:
            raise RuntimeError("can't start new thread: it ended at its first step")
        return False


def await_no_dead_threads() -> None:
    """Where memory is limited, see to it that nobody waits for a thread that found none.

    `Thread.start` waits until the new thread says that it runs, and one that finds no memory for
    its first step never does: such a start becomes an error. A thread that finds none later, in
    the bookkeeping of its pool, leaves its caller without a word: it ends the process, and whoever
    looks on says so.
    """
    if not limited():
        return
    begin, end = threading.Thread.__init__, threading.excepthook

    def begin_bound(self: threading.Thread, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self._started = _Born()  # type: ignore[attr-defined]

    def end_all(seen: threading.ExceptHookArgs) -> None:
        if issubclass(seen.exc_type, MemoryError):
            os._exit(1)
        end(seen)

    threading.Thread.__init__ = begin_bound  # type: ignore[method-assign]
    threading.excepthook = end_all
    pools = logging.Handler(logging.CRITICAL)  # what a pool logs when a thread of it is lost
    pools.emit = lambda record: os._exit(1)  # type: ignore[method-assign]
    logging.getLogger("concurrent.futures").addHandler(pools)


def limited() -> bool:
    """Whether the address space of this process is limited (`ulimit -v`)."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def watched(work: Callable[[], None]) -> None:
    """Do the work, and leave by SystemExit; in a child where memory is limited (`ulimit -v`)."""
    global _slate
    if not limited() or not hasattr(signal, "sigwaitinfo"):  # macOS has none
        work()
        return
    _slate = mmap.mmap(-1, mmap.PAGESIZE)
    doing("the beginning")
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {*_SIGNALS, signal.SIGCHLD})
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        await_no_dead_threads()
        try:
            work()
        finally:
            doing("")
        return
    status = _end_of(child)
    code = os.waitstatus_to_exitcode(status)
    at = _slate[:].partition(b"\0")[0].decode("utf-8", "replace").rstrip(",")
    if (code >= 0 and not at) or code in (-signal.SIGINT, -signal.SIGTERM):
        os._exit(code if code >= 0 else 128 - code)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0] >> 20
    text = (
        f"error: {at or 'the end'}: a library ended the process ({how}), as many do without "
        f"memory, and ulimit -v allows {allowed} MiB; run the same command again with fewer "
        "--workers or more memory\n"
    )
    os.write(2, text.encode())
    os._exit(STOPPED)


def _end_of(child: int) -> int:
    """Wait for the child's end; what signals come are passed on. Returns its wait status."""
    while True:
        got = signal.sigwaitinfo({*_SIGNALS, signal.SIGCHLD})
        if got.si_signo != signal.SIGCHLD:
            if got.si_code <= 0:  # sent by a process; the terminal's reach the child as well
                os.kill(child, got.si_signo)
            continue
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
