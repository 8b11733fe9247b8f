"""Make one chosen step of a run fail. A step is whatever changes a file below the run's root.

Steps are found through Python's audit events (open for writing, link, rename, remove, mkdir) and
a wrapped `os.fsync`, so the package itself knows nothing of this.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import threading
from pathlib import Path

EVENTS = {
    "os.link": 1, "os.rename": 1, "os.remove": 0, "os.mkdir": 0, "shutil.rmtree": 0,
}  # event -> which argument is the path that it changes  # fmt: skip


class Faults:
    """Counts steps below `root` and does `what` at step `at` (from 1).

    With `of`, only steps that start so are counted for `at`: parts are committed by threads, and a
    step's number of all is another in every run.

    `kill` ends the whole process group before the step; `torn` does so at a sync, after half of
    the file was lost, as in a power cut. `SIGTERM` or `SIGINT` is sent to the process, and the step
    is done. `ENOSPC` lets it and all later ones fail that need space; another error's name (`EIO`,
    `EACCES`, ...) lets this one fail. A folder that cannot be made cannot be made by another thread
    either, which would be enough for the first one.
    """

    def __init__(self, root: str, at: int = 0, what: str = "kill", of: str = "") -> None:
        self.root, self.at, self.what, self.of = os.path.realpath(root), at, what, of
        self.steps: list[str] = []
        self._counted = 0
        self._lock = threading.Lock()
        self._sync = os.fsync

    def install(self) -> None:
        """Watch this process from now on; there is no way back."""
        os.fsync = self._fsync
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writes and not (isinstance(mode, str) and set(mode) & set("wax+")):
                return
        elif event in EVENTS:
            path = arguments[EVENTS[event]]
        else:
            return
        if isinstance(path, (str, bytes, os.PathLike)):
            name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - follow no link
            if name.startswith(self.root + os.sep):
                self._step(event, name)

    def _fsync(self, handle: int) -> None:
        name = str(Path(f"/proc/self/fd/{handle}").readlink())
        if name.startswith(self.root + os.sep):
            self._step("fsync", name, handle)
        self._sync(handle)

    def _step(self, event: str, name: str, handle: int | None = None) -> None:
        step = f"{event} {name[len(self.root) + 1 :]}"
        with self._lock:
            self.steps.append(step)
            self._counted += step.startswith(self.of)
            number = self._counted if step.startswith(self.of) else 0
        stays = event != "os.remove" if self.what == "ENOSPC" else event == "os.mkdir"
        if not 0 < self.at <= number or (number > self.at and not stays):
            return
        if self.what in errno.errorcode.values():
            code = getattr(errno, self.what)
            raise OSError(code, os.strerror(code), name)
        if number > self.at:
            return
        if self.what in ("SIGTERM", "SIGINT"):
            os.kill(os.getpid(), getattr(signal, self.what))
            return
        if self.what == "torn" and handle is not None:
            facts = os.fstat(handle)
            if stat.S_ISREG(facts.st_mode):
                os.truncate(name, facts.st_size // 2)
        os.killpg(0, signal.SIGKILL)


def write_steps(faults: Faults, path: str) -> None:
    """Leave the list of steps for the test."""
    Path(path).write_text("\n".join(faults.steps))
