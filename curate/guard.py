"""One run at a time in a folder, and a stop that loses nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson
from filelock import FileLock, Timeout

from curate.disk import replace_synced, writing
from curate.errors import LockHeld, StoreError

OPEN = "open"  # a file in the folder of a run that has begun and not ended by itself


@dataclass
class Stop:
    """Whether the run was asked to stop, and by which signal."""

    event: threading.Event = field(default_factory=threading.Event)
    signal: int | None = None

    def __call__(self) -> bool:
        """Return true once a stop was asked for."""
        return self.event.is_set()


@contextmanager
def locked(folder: Path, what: str = "run", *, writes: bool = True) -> Iterator[None]:
    """Hold the folder's lock; `owner.json` says who does, and since when.

    One that only removes files (`writes` false) does without saying so where the disk is full: it
    makes the room. Raises LockHeld if another run (or whatever `what` is) has the lock, and
    StoreError where the disk refuses. The lock of a process that is gone is free, whatever
    `owner.json` says.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0.2)  # `held` may have it for an instant
        except Timeout:
            raise LockHeld(
                f"another {what} works in {folder}{_owner(folder)}; wait for it or use another name"
            ) from None
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": round(time.time(), 3)}
        try:
            replace_synced(folder / "owner.json", orjson.dumps(owner))
        except StoreError:
            if writes:
                raise
            with contextlib.suppress(OSError):  # what stands there is of an earlier one
                (folder / "owner.json").unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def in_turn(path: Path, stopping: Stop, wait: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Wait until nobody else holds the lock at `path`, and yield what lets the next one in.

    `wait` is called once where there is somebody to wait for. Where the file system has no locks,
    or once a stop is asked for, nobody waits: what should be done in turn is then done twice, which
    costs time alone.
    """
    lock, patience = FileLock(path), 0.0
    with contextlib.suppress(OSError, NotImplementedError):
        while not stopping() and not lock.is_locked:
            try:
                lock.acquire(timeout=patience)
            except Timeout:
                if not patience:
                    wait()
                patience = 0.5
    try:
        yield lock.release
    finally:
        lock.release()


def held(folder: Path) -> bool | None:
    """Whether a process holds the folder's lock; None where the lock cannot be tried.

    The lock is taken for an instant, which `locked` waits out.
    """
    if not (folder / "lock").exists():
        return False
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # another user's, a file system without locks
        return None
    lock.release()
    return False


class Owner(NamedTuple):
    """Who holds a folder's lock, or held it last, and since when, in seconds since 1970."""

    pid: int
    host: str
    since: float


def owner_of(folder: Path) -> Owner | None:
    """Return who holds the folder's lock or held it last; None where that cannot be read."""
    try:
        found = orjson.loads((folder / "owner.json").read_bytes())
        owner = Owner(int(found["pid"]), f"{found['host']:.60}", float(found["started"]))
        utc(owner.since)  # which a damaged number may not be
        return owner
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def utc(seconds: float) -> str:
    """Return a time in seconds since 1970 as people read it. Raises as `time.gmtime`."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _owner(folder: Path) -> str:
    """Say who holds the lock; nothing where that cannot be read."""
    owner = owner_of(folder)
    if owner is None:
        return ""
    minutes = max(0, round((time.time() - owner.since) / 60))
    age = f"{minutes // 60} h {minutes % 60} min"
    return f": process {owner.pid} on {owner.host}, since {utc(owner.since)} ({age})"


def open_run(folder: Path) -> None:
    """Claim what the run is going to look up, until `close_run`; an earlier claim stays as it is.

    The claim outlives a run that is killed or stopped, so that no sweep takes what it committed.
    """
    with writing(folder), contextlib.suppress(FileExistsError):
        (folder / OPEN).open("xb").close()


def close_run(folder: Path) -> None:
    """Give the claim up: the run ended by itself, and its manifest names what it needs."""
    with writing(folder):
        (folder / OPEN).unlink(missing_ok=True)


@contextmanager
def draining() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request to stop.

    A second one raises KeyboardInterrupt with the signal's number. Outside the main thread
    signals cannot be taken, so nothing is changed there.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        if stop():
            raise KeyboardInterrupt(number)
        stop.signal = number
        stop.event.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
