"""A process that waits for the one that works, and says how it ended where that cannot.

Under a limit on memory (`ulimit -v`) many libraries do not raise an error: they end the process
from within, by a signal or an exit code of their own. So the command does its work in a child
there, and what is left behind says in one line what happened, where, and what to do.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
from collections.abc import Callable

from curate.threads import bound_all_starts

ROOM = 256 << 20
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


def watched(work: Callable[[], None]) -> None:
    """Do the work, and leave by SystemExit; in a child where memory is limited (`ulimit -v`)."""
    global _slate
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or not hasattr(signal, "sigwaitinfo"):  # macOS has none
        work()
        return
    _slate = mmap.mmap(-1, mmap.PAGESIZE)
    doing("the beginning")
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {*_SIGNALS, signal.SIGCHLD})
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        bound_all_starts()
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
    text = (
        f"error: {at or 'the end'}: a library ended the process ({how}), as many do without "
        f"memory, and ulimit -v allows {limit >> 20} MiB; run the same command again with fewer "
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
