"""The two places that a program can run in: namespaces of its own, or this machine as it is."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

from .calls import (
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    PDEATHSIG,
    SUBREAPER,
    Refused,
    check,
    libc,
    number,
    prctl,
)
from .program import executable, start

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1, 2, 4, 32, 4096, 16384, 1 << 18,
)  # fmt: skip
MNT_DETACH, AT_RECURSIVE, AT_FDCWD = 2, 0x8000, -100
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
NOBODY = 65534
STRANGER = 1 << 30  # where root starts to count users that own nothing
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def in_namespaces(order: dict[str, Any]) -> dict[str, Any]:
    """Run the order in namespaces of its own."""
    user = enter_namespaces()
    (go_out, go_in), (report_out, report_in), (out, into) = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.close(go_in)
        first_process(order, user, go_out, report_in, into)
    os.close(report_in)
    os.close(into)
    os.write(go_in, b"1")
    said = told(report_out, order["limits"]["wall_seconds"])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # returns when every process of the namespace is gone
    return said | {"verdict": rest(out)}


def enter_namespaces() -> int:
    """Take a PID namespace for our children; return the user id that the program shall have.

    Root does without a user namespace, and gives each program a user of its own who owns
    nothing, as the kernel's limit of processes does not count for root. Others need one.
    """
    own, group = os.geteuid(), os.getegid()
    if own == 0:
        check(libc.unshare(NEWPID), "unshare as root (try an ordinary user)")
        return STRANGER + os.getpid()
    check(libc.unshare(NEWUSER | NEWPID), "unshare of user and PID namespaces")
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {own} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")
    except OSError as error:
        raise Refused(f"mapping of users: {error.strerror}") from None
    return NOBODY


def first_process(order: dict[str, Any], user: int, go: int, report: int, verdict: int) -> None:
    """Be the first process of the new namespaces: build, start, wait, tell, and take all along."""
    said: dict[str, Any] = {"refused": "the first process failed"}
    try:
        prctl(PDEATHSIG, signal.SIGKILL, "death signal")
        if not os.read(go, 1):  # the launcher died before we asked to die with it
            os._exit(1)
        build_root(order["folder"], order["prefix"], order["limits"]["file_mb"])
        # Beside the program, the launcher and this process count for a user without privileges.
        said = wait_for(start(order, "/work", user, 2 if user == NOBODY else 0, verdict))
    except Refused as error:
        said = {"refused": str(error)}
    except OSError as error:
        said = {"refused": f"{error.strerror} ({error.filename or 'sandbox'})"}
    finally:
        os.write(report, json.dumps(said).encode())
        os._exit(0)


def build_root(root: str, prefix: str, file_mb: int) -> None:
    """Make `root` the file system: the interpreter's library, read-only, and `/work` in memory."""
    check(libc.unshare(NEWNS | NEWNET | NEWIPC | NEWUTS), "unshare of mounts and network")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for path in dict.fromkeys([*LIBRARIES, f"{prefix}/lib", f"{prefix}/lib64", executable()]):
        show(path, root, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV)
    for path in DEVICES:
        show(path, root, ATTR_NOSUID)
    folder = f"{root}/work"
    Path(folder).mkdir()
    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, f"size={file_mb}m,mode=777")
    Path(f"{root}/tmp").symlink_to("work")  # noqa: S108 - the program's own
    Path(f"{root}/old").mkdir()
    check(libc.syscall(number("pivot_root"), root.encode(), f"{root}/old".encode()), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/old", MNT_DETACH), "umount of the old root")
    Path("/old").rmdir()
    mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount, bind or change a mount. Raises Refused where the kernel does not."""
    given = [source.encode(), target.encode(), kind and kind.encode()]
    check(libc.mount(*given, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def show(path: str, root: str, attributes: int) -> None:
    """Let a path be seen under `root` at the same place; a link stays a link.

    What is not there, or lies in what is shown already, is left out.
    """
    there, here = Path(path), Path(root + path)
    if not (there.exists() or there.is_symlink()) or here.exists() or here.is_symlink():
        return
    here.parent.mkdir(parents=True, exist_ok=True)
    if there.is_symlink():
        here.symlink_to(there.readlink())
        return
    if there.is_dir():
        here.mkdir()
    else:
        here.touch()
    mount(path, str(here), None, MS_BIND | MS_REC)
    changed = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    given = [AT_FDCWD, str(here).encode(), AT_RECURSIVE, changed, ctypes.sizeof(changed)]
    check(libc.syscall(number("mount_setattr"), *given), f"read-only mount of {path}")


def wait_for(pid: int) -> dict[str, Any]:
    """Reap children until the program ends; return the signal that ended it, and its CPU time."""
    while True:
        found, status, used = os.wait4(-1, 0)
        if found == pid:
            return ending(status, used)


def ending(status: int, used: Any) -> dict[str, Any]:
    """Return the signal that ended a process (0: none) and its CPU time in seconds."""
    killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return {"signal": killer, "cpu": used.ru_utime + used.ru_stime}


def told(pipe: int, seconds: float) -> dict[str, Any]:
    """Return the report that comes within this time."""
    if not select.select([pipe], [], [], seconds)[0]:
        return {"timeout": True}
    text = os.read(pipe, 1 << 16)
    found: dict[str, Any] = json.loads(text) if text else {"signal": int(signal.SIGKILL), "cpu": 0}
    return found


def rest(pipe: int) -> str:
    """Return what the program wrote as its verdict."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        return os.read(pipe, 4096).decode("ascii", "replace")
    return ""


def on_the_machine(order: dict[str, Any]) -> dict[str, Any]:
    """Run the order as a child among others; the machine is what isolates it."""
    prctl(SUBREAPER, 1, "subreaper")  # orphans become our children
    out, into = os.pipe()
    pid = start(order, order["folder"], None, threads_of_user(), into)
    os.close(into)
    end = time.monotonic() + order["limits"]["wall_seconds"]
    said: dict[str, Any] = {"timeout": True}
    while time.monotonic() < end:
        found, status, used = os.wait4(pid, os.WNOHANG)
        if found:
            said = ending(status, used)
            break
        time.sleep(0.005)
    kill_descendants()
    return said | {"verdict": rest(out)}


def kill_descendants() -> None:
    """Kill and reap until there is no child left; orphans become ours as their parents die."""
    while True:
        for task in Path("/proc/self/task").iterdir():
            for pid in (task / "children").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def threads_of_user() -> int:
    """Return how many threads this user runs, which the kernel's limit counts too."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == os.getuid():
                total += sum(1 for _ in (process / "task").iterdir())
    return total
